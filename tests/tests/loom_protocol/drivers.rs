//! Spinning: several CPUs that drive, under one guard or one after the other.

use core::task::Poll;
use std::rc::Rc;

use cpuhp_core::{
    BootSteps, Direction, OpFlags, Platform, StateId, StepError, Who, Why, WriteGuard,
};
use loom::thread;

use crate::board::{Board, Log, hotplug, hotplug_in};
use crate::check::{self, Model};
use crate::control::Control;
use crate::steps::{lean, veto};
use crate::world::{AP, AP2, BOOT, Event, Family, Kick, Plan, World};

type Guard = WriteGuard<'static, 'static, Board, Log>;

/// What threads share outlives the execution.
fn forever<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
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

/// A refused claim hands the record on as it was: the target that it had put there is taken back before
/// the next one looks.
#[test]
fn t2_refused_claim() {
    Model::of("t2_refused_claim").check(Plan::of(Family::Spinning), |world| {
        let world: &'static Rc<World> = forever(Rc::clone(world));
        let control = forever(Control::new(world, &lean::TABLE));
        let guard: &'static Guard = forever(control.hp.try_write().expect("nobody else runs yet"));
        world.live.set(2);
        let wrong = move |beyond: u16| {
            let target = StateId::new(lean::ONLINE.get() + beyond);
            let refused = guard.op(AP, target, OpFlags::empty());
            let why = refused.expect_err("there is no such state").why();
            assert!(matches!(why, Some(Why::Busy | Why::BadTarget)));
        };
        let other = thread::spawn(move || {
            wrong(1);
            check::leave(world, &lean::TABLE);
        });
        wrong(2);
        other.join().expect("it ends");
        assert_eq!(control.hp.target(AP), Some(StateId::OFFLINE), "(bug 12)");
        check::leave(world, &lean::TABLE);
    });
}

/// Two CPUs are online, each is asked to go: the last one stays, whoever comes first.
#[test]
fn t3_last_cpu() {
    let plan = Plan {
        cpus: 3,
        kick: Kick::Early,
        fails: Some((Direction::Up, StepError::INJECTED)),
        fails_on: BOOT,
        ..Plan::of(Family::Spinning)
    };
    Model::of("t3_last_cpu").check(plan, |world| {
        let world: &'static Rc<World> = forever(Rc::clone(world));
        let hp = forever(hotplug(world, &veto::TABLE, BOOT));
        let left = hp.adopt_boot_cpu(BootSteps::Run);
        assert!(left.is_err(), "it stays at AP_IDLE, so it is not the last");
        let guard: &'static Guard = forever(hp.try_write().expect("nobody else runs yet"));
        loom::stop_exploring();
        for cpu in [AP, AP2] {
            let own = hotplug_in(world, &veto::TABLE, cpu, cpu.get());
            world.note(Event::Begin(cpu, veto::ONLINE));
            let mut op = guard
                .op(cpu, veto::ONLINE, OpFlags::empty())
                .expect("legal");
            while op.poll(guard).is_pending() {
                let _ = own.ap_enter(cpu, None);
                let _ = own.poll_ap(cpu);
            }
        }
        assert_eq!(hp.online().count(), 2);
        loom::explore();
        world.live.set(2);
        let leave = move |cpu| match guard.op(cpu, StateId::OFFLINE, OpFlags::empty()) {
            Ok(_) => 1,
            Err(refused) => {
                assert_eq!(refused.why(), Some(Why::LastCpu));
                0
            }
        };
        let other = thread::spawn(move || {
            let gone = leave(AP2);
            check::leave(world, &veto::TABLE);
            gone
        });
        let gone = leave(AP) + other.join().expect("it ends");
        assert!(gone < 2, "nobody stays");
        check::leave(world, &veto::TABLE);
    });
}

/// A control CPU stops in the middle of an operation; another one takes the lock, takes the operation over
/// and finds all that was done.
///
/// Bounded: three threads.
#[test]
fn d1_taken_over_bounded() {
    let plan = Plan {
        limit: 9,
        most: 60,
        ..Plan::of(Family::Spinning)
    };
    Model::bounded("d1_taken_over_bounded", 3, 1).check(plan, |world| {
        let control = Control::new(world, &lean::TABLE);
        let guard = control.hp.try_write().expect("nobody else runs yet");
        world.live.set(2);
        let theirs = Rc::clone(world);
        thread::spawn(move || {
            take_over(&theirs);
            theirs.finish();
            check::leave(&theirs, &lean::TABLE);
        });
        world.note(Event::Begin(AP, lean::ONLINE));
        let mut op = guard.op(AP, lean::ONLINE, OpFlags::AUTO).expect("legal");
        assert!(op.poll(&guard).is_pending(), "it has kicked the CPU");
        // As if this CPU had died.
        drop((op, guard));
        check::leave(world, &lean::TABLE);
    });
}

fn take_over(world: &Rc<World>) {
    let hp = hotplug_in(world, &lean::TABLE, BOOT, 7);
    let guard = loop {
        match hp.try_write() {
            Ok(guard) => break guard,
            Err(refused) => assert_eq!(refused.why(), Some(Why::Busy)),
        }
        hp.platform().wait(Who::Control(BOOT), 0);
        if world.cut.get() {
            return;
        }
    };
    let mut op = guard.resume(AP).expect("it was abandoned");
    while op.poll(&guard).is_pending() {
        hp.platform().wait(Who::Control(AP), u64::MAX);
        if world.cut.get() {
            return;
        }
    }
    assert_eq!(hp.state(AP), Some(lean::ONLINE));
    assert_eq!(world.on(AP).work.get(), 1);
}
