//! Blocking: every publishing store is notified, so no wait lasts for ever.

use cpuhp_core::{Direction, OpFlags, StateId, StepError};

use crate::ap;
use crate::check::Model;
use crate::control::Control;
use crate::steps::{grow, hp, lean, veto};
use crate::world::{AP, Family, Kick, Patience, Plan};

const BLOCKING: Plan = Plan::of(Family::Blocking);

/// Up by phases, and down again.
#[test]
fn b1_up_down() {
    Model::of("b1_up_down").check(BLOCKING, |world| {
        let control = Control::new(world, &hp::TABLE);
        assert_eq!(control.to(hp::ONLINE, OpFlags::empty()), Some(Ok(())));
        assert_eq!(control.to(StateId::OFFLINE, OpFlags::empty()), Some(Ok(())));
        control.finish();
    });
}

/// The everyday calls: up with everything authorised before the kick, and down again.
#[test]
fn b2_auto() {
    Model::of("b2_auto").check(BLOCKING, |world| {
        let control = Control::new(world, &lean::TABLE);
        assert_eq!(control.to(lean::ONLINE, OpFlags::AUTO), Some(Ok(())));
        assert_eq!(control.to(StateId::OFFLINE, OpFlags::empty()), Some(Ok(())));
        control.finish();
    });
}

/// Give-up against GO: whoever loses the word finds out, and the CPU comes up all the same.
#[test]
fn b3_give_up() {
    let plan = Plan {
        patience: Patience::LostOnce,
        ..BLOCKING
    };
    Model::of("b3_give_up").check(plan, |world| {
        let control = Control::new(world, &lean::TABLE);
        assert_eq!(control.to(lean::AP_IDLE, OpFlags::empty()), Some(Ok(())));
        assert_eq!(control.to(StateId::OFFLINE, OpFlags::empty()), Some(Ok(())));
        control.finish();
    });
}

/// A failing ONLINE step is answered like any other.
#[test]
fn b4_ap_fails() {
    let err = StepError::user(-5).expect("a user code");
    let plan = Plan {
        fails: Some((Direction::Up, err)),
        ..BLOCKING
    };
    Model::of("b4_ap_fails").check(plan, move |world| {
        let control = Control::new(world, &veto::TABLE);
        assert_eq!(control.to(veto::ONLINE, OpFlags::empty()), Some(Err(err)));
        assert_eq!(control.hp.state(AP), Some(StateId::OFFLINE));
        control.finish();
    });
}

/// A CPU that is there before it is wanted waits, and is woken.
#[test]
fn b5_early_entry() {
    let plan = Plan {
        kick: Kick::Early,
        ..BLOCKING
    };
    Model::of("b5_early_entry").check(plan, |world| {
        let control = Control::new(world, &lean::TABLE);
        ap::spawn(AP, &lean::TABLE);
        assert_eq!(control.to(lean::ONLINE, OpFlags::empty()), Some(Ok(())));
        assert_eq!(control.to(StateId::OFFLINE, OpFlags::empty()), Some(Ok(())));
        control.finish();
    });
}

/// Told to leave while it arrives: DIE and GONE, or cancelled and parked; both are heard of.
#[test]
fn b6_die_from_alive() {
    Model::of("b6_die_from_alive").check(BLOCKING, |world| {
        let control = Control::new(world, &lean::TABLE);
        assert_eq!(control.to(lean::KICK, OpFlags::empty()), Some(Ok(())));
        assert_eq!(control.to(StateId::OFFLINE, OpFlags::empty()), Some(Ok(())));
        control.finish();
    });
}

/// Given up on, then wanted again: it is taken back, or woken from its rest.
#[test]
fn b7_park_and_wake() {
    Model::of("b7_park_and_wake").check(BLOCKING, |world| {
        let control = Control::new(world, &lean::TABLE);
        assert_eq!(control.to(lean::KICK, OpFlags::empty()), Some(Ok(())));
        assert_eq!(control.to(lean::STACK, OpFlags::empty()), Some(Ok(())));
        assert_eq!(control.to(lean::AP_IDLE, OpFlags::empty()), Some(Ok(())));
        assert_eq!(control.to(StateId::OFFLINE, OpFlags::empty()), Some(Ok(())));
        control.finish();
    });
}

/// No request of one life is left for the next.
#[test]
fn b8_up_again() {
    Model::of("b8_up_again").check(BLOCKING, |world| {
        let control = Control::new(world, &lean::TABLE);
        for _ in 0..2 {
            assert_eq!(control.to(lean::AP_IDLE, OpFlags::empty()), Some(Ok(())));
            assert_eq!(control.to(StateId::OFFLINE, OpFlags::empty()), Some(Ok(())));
        }
        control.finish();
    });
}

/// A time-out against a late arrival: whatever wins, the CPU can be taken down.
#[test]
fn b9_late_arrival() {
    let plan = Plan {
        alive: 1,
        ..BLOCKING
    };
    Model::of("b9_late_arrival").check(plan, |world| {
        let control = Control::new(world, &lean::TABLE);
        let up = control.to(lean::AP_IDLE, OpFlags::empty());
        assert!(matches!(up, Some(Ok(()) | Err(StepError::TIMEOUT))));
        world.patient.set(true);
        assert_eq!(control.to(lean::AP_IDLE, OpFlags::empty()), Some(Ok(())));
        assert_eq!(control.to(StateId::OFFLINE, OpFlags::empty()), Some(Ok(())));
        control.finish();
    });
}

/// Give-up against DIE: the CPU goes one way or the other, and is heard of.
#[test]
fn b10_give_up_against_die() {
    let plan = Plan {
        patience: Patience::LostOnce,
        ..BLOCKING
    };
    Model::of("b10_give_up_against_die").check(plan, |world| {
        let control = Control::new(world, &lean::TABLE);
        assert_eq!(control.to(lean::KICK, OpFlags::empty()), Some(Ok(())));
        assert_eq!(control.to(StateId::OFFLINE, OpFlags::empty()), Some(Ok(())));
        control.finish();
    });
}

/// A registration asks, and is answered.
#[test]
fn b11_register() {
    let plan = Plan {
        slots: 1,
        ..BLOCKING
    };
    Model::of("b11_register").check(plan, |world| {
        let control = Control::new(world, &grow::TABLE);
        assert!(control.aside(grow::ONLINE));
        let added = control.register(None, || {});
        assert!(added.is_some_and(|added| added.is_ok()));
        assert!(control.aside(StateId::OFFLINE));
        control.finish();
    });
}
