//! Proof that a CPU that is off is off: all it could touch is overwritten, and nothing changes it.
//!
//! While a CPU is off its own memory holds a pattern. It is disturbed as well, by interrupts that nobody
//! asked for. A CPU that still ran anything of this kernel would fall over its own tables; one that wrote
//! anything is found when the memory is given out again.

use core::sync::atomic::{AtomicU32, Ordering};

use cpuhp_core::{CpuId, MaskStore, words};

use crate::board::Board;
use crate::storage::MAX_CPUS;

/// CPUs whose memory is poisoned now. Moved by control CPUs, one at a time.
static POISONED: MaskStore<{ words(MAX_CPUS) }> = MaskStore::new();
/// CPUs that are off and not poisoned yet. Moved likewise.
static MARKED: MaskStore<{ words(MAX_CPUS) }> = MaskStore::new();
/// 1: it is done at all.
static IS_ON: AtomicU32 = AtomicU32::new(0);

/// Begins to poison CPUs that go off.
pub(crate) fn turn_on() {
    IS_ON.store(1, Ordering::Relaxed);
}

/// Notes that `cpu` is off, to be poisoned as soon as no time is measured.
///
/// Context: control CPU; core has confirmed that `cpu` is off.
pub(crate) fn mark(cpu: CpuId) {
    if IS_ON.load(Ordering::Relaxed) != 0 {
        MARKED.get_mut().insert(cpu);
    }
}

/// Overwrites all that `cpu` could touch, if it was marked, and disturbs it.
///
/// Context: control CPU, no operation runs.
pub(crate) fn apply<B: Board>(backend: &B::Backend, cpu: CpuId) {
    if !MARKED.get().contains(cpu) {
        return;
    }
    MARKED.get_mut().remove(cpu);
    for memory in B::memory_of(backend, cpu) {
        memory.poison();
    }
    POISONED.get_mut().insert(cpu);
    B::disturb(backend, cpu);
}

/// Returns how many words of a poisoned CPU changed, and ends the poisoning.
///
/// Context: control CPU, `cpu` still off.
pub(crate) fn check<B: Board>(backend: &B::Backend, cpu: CpuId) -> u32 {
    MARKED.get_mut().remove(cpu);
    if !POISONED.get().contains(cpu) {
        return 0;
    }
    POISONED.get_mut().remove(cpu);
    B::memory_of(backend, cpu)
        .map(|memory| memory.changed())
        .sum()
}
