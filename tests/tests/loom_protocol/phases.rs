//! Spinning: what the control CPU hands to an AP on its way, edge by edge.

use cpuhp_core::OpFlags;

use crate::ap;
use crate::check::Model;
use crate::control::Control;
use crate::steps::hp;
use crate::world::{AP, Family, Kick, Plan};

const SPINNING: Plan = Plan::of(Family::Spinning);

/// A CPU that polls before it is kicked: nothing but KICKED carries what PREPARE made, and a DEAD
/// word is no reason to leave.
const EARLY: Plan = Plan {
    kick: Kick::Early,
    ..SPINNING
};

/// KICKED carries what PREPARE made to an AP whose kick carried nothing.
#[test]
fn l1e_early_entry() {
    Model::of("l1e_early_entry").check(EARLY, |world| {
        let control = Control::new(world, &hp::TABLE);
        ap::spawn(AP, &hp::TABLE);
        control.to(hp::AP_IDLE, OpFlags::AUTO);
        control.finish();
    });
}

/// An AP that sees KICKED sees which kick it was: its fresh start is no stale one.
#[test]
fn l18e_fresh_start() {
    let plan = Plan {
        hint: Some(1),
        ..EARLY
    };
    Model::of("l18e_fresh_start").check(plan, |world| {
        let control = Control::new(world, &hp::TABLE);
        ap::spawn(AP, &hp::TABLE);
        control.to(hp::AP_IDLE, OpFlags::empty());
        control.finish();
    });
}

/// GO carries what the control CPU wrote between kick and release.
#[test]
fn l13_go() {
    Model::of("l13_go").check(SPINNING, |world| {
        let control = Control::new(world, &hp::TABLE);
        if control.to(hp::KICK, OpFlags::empty()) == Some(Ok(())) {
            control.write_and_go(hp::AP_IDLE, || world.on(AP).config.set(1));
        }
        control.finish();
    });
}

/// A request carries what the control CPU wrote before it posted it.
#[test]
fn l13_request() {
    Model::of("l13_request").check(SPINNING, |world| {
        let control = Control::new(world, &hp::TABLE);
        if control.to(hp::AP_IDLE, OpFlags::empty()) == Some(Ok(())) {
            let gone = control.write_and_go(hp::ONLINE, || world.on(AP).task.set(1));
            if gone == Some(Ok(())) {
                assert_eq!(
                    world.on(AP).work.get(),
                    2,
                    "the step saw what was posted with it"
                );
            }
        }
        control.finish();
    });
}
