//! Memory of one CPU: arrays with an element per CPU, and pieces that may be overwritten while it is off.
#![expect(
    unsafe_code,
    reason = "an element is written by the CPU that owns it at the time, which the type cannot say"
)]

use core::cell::UnsafeCell;

use cpuhp_core::CpuId;

use crate::storage::MAX_CPUS;

/// One element per CPU, written by one CPU at a time: the control CPU while its owner is off, then the owner.
///
/// While its owner is off an element may be overwritten with any pattern; see [`Self::memory`].
#[derive(Debug)]
pub struct PerCpu<T>([UnsafeCell<T>; MAX_CPUS]);

// SAFETY: each element is one CPU's; the type hands out addresses only, and every use of one names its
// reason.
unsafe impl<T> Sync for PerCpu<T> {}

impl<T> PerCpu<T> {
    /// Makes the array of these elements, which are cells because their owners write them.
    pub const fn new(elements: [UnsafeCell<T>; MAX_CPUS]) -> Self {
        Self(elements)
    }

    /// Returns the address of the element of `cpu`; `None` beyond [`MAX_CPUS`].
    pub fn get(&self, cpu: CpuId) -> Option<*mut T> {
        self.0.get(cpu.index()).map(UnsafeCell::get)
    }

    /// Returns the element of `cpu` as memory that is poisoned while that CPU is off.
    pub fn memory(&'static self, cpu: CpuId) -> Option<CpuMemory> {
        const {
            assert!(
                align_of::<T>() >= align_of::<u64>(),
                "poison is written in words"
            )
        };
        let start = self.get(cpu)?.cast();
        // SAFETY: the element is static and this CPU's own, and every use of it reckons with poison.
        Some(unsafe { CpuMemory::new(start, size_of::<T>()) })
    }
}

/// A piece of memory that only one CPU needs.
#[derive(Clone, Copy, Debug)]
pub struct CpuMemory {
    start: *mut u64,
    words: usize,
}

impl CpuMemory {
    /// Names `bytes` bytes at `start`.
    ///
    /// # Safety
    /// The memory is valid for reads and writes for ever, aligned to 8 bytes, and nobody but one CPU
    /// uses it; whoever uses it again after that CPU was off finds a pattern in it.
    pub const unsafe fn new(start: *mut u64, bytes: usize) -> Self {
        Self {
            start,
            words: bytes / 8,
        }
    }

    /// Overwrites all of it. Context: its CPU is off.
    pub(crate) fn poison(self) {
        for word in self.words() {
            // SAFETY: the maker's promise; that the CPU, which is off, does not use it is what is tested.
            // Volatile: a CPU that does is nothing the compiler knows of.
            unsafe { word.write_volatile(pattern(word)) };
        }
    }

    /// Returns how many words are not as [`Self::poison`] left them. Context: as there.
    pub(crate) fn changed(self) -> u32 {
        let mut changed = 0;
        for word in self.words() {
            // SAFETY: as in `poison`.
            let found = unsafe { word.read_volatile() };
            changed += u32::from(found != pattern(word));
        }
        changed
    }

    fn words(self) -> impl Iterator<Item = *mut u64> {
        (0..self.words).map(move |at| self.start.wrapping_add(at))
    }
}

/// Neither an address nor a descriptor, and different everywhere.
fn pattern(word: *mut u64) -> u64 {
    0xdead_0000_0000_0000 | word as u64
}
