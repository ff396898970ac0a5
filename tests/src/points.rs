//! The reference model of an operation on one CPU over a table with instances: as [`crate::model`], with
//! undo inside a step, injected faults and forced walks. Written from section 4 of the design.

use cpuhp_core::{Direction, FaultAt, StepError};

use crate::full::{instances, section};
use crate::model::{Ap, DOWN_CODE, Expect, Kind, PENDS, UP_CODE};
use crate::shape::{Section, Shape};
use crate::world::Call;

/// A half-less place in the order: a step, or one instance of it.
pub type Point = (u16, Option<u8>);

/// One operation and everything that goes wrong in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Job {
    /// Where it begins.
    pub origin: u16,
    /// Where it is to go.
    pub target: u16,
    /// Where an up half fails.
    pub up_fails: Option<Point>,
    /// Where a down half fails.
    pub down_fails: Option<Point>,
    /// The half that asks to be called again, [`PENDS`] times.
    pub pends: Option<(Point, Direction)>,
    /// The armed fault.
    pub armed: Option<(u16, FaultAt)>,
    /// Whether errors on the way down are passed over.
    pub forced: bool,
    /// What the CPU is at.
    pub ap: Ap,
}

impl Job {
    /// A faultless operation on a CPU that is off below `KICK` and has arrived from there on.
    pub const fn plain(shape: &Shape, origin: u16, target: u16) -> Self {
        Self {
            origin,
            target,
            up_fails: None,
            down_fails: None,
            pends: None,
            armed: None,
            forced: false,
            ap: if origin < shape.kick { Ap::Off } else { Ap::On },
        }
    }
}

/// What must come of a [`Job`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// As without instances.
    pub expect: Expect,
    /// The state that is half up.
    pub torn: Option<u16>,
    /// How many errors a forced walk passed over.
    pub ignored: u32,
    /// What is still armed.
    pub armed: Option<(u16, FaultAt)>,
}

/// Works `job` out for the first CPU, driven by the second.
pub fn expect(shape: &Shape, job: &Job, kind: Kind, (cpu, control): (u32, u32)) -> Outcome {
    let mut run = Run {
        shape,
        job,
        cpu,
        control,
        pended: false,
        way: Walking::Forward,
        out: Outcome {
            expect: Expect {
                calls: Vec::new(),
                first: None,
                second: None,
                end: job.origin,
                kicks: 0,
                ap: job.ap,
            },
            torn: None,
            ignored: 0,
            armed: job.armed,
        },
    };
    let Err(first) = run.go(job.target) else {
        return run.out;
    };
    run.out.expect.first = Some(first.first);
    if first.second.is_some() {
        // Half up: no number says where it could go on.
        run.out.expect.second = first.second;
        return run.out;
    }
    run.way = Walking::Back;
    if kind == Kind::BatchDown && run.out.expect.end < shape.kick {
        // W9.
        return run.out;
    }
    if let Err(second) = run.go(job.origin) {
        // W5.
        run.out.expect.second = Some(second.first);
    }
    run.out
}

/// What stopped a walk: the failure, and that of the undo inside the same step.
struct Stopped {
    first: (u16, i32),
    second: Option<(u16, i32)>,
}

/// Which way the operation goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walking {
    Forward,
    Back,
}

struct Run<'a> {
    shape: &'a Shape,
    job: &'a Job,
    cpu: u32,
    control: u32,
    pended: bool,
    way: Walking,
    out: Outcome,
}

