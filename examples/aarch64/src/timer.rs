//! The physical timer of each CPU, and sleeping on it.
//!
//! Spec: Arm ARM, "CNTP_CTL_EL0", "CNTP_TVAL_EL0"; "Wait for Interrupt mechanism".
#![expect(
    unsafe_code,
    reason = "the timer's registers are reached by instructions only"
)]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

/// Longest sleep in ticks: the timer counts down from a positive 32-bit number.
const MOST: u64 = 0x7fff_ffff;
const NS_PER_S: u64 = 1_000_000_000;

/// Ticks per nanosecond, times 2^32.
static SCALE: AtomicU64 = AtomicU64::new(0);

/// Notes how fast the counter runs. Context: boot CPU, before anybody sleeps.
pub(crate) fn calibrate(hz: u64) {
    let scale = (u128::from(hz) << 32) / u128::from(NS_PER_S);
    SCALE.store(u64::try_from(scale).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Stops the calling CPU's timer, whatever it did.
pub(crate) fn stop() {
    control(0);
}

/// Sleeps until an interrupt is pending, at most `ns` nanoseconds.
///
/// Context: interrupts off, before and after: a pending interrupt ends the sleep all the same, and its
/// handler runs when they are opened. The timer's own is over when this returns.
pub(crate) fn sleep_ns(ns: u64) {
    let ticks = (u128::from(ns) * u128::from(SCALE.load(Ordering::Relaxed))) >> 32;
    let ticks = u64::try_from(ticks).unwrap_or(MOST).clamp(1, MOST);
    // SAFETY: the timer is this CPU's own and has no other user.
    unsafe { asm!("msr cntp_tval_el0, {}", in(reg) ticks, options(nostack, preserves_flags)) };
    control(1);
    // SAFETY: waits only.
    unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
    control(0);
}

fn control(value: u64) {
    // SAFETY: as above; 1 runs it, its interrupt not masked, 0 stops it.
    unsafe {
        asm!("msr cntp_ctl_el0, {}", "isb", in(reg) value, options(nostack, preserves_flags))
    };
}
