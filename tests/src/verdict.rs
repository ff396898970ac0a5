//! Runs an operation and holds everything that can be seen against what the model says.

use core::task::Poll;

use cpuhp_core::{
    CpuId, CpuOp, Direction, Failure, Left, OpError, OpFlags, Platform, StateId, Tag, Which, Who,
    WriteGuard,
};

use crate::fake::{Fake, Life, Machine};
use crate::model::{Ap, DOWN_CODE, Expect, Kind, PENDS, Task, UP_CODE, expect};
use crate::points;
use crate::shape::Shape;
use crate::world::{Act, Call, World, with};

/// By which door an operation comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// [`cpuhp_core::Cpuhp::drive`].
    Drive,
    /// `guard.op` with these flags.
    Op(OpFlags),
    /// `guard.op`, and after every poll the handle is dropped and the operation resumed.
    Resumed(OpFlags),
    /// `bring_up` or `take_down` of this one CPU.
    Bulk,
}

impl Way {
    /// What kind of operation this is when it goes to `target`.
    pub fn kind(self, target: u16) -> Kind {
        match self {
            Self::Bulk if target == 0 => Kind::BatchDown,
            Self::Bulk | Self::Drive | Self::Op(_) | Self::Resumed(_) => Kind::Single,
        }
    }
}

/// One CPU of a machine, moved again and again and checked each time.
#[derive(Debug)]
pub struct Bench {
    /// The machine.
    pub hp: &'static Machine,
    shape: &'static Shape,
    /// The moved CPU.
    pub cpu: u32,
    /// The CPU that moves it.
    pub control: u32,
    calls: Vec<Call>,
}

impl Bench {
    /// A machine of two CPUs, whose boot CPU has the higher number, adopted.
    pub fn new(table: &'static cpuhp_core::Table, shape: &'static Shape) -> Self {
        Self {
            hp: adopted(2, 1, table, shape),
            shape,
            cpu: 0,
            control: 1,
            calls: Vec::new(),
        }
    }

    /// A machine of two CPUs that is adopted already, by the one with the higher number.
    pub fn over(hp: &'static Machine, shape: &'static Shape) -> Self {
        Self {
            hp,
            shape,
            cpu: 0,
            control: 1,
            calls: Vec::new(),
        }
    }

    /// Where the CPU is now.
    pub fn state(&self) -> u16 {
        self.hp.state(self.id()).map_or(u16::MAX, StateId::get)
    }

    /// The moved CPU.
    pub fn id(&self) -> CpuId {
        CpuId::new(self.cpu)
    }

    /// What the CPU is at now.
    pub fn ap(&self) -> Ap {
        match with(|w| w.life(self.cpu)) {
            Life::Off => Ap::Off,
            Life::Coming => Ap::Coming,
            Life::Parked => Ap::Parked,
            Life::On | Life::Leaving | Life::Parking | Life::Refused(_) => Ap::On,
        }
    }

    /// Moves the CPU without faults and checks it.
    pub fn clean(&mut self, target: u16) {
        let task = self.task(target);
        self.run(&task, Way::Drive);
    }

    /// As [`Self::clean`], for the table with instances.
    pub fn clean_points(&mut self, target: u16) {
        let job = points::Job {
            ap: self.ap(),
            ..points::Job::plain(self.shape, self.state(), target)
        };
        let who = (self.cpu, self.control);
        let expected = points::expect(self.shape, &job, Kind::Single, who).expect;
        let result = self.go(target, Way::Drive);
        self.check(&expected, result, &format_args!("{job:?}"));
    }

    /// A faultless operation from here to `target`.
    pub fn task(&self, target: u16) -> Task {
        Task {
            origin: self.state(),
            target,
            up_fails: None,
            down_fails: None,
            pends: None,
            ap: self.ap(),
        }
    }

    /// Runs `task` by `way` and checks all of it; returns what was expected.
    ///
    /// # Panics
    /// If anything differs from the model.
    pub fn run(&mut self, task: &Task, way: Way) -> Expect {
        let kind = way.kind(task.target);
        let expected = expect(self.shape, task, kind, (self.cpu, self.control));
        with(|w| {
            w.forgive();
            set_faults(w, task);
        });
        let result = self.go(task.target, way);
        with(World::forgive);
        self.check(&expected, result, &format_args!("{task:?} by {way:?}"));
        expected
    }

