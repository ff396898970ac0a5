//! Spinning: the owner lock, what critical sections are made of, between two CPUs.

use std::rc::Rc;

use cpuhp_core::{CpuId, OwnerLock};
use loom::thread;

use crate::check::Model;
use crate::world::{AP, BOOT, Family, Plan, World};

/// The owner word: one owner at a time, and the next one sees what the last one wrote.
#[test]
fn x1_sections() {
    both("x1_sections", 2, |world, lock, cpu| {
        for _ in 0..2 {
            enter(lock, cpu);
            change(world);
            lock.unlock(cpu);
        }
    });
}

/// The depth: the end of a section inside another lets nobody in, the end of the outer one does.
#[test]
fn x2_nested_sections() {
    both("x2_nested_sections", 3, |world, lock, cpu| {
        enter(lock, cpu);
        change(world);
        enter(lock, cpu);
        enter(lock, cpu);
        lock.unlock(cpu);
        change(world);
        lock.unlock(cpu);
        change(world);
        lock.unlock(cpu);
    });
}

/// Runs `sections`, which make that many changes, on both CPUs at once; at the end the lock is free.
fn both(name: &'static str, changes: u32, sections: fn(&World, &OwnerLock, CpuId)) {
    Model::of(name).check(Plan::of(Family::Spinning), move |world| {
        let lock = Rc::new(OwnerLock::new());
        let (their_world, their_lock) = (Rc::clone(world), Rc::clone(&lock));
        let other = thread::spawn(move || sections(&their_world, &their_lock, AP));
        sections(world, &lock, BOOT);
        other.join().expect("it does not panic");
        assert!(lock.try_lock(BOOT), "nobody kept it");
        assert_eq!(world.guarded.get(), 2 * changes);
    });
}

/// Begins a section of `cpu`, whose interrupts are closed.
fn enter(lock: &OwnerLock, cpu: CpuId) {
    while !lock.try_lock(cpu) {
        thread::yield_now();
    }
}

/// Two at once are a race.
fn change(world: &World) {
    world.guarded.set(world.guarded.get() + 1);
}
