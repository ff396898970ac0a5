//! The reference model of an operation on one CPU: what must be called, in which order, and where
//! it ends. Written from W1..W8 of the design, as arithmetic on numbers: no segments, no handshake.

use cpuhp_core::{Direction, StepError};

use crate::shape::{Section, Shape};
use crate::world::Call;

/// What the moved CPU is at when the operation begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ap {
    /// Off: a kick starts it.
    Off,
    /// Kicked, and it comes only after the operation has begun.
    Coming,
    /// In the kernel.
    On,
    /// At rest off PREPARE: released, never kicked.
    Parked,
}

/// One operation and everything that goes wrong in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Task {
    /// Where it begins.
    pub origin: u16,
    /// Where it is to go.
    pub target: u16,
    /// The state whose up half fails.
    pub up_fails: Option<u16>,
    /// The state whose down half fails.
    pub down_fails: Option<u16>,
    /// The half that asks to be called again, [`PENDS`] times.
    pub pends: Option<(u16, Direction)>,
    /// What the CPU is at.
    pub ap: Ap,
}

/// How often a half asks to be called again.
pub const PENDS: u32 = 2;
/// Code of a failing up half.
pub const UP_CODE: i32 = -11;
/// Code of a failing down half.
pub const DOWN_CODE: i32 = 22;

/// What must come of a [`Task`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expect {
    /// Every call, in order.
    pub calls: Vec<Call>,
    /// State and code of the first failure.
    pub first: Option<(u16, i32)>,
    /// State and code of what stopped the rollback.
    pub second: Option<(u16, i32)>,
    /// Where the CPU is.
    pub end: u16,
    /// How many kicks were sent.
    pub kicks: usize,
    /// What the CPU is at.
    pub ap: Ap,
}

impl Expect {
    /// Whether a fault of `dir` was met.
    pub fn met(&self, dir: Direction) -> bool {
        let failed = |call: &Call| call.answer == code(dir);
        self.calls
            .iter()
            .any(|call| failed(call) && call.dir == dir)
    }
}

fn code(dir: Direction) -> i32 {
    match dir {
        Direction::Up => UP_CODE,
        Direction::Down => DOWN_CODE,
    }
}

/// What kind of operation a [`Task`] is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An operation on one CPU.
    Single,
    /// The teardown of a batch: it does not go forward again once PREPARE is on its way down (W9).
    BatchDown,
    /// The adoption of the boot CPU: it runs, so there is no way back below `AP_IDLE` from above.
    Adoption,
}

/// Works `task` out for the first CPU, driven by the second.
pub fn expect(shape: &Shape, task: &Task, kind: Kind, (cpu, control): (u32, u32)) -> Expect {
    let mut run = Run {
        shape,
        task,
        cpu,
        control,
        out: Expect {
            calls: Vec::new(),
            first: None,
            second: None,
            end: task.origin,
            kicks: 0,
            ap: task.ap,
        },
    };
    if run.go(task.target) {
        return run.out;
    }
    run.out.first = run.out.second.take();
    let back = match kind {
        Kind::Single => task.origin,
        Kind::BatchDown if run.out.end < shape.kick => return run.out,
        Kind::BatchDown => task.origin,
        Kind::Adoption if run.out.end >= shape.ap_idle => task.origin.max(shape.ap_idle),
        Kind::Adoption => task.origin,
    };
    // W5: whatever stops the way back, it stays there.
    if run.go(back) && back != task.origin {
        run.out.second = Some((back, StepError::NOT_SUPPORTED.code()));
    }
    run.out
}

struct Run<'a> {
    shape: &'a Shape,
    task: &'a Task,
    cpu: u32,
    control: u32,
    out: Expect,
}

impl Run<'_> {
    /// Goes from where the CPU is to `goal`; on a failure notes it in `second` and returns `false`.
    fn go(&mut self, goal: u16) -> bool {
        let from = self.out.end;
        if goal >= from {
            for at in from + 1..=goal {
                if at == self.shape.kick {
                    self.start();
                } else if at > self.shape.kick {
                    self.out.ap = Ap::On;
                }
                if !self.call(at, Direction::Up) {
                    return false;
                }
                self.out.end = at;
            }
        } else {
            for at in (goal + 1..=from).rev() {
                if at == self.shape.kick {
                    self.stop();
                }
                if !self.call(at, Direction::Down) {
                    return false;
                }
                self.out.end = at - 1;
            }
            // To rest at KICK means to have been asked to start; a CPU that was up has gone off.
            if goal == self.shape.kick && from > goal {
                self.stop();
                self.start();
            }
        }
        true
    }

    fn start(&mut self) {
        match self.out.ap {
            Ap::Off => self.out.kicks += 1,
            // It was asked once already: H6.
            Ap::Parked | Ap::Coming => {}
            Ap::On => unreachable!("below KICK no CPU is in the kernel"),
        }
        self.out.ap = Ap::On;
    }

    fn stop(&mut self) {
        self.out.ap = match self.out.ap {
            Ap::On | Ap::Off => Ap::Off,
            // It is cancelled first and comes afterwards.
            Ap::Coming | Ap::Parked => Ap::Parked,
        };
    }

    /// Calls a half if there is one; whether the walk goes on.
    fn call(&mut self, at: u16, dir: Direction) -> bool {
        let state = self.shape.at(at);
        if !state.half(dir) {
            return true;
        }
        let mut call = Call {
            cpu: self.cpu,
            on: self.cpu,
            at,
            instance: None,
            dir,
            rollback: self.out.first.is_some(),
            answer: StepError::WOULD_BLOCK.code(),
        };
        if state.section == Section::Prepare {
            call.on = self.control;
        }
        let already = self.out.calls.iter().filter(|c| **c == call).count();
        let pends = self.task.pends == Some((at, dir)) && already == 0;
        for _ in 0..if pends { PENDS } else { 0 } {
            self.out.calls.push(call);
        }
        let fails = match dir {
            Direction::Up => self.task.up_fails == Some(at),
            Direction::Down => self.task.down_fails == Some(at),
        };
        call.answer = if fails { code(dir) } else { 0 };
        self.out.calls.push(call);
        if fails {
            self.out.second = Some((at, code(dir)));
        }
        !fails
    }
}
