//! The units that every hart has of its own and that this kernel sets up on each entry: floating point,
//! counters, interrupts.
//!
//! What a hart finds after a start is not specified but for a few registers, so each unit is set up whole,
//! whatever is found.
#![expect(
    unsafe_code,
    reason = "control and status registers are reached by instructions only"
)]

use core::arch::asm;

use crate::sbi::{self, Enabled};

/// `sstatus.FS`: the unit is on, and as after a reset.
const FS: usize = 0b11 << 13;
const FS_INITIAL: usize = 0b01 << 13;
/// `cycle`, `time` and `instret`, for user mode. This kernel has none.
const COUNTERS: usize = 0b111;

/// Sets all units of the calling hart up. Context: STARTING, interrupts off.
pub(crate) fn enter() {
    // SAFETY: this kernel keeps nothing in the registers of the unit; `fcsr` exists once it is on.
    unsafe {
        asm!("csrc sstatus, {}", "csrs sstatus, {}", "csrw fcsr, zero",
            in(reg) FS, in(reg) FS_INITIAL, options(nostack));
    }
    // SAFETY: every hart with supervisor mode has the register.
    unsafe { asm!("csrw scounteren, {}", in(reg) COUNTERS, options(nostack)) };
    sbi::enable(Enabled::Wake);
}

/// Leaves no interrupt enabled. Context: STARTING, interrupts off.
pub(crate) fn leave() {
    sbi::enable(Enabled::Nothing);
}