    /// Runs the operation by `way`, waiting wherever it asks for it.
    ///
    /// # Errors
    /// What the operation answers.
    ///
    /// # Panics
    /// If it can be neither begun nor resumed, or polls without an end.
    pub fn go(&self, target: u16, way: Way) -> Result<(), OpError> {
        let (cpu, target) = (self.id(), StateId::new(target));
        let (flags, again) = match way {
            Way::Drive => return self.hp.drive(cpu, target),
            Way::Op(flags) => (flags, false),
            Way::Resumed(flags) => (flags, true),
            Way::Bulk => return self.go_bulk(target),
        };
        let guard = self.hp.try_write()?;
        let mut op = guard.op(cpu, target, flags)?;
        for _ in 0..10_000 {
            if let Poll::Ready(result) = op.poll(&guard) {
                return result;
            }
            self.hp
                .platform()
                .wait(Who::Control(cpu), op.deadline(&guard));
            if again {
                op = guard
                    .resume(cpu)
                    .expect("a pending operation can be resumed");
            }
        }
        panic!("the operation does not end");
    }

    /// Polls an operation under a held guard until it ends.
    ///
    /// # Errors
    /// What the operation answers.
    ///
    /// # Panics
    /// If it polls without an end.
    pub fn finish(
        &self,
        guard: &WriteGuard<'_, '_, Fake, ()>,
        op: &mut CpuOp,
    ) -> Result<(), OpError> {
        for _ in 0..10_000 {
            if let Poll::Ready(result) = op.poll(guard) {
                return result;
            }
            let who = Who::Control(op.cpu());
            self.hp.platform().wait(who, op.deadline(guard));
        }
        panic!("the operation does not end");
    }

    /// A batch of one; what the report counts becomes the result.
    fn go_bulk(&self, target: StateId) -> Result<(), OpError> {
        let mask = cpuhp_core::MaskStore::<1>::new();
        mask.get_mut().insert(self.id());
        let which = Which::Only(mask.get());
        let report = if target == StateId::OFFLINE {
            self.hp.take_down(which)?
        } else {
            self.hp.bring_up(which)?
        };
        let error = self.hp.last_error(self.id());
        let counts = [
            report.done,
            report.failed,
            report.stuck,
            report.skipped,
            report.not_tried,
        ];
        let expected = [
            u32::from(error.is_none()),
            u32::from(error.is_some()),
            0,
            0,
            0,
        ];
        assert_eq!(counts, expected, "{report}, {error:?}");
        error.map_or(Ok(()), |failure| Err(OpError::Failed(failure)))
    }

    /// Holds a clean end in `end`, reached whatever way, against what can be seen.
    ///
    /// # Panics
    /// If anything differs.
    pub fn check_clean_rest(&self, end: u16, result: Result<(), OpError>, what: &str) {
        let expected = Expect {
            calls: Vec::new(),
            first: None,
            second: None,
            end,
            kicks: 0,
            ap: self.ap(),
        };
        self.check_rest(&expected, result, &format_args!("{what}"));
    }

    /// Holds what can be seen now against `expected`.
    ///
    /// # Panics
    /// If anything differs.
    pub fn check(
        &mut self,
        expected: &Expect,
        result: Result<(), OpError>,
        what: &core::fmt::Arguments<'_>,
    ) {
        let kicks = with(|w| w.drain_calls(&mut self.calls));
        assert_eq!(self.calls, expected.calls, "calls of {what}");
        assert_eq!(kicks, expected.kicks, "kicks of {what}");
        self.check_rest(expected, result, what);
    }

