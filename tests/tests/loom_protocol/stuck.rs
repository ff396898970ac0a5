//! Spinning: operations that stopped as STUCK, against the answer that comes after all.

use core::task::Poll;

use cpuhp_core::{Direction, OpFlags, Platform, StateId, StepError, Who};

use crate::check::Model;
use crate::control::{Control, Ended};
use crate::steps::veto;
use crate::world::{AP, BOOT, Event, Family, Plan};

const HASTY: Plan = Plan {
    step: 1,
    die: 1,
    ..Plan::of(Family::Spinning)
};

impl Control<'_> {
    /// Goes where no orderings are looked for: the way there is another model's.
    pub(crate) fn aside(&self, target: StateId) -> bool {
        self.world.patient.set(true);
        loom::stop_exploring();
        let there = self.to(target, OpFlags::empty()) == Some(Ok(()));
        loom::explore();
        self.world.patient.set(false);
        there
    }

    /// Takes up what stopped as STUCK, and drives it to its end.
    fn resume(&self) -> Ended {
        let guard = self.hp.try_write().expect("nobody else takes the lock");
        let mut op = guard.resume(AP).expect("it stopped as STUCK");
        self.world.on(BOOT).waits.set(0);
        loop {
            if let Poll::Ready(result) = op.poll(&guard) {
                let err = result.err().map(|_| self.hp.last_error(AP));
                let err = err.map(|failure| failure.expect("it failed").first.err);
                self.world.note(Event::End(AP, err));
                return Some(err.map_or(Ok(()), Err));
            }
            if self.world.cut.get() {
                return None;
            }
            let deadline = op.deadline(&guard);
            self.hp.platform().wait(Who::Control(AP), deadline);
        }
    }
}

/// Nothing is withdrawn and nothing forgotten: whoever resumes finds the late answer, a failure with its
/// cause, and asks for nothing twice.
///
/// Bounded: time-out plus retry.
#[test]
fn s1_late_answer_bounded() {
    let err = StepError::user(-5).expect("a user code");
    let plan = Plan {
        fails: Some((Direction::Up, err)),
        ..HASTY
    };
    Model::bounded("s1_late_answer_bounded", 2, 3).check(plan, move |world| {
        let control = Control::new(world, &veto::TABLE);
        if control.aside(veto::AP_IDLE) {
            let mut up = control.to(veto::ONLINE, OpFlags::empty());
            world.patient.set(true);
            if up == Some(Err(StepError::STUCK)) {
                up = control.resume();
            }
            if let Some(result) = up {
                assert_eq!(result, Err(err), "the first failure, not the delay");
                assert_eq!(control.hp.state(AP), Some(veto::AP_IDLE));
                let asked = Event::Call(AP, AP, veto::VETO, Direction::Up);
                let log = world.log.borrow();
                let times = log.iter().filter(|event| **event == asked).count();
                assert_eq!(times, 1, "asked for twice");
            }
            control.aside(StateId::OFFLINE);
        }
        control.finish();
    });
}

/// The delay is no failure of whoever resumes: once the answer is there, all is well.
///
/// Bounded: time-out plus retry.
#[test]
fn s2_late_success_bounded() {
    Model::bounded("s2_late_success_bounded", 2, 3).check(HASTY, |world| {
        let control = Control::new(world, &veto::TABLE);
        if control.aside(veto::AP_IDLE) {
            let mut up = control.to(veto::ONLINE, OpFlags::empty());
            world.patient.set(true);
            if up == Some(Err(StepError::STUCK)) {
                up = control.resume();
            }
            if let Some(result) = up {
                assert_eq!(result, Ok(()));
                assert_eq!(world.on(AP).work.get(), 1);
            }
            control.aside(StateId::OFFLINE);
        }
        control.finish();
    });
}

/// A forced teardown passes over errors, never over the CPU itself: PREPARE stays until it is known to be off.
///
/// Bounded: time-out plus retry.
#[test]
fn f1_forced_is_confirmed_bounded() {
    Model::bounded("f1_forced_is_confirmed_bounded", 2, 3).check(HASTY, |world| {
        let control = Control::new(world, &veto::TABLE);
        if control.aside(veto::AP_IDLE) {
            let mut down = control.to(StateId::OFFLINE, OpFlags::FORCE);
            world.patient.set(true);
            if down == Some(Err(StepError::STUCK)) {
                down = control.to(StateId::OFFLINE, OpFlags::FORCE);
            }
            if let Some(result) = down {
                assert_eq!(result, Ok(()));
            }
        }
        control.finish();
    });
}
