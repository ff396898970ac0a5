//! The instructions of the clock.
#![expect(
    unsafe_code,
    reason = "the system counter is reached by instructions only"
)]

use core::arch::asm;

/// Reads the system counter, not before all earlier instructions are done.
///
/// The virtual count: at EL1 a hypervisor may keep the physical one for itself, and at EL2 the backend
/// sets the offset between the two to 0 on every CPU.
pub fn ticks() -> u64 {
    let count: u64;
    // SAFETY: the counter exists on every 64-bit CPU, and this level may read it. No `nomem`: a time
    // stamp must stay where it is between memory accesses.
    unsafe {
        asm!("isb", "mrs {}, cntvct_el0", out(reg) count, options(nostack, preserves_flags));
    }
    count
}

/// Returns the counter's frequency in Hz as firmware noted it; 0 where it did not.
pub fn frequency() -> u64 {
    let hz: u64;
    // SAFETY: reading the register changes nothing.
    unsafe {
        asm!("mrs {}, cntfrq_el0", out(reg) hz, options(nomem, nostack, preserves_flags));
    }
    hz
}
