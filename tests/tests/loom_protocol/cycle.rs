//! Spinning: up, down, full cycles, and what a failing step does.

use cpuhp_core::{Direction, OpFlags, StateId, StepError};

use crate::check::Model;
use crate::control::Control;
use crate::steps::{hp, lean, veto};
use crate::world::{AP, Family, Firmware, Kick, Plan};

const SPINNING: Plan = Plan::of(Family::Spinning);

/// KICKED carries what PREPARE made, `ack` what the ONLINE steps wrote.
#[test]
fn l1_up() {
    Model::of("l1_up").check(SPINNING, |world| {
        let control = Control::new(world, &hp::TABLE);
        if control.to(hp::ONLINE, OpFlags::empty()) == Some(Ok(())) {
            assert_eq!(world.on(AP).work.get(), 1);
            assert!(control.hp.online().contains(AP));
            assert!(control.hp.available().contains(AP));
        }
        control.finish();
    });
}

/// As `l1_up`, with the whole way authorised before the kick.
#[test]
fn l1_up_auto() {
    Model::of("l1_up_auto").check(SPINNING, |world| {
        let control = Control::new(world, &lean::TABLE);
        if control.to(lean::ONLINE, OpFlags::AUTO) == Some(Ok(())) {
            assert_eq!(world.on(AP).work.get(), 1);
        }
        control.finish();
    });
}

/// UP carries what STARTING wrote.
#[test]
fn l1_idle() {
    Model::of("l1_idle").check(SPINNING, |world| {
        let control = Control::new(world, &hp::TABLE);
        if control.to(hp::AP_IDLE, OpFlags::empty()) == Some(Ok(())) {
            assert_eq!(world.on(AP).local.get(), 1);
        }
        control.finish();
    });
}

/// The same with a control CPU that looks at any time, not only when notified.
#[test]
fn l1s_any_look() {
    let plan = Plan {
        spurious: true,
        limit: 3,
        ..SPINNING
    };
    Model::of("l1s_any_look").check(plan, |world| {
        let control = Control::new(world, &hp::TABLE);
        if control.to(hp::AP_IDLE, OpFlags::empty()) == Some(Ok(())) {
            assert_eq!(world.on(AP).local.get(), 1);
        }
        control.finish();
    });
}

/// GONE and the hardware's answer carry all the AP wrote: PREPARE goes down after its last access.
#[test]
fn l5_full_cycle() {
    Model::of("l5_full_cycle").check(SPINNING, |world| {
        let control = Control::new(world, &hp::TABLE);
        let up = control.to(hp::ONLINE, OpFlags::empty());
        if up == Some(Ok(())) {
            control.to(StateId::OFFLINE, OpFlags::empty());
        }
        control.finish();
    });
}

/// GONE alone carries all the AP wrote: the hardware's answer has no edge.
#[test]
fn l5n_no_firmware_edge() {
    let plan = Plan {
        firmware: Firmware::NoEdge,
        ..SPINNING
    };
    Model::of("l5n_no_firmware_edge").check(plan, |world| {
        let control = Control::new(world, &hp::TABLE);
        let up = control.to(hp::AP_IDLE, OpFlags::empty());
        if up == Some(Ok(())) {
            control.to(StateId::OFFLINE, OpFlags::empty());
        }
        control.finish();
    });
}

/// An ONLINE step fails: the AP walks its part back, the control CPU the rest.
#[test]
fn l6_ap_fails() {
    let err = StepError::user(-5).expect("a user code");
    let plan = Plan {
        fails: Some((Direction::Up, err)),
        ..SPINNING
    };
    Model::of("l6_ap_fails").check(plan, move |world| {
        let control = Control::new(world, &veto::TABLE);
        if let Some(result) = control.to(veto::ONLINE, OpFlags::empty()) {
            assert_eq!(result, Err(err));
            assert_eq!(control.hp.state(AP), Some(StateId::OFFLINE));
        }
        control.finish();
    });
}

/// A refused kick: nobody came, nothing stays up.
#[test]
fn l9_kick_refused() {
    let plan = Plan {
        kick: Kick::Refused,
        ..SPINNING
    };
    Model::of("l9_kick_refused").check(plan, |world| {
        let control = Control::new(world, &hp::TABLE);
        let result = control.to(hp::ONLINE, OpFlags::AUTO);
        assert!(matches!(result, Some(Err(_))));
        assert_eq!(control.hp.state(AP), Some(StateId::OFFLINE));
        control.finish();
    });
}

/// A refused kick withdraws the request that was posted before it: the next start stops where it
/// shall.
#[test]
fn l9b_refused_then_less() {
    let plan = Plan {
        kick: Kick::Refused,
        ..SPINNING
    };
    Model::of("l9b_refused_then_less").check(plan, |world| {
        let control = Control::new(world, &lean::TABLE);
        let refused = control.to(lean::ONLINE, OpFlags::AUTO);
        assert!(matches!(refused, Some(Err(_))));
        world.kick.set(Kick::Ordered);
        control.to(lean::AP_IDLE, OpFlags::empty());
        control.finish();
    });
}
