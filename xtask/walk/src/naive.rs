//! A loop that asks everything at each step, as a first version would: where the step is, whether a fault is armed for
//! it, whether it has to go on whatever is answered.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use cpuhp_core::{Ctx, Direction, Step};

use crate::COUNT;
use crate::tables::{Kind, LOOP, SLOTS, STEPS};

static PROGRESS: AtomicU32 = AtomicU32::new(0);
static ARMED: AtomicU32 = AtomicU32::new(0);

/// Walks up.
pub(crate) fn up(ctx: &Ctx<'_>) {
    PROGRESS.store(0, Ordering::Relaxed);
    black_box(naive_walk(ctx, Direction::Up, black_box(COUNT as u32)));
}

/// Walks down.
pub(crate) fn down(ctx: &Ctx<'_>) {
    black_box(naive_walk(ctx, Direction::Down, black_box(0)));
}

#[inline(never)]
fn naive_walk(ctx: &Ctx<'_>, dir: Direction, goal: u32) -> Option<()> {
    loop {
        let state = PROGRESS.load(Ordering::Relaxed);
        if state == goal {
            return Some(());
        }
        let (at, after) = match dir {
            Direction::Up => (state + 1, state + 1),
            Direction::Down => (state, state - 1),
        };
        if ARMED.load(Ordering::Relaxed) == at && !ctx.is_rollback() {
            return None;
        }
        if let Some(call) = find(at).and_then(|step| step.callback(dir))
            && call(ctx).is_err()
            && !ctx.is_forced()
        {
            return None;
        }
        PROGRESS.store(after, Ordering::Relaxed);
    }
}

fn find(at: u32) -> Option<&'static Step> {
    let index = usize::try_from(at.checked_sub(1)?).ok()?;
    match LOOP.get() {
        Some(chosen) if chosen.kind == Kind::Dynamic => SLOTS.get(index)?.get(),
        _ => black_box(&STEPS).get(index),
    }
}
