//! Proof that a CPU that is off is off: all it could touch is overwritten, and nothing changes it.
//!
//! While a CPU is off its stacks, per-CPU area with GDT and TSS, and top page table hold a pattern. It
//! is disturbed as well, by a wake interrupt and an NMI that nobody asked for. A CPU that still ran
//! anything of this kernel would fall over its own tables; one that wrote anything is found when the
//! memory is given out again.
#![expect(
    unsafe_code,
    reason = "the memory belongs to a CPU, and is known by its address"
)]

use core::sync::atomic::{AtomicU32, Ordering};

use cpuhp_core::{CpuId, MaskStore, words};

use crate::apic;
use crate::cpu::{MAX_CPUS, memory_of};

/// CPUs whose memory is poisoned now. Moved by control CPUs, one at a time.
static POISONED: MaskStore<{ words(MAX_CPUS) }> = MaskStore::new();
/// 1: it is done at all.
static IS_ON: AtomicU32 = AtomicU32::new(0);

/// Begins to poison CPUs that go off.
pub(crate) fn turn_on() {
    IS_ON.store(1, Ordering::Relaxed);
}

/// Overwrites all that `cpu` could touch, and disturbs it.
///
/// `more` is other memory that nobody needs while it is off.
///
/// Context: control CPU; core has confirmed that `cpu` is off. `id` is its APIC id.
pub(crate) fn apply(cpu: CpuId, id: u32, more: Option<(*mut u64, usize)>) {
    if IS_ON.load(Ordering::Relaxed) == 0 {
        return;
    }
    for (start, len) in memory_of(cpu).into_iter().flatten().chain(more) {
        for at in 0..len / 8 {
            let word = start.wrapping_add(at);
            // SAFETY: the memory is the CPU's own, which is off; that it does not use it is what is
            // tested. Volatile: a CPU that does is nothing the compiler knows of.
            unsafe { word.write_volatile(pattern(word)) };
        }
    }
    POISONED.get_mut().insert(cpu);
    apic::disturb(id);
}

/// Returns how many words of a poisoned CPU changed, and ends the poisoning.
///
/// Context: control CPU, `cpu` still off.
pub(crate) fn check(cpu: CpuId) -> u32 {
    if !POISONED.get().contains(cpu) {
        return 0;
    }
    POISONED.get_mut().remove(cpu);
    let mut changed = 0;
    for (start, len) in memory_of(cpu).into_iter().flatten() {
        for at in 0..len / 8 {
            let word = start.wrapping_add(at);
            // SAFETY: as in `apply`.
            let found = unsafe { word.read_volatile() };
            changed += u32::from(found != pattern(word));
        }
    }
    changed
}

/// Neither an address nor a descriptor, and different everywhere.
fn pattern(word: *mut u64) -> u64 {
    0xdead_0000_0000_0000 | word as u64
}
