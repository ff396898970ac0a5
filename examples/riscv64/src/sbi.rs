//! What this kernel does with its harts itself: sleep on the timer, open and close interrupts, wake another.
//!
//! A simulated latency is slept, not spun: it then costs no host CPU, and many harts can have it at once on two
//! host cores.
//!
//! **Spec**: RISC-V SBI 1.0, "Timer Extension", "IPI Extension"; RISC-V Instruction Set Manual volume II,
//! "Supervisor Interrupt Registers (sip and sie)".
#![expect(
    unsafe_code,
    reason = "interrupts are opened by instructions, and sleep is one"
)]

use core::arch::asm;

use cpuhp_core::{HwId, Platform};
use sbi_rt::HartMask;

use crate::board::KERNEL;

/// `sstatus.SIE`.
const SIE: usize = 1 << 1;
/// Supervisor software and timer interrupt, in `sie`.
const SOFTWARE: usize = 1 << 1;
const TIMER: usize = 1 << 5;

/// Sleeps until the next interrupt, at most `ns` nanoseconds.
///
/// Context: interrupts off, before and after. What ended the sleep is served before it returns.
pub(crate) fn sleep_ns(ns: u64) {
    arm_timer(ns);
    // SAFETY: there is a handler for both.
    unsafe { asm!("csrs sie, {}", in(reg) SOFTWARE | TIMER, options(nostack)) };
    // SAFETY: a pending interrupt ends it although interrupts are closed, so none is missed.
    unsafe { asm!("wfi", options(nostack)) };
    interrupts_on();
    interrupts_off();
    stop_timer();
}

/// Sleeps at most `ns` nanoseconds, whatever is pending, and takes no interrupt.
///
/// Context: interrupts off.
pub(crate) fn pause_ns(ns: u64) {
    let before: usize;
    arm_timer(ns);
    // SAFETY: interrupts are off, so nothing runs whatever is enabled here.
    unsafe { asm!("csrrw {}, sie, {}", out(reg) before, in(reg) TIMER, options(nostack)) };
    // SAFETY: the timer ends it.
    unsafe { asm!("wfi", options(nostack)) };
    // SAFETY: what was enabled before.
    unsafe { asm!("csrw sie, {}", in(reg) before, options(nostack)) };
}

fn arm_timer(ns: u64) {
    if let Some(backend) = KERNEL.backend() {
        let until = backend.now().saturating_add(ns);
        sbi_rt::set_timer(backend.timer_at(until));
    }
}

/// Keeps the calling hart's timer from interrupting, whatever it did.
pub(crate) fn stop_timer() {
    // SAFETY: disables one interrupt.
    unsafe { asm!("csrc sie, {}", in(reg) TIMER, options(nostack)) };
}

/// Enables the interrupts this kernel has a use for, or none.
pub(crate) fn enable(which: Enabled) {
    let mask = match which {
        Enabled::Wake => SOFTWARE,
        Enabled::Nothing => 0,
    };
    // SAFETY: there is a handler for it.
    unsafe { asm!("csrw sie, {}", in(reg) mask, options(nostack)) };
}

/// What [`enable`] enables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Enabled {
    Wake,
    Nothing,
}

/// Sends a wake interrupt to the hart with this id, which means nothing to it.
pub(crate) fn wake(hart: HwId) {
    if let Ok(hart) = usize::try_from(hart.0) {
        // A hart that the firmware does not know, or has stopped, gets none.
        sbi_rt::send_ipi(HartMask::from_mask_base(1, hart));
    }
}

/// Opens interrupts on the calling hart.
pub(crate) fn interrupts_on() {
    // SAFETY: the trap vector is in place from the first instruction on.
    unsafe { asm!("csrs sstatus, {}", in(reg) SIE, options(nostack)) };
}

/// Closes interrupts on the calling hart.
pub(crate) fn interrupts_off() {
    // SAFETY: changes SIE only.
    unsafe { asm!("csrc sstatus, {}", in(reg) SIE, options(nostack)) };
}

/// Whether interrupts are open on the calling hart.
pub(crate) fn interrupts_are_on() -> bool {
    let status: usize;
    // SAFETY: reading changes nothing.
    unsafe { asm!("csrr {}, sstatus", out(reg) status, options(nostack, preserves_flags)) };
    status & SIE != 0
}
