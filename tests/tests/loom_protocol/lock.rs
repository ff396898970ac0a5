//! Spinning: the write lock between two control CPUs.

use core::task::Poll;
use std::rc::Rc;

use cpuhp_core::{OpFlags, StateId, Why, WriteGuard};
use loom::thread;

use crate::board::{Board, Hotplug, Log, hotplug, hotplug_in};
use crate::check::{self, Model};
use crate::control::Control;
use crate::steps::lean;
use crate::world::{AP, Event, Family, Kick, Plan, World};

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

/// The owner word: two drivers under one guard never move one CPU together, and the next one sees
/// what the last one wrote.
#[test]
fn t1_two_drivers_bounded() {
    Model::bounded("t1_two_drivers_bounded", 2, 3).check(Plan::of(Family::Spinning), |world| {
        world.note(Event::Begin(AP, lean::STACK));
        // The guard is shared, so it outlives the execution.
        let world: &'static Rc<World> = Box::leak(Box::new(Rc::clone(world)));
        let control: &'static Control<'static> =
            Box::leak(Box::new(Control::new(world, &lean::TABLE)));
        let guard = control.hp.try_write().expect("nobody else runs yet");
        let guard: &'static Guard = Box::leak(Box::new(guard));
        world.live.set(2);
        thread::spawn(|| {
            drive(guard, lean::STACK);
            check::leave(world, &lean::TABLE);
        });
        drive(guard, StateId::OFFLINE);
        drive(guard, lean::STACK);
        check::leave(world, &lean::TABLE);
    });
}

type Guard = WriteGuard<'static, 'static, Board, Log>;

/// Tries once; nobody waits for another driver.
fn drive(guard: &Guard, target: StateId) {
    match guard.op(AP, target, OpFlags::empty()) {
        Err(refused) => assert_eq!(refused.why(), Some(Why::Busy)),
        Ok(mut op) => {
            assert_eq!(op.poll(guard), Poll::Ready(Ok(())));
            let stale = op.poll(guard).map_err(|err| err.why());
            assert_eq!(
                stale,
                Poll::Ready(Err(Some(Why::Stale))),
                "its stamp is dead (P13)"
            );
        }
    }
}
