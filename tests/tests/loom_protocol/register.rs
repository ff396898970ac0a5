//! Spinning: registration on a CPU that is up, that moves late, or that answers late.

use core::task::Poll;

use cpuhp_core::{
    Calls, Direction, OpFlags, Platform, RegisterError, Registered, StateId, StepError, Who, Why,
};

use crate::check::Model;
use crate::control::Control;
use crate::steps::{GROWN, grow};
use crate::world::{AP, AP2, BOOT, Event, Family, Plan};

const SPINNING: Plan = Plan {
    slots: 1,
    ..Plan::of(Family::Spinning)
};

/// A step's time may be over at any look.
const HASTY: Plan = Plan {
    step: 1,
    ..SPINNING
};

/// What came of a registration; `None`: the execution was given up.
pub(crate) type Ended = Option<Result<Registered, RegisterError>>;

impl Control<'_> {
    /// Registers [`GROWN`], once `write` has been done under the lock, or removes what was registered.
    pub(crate) fn register(&self, old: Option<Registered>, write: impl FnOnce()) -> Ended {
        let guard = self.hp.try_write().expect("nobody else takes the lock");
        write();
        let begun = match old.and_then(|old| old.handle) {
            None => guard.register(grow::ONLINE_DYN, &GROWN, Calls::Run),
            Some(handle) => guard.unregister(handle, Calls::Run),
        };
        let mut op = match begun {
            Ok(op) => op,
            Err(error) => return Some(Err(error)),
        };
        self.world.on(BOOT).waits.set(0);
        loop {
            if let Poll::Ready(result) = op.poll(&guard) {
                return Some(result);
            }
            if self.world.cut.get() {
                return None;
            }
            let (cpu, deadline) = op.awaited();
            self.hp.platform().wait(Who::Control(cpu), deadline);
        }
    }
}

/// An invocation carries what the registrar wrote, and its answer what the step wrote.
#[test]
fn r1_register() {
    Model::of("r1_register").check(SPINNING, |world| {
        let control = Control::new(world, &grow::TABLE);
        if control.aside(grow::ONLINE)
            && let Some(added) = control.register(None, || world.on(AP).task.set(1))
        {
            assert!(added.is_ok());
            assert_eq!(world.on(AP).work.get(), 2, "the step saw its registration");
        }
        control.finish();
    });
}

/// A removal calls `down`, and the CPU goes down without the state.
#[test]
fn r1b_unregister() {
    Model::of("r1b_unregister").check(SPINNING, |world| {
        let control = Control::new(world, &grow::TABLE);
        if control.aside(grow::ONLINE) {
            loom::stop_exploring();
            let added = control.register(None, || {});
            loom::explore();
            let removed = added.and_then(|added| control.register(added.ok(), || {}));
            if let Some(removed) = removed {
                assert!(removed.is_ok_and(|done| done.ignored == 0));
                assert_eq!(world.on(AP).work.get(), 0);
                control.aside(StateId::OFFLINE);
            }
        }
        control.finish();
    });
}

/// A CPU that was given up as stuck and comes on late: registration is refused while it moves, and once it
/// does not the registrar sees where it stands, so that nobody who is past the state is missed.
///
/// Bounded: time-out plus retry.
#[test]
fn r2_late_mover_bounded() {
    Model::bounded("r2_late_mover_bounded", 2, 3).check(HASTY, |world| {
        let control = Control::new(world, &grow::TABLE);
        if control.aside(grow::AP_IDLE) {
            let up = control.to(grow::ONLINE, OpFlags::empty());
            world.patient.set(true);
            match control.register(None, || {}) {
                Some(Ok(_)) => {
                    assert_eq!(world.on(AP).work.get(), 1, "it is past the state");
                }
                Some(Err(RegisterError::Refused(error))) => {
                    assert_eq!(error.why(), Some(Why::Busy));
                    assert_eq!(up, Some(Err(StepError::STUCK)), "nobody moves");
                }
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
            control.aside(StateId::OFFLINE);
        }
        control.finish();
    });
}

/// A registration that is given up while a CPU is inside the step: an `up` that succeeds all the same is
/// undone, once.
#[test]
fn r3_late_success() {
    Model::of("r3_late_success").check(HASTY, |world| {
        let control = Control::new(world, &grow::TABLE);
        if control.aside(grow::ONLINE) {
            if let Some(Err(error)) = control.register(None, || {}) {
                let RegisterError::Failed { first, .. } = error else {
                    panic!("{error}");
                };
                assert_eq!(first.err, StepError::STUCK);
                world.note(Event::End(AP, Some(first.err)));
            }
            control.aside(StateId::OFFLINE);
        }
        control.finish();
    });
}

/// Two CPUs are asked at once and one fails: the other undoes it, and the slot is free again.
///
/// Bounded: three threads.
#[test]
fn r4_one_fails_bounded() {
    let err = StepError::user(-5).expect("a user code");
    let plan = Plan {
        cpus: 3,
        limit: 9,
        most: 90,
        fails: Some((Direction::Up, err)),
        fails_on: AP2,
        ..SPINNING
    };
    Model::bounded("r4_one_fails_bounded", 3, 1).check(plan, move |world| {
        let control = Control::new(world, &grow::TABLE);
        loom::stop_exploring();
        let up = [AP, AP2].map(|cpu| control.drive(cpu, grow::ONLINE, OpFlags::empty()));
        loom::explore();
        if up == [Some(Ok(())); 2]
            && let Some(added) = control.register(None, || world.on(AP).task.set(1))
        {
            let Err(RegisterError::Failed { cpu, first, undo }) = added else {
                panic!("{added:?}");
            };
            assert_eq!((cpu, first.err, undo), (AP2, err, None));
            assert_eq!(world.on(AP).work.get(), 0, "undone");
            assert_eq!(control.hp.name(first.at), "", "free again");
        }
        control.finish();
    });
}
