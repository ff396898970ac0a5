//! The hotplug write lock: one word, and the guard that proves it is held.
//!
//! Who holds a [`WriteGuard`] may change CPU states; many operations run under one guard, each
//! claimed by the owner word of its record. Nobody waits for the lock: who does not get it is told.

use crate::error::{OpError, Why};
use crate::hotplug::Cpuhp;
use crate::platform::Platform;
use crate::sync::{AtomicU32, Ordering, zero_const};
use crate::trace::Trace;

/// The lock and the source of operation stamps. All zero: free.
#[derive(Debug)]
pub struct LockWord {
    writer: AtomicU32,
    stamp: AtomicU32,
    /// Stamp of the running bulk operation; 0 = none. Written under the write guard.
    bulk: AtomicU32,
}

impl LockWord {
    zero_const! {
        /// Makes a free lock.
        pub fn new() -> Self {
            Self { writer: AtomicU32::new(0), stamp: AtomicU32::new(0), bulk: AtomicU32::new(0) }
        }
    }

    #[inline]
    fn claim(&self) -> bool {
        // Acquire: what the last writer wrote; pairs with `free`.
        let claimed = self
            .writer
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
        claimed.is_ok()
    }

    #[inline]
    fn free(&self) {
        // Release: pairs with `claim`.
        self.writer.store(0, Ordering::Release);
    }

    /// Returns a stamp that no live operation has: never 0.
    ///
    /// Read-modify-write: CPUs that share a guard may begin operations at once.
    #[inline]
    pub(crate) fn next_stamp(&self) -> u32 {
        let next = || self.stamp.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        match next() {
            0 => next(),
            stamp => stamp,
        }
    }

    /// Lets one bulk operation at a time run under the lock.
    #[inline]
    pub(crate) fn claim_bulk(&self, stamp: u32) -> bool {
        // Relaxed: what the last one wrote is carried by the owner words, and by the guard.
        let claimed = self
            .bulk
            .compare_exchange(0, stamp, Ordering::Relaxed, Ordering::Relaxed);
        claimed.is_ok()
    }

    /// Whether this is the stamp of the bulk operation that runs under the lock; 0 = none runs.
    #[inline]
    pub(crate) fn is_bulk(&self, stamp: u32) -> bool {
        self.bulk.load(Ordering::Relaxed) == stamp
    }

    /// Ends a bulk operation.
    #[inline]
    pub(crate) fn free_bulk(&self) {
        self.bulk.store(0, Ordering::Relaxed);
    }
}

impl Default for LockWord {
    fn default() -> Self {
        Self::new()
    }
}

/// The exclusive right to change CPU states.
///
/// Dropping it with operations in flight undoes nothing: they stay claimed, and
/// [`WriteGuard::resume`] takes them over.
#[derive(Debug)]
pub struct WriteGuard<'h, 'a, P: Platform, T: Trace> {
    pub(crate) hp: &'h Cpuhp<'a, P, T>,
}

impl<'a, P: Platform, T: Trace> Cpuhp<'a, P, T> {
    /// Takes the write lock if it is free.
    ///
    /// Context: any available CPU, interrupts on, not inside a step. Never waits.
    ///
    /// # Errors
    /// [`Why::Busy`] if another operation is in flight, [`Why::WouldDeadlock`] from inside a step,
    /// [`Why::CallerOffline`] on a CPU that is not available. Nothing changed.
    #[inline(never)]
    pub fn try_write(&self) -> Result<WriteGuard<'_, 'a, P, T>, OpError> {
        let caller = self.platform().this_cpu();
        let refused = |why| OpError::refused(caller, why);
        self.check_caller(caller)
            .and_then(|()| self.lock())
            .map_err(refused)
    }

    /// Takes the lock without asking whether the caller is available: for the boot CPU's adoption.
    pub(crate) fn lock(&self) -> Result<WriteGuard<'_, 'a, P, T>, Why> {
        if self.storage.lock.claim() {
            Ok(WriteGuard { hp: self })
        } else {
            Err(Why::Busy)
        }
    }
}

impl<P: Platform, T: Trace> Drop for WriteGuard<'_, '_, P, T> {
    fn drop(&mut self) {
        // An abandoned bulk operation ends with its guard; its CPUs stay claimed.
        self.hp.storage.lock.free_bulk();
        self.hp.storage.lock.free();
    }
}
