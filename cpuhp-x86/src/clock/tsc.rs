//! The instructions of the clock: reading the time-stamp counter, and a port.
#![expect(
    unsafe_code,
    reason = "the time-stamp counter and I/O ports are reached by instructions only"
)]

use core::arch::asm;
use core::num::NonZeroU64;

use super::measure;

/// Reads the time-stamp counter, not before all earlier loads are done.
pub fn ticks() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: RDTSC exists on every 64-bit CPU and ring 0 may always use it; LFENCE likewise. No
    // `nomem`: a time stamp must stay where it is between memory accesses.
    unsafe {
        asm!("lfence", "rdtsc", out("eax") low, out("edx") high,
            options(nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Measures the time-stamp counter against the ACPI power-management timer at `port`.
///
/// Takes 20 ms; `None` if the timer does not move or the result makes no sense. See
/// [`crate::acpi::pm_timer_port`].
///
/// Context: boot CPU; exact only if nothing interrupts it for long at either end.
///
/// # Safety
/// 1. `port` is the power-management timer's: reading it has no effect.
pub unsafe fn calibrate(port: u16) -> Option<NonZeroU64> {
    let read_pm = || {
        let value: u32;
        // SAFETY: promise 1.
        unsafe {
            asm!("in eax, dx", in("dx") port, out("eax") value,
                options(nomem, nostack, preserves_flags));
        }
        value
    };
    measure(read_pm, ticks)
}
