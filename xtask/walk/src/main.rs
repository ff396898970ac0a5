//! Walks 64 steps, by the core or by a loop, so that somebody else can count the instructions.
//!
//! Three words say what runs: `core`, `hand` or `naive`; `static` or `dynamic`; `up`, or `both` for up and down. What
//! is to be counted is inside `Walk::run` of the core, and in the functions called `by_hand_` and `naive_walk`. Each
//! walk is made equally often, so that the two directions can be told apart by a difference.

use std::process::ExitCode;

use cpuhp_core::{BootSteps, Calls, Confirm, CpuId, Cpuhp, Ctx, KickError, Platform, StateId};

mod hand;
mod naive;
mod tables;

use tables::{Kind, LOOP, STEPS, machine_of};

/// How often each walk is made: by the core for one CPU after the other.
pub(crate) const CPUS: u32 = 16;

/// Steps of a walk.
pub(crate) const COUNT: usize = 64;

/// A platform on which nothing is ever started.
#[derive(Debug)]
pub(crate) struct Still;

impl Platform for Still {
    fn now(&self) -> u64 {
        0
    }

    fn this_cpu(&self) -> CpuId {
        CpuId::new(0)
    }

    fn kick(&self, _: CpuId, _: u16) -> Result<(), KickError> {
        Ok(())
    }

    fn confirm(&self, _: CpuId) -> Confirm {
        Confirm::Off
    }
}

/// Who wrote a loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Writer {
    Hand,
    Naive,
}

/// Which way is walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    Up,
    Both,
}

/// A loop that is to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loop {
    pub(crate) writer: Writer,
    pub(crate) kind: Kind,
    pub(crate) way: Way,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        [who, kind, way] => parse(who, kind, way).and_then(|(by, kind, way)| run(by, kind, way)),
        _ => None,
    };
    if done.is_some() {
        return ExitCode::SUCCESS;
    }
    eprintln!("usage: cpuhp-walk core|hand|naive static|dynamic up|both");
    ExitCode::FAILURE
}

fn parse(who: &str, kind: &str, way: &str) -> Option<(Option<Writer>, Kind, Way)> {
    let by = match who {
        "core" => None,
        "hand" => Some(Writer::Hand),
        "naive" => Some(Writer::Naive),
        _ => return None,
    };
    let kind = match kind {
        "static" => Kind::Static,
        "dynamic" => Kind::Dynamic,
        _ => return None,
    };
    let way = match way {
        "up" => Way::Up,
        "both" => Way::Both,
        _ => return None,
    };
    Some((by, kind, way))
}

fn run(by: Option<Writer>, kind: Kind, way: Way) -> Option<()> {
    let chosen = by.map(|writer| Loop { writer, kind, way });
    let (machine, range) = machine_of(kind, chosen)?;
    machine.adopt_boot_cpu(BootSteps::AlreadyDone).ok()?;
    if kind == Kind::Dynamic {
        for step in &STEPS {
            machine.register(range, step, Calls::Skip).ok()?;
        }
    }
    if chosen.is_some() {
        // The loop is given the context that the core gives to a callback: it runs inside one.
        return machine.drive(CpuId::new(1), StateId::new(1)).ok();
    }
    by_core(&machine, way)
}

fn by_core(machine: &Cpuhp<'_, Still>, way: Way) -> Option<()> {
    for cpu in (1..=CPUS).map(CpuId::new) {
        machine.drive(cpu, StateId::new(COUNT as u16)).ok()?;
        if way == Way::Both {
            machine.drive(cpu, StateId::OFFLINE).ok()?;
        }
    }
    Some(())
}

/// Runs the loop that was chosen.
pub(crate) fn loop_in(ctx: &Ctx<'_>) {
    let Some(chosen) = LOOP.get() else { return };
    for _ in 0..CPUS {
        match chosen.writer {
            Writer::Hand => hand::up(ctx, chosen.kind),
            Writer::Naive => naive::up(ctx),
        }
        if chosen.way == Way::Up {
            continue;
        }
        match chosen.writer {
            Writer::Hand => hand::down(ctx, chosen.kind),
            Writer::Naive => naive::down(ctx),
        }
    }
}
