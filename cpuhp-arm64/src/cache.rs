//! Cache maintenance by address, behind a trait so that a model of a write-back cache tests it.
//!
//! A CPU that starts, and one that rests in the park region, has its caches off: it reads and writes
//! memory itself, while everybody else may hold the same line in a cache.
//!
//! Spec: Arm ARM, "Cache maintenance instructions", "Point of Coherency".

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Words that a CPU with its caches off reads or writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    pub(crate) at: *const u8,
    pub(crate) len: usize,
}

impl Area {
    /// Everything of `value`.
    pub(crate) const fn of<T>(value: &T) -> Self {
        Self {
            at: core::ptr::from_ref(value).cast(),
            len: size_of::<T>(),
        }
    }
}

/// What is done to caches.
pub(crate) trait Cache: Sync {
    /// Cleans an area to the point of coherency and waits until that is done: a CPU with its caches off
    /// sees every store before the call.
    fn publish(&self, area: Area);

    /// Drops what caches hold of an area that only a CPU with its caches off writes: loads after the
    /// call see its stores.
    fn refresh(&self, area: Area);
}

/// Loads a word that a CPU with its caches off writes.
pub(crate) fn load_foreign(cache: &impl Cache, word: &AtomicU32) -> u32 {
    cache.refresh(Area::of(word));
    // Acquire: what the other CPU wrote before this word is seen after it.
    word.load(core::sync::atomic::Ordering::Acquire)
}

/// Stores a word that a CPU with its caches off reads.
pub(crate) fn store_foreign(cache: &impl Cache, word: &AtomicU64, value: u64) {
    word.store(value, core::sync::atomic::Ordering::Release);
    cache.publish(Area::of(word));
}

#[cfg(test)]
mod tests;
