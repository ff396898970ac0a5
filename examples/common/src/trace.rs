//! The tracer: stamps when each CPU was alive, and with `trace=1` keeps every event to be printed.
//!
//! Storage is fixed; what does not fit is counted as lost. A step that asked to be called again is one
//! event, from its first call to its last return.

mod show;

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use cpuhp_core::{
    CallEvent, CpuId, Direction, StateId, StepError, StepEvent, StepResult, Tag, Trace,
};

use crate::calls;
use crate::json;
use crate::params::Params;
use crate::scenario::{Mode, Scenario, Toggle};
use crate::scene::{self, Scene};

pub(crate) use show::{forget, show};

/// The tracer of every example kernel. Writes into the [`Scene`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracer;

/// Room for one event, all zero at the start.
#[derive(Debug)]
pub struct Event {
    begin: AtomicU64,
    end: AtomicU64,
    /// Moved CPU in bits 0..32, executing CPU in 32..64.
    who: AtomicU64,
    /// Kind in bits 0..8, two kind-dependent bytes, state in 24..40; 0 = not written yet.
    what: AtomicU64,
    error: AtomicU64,
}

/// 1: events are kept. Written once, by `begin`; asked so often that it lies apart from the scene.
static KEPT: AtomicU32 = AtomicU32::new(0);

const STEP: u64 = 1;
const EDGE: u64 = 2;
const KICK: u64 = 3;
const WINDOW: u64 = 4;
const FAULT: u64 = 5;

impl Event {
    /// Makes an empty one.
    pub const fn new() -> Self {
        Self {
            begin: AtomicU64::new(0),
            end: AtomicU64::new(0),
            who: AtomicU64::new(0),
            what: AtomicU64::new(0),
            error: AtomicU64::new(0),
        }
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl Trace for Tracer {
    const ON: bool = true;

    fn wants_steps(&self) -> bool {
        is_kept()
    }

    fn enter(&self, event: &StepEvent) {
        let Some(scene) = traced() else { return };
        if let Some(log) = scene.cpu(event.cpu)
            && log.began.load(Ordering::Relaxed) == 0
        {
            log.began.store(scene.host.now().max(1), Ordering::Relaxed);
        }
    }

    fn exit(&self, event: &StepEvent, result: StepResult) {
        let Some(scene) = traced() else { return };
        if result == Err(StepError::WOULD_BLOCK) {
            return;
        }
        let Some(log) = scene.cpu(event.cpu) else {
            return;
        };
        keep(
            scene,
            log.began.swap(0, Ordering::Relaxed),
            event.cpu,
            event.on,
            STEP | flags(event),
            result.err(),
        );
    }

    fn fault(&self, event: &StepEvent) {
        let Some(scene) = traced() else { return };
        let what = FAULT | flags(event);
        let now = scene.host.now().max(1);
        keep(scene, now, event.cpu, event.on, what, None);
    }

    fn edge(&self, cpu: CpuId, from: Tag, to: Tag) {
        let comes = from == Tag::Kicked && matches!(to, Tag::Alive | Tag::Go);
        let starts = from == Tag::Dead && to == Tag::Kicked;
        if !(comes || starts || is_kept()) {
            return;
        }
        let Some(scene) = scene::get() else { return };
        let Some(log) = scene.cpu(cpu) else { return };
        let now = scene.host.now().max(1);
        if comes {
            log.alive.store(now, Ordering::Relaxed);
        }
        if starts {
            log.starts.fetch_add(1, Ordering::Relaxed);
        }
        if is_kept() {
            let tags = (from as u64) << 8 | (to as u64) << 16;
            keep(scene, now, cpu, cpu, EDGE | tags, None);
        }
    }

    fn call(&self, event: &CallEvent) {
        if let Some(scene) = scene::get() {
            calls::see(scene, event);
        }
    }

    fn kick(&self, cpu: CpuId, _epoch: u16) {
        if let Some(scene) = traced() {
            keep(scene, scene.host.now().max(1), cpu, cpu, KICK, None);
        }
    }
}

/// Keeps the timed window of `mode` that began at `begin` and ends now.
pub(crate) fn window(scene: &Scene, mode: Mode, begin: u64) {
    if scene.params.trace == Toggle::On {
        let driver = scene.host.this_cpu();
        let what = WINDOW | (mode as u64) << 8;
        keep(scene, begin, driver, driver, what, None);
    }
}

/// What an event of a step is about: direction, rollback, state.
fn flags(event: &StepEvent) -> u64 {
    let down = u64::from(event.dir == Direction::Down);
    down << 8 | u64::from(event.rollback) << 16 | u64::from(event.state.get()) << 24
}

/// Returns the scene if events are wanted.
fn traced() -> Option<&'static Scene> {
    scene::get().filter(|_| is_kept())
}

/// Whether events are kept.
fn is_kept() -> bool {
    KEPT.load(Ordering::Relaxed) != 0
}

/// Begins to keep events where they are wanted: for the machine lines, or for the monitor to show.
///
/// Context: boot CPU, before any CPU moves.
pub(crate) fn begin(params: &Params) {
    let is_wanted = params.trace == Toggle::On || params.scenario == Scenario::Shell;
    KEPT.store(u32::from(is_wanted), Ordering::Relaxed);
}

fn keep(scene: &Scene, begin: u64, cpu: CpuId, on: CpuId, what: u64, error: Option<StepError>) {
    let at = scene.events.fetch_add(1, Ordering::Relaxed) as usize;
    let Some(slot) = scene.parts.events.get(at) else {
        return;
    };
    slot.begin.store(begin, Ordering::Relaxed);
    slot.end
        .store(scene.host.now().max(begin), Ordering::Relaxed);
    slot.who.store(
        u64::from(cpu.get()) | u64::from(on.get()) << 32,
        Ordering::Relaxed,
    );
    let code = error.map_or(0, |error| u64::from(error.code().cast_unsigned()));
    slot.error.store(code, Ordering::Relaxed);
    // Release: the reader that sees the kind sees the rest.
    slot.what.store(what, Ordering::Release);
}

/// Prints where the sections of the table begin, every event, and how many were lost. Called at rest.
///
/// `name` names a state as it is now: one that is registered no more has none.
pub(crate) fn print(scene: &Scene, name: &dyn Fn(StateId) -> &'static str) {
    json::line(scene.host, "table", |line| {
        line.number("kick", scene.table.kick().get())?;
        line.number("ap_idle", scene.table.ap_idle().get())?;
        line.number("online", scene.table.online().get())
    });
    for event in scene.parts.events {
        // Acquire: pairs with `keep`.
        let what = event.what.load(Ordering::Acquire);
        match what & 0xff {
            STEP => print_step(scene, event, what, name),
            FAULT => print_fault(scene, event, what, name),
            EDGE => print_edge(scene, event, what),
            KICK => json::line(scene.host, "kick", |line| {
                line.number("cpu", low(&event.who))?;
                line.number("t", event.begin.load(Ordering::Relaxed))
            }),
            WINDOW => print_window(scene, event, what),
            _ => break,
        }
    }
    let wanted = scene.events.load(Ordering::Relaxed) as usize;
    let lost = wanted.saturating_sub(scene.parts.events.len());
    json::line(scene.host, "trace_lost", |line| {
        line.number("n", lost as u64)
    });
}

/// The state and the direction of an event.
fn place(what: u64) -> (StateId, &'static str) {
    #[expect(clippy::cast_possible_truncation, reason = "bits 24..40 hold a state")]
    let state = StateId::new((what >> 24) as u16);
    (state, if what >> 8 & 1 == 0 { "up" } else { "down" })
}

fn print_fault(scene: &Scene, event: &Event, what: u64, name: &dyn Fn(StateId) -> &'static str) {
    let (state, dir) = place(what);
    json::line(scene.host, "fault", |line| {
        line.number("cpu", low(&event.who))?;
        line.number("state", state.get())?;
        line.text("name", &name(state))?;
        line.text("dir", &dir)?;
        line.number("on", event.who.load(Ordering::Relaxed) >> 32)?;
        line.number("t", event.begin.load(Ordering::Relaxed))
    });
}

/// What a step answered; 0 = it went well.
fn code_of(event: &Event) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "32 bits were stored")]
    let code = event.error.load(Ordering::Relaxed) as u32;
    code.cast_signed()
}

