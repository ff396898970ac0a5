//! Spinning: the hotplug lock between writers and readers, and disablements.

use core::task::Poll;
use std::rc::Rc;

use cpuhp_core::{OpFlags, Which, Why};
use loom::thread;

use crate::board::{Hotplug, hotplug, hotplug_in};
use crate::check::{self, Model};
use crate::control::Control;
use crate::steps::lean;
use crate::world::{AP, AP2, BOOT, Event, Family, Kick, Plan, World};

/// The writer word: one holder at a time, and the next one sees what the last one wrote.
#[test]
fn l10_write_lock() {
    let plan = Plan {
        kick: Kick::Early,
        ..Plan::of(Family::Spinning)
    };
    Model::of("l10_write_lock").check(plan, |world| {
        let control = Control::new(world, &lean::TABLE);
        let other = hotplug_in(world, &lean::TABLE, AP, 1);
        world.note(Event::Begin(AP, lean::AP_IDLE));
        let guard = control.hp.try_write().expect("nobody else runs yet");
        let mut op = guard
            .op(AP, lean::AP_IDLE, OpFlags::empty())
            .expect("legal");
        while op.poll(&guard).is_pending() {
            let _ = other.ap_enter(AP, None);
            let _ = other.poll_ap(AP);
        }
        drop(guard);
        world.live.set(2);
        let theirs = Rc::clone(world);
        thread::spawn(move || {
            take_twice(&theirs, &hotplug(&theirs, &lean::TABLE, AP));
            check::leave(&theirs, &lean::TABLE);
        });
        take_twice(world, &control.hp);
        check::leave(world, &lean::TABLE);
    });
}

fn take_twice(world: &World, hp: &Hotplug<'_>) {
    for _ in 0..2 {
        match hp.try_write() {
            Ok(guard) => {
                world.guarded.set(world.guarded.get() + 1);
                drop(guard);
            }
            Err(refused) => assert_eq!(refused.why(), Some(Why::Busy)),
        }
        thread::yield_now();
    }
}

/// Readers count themselves and look for a writer, the writer announces itself and looks for readers: one
/// of the two sees the other, and each sees what the other did before.
#[test]
fn l10_readers() {
    let plan = Plan {
        cpus: 3,
        ..Plan::of(Family::Spinning)
    };
    let model = Model {
        threads: 3,
        ..Model::of("l10_readers")
    };
    model.check(plan, |world| {
        let control = Control::new(world, &lean::TABLE);
        world.live.set(3);
        for cpu in [AP, AP2] {
            let theirs = Rc::clone(world);
            thread::spawn(move || {
                match hotplug(&theirs, &lean::TABLE, cpu).try_read() {
                    Ok(reader) => {
                        let _ = theirs.guarded.get();
                        drop(reader);
                    }
                    Err(refused) => assert_eq!(refused.why(), Some(Why::Busy)),
                }
                check::leave(&theirs, &lean::TABLE);
            });
        }
        let mut writing = control.hp.begin_write().expect("nobody else writes");
        for _ in 0..2 {
            if let Poll::Ready(guard) = writing.poll() {
                world.guarded.set(1);
                drop(guard);
                break;
            }
            thread::yield_now();
        }
        drop(writing);
        check::leave(world, &lean::TABLE);
    });
}

/// Who ends a disablement has done before it whatever had to be done while no CPU moves.
#[test]
fn l15_disabled() {
    Model::of("l15_disabled").check(Plan::of(Family::Spinning), |world| {
        let control = Control::new(world, &lean::TABLE);
        let guard = control.hp.try_write().expect("nobody else runs yet");
        let disabled = guard.disable().expect("it is the first one");
        drop(guard);
        world.live.set(2);
        let theirs = Rc::clone(world);
        thread::spawn(move || {
            let hp = hotplug_in(&theirs, &lean::TABLE, BOOT, 7);
            let guard = hp.try_write().expect("nobody else takes the lock");
            match guard.bring_up(Which::All) {
                Ok(op) => {
                    theirs.guarded.set(2);
                    drop(op);
                }
                Err(refused) => assert_eq!(refused.why(), Some(Why::Disabled)),
            }
            drop(guard);
            check::leave(&theirs, &lean::TABLE);
        });
        world.guarded.set(1);
        drop(disabled);
        check::leave(world, &lean::TABLE);
    });
}