impl Run<'_> {
    fn go(&mut self, goal: u16) -> Result<(), Stopped> {
        let from = self.out.expect.end;
        if goal >= from {
            for at in from + 1..=goal {
                if at == self.shape.kick {
                    self.start();
                }
                self.step(at, Direction::Up)?;
                self.out.expect.end = at;
            }
        } else {
            for at in (goal + 1..=from).rev() {
                if at == self.shape.kick {
                    self.stop();
                }
                self.step(at, Direction::Down)?;
                self.out.expect.end = at - 1;
            }
            if goal == self.shape.kick {
                self.stop();
                self.start();
            }
        }
        Ok(())
    }

    fn start(&mut self) {
        if self.out.expect.ap == Ap::Off {
            self.out.expect.kicks += 1;
        }
        self.out.expect.ap = Ap::On;
    }

    fn stop(&mut self) {
        self.out.expect.ap = match self.out.expect.ap {
            Ap::On | Ap::Off => Ap::Off,
            Ap::Coming | Ap::Parked => Ap::Parked,
        };
    }

    /// One state, with all of its instances.
    fn step(&mut self, at: u16, dir: Direction) -> Result<(), Stopped> {
        if !self.shape.at(at).half(dir) {
            return Ok(());
        }
        if self.way == Walking::Forward && self.is_hit(at, dir) {
            self.out.armed = None;
            return self.failed(at, StepError::INJECTED.code(), Vec::new(), dir);
        }
        let count = instances(at);
        let mut order: Vec<Option<u8>> = (0..count).map(Some).collect();
        if count == 0 {
            order = vec![None];
        }
        if dir == Direction::Down {
            order.reverse();
        }
        let mut done = Vec::new();
        for instance in order {
            match self.call((at, instance), dir, self.way) {
                0 => done.push(instance),
                _ if self.job.forced && self.way == Walking::Forward => self.out.ignored += 1,
                code => return self.failed(at, code, done, dir),
            }
        }
        Ok(())
    }

    fn is_hit(&self, at: u16, dir: Direction) -> bool {
        match self.out.armed {
            Some((armed, side)) => {
                let fits = match side {
                    FaultAt::Up => dir == Direction::Up,
                    FaultAt::Down => dir == Direction::Down,
                    FaultAt::Either => true,
                };
                armed == at && fits
            }
            None => false,
        }
    }

    /// The undo inside one step: exactly those done, in exact reverse.
    fn failed(
        &mut self,
        at: u16,
        code: i32,
        done: Vec<Option<u8>>,
        dir: Direction,
    ) -> Result<(), Stopped> {
        if self.job.forced && self.way == Walking::Forward {
            self.out.ignored += 1;
            return Ok(());
        }
        for instance in done.into_iter().rev() {
            let second = self.call((at, instance), dir.opposite(), Walking::Back);
            if second != 0 {
                self.out.torn = Some(at);
                // It counts as up: a teardown has to pass it.
                self.out.expect.end = at;
                return Err(Stopped {
                    first: (at, code),
                    second: Some((at, second)),
                });
            }
        }
        Err(Stopped {
            first: (at, code),
            second: None,
        })
    }

    /// Calls one half; returns its code.
    fn call(&mut self, point: Point, dir: Direction, way: Walking) -> i32 {
        let (at, instance) = point;
        let on = if self.shape.at(at).section == Section::Prepare {
            self.control
        } else {
            self.cpu
        };
        let mut call = Call {
            cpu: self.cpu,
            on,
            at,
            instance,
            dir,
            rollback: way == Walking::Back,
            answer: StepError::WOULD_BLOCK.code(),
        };
        if self.job.pends == Some((point, dir)) && !self.pended {
            self.pended = true;
            self.out
                .expect
                .calls
                .extend(core::iter::repeat_n(call, PENDS as usize));
        }
        call.answer = match dir {
            Direction::Up if self.job.up_fails == Some(point) => UP_CODE,
            Direction::Down if self.job.down_fails == Some(point) => DOWN_CODE,
            Direction::Up | Direction::Down => 0,
        };
        self.out.expect.calls.push(call);
        call.answer
    }
}

/// What a row of cases was made of.
#[derive(Default, Debug)]
#[expect(missing_docs, reason = "counts of cases")]
pub struct Tally {
    pub cases: u32,
    pub failed: u32,
    pub double: u32,
    pub torn: u32,
    pub waited: u32,
    pub injected: u32,
    pub passed_over: u32,
    /// Failures by direction, on which CPU, in a step or an instance, and whether the way back failed too.
    pub places: [u32; 16],
}

impl Tally {
    /// Counts one case.
    pub fn count(&mut self, job: &Job, expected: &Outcome) {
        self.cases += 1;
        self.failed += u32::from(expected.expect.first.is_some());
        self.double += u32::from(expected.expect.second.is_some());
        self.torn += u32::from(expected.torn.is_some());
        self.waited += u32::from(job.pends.is_some());
        self.injected += u32::from(job.armed.is_some());
        self.passed_over += u32::from(expected.ignored > 0);
        if let Some((at, _)) = expected.expect.first {
            let down = job.target < job.origin;
            let on_ap = section(at) == Section::Online;
            let second = expected.expect.second.is_some();
            let place = [down, on_ap, instances(at) > 0, second];
            let place = place
                .iter()
                .fold(0, |place, bit| place * 2 + usize::from(*bit));
            self.places[place] += 1;
        }
    }
}
