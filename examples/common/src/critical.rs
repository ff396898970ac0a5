//! Scenario `critical`: all CPUs in critical sections at once, nested and interrupted, and a count that
//! has to be exact.
//!
//! A CPU visits where its life with interrupts closed begins and ends: before and inside STARTING, and
//! right after. The driving CPU visits while it waits, and a handler whenever an interrupt comes.

use core::hint;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use cpuhp_core::{Platform, Which, Who};

use crate::check;
use crate::machine::Machine;
use crate::result::Stage;
use crate::scene::{self, Scene};
use crate::violation::Violation;

/// How often a visit goes in, each time as deep as [`DEEPEST`] at most, in turn.
const TURNS: u32 = 30;
const DEEPEST: u32 = 3;
/// How long a CPU stays inside, in spins: until somebody else wants in, at most so long.
const STAY: u32 = 5_000;

/// What the sections guard, and what it has to be.
#[derive(Debug)]
pub(crate) struct Critical {
    /// 1 while the scenario runs. Written by the driving CPU.
    is_on: AtomicU32,
    /// Guarded by the sections: changed by a load and a store, so that two CPUs inside lose one.
    guarded: AtomicU64,
    /// What was added to it. Each CPU adds to it after it has left.
    added: AtomicU64,
    /// How often a CPU found another one inside when it wanted in.
    met: AtomicU64,
    /// How often a handler went in.
    handlers: AtomicU64,
    /// Whether somebody is inside. Written inside.
    inside: AtomicU32,
}

impl Critical {
    pub(crate) const fn new() -> Self {
        Self {
            is_on: AtomicU32::new(0),
            guarded: AtomicU64::new(0),
            added: AtomicU64::new(0),
            met: AtomicU64::new(0),
            handlers: AtomicU64::new(0),
            inside: AtomicU32::new(0),
        }
    }
}

/// Runs it.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    if let Err(why) = stage.machine.section(&mut || ()) {
        return stage.refuse(why);
    }
    stage.bring_all_up();
    if let Err(why) = stage.can_stop() {
        return stage.refuse(why);
    }
    let critical = &stage.scene.critical;
    let secondaries = stage.online_others().count();
    let rounds = stage.scene.params.rounds.unwrap_or(20);
    for _ in 0..rounds {
        critical.is_on.store(1, Ordering::Relaxed);
        let down = stage.hp().take_down(Which::All);
        let up = stage.hp().bring_up(Which::All);
        critical.is_on.store(0, Ordering::Relaxed);
        for report in [down, up] {
            let done = report.map_or(0, |report| report.done);
            if done as usize != secondaries {
                let first = stage.others().next().unwrap_or_default();
                let right = secondaries as u64;
                stage.scene.wrong(Violation::Count, first, done, right);
            }
        }
        check::all(stage.machine, stage.scene);
    }
    let sections = settle(stage);
    stage.only_result(|line| {
        line.number("rounds", rounds)?;
        line.number("sections", sections)?;
        line.number("met", critical.met.load(Ordering::Relaxed))?;
        line.number("in_handlers", critical.handlers.load(Ordering::Relaxed))
    });
}

/// Compares the count with what was added, and returns it.
///
/// Whoever is inside still, or between its leaving and its saying so, is waited for: at most the time-out.
fn settle<M: Machine>(stage: &Stage<'_, M>) -> u64 {
    let critical = &stage.scene.critical;
    let deadline = stage.now().saturating_add(stage.scene.params.timeout_ns);
    loop {
        let guarded = critical.guarded.load(Ordering::Relaxed);
        let added = critical.added.load(Ordering::Relaxed);
        if guarded == added {
            return guarded;
        }
        if stage.now() >= deadline {
            let this = stage.machine.this_cpu();
            stage.scene.wrong(Violation::Section, this, guarded, added);
            return guarded;
        }
        let this = stage.machine.this_cpu();
        stage.hp().platform().wait(Who::Control(this), deadline);
    }
}

fn running() -> Option<&'static Critical> {
    let critical = &scene::get()?.critical;
    (critical.is_on.load(Ordering::Relaxed) != 0).then_some(critical)
}

/// Goes in and out, many times, at every depth, if the scenario runs. Context: any CPU past its entry.
#[inline]
pub(crate) fn visit() {
    if running().is_some() {
        visit_often();
    }
}

#[cold]
fn visit_often() {
    for turn in 0..TURNS {
        // Once is enough to be found inside; every time would take long.
        let stay = if turn == 0 { STAY } else { 0 };
        enter_and_count(1 + turn % DEEPEST, stay);
    }
}

/// As [`visit`], once. Context: interrupt handler.
pub(crate) fn visit_in_handler(scene: &Scene) {
    if scene.critical.is_on.load(Ordering::Relaxed) != 0 {
        scene.critical.handlers.fetch_add(1, Ordering::Relaxed);
        enter_and_count(1, 0);
    }
}

/// As [`visit`], once. Context: the driving CPU, which waits.
pub(crate) fn visit_in_wait(scene: &Scene) {
    if scene.critical.is_on.load(Ordering::Relaxed) != 0 {
        enter_and_count(2, 0);
    }
}

fn enter_and_count(deep: u32, stay: u32) {
    let (Some(scene), Some(critical)) = (scene::get(), running()) else {
        return;
    };
    if critical.inside.load(Ordering::Relaxed) != 0 {
        critical.met.fetch_add(1, Ordering::Relaxed);
    }
    enter(scene, [deep, deep], stay);
    critical.added.fetch_add(u64::from(deep), Ordering::Relaxed);
}

/// Adds `left` in as many sections, each inside the one before; the outermost of `deep` says that somebody
/// is inside.
fn enter(scene: &Scene, [deep, left]: [u32; 2], stay: u32) {
    let critical = &scene.critical;
    let entered = scene.host.section(&mut || {
        if left == deep {
            critical.inside.store(1, Ordering::Relaxed);
        }
        let before = critical.guarded.load(Ordering::Relaxed);
        if left > 1 {
            enter(scene, [deep, left - 1], stay);
        } else {
            let met = critical.met.load(Ordering::Relaxed);
            let is_alone = |_: &u32| critical.met.load(Ordering::Relaxed) == met;
            (0..stay)
                .take_while(is_alone)
                .for_each(|_| hint::spin_loop());
        }
        let now = critical.guarded.load(Ordering::Relaxed);
        let right = before + u64::from(left) - 1;
        if now != right {
            let this = scene.host.this_cpu();
            scene.wrong(Violation::Section, this, now, right);
        }
        critical.guarded.store(now + 1, Ordering::Relaxed);
        if left == deep {
            critical.inside.store(0, Ordering::Relaxed);
        }
    });
    if entered.is_err() {
        scene.wrong(Violation::Section, scene.host.this_cpu(), 0u32, 1u32);
    }
}
