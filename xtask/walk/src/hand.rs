//! What a kernel would write without the core: loops over the same steps, the declared and the registered ones in their
//! order, with the same test for a missing half, that store how far they are after each step.

use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use cpuhp_core::{Ctx, Direction, DynSlot, Step};

use crate::COUNT;
use crate::tables::{Kind, SLOTS, STEPS};

static PROGRESS: AtomicU32 = AtomicU32::new(0);

/// One section of a table.
struct Section {
    low: &'static [Step],
    slots: &'static [DynSlot],
    high: &'static [Step],
}

impl Section {
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Static => Self {
                low: &STEPS,
                slots: &[],
                high: &[],
            },
            Kind::Dynamic => Self {
                low: &[],
                slots: &SLOTS,
                high: &[],
            },
        }
    }
}

/// Walks up.
pub(crate) fn up(ctx: &Ctx<'_>, kind: Kind) {
    PROGRESS.store(0, Ordering::Relaxed);
    let section = black_box(Section::of(kind));
    black_box(by_hand_up(&section, ctx, black_box(COUNT)));
}

/// Walks down.
pub(crate) fn down(ctx: &Ctx<'_>, kind: Kind) {
    let section = black_box(Section::of(kind));
    black_box(by_hand_down(&section, ctx, black_box(0)));
}

/// The part of `walked` that lies in a row of `len` states above `base` others.
fn within(walked: &Range<usize>, base: usize, len: usize) -> Range<usize> {
    let index = |number: usize| number.saturating_sub(base).min(len);
    index(walked.start)..index(walked.end)
}

#[inline(never)]
fn by_hand_up(section: &Section, ctx: &Ctx<'_>, goal: usize) -> Option<()> {
    let mut at = PROGRESS.load(Ordering::Relaxed);
    let walked = at as usize..goal;
    let mut base = 0;
    for step in section.low.get(within(&walked, base, section.low.len()))? {
        if let Some(call) = step.callback(Direction::Up) {
            call(ctx).ok()?;
        }
        at += 1;
        PROGRESS.store(at, Ordering::Relaxed);
    }
    base += section.low.len();
    for slot in section
        .slots
        .get(within(&walked, base, section.slots.len()))?
    {
        at += 1;
        let Some(step) = slot.get() else { continue };
        if let Some(call) = step.callback(Direction::Up) {
            call(ctx).ok()?;
        }
        PROGRESS.store(at, Ordering::Relaxed);
    }
    base += section.slots.len();
    for step in section
        .high
        .get(within(&walked, base, section.high.len()))?
    {
        if let Some(call) = step.callback(Direction::Up) {
            call(ctx).ok()?;
        }
        at += 1;
        PROGRESS.store(at, Ordering::Relaxed);
    }
    Some(())
}

#[inline(never)]
fn by_hand_down(section: &Section, ctx: &Ctx<'_>, goal: usize) -> Option<()> {
    let mut at = PROGRESS.load(Ordering::Relaxed);
    let walked = goal..at as usize;
    let mut base = section.low.len() + section.slots.len();
    let high = section
        .high
        .get(within(&walked, base, section.high.len()))?;
    for step in high.iter().rev() {
        if let Some(call) = step.callback(Direction::Down) {
            call(ctx).ok()?;
        }
        at -= 1;
        PROGRESS.store(at, Ordering::Relaxed);
    }
    base -= section.slots.len();
    let slots = section
        .slots
        .get(within(&walked, base, section.slots.len()))?;
    for slot in slots.iter().rev() {
        at -= 1;
        let Some(step) = slot.get() else { continue };
        if let Some(call) = step.callback(Direction::Down) {
            call(ctx).ok()?;
        }
        PROGRESS.store(at, Ordering::Relaxed);
    }
    let low = section.low.get(within(&walked, 0, section.low.len()))?;
    for step in low.iter().rev() {
        if let Some(call) = step.callback(Direction::Down) {
            call(ctx).ok()?;
        }
        at -= 1;
        PROGRESS.store(at, Ordering::Relaxed);
    }
    Some(())
}
