//! Spinning: two contexts of one CPU on one record, as an entry path and a hotplug thread are.

use std::rc::Rc;

use cpuhp_core::{ApNext, Misuse, OpFlags};
use loom::thread;

use crate::board::{Hotplug, hotplug_in};
use crate::check::{self, Model};
use crate::control::Control;
use crate::steps::pend;
use crate::world::{AP, Event, Family, Kick, Plan};

/// The busy word: two contexts never walk together, and the second sees what the first wrote.
#[test]
fn l14_two_contexts() {
    let plan = Plan {
        kick: Kick::Early,
        ..Plan::of(Family::Spinning)
    };
    Model::of("l14_two_contexts").check(plan, |world| {
        let control = Control::new(world, &pend::TABLE);
        let guard = control.hp.try_write().expect("nobody else runs yet");
        let mine = hotplug_in(world, &pend::TABLE, AP, 1);
        world.note(Event::Begin(AP, pend::ONLINE));
        let mut op = guard
            .op(AP, pend::AP_IDLE, OpFlags::empty())
            .expect("legal");
        while op.poll(&guard).is_pending() {
            let _ = mine.ap_enter(AP, None);
            let _ = mine.poll_ap(AP);
        }
        let mut op = guard.op(AP, pend::ONLINE, OpFlags::empty()).expect("legal");
        assert!(op.poll(&guard).is_pending(), "the request is posted");
        world.live.set(2);
        let theirs = Rc::clone(world);
        thread::spawn(move || {
            serve(&hotplug_in(&theirs, &pend::TABLE, AP, 7));
            check::leave(&theirs, &pend::TABLE);
        });
        serve(&mine);
        check::leave(world, &pend::TABLE);
    });
}

fn serve(hp: &Hotplug<'_>) {
    for _ in 0..2 {
        match hp.poll_ap(AP) {
            ApNext::Wait | ApNext::Idle | ApNext::Refused(Misuse::Reentered) => {}
            next @ (ApNext::Spin | ApNext::Off | ApNext::Park | ApNext::Refused(_)) => {
                panic!("a CPU that is up: {next:?}")
            }
        }
        thread::yield_now();
    }
}
