//! A lock that knows its owner: what a critical section on several CPUs is made of.
//!
//! One word names the CPU that has it, a second counts how often, so a section may lie inside another.
//! The core itself does not use it: each backend makes its optional `critical-section` of it, and adds
//! how a CPU closes its interrupts. That is the whole difference between the machines.

use crate::cpu::CpuId;
use crate::sync::{AtomicU32, Ordering, zero_const};

/// A lock between CPUs that its owner may take again. All zero: free.
///
/// Whoever takes it has closed the interrupts of its CPU, and keeps them closed until it gave the lock
/// back as often as it took it: a handler, or another thread, of the same CPU would be let in. It never
/// waits; to try again, and whether to open the interrupts meanwhile, is the caller's.
///
/// ```
/// use cpuhp_core::{CpuId, OwnerLock};
///
/// static LOCK: OwnerLock = OwnerLock::new();
/// let (this, other) = (CpuId::new(0), CpuId::new(1));
/// assert!(LOCK.try_lock(this) && LOCK.try_lock(this));
/// LOCK.unlock(this);
/// assert!(!LOCK.try_lock(other), "once more to go");
/// LOCK.unlock(this);
/// assert!(LOCK.try_lock(other));
/// ```
#[derive(Debug)]
pub struct OwnerLock {
    /// Number of the owner + 1; 0 = free. A CPU writes its own number and, after that, 0.
    owner: AtomicU32,
    /// How often the owner has it. Written and read by the owner only; `owner` orders two of them.
    depth: AtomicU32,
}

impl OwnerLock {
    zero_const! {
        /// Makes a free lock.
        pub fn new() -> Self {
            Self { owner: AtomicU32::new(0), depth: AtomicU32::new(0) }
        }
    }

    /// Takes the lock for `cpu`, once more if `cpu` has it; says whether it did. Never waits.
    ///
    /// The last possible number, [`u32::MAX`], is no owner's and never gets it.
    ///
    /// Context: `cpu` itself, interrupts off until the lock was given back as often as it was taken.
    pub fn try_lock(&self, cpu: CpuId) -> bool {
        let Some(mine) = name(cpu) else {
            return false;
        };
        // Relaxed: this CPU finds its own name only where it wrote it, and it wrote nothing since.
        let seen = self.owner.load(Ordering::Relaxed);
        if seen == mine {
            let depth = self.depth.load(Ordering::Relaxed);
            self.depth.store(depth + 1, Ordering::Relaxed);
            return true;
        }
        // Looked at first: those that wait do not take the line from the one that works.
        if seen != 0 {
            return false;
        }
        // Acquire: what the last owner wrote; pairs with `unlock`.
        let taken = self
            .owner
            .compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_ok() {
            self.depth.store(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Gives the lock back once. Does nothing if `cpu` does not have it.
    ///
    /// Context: as [`Self::try_lock`].
    pub fn unlock(&self, cpu: CpuId) {
        if !self.is_owned_by(cpu) {
            return;
        }
        let left = self.depth.load(Ordering::Relaxed) - 1;
        self.depth.store(left, Ordering::Relaxed);
        if left == 0 {
            // Release: what was written under the lock; pairs with `try_lock`.
            self.owner.store(0, Ordering::Release);
        }
    }

    /// Whether `cpu` has the lock. Stale at once, but for `cpu` itself.
    pub fn is_owned_by(&self, cpu: CpuId) -> bool {
        name(cpu) == Some(self.owner.load(Ordering::Relaxed))
    }

    /// Gives the owner another name, if it is `from`: a CPU that took the lock before its number was
    /// known goes on under its own.
    ///
    /// Context: the owner itself, interrupts off, while no CPU uses either name.
    pub fn rename(&self, from: CpuId, to: CpuId) {
        if let Some(to) = name(to)
            && self.is_owned_by(from)
        {
            self.owner.store(to, Ordering::Relaxed);
        }
    }
}

impl Default for OwnerLock {
    fn default() -> Self {
        Self::new()
    }
}

/// What stands in the owner word for `cpu`; nothing stands there for the last number.
fn name(cpu: CpuId) -> Option<u32> {
    cpu.get().checked_add(1)
}