fn print_step(scene: &Scene, event: &Event, what: u64, name: &dyn Fn(StateId) -> &'static str) {
    let (state, dir) = place(what);
    let code = code_of(event);
    json::line(scene.host, "step", |line| {
        line.number("cpu", low(&event.who))?;
        line.number("state", state.get())?;
        line.text("name", &name(state))?;
        line.text("dir", &dir)?;
        line.truth("rollback", what >> 16 & 1 == 1)?;
        line.number("on", event.who.load(Ordering::Relaxed) >> 32)?;
        line.number("t0", event.begin.load(Ordering::Relaxed))?;
        line.number("t1", event.end.load(Ordering::Relaxed))?;
        line.maybe("err", Some(code).filter(|code| *code != 0))
    });
}

fn print_edge(scene: &Scene, event: &Event, what: u64) {
    json::line(scene.host, "edge", |line| {
        line.number("cpu", low(&event.who))?;
        line.text("from", &tag_name(what >> 8 & 0xff))?;
        line.text("to", &tag_name(what >> 16 & 0xff))?;
        line.number("t", event.begin.load(Ordering::Relaxed))
    });
}

fn print_window(scene: &Scene, event: &Event, what: u64) {
    let mode = usize::try_from(what >> 8 & 0xff).unwrap_or(usize::MAX);
    let name = Mode::ALL.get(mode).map_or("", |(name, _)| name);
    json::line(scene.host, "window", |line| {
        line.text("mode", &name)?;
        line.number("t0", event.begin.load(Ordering::Relaxed))?;
        line.number("t1", event.end.load(Ordering::Relaxed))
    });
}

/// The name of a tag as the sync word's documentation spells it.
fn tag_name(number: u64) -> &'static str {
    const NAMES: [&str; 9] = [
        "DEAD",
        "KICKED",
        "ALIVE",
        "GO",
        "UP",
        "DIE",
        "GONE",
        "CANCELLED",
        "PARKED",
    ];
    usize::try_from(number)
        .ok()
        .and_then(|at| NAMES.get(at))
        .unwrap_or(&"")
}

fn low(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed) & 0xffff_ffff
}
