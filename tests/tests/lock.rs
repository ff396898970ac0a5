//! The hotplug lock: readers exclude the writer and back, nobody waits for himself.
#![cfg(not(loom))]

use core::task::Poll;

use cpuhp_core::{CpuId, Direction, StateId, Storage, Why};
use cpuhp_tests::fake::{Fake, Machine, STEP, TICK};
use cpuhp_tests::refusal::{refused, snapshot};
use cpuhp_tests::tables::{BARE, QUICK, bare, quick};
use cpuhp_tests::verdict::adopted;
use cpuhp_tests::world::{Act, World, fresh, with};

fn cpu(number: u32) -> CpuId {
    CpuId::new(number)
}

fn machine() -> &'static Machine {
    let hp = adopted(3, 0, &quick::TABLE, &QUICK);
    assert_eq!(hp.cpu_up(cpu(1)), Ok(()));
    hp
}

fn why<T: core::fmt::Debug>(result: Result<T, cpuhp_core::OpError>) -> Option<Why> {
    result.expect_err("it has to be refused").why()
}

#[test]
fn readers_share_and_exclude_the_writer_who_excludes_them() {
    let hp = machine();
    let readers: Vec<_> = (0..3)
        .map(|n| with(|w| w.as_cpu(n, || hp.try_read())).unwrap())
        .collect();
    for left in (0..readers.len()).rev() {
        assert_eq!(why(hp.try_write()), Some(Why::Busy), "{left} readers");
        // A refused writer left nothing behind: readers come and go.
        drop(hp.try_read().unwrap());
    }
    for reader in readers {
        assert_eq!(why(hp.try_write()), Some(Why::Busy));
        let _stable = reader.stable();
        drop(reader);
    }
    let guard = hp.try_write().unwrap();
    let _stable = guard.stable();
    assert_eq!(why(hp.try_read()), Some(Why::Busy));
    assert_eq!(why(hp.try_write()), Some(Why::Busy));
    drop(guard);
    assert!(hp.try_read().is_ok() && hp.try_write().is_ok());
}

/// Announced, a writer keeps new readers out and comes in when the last old one has left.
#[test]
fn a_writer_that_waits_comes_in_when_the_readers_have_left() {
    let hp = machine();
    let readers = [hp.try_read().unwrap(), hp.try_read().unwrap()];
    let mut writing = hp.begin_write().unwrap();
    for reader in readers {
        assert!(writing.poll().is_pending());
        assert_eq!(why(hp.try_read()), Some(Why::Busy));
        drop(reader);
    }
    let Poll::Ready(guard) = writing.poll() else {
        panic!("nobody reads");
    };
    assert!(writing.poll().is_pending(), "the guard is given out once");
    drop(writing);
    assert_eq!(why(hp.try_read()), Some(Why::Busy), "the guard lives on");
    drop(guard);
    assert!(hp.try_read().is_ok());
}

/// Given up before it was ready, it gives the lock back.
#[test]
fn a_writer_that_gives_up_leaves_a_free_lock() {
    let hp = machine();
    let reader = hp.try_read().unwrap();
    let mut writing = hp.begin_write().unwrap();
    assert!(writing.poll().is_pending());
    drop(writing);
    drop(hp.try_read().unwrap());
    drop(reader);
    assert!(hp.try_write().is_ok());
}

/// A guard remembers its counter: it may be dropped on another CPU, with a counter for each or one for all.
#[test]
fn a_read_guard_may_be_dropped_on_another_cpu() {
    for counters in [0_usize, 1, 2, 3, 8] {
        let hp = machine_with(counters);
        let reader = with(|w| w.as_cpu(1, || hp.try_read())).unwrap();
        assert_eq!(why(hp.try_write()), Some(Why::Busy));
        with(|w| w.as_cpu(2, move || drop(reader)));
        assert!(hp.try_write().is_ok(), "{counters} counters");
    }
}

/// A machine with this many reader counters; none: the one of the lock.
fn machine_with(counters: usize) -> &'static Machine {
    let records: Vec<_> = (0..3).map(|_| cpuhp_core::Record::new()).collect();
    let masks: Vec<_> = (0..Storage::mask_words(3))
        .map(|_| cpuhp_core::MaskWord::new(0))
        .collect();
    let readers: Vec<_> = (0..counters)
        .map(|_| cpuhp_core::ReaderCell::new())
        .collect();
    let lock = Box::leak(Box::new(cpuhp_core::LockWord::new()));
    let storage = Storage::from_parts(records.leak(), masks.leak(), &[], lock);
    let storage = storage.expect("it fits").with_readers(readers.leak());
    fresh(3, 0, &bare::TABLE, &BARE);
    let hp: &'static Machine = Box::leak(Box::new(Machine::new(Fake, &bare::TABLE, storage)));
    assert_eq!(
        hp.adopt_boot_cpu(cpuhp_core::BootSteps::AlreadyDone),
        Ok(())
    );
    hp
}

/// A blocking form waits for readers, at most a step's time, and then changes nothing.
#[test]
fn a_blocking_operation_waits_for_readers_with_a_deadline() {
    let hp = machine();
    let reader = hp.try_read().unwrap();
    let begun = with(World::time);
    let before = snapshot(hp);
    assert_eq!(why(hp.cpu_up(cpu(2))), Some(Why::Busy));
    assert_eq!(snapshot(hp), before);
    let took = with(World::time) - begun;
    assert!((STEP..=STEP + 2 * TICK).contains(&took), "took {took}");
    drop(reader);
    assert_eq!(hp.cpu_up(cpu(2)), Ok(()));
}

/// From inside a step every form is refused at once: it would wait for itself.
#[test]
fn a_step_that_locks_is_refused() {
    fn attempt(_: u32) {
        let hp = with(World::hp);
        assert_eq!(why(hp.try_write()), Some(Why::WouldDeadlock));
        assert_eq!(why(hp.begin_write()), Some(Why::WouldDeadlock));
        assert_eq!(why(hp.cpu_down(CpuId::new(1))), Some(Why::WouldDeadlock));
        assert_eq!(why(hp.freeze()), Some(Why::WouldDeadlock));
        assert_eq!(why(hp.thaw()), Some(Why::WouldDeadlock));
        assert_eq!(why(hp.shutdown_nonboot()), Some(Why::WouldDeadlock));
        assert_eq!(why(hp.try_read()), Some(Why::Busy), "a writer has it");
    }
    let hp = machine();
    with(|w| {
        for dir in [Direction::Up, Direction::Down] {
            QUICK
                .with_half(dir)
                .into_iter()
                .for_each(|at| w.rule(None, at, dir, Act::Hook(attempt)));
        }
    });
    assert_eq!(hp.cpu_up(cpu(2)), Ok(()));
    assert_eq!(hp.cpu_down(cpu(2)), Ok(()));
    assert_eq!(hp.state(cpu(1)), Some(StateId::new(QUICK.online())));
}

#[test]
fn a_cpu_that_is_not_available_takes_no_write_lock() {
    let hp = machine();
    with(|w| {
        w.as_cpu(2, || {
            refused(hp, Why::CallerOffline, &["cpu 2"], || hp.try_write())
        });
        w.as_cpu(7, || {
            refused(hp, Why::NoSuchCpu, &["cpu 7"], || hp.try_write())
        });
    });
}