    /// Holds where the CPU rests, and nothing of how it got there, against `expected`.
    ///
    /// # Panics
    /// If anything differs.
    pub fn check_rest(
        &self,
        expected: &Expect,
        result: Result<(), OpError>,
        what: &core::fmt::Arguments<'_>,
    ) {
        let (hp, cpu, end) = (self.hp, self.id(), expected.end);
        let failure = check_result(expected, cpu, result, what);
        assert_eq!(hp.last_error(cpu), failure, "last error after {what}");
        assert_eq!(self.state(), end, "state after {what}");
        assert_eq!(
            hp.target(cpu),
            hp.state(cpu),
            "target after {what} (bug 12)"
        );
        assert!(
            with(|w| w.is_truthful(self.cpu, end)),
            "steps that are up after {what}"
        );
        let masks = [hp.available(), hp.online(), hp.dying()].map(|mask| mask.contains(cpu));
        let (available, online) = (end >= self.shape.ap_idle, end == self.shape.online());
        assert_eq!(masks[..2], [available, online], "masks after {what}");
        let resting = available && !online;
        assert!(!masks[2] || resting, "dying after {what}");
        let boot = CpuId::new(self.control);
        assert!(hp.online().contains(boot), "the control cpu is online");
        assert_eq!(hp.online().count(), 1 + usize::from(online), "online");
        self.check_tag(expected, what);
    }

    fn check_tag(&self, expected: &Expect, what: &core::fmt::Arguments<'_>) {
        let (tag, kick) = (self.hp.tag(self.id()), self.shape.kick);
        let away = matches!(expected.ap, Ap::Parked | Ap::Coming);
        let fits = match tag {
            Some(Tag::Up) => expected.end >= self.shape.ap_idle,
            Some(Tag::Kicked | Tag::Alive) => expected.end == kick,
            Some(Tag::Parked) => expected.end < kick && away,
            // Given up on, and nothing below needs it gone.
            Some(Tag::Cancelled) => expected.end + 1 == kick && away,
            Some(Tag::Dead) => expected.end < kick && expected.ap == Ap::Off,
            _ => false,
        };
        assert!(fits, "{tag:?} in state {} after {what}", expected.end);
    }
}

/// Makes a machine whose boot CPU is adopted without running its steps.
///
/// # Panics
/// If it cannot be adopted.
pub fn adopted(
    cpus: usize,
    boot: u32,
    table: &'static cpuhp_core::Table,
    shape: &'static Shape,
) -> &'static Machine {
    let hp = crate::world::fresh(cpus, boot, table, shape);
    with(|w| w.assume_up(boot));
    let result = hp.adopt_boot_cpu(cpuhp_core::BootSteps::AlreadyDone);
    assert_eq!(result, Ok(()), "the boot cpu is adopted");
    hp
}

fn set_faults(w: &World, task: &Task) {
    if let Some((at, dir)) = task.pends {
        w.rule(None, at, dir, Act::Pend(PENDS));
    }
    if let Some(at) = task.up_fails {
        w.rule(None, at, Direction::Up, Act::Fail(UP_CODE));
    }
    if let Some(at) = task.down_fails {
        w.rule(None, at, Direction::Down, Act::Fail(DOWN_CODE));
    }
}

/// Holds a result against the model; returns the failure in it.
fn check_result(
    expected: &Expect,
    cpu: CpuId,
    result: Result<(), OpError>,
    what: &core::fmt::Arguments<'_>,
) -> Option<Failure> {
    let failure = match result {
        Ok(()) => None,
        Err(OpError::Failed(failure)) => Some(failure),
        Err(error) => panic!("{what} was refused: {error}"),
    };
    let plain = |step: cpuhp_core::StepFailure| (step.at.get(), step.err.code());
    assert_eq!(
        failure.map(|f| plain(f.first)),
        expected.first,
        "first failure of {what}"
    );
    let second = failure.and_then(|f| f.rollback).map(plain);
    assert_eq!(second, expected.second, "rollback failure of {what}");
    if let Some(failure) = failure {
        assert_eq!(failure.cpu, cpu, "cpu of {what}");
        assert_eq!(failure.kick, None, "kick error of {what}");
        assert_eq!(
            failure.left,
            Left::At(StateId::new(expected.end)),
            "left after {what}"
        );
        for step in [Some(failure.first), failure.rollback]
            .into_iter()
            .flatten()
        {
            assert_eq!(
                with(World::shape).at(step.at.get()).name,
                step.name,
                "name in {what}"
            );
        }
    }
    failure
}
