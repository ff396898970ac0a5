//! The owner lock, threads as CPUs: one owner at a time, however deep it nests.
#![cfg(not(loom))]

use core::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use cpuhp_core::{CpuId, OwnerLock};
use cpuhp_tests::random::Random;

const CPUS: u32 = 4;
const SECTIONS: u32 = 5_000;
const DEEPEST: usize = 5;

fn cpu(number: u32) -> CpuId {
    CpuId::new(number)
}

#[test]
fn owner_takes_it_again_and_gives_it_back_as_often() {
    let lock = OwnerLock::new();
    for deep in 1..=DEEPEST {
        assert!((0..deep).all(|_| lock.try_lock(cpu(7))));
        for _ in 0..deep {
            assert!(lock.is_owned_by(cpu(7)));
            assert!(!lock.try_lock(cpu(0)), "{deep} deep");
            lock.unlock(cpu(7));
        }
        assert!(!lock.is_owned_by(cpu(7)));
        assert!(lock.try_lock(cpu(0)), "{deep} deep, and given back");
        lock.unlock(cpu(0));
    }
}

#[test]
fn who_does_not_have_it_gives_nothing_back() {
    let lock = OwnerLock::new();
    lock.unlock(cpu(0));
    assert!(lock.try_lock(cpu(1)) && lock.try_lock(cpu(1)));
    for _ in 0..3 {
        lock.unlock(cpu(0));
        lock.unlock(cpu(u32::MAX));
    }
    assert!(lock.is_owned_by(cpu(1)));
    lock.unlock(cpu(1));
    assert!(lock.is_owned_by(cpu(1)), "both are its own to give back");
    lock.unlock(cpu(1));
    assert!(lock.try_lock(cpu(0)));
}

#[test]
fn last_number_is_nobodys_and_the_one_before_is_an_owner() {
    let lock = OwnerLock::new();
    assert!(!lock.try_lock(cpu(u32::MAX)));
    assert!(!lock.is_owned_by(cpu(u32::MAX)), "a free lock is nobody's");
    assert!(lock.try_lock(cpu(u32::MAX - 1)));
    assert!(!lock.try_lock(cpu(0)));
}

#[test]
fn section_that_began_without_a_number_ends_under_it() {
    let (unnumbered, boot) = (cpu(u32::MAX - 1), cpu(3));
    let lock = OwnerLock::new();
    assert!(lock.try_lock(unnumbered) && lock.try_lock(unnumbered));
    lock.rename(unnumbered, boot);
    assert!(
        lock.try_lock(boot),
        "a section inside, after the number was known"
    );
    for _ in 0..3 {
        assert!(!lock.try_lock(cpu(0)));
        lock.unlock(boot);
    }
    assert!(
        lock.try_lock(cpu(0)),
        "three times taken, three times given back"
    );

    lock.rename(unnumbered, boot);
    assert!(lock.is_owned_by(cpu(0)), "somebody else's stays as it is");
    lock.unlock(cpu(0));
    lock.rename(unnumbered, boot);
    assert!(lock.try_lock(cpu(0)), "and a free one stays free");
}

/// A lock, and a count that two CPUs at once would spoil.
struct Guarded {
    lock: OwnerLock,
    count: AtomicU64,
}

impl Guarded {
    /// Adds `deep` in as many sections, each inside the one before.
    fn add(&self, this: CpuId, deep: u64) {
        while !self.lock.try_lock(this) {
            thread::yield_now();
        }
        let before = self.count.load(Ordering::Relaxed);
        if deep > 1 {
            self.add(this, deep - 1);
        } else {
            thread::yield_now();
        }
        let now = self.count.load(Ordering::Relaxed);
        assert_eq!(now, before + deep - 1, "{this}: somebody else was inside");
        self.count.store(now + 1, Ordering::Relaxed);
        self.lock.unlock(this);
    }
}

#[test]
fn threads_that_nest_at_random_lose_nothing() {
    const SEED: u64 = 5;
    println!("seed {SEED}");
    let guarded = Guarded {
        lock: OwnerLock::new(),
        count: AtomicU64::new(0),
    };
    let sections = if cfg!(miri) { 20 } else { SECTIONS };
    let run = |this: u32| {
        let mut random = Random(SEED + u64::from(this));
        let mut added = 0;
        for _ in 0..sections {
            let deep = 1 + random.below(DEEPEST) as u64;
            guarded.add(cpu(this), deep);
            added += deep;
        }
        added
    };
    let added: u64 = thread::scope(|scope| {
        let cpus: Vec<_> = (0..CPUS)
            .map(|this| scope.spawn(move || run(this)))
            .collect();
        cpus.into_iter().map(|cpu| cpu.join().unwrap()).sum()
    });
    assert_eq!(guarded.count.load(Ordering::Relaxed), added);
    assert!(
        added > u64::from(CPUS * sections),
        "some of them were nested"
    );
    assert!(guarded.lock.try_lock(cpu(0)), "everything was given back");
}
