//! Spinning: CPUs that come late, lose patience, are given up on, taken back, or turned away.

use cpuhp_core::{OpFlags, StateId, StepError, Tag};

use crate::check::Model;
use crate::control::Control;
use crate::steps::{hp, lean};
use crate::world::{AP, Family, Firmware, Kick, Patience, Plan};

const SPINNING: Plan = Plan::of(Family::Spinning);

/// Every wait of the control CPU may end by time.
const HASTY: Plan = Plan {
    alive: 1,
    step: 1,
    die: 1,
    ..SPINNING
};

/// Preemptions per execution of the models that need a bound.
const BOUND: usize = 3;

/// Arrival and time-out compete for one word: a CPU that was given up on stands on its stack, so
/// PREPARE stays until it has parked.
#[test]
fn l2_late_arrival() {
    let plan = Plan {
        alive: 1,
        die: 1,
        ..SPINNING
    };
    Model::of("l2_late_arrival").check(plan, |world| {
        let control = Control::new(world, &hp::TABLE);
        if control.to(hp::AP_IDLE, OpFlags::empty()) == Some(Err(StepError::TIMEOUT)) {
            let rests = control.tag() == Tag::Parked;
            let kept = control.hp.state(AP) == Some(hp::STACK);
            assert!(rests || kept, "quarantined until it has parked");
            control.to(StateId::OFFLINE, OpFlags::empty());
        }
        control.finish();
    });
}

/// PARKED alone carries the AP's early writes: the hardware's answer has no edge.
#[test]
fn l2n_no_firmware_edge() {
    let plan = Plan {
        alive: 1,
        die: 1,
        firmware: Firmware::NoEdge,
        ..SPINNING
    };
    Model::of("l2n_no_firmware_edge").check(plan, |world| {
        let control = Control::new(world, &lean::TABLE);
        if control.to(lean::KICK, OpFlags::empty()) == Some(Ok(())) {
            control.to(StateId::OFFLINE, OpFlags::empty());
        }
        control.finish();
    });
}

/// An authorised AP that is given up on, or torn down, at any point of its way up.
///
/// Bounded: its state is looked at while it moves, and two waits may time out at any time.
#[test]
fn l2b_auto_torn_down_bounded() {
    Model::bounded("l2b_auto_torn_down_bounded", 2, BOUND).check(HASTY, |world| {
        let control = Control::new(world, &lean::TABLE);
        if control.to(lean::ONLINE, OpFlags::AUTO).is_some() {
            world.patient.set(true);
            control.to(StateId::OFFLINE, OpFlags::empty());
        }
        control.finish();
    });
}

/// A cancel withdraws the request that was posted before the kick: taken back to less, the AP stops
/// there.
///
/// Bounded: time-out plus retry.
#[test]
fn l2c_cancel_then_retarget() {
    let plan = Plan {
        alive: 1,
        ..SPINNING
    };
    Model::of("l2c_cancel_then_retarget").check(plan, |world| {
        let control = Control::new(world, &lean::TABLE);
        if control.to(lean::ONLINE, OpFlags::AUTO) == Some(Err(StepError::TIMEOUT)) {
            world.patient.set(true);
            control.to(lean::AP_IDLE, OpFlags::empty());
        }
        control.finish();
    });
}

/// Give-up and GO compete for one word; who lost patience is taken back.
#[test]
fn l3_give_up() {
    let plan = Plan {
        patience: Patience::LostOnce,
        ..SPINNING
    };
    Model::of("l3_give_up").check(plan, |world| {
        let control = Control::new(world, &lean::TABLE);
        if control.to(lean::AP_IDLE, OpFlags::empty()) == Some(Ok(())) {
            assert_eq!(control.tag(), Tag::Up);
        }
        control.finish();
    });
}

/// Time-out, then wanted again: one kick in all, and what was written meanwhile is carried by the
/// second KICKED.
///
/// Bounded: time-out plus retry.
#[test]
fn l4_readopt_bounded() {
    let plan = Plan {
        alive: 1,
        ..SPINNING
    };
    Model::bounded("l4_readopt_bounded", 2, BOUND).check(plan, |world| {
        let control = Control::new(world, &hp::TABLE);
        if control.to(hp::AP_IDLE, OpFlags::empty()) == Some(Err(StepError::TIMEOUT)) {
            world.on(AP).config.set(1);
            world.patient.set(true);
            control.to(hp::AP_IDLE, OpFlags::AUTO);
        }
        control.finish();
    });
}

/// ALIVE or KICKED, it is told to leave: DIE and GONE, or cancelled and parked.
#[test]
fn l5m_die_from_alive() {
    Model::of("l5m_die_from_alive").check(SPINNING, |world| {
        let control = Control::new(world, &hp::TABLE);
        if control.to(hp::KICK, OpFlags::empty()) == Some(Ok(())) {
            let down = control.to(StateId::OFFLINE, OpFlags::empty());
            assert_ne!(
                down.map(|ended| ended.is_err()),
                Some(true),
                "nothing may fail"
            );
        }
        control.finish();
    });
}

/// After DIE, GONE alone carries the AP's early writes: the hardware's answer has no edge.
#[test]
fn l5mn_no_firmware_edge() {
    let plan = Plan {
        firmware: Firmware::NoEdge,
        ..SPINNING
    };
    Model::of("l5mn_no_firmware_edge").check(plan, |world| {
        let control = Control::new(world, &hp::TABLE);
        if control.to(hp::KICK, OpFlags::empty()) == Some(Ok(())) {
            control.to(StateId::OFFLINE, OpFlags::empty());
        }
        control.finish();
    });
}

/// A start of an earlier kick touches nothing; the start of the last one goes on.
#[test]
fn l18_stale_start() {
    let plan = Plan {
        kick: Kick::Lost,
        alive: 1,
        hint: Some(2),
        ..SPINNING
    };
    Model::of("l18_stale_start").check(plan, |world| {
        let control = Control::new(world, &lean::TABLE);
        let lost = control.to(lean::ONLINE, OpFlags::AUTO);
        assert_eq!(lost, Some(Err(StepError::TIMEOUT)));
        let off = control.to(StateId::OFFLINE, OpFlags::empty());
        assert_eq!(off, Some(Ok(())), "the hardware said it is off");
        world.kick.set(Kick::Stale);
        control.to(lean::AP_IDLE, OpFlags::empty());
        control.finish();
    });
}

/// A CPU that rested while PREPARE was undone and made anew sees it when it is wanted again.
#[test]
fn l11_wake_parked() {
    Model::of("l11_wake_parked").check(SPINNING, |world| {
        let control = Control::new(world, &lean::TABLE);
        if control.to(lean::KICK, OpFlags::empty()) == Some(Ok(()))
            && control.to(StateId::OFFLINE, OpFlags::empty()) == Some(Ok(()))
        {
            control.to(lean::AP_IDLE, OpFlags::empty());
        }
        control.finish();
    });
}

/// A report that says where a CPU rests is not behind the CPU: one that came up just after its
/// deadline is either in flight, or where the report says.
#[test]
fn l2t_true_report() {
    Model::of("l2t_true_report").check(HASTY, |world| {
        let control = Control::new(world, &hp::TABLE);
        control.to(hp::AP_IDLE, OpFlags::AUTO);
        control.finish();
    });
}
