//! The units that every CPU has of its own and that this kernel sets up on each entry: the timer, and what
//! of the counters lower levels may read.
//!
//! A CPU comes back in another state than it went: `CPU_ON` resets it. So each unit is set up whole.
#![expect(
    unsafe_code,
    reason = "system registers are reached by instructions only"
)]

use core::arch::asm;

use crate::timer;

/// Sets all units of the calling CPU up. Context: STARTING, interrupts off.
pub(crate) fn enter() {
    // SAFETY: no lower level runs anything here; it may read neither counter nor timer, nor is there an
    // event stream.
    unsafe {
        asm!(
            "msr cntkctl_el1, xzr",
            "isb",
            options(nostack, preserves_flags)
        )
    };
    timer::stop();
}
