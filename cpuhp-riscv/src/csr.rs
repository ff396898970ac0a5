//! The registers of the hart: interrupts, sleep, the counter, the per-CPU base.
//!
//! **Spec**: RISC-V Instruction Set Manual volume II, "Supervisor CSRs", "Wait for Interrupt".
#![expect(
    unsafe_code,
    reason = "control and status registers are reached by instructions only"
)]

use core::arch::asm;
use core::mem::offset_of;

use cpuhp_core::CpuId;

use crate::record::BootRecord;

/// `sstatus.SIE`.
const SIE: usize = 1 << 1;
/// Supervisor software interrupt: enabled in `sie`, pending in `sip`.
const SSI: usize = 1 << 1;
/// `sstatus.FS`, the state of the floating-point unit.
const FS: usize = 0b11 << 13;

/// Reads the `time` counter.
pub fn ticks() -> u64 {
    let ticks: u64;
    // SAFETY: every hart with supervisor mode may read it. No `nomem`: a time stamp stays where it is
    // between memory accesses.
    unsafe { asm!("rdtime {}", out(reg) ticks, options(nostack, preserves_flags)) };
    ticks
}

/// Closes interrupts on the calling hart. Returns whether they were open.
pub(crate) fn disable_interrupts() -> bool {
    let before: usize;
    // SAFETY: changes SIE only.
    unsafe { asm!("csrrc {}, sstatus, {}", out(reg) before, in(reg) SIE, options(nostack)) };
    before & SIE != 0
}

/// Opens interrupts on the calling hart.
pub(crate) fn enable_interrupts() {
    // SAFETY: the kernel has its trap vector in place whenever it lets core open interrupts (promise 3).
    unsafe { asm!("csrs sstatus, {}", in(reg) SIE, options(nostack)) };
}

/// Whether interrupts are open on the calling hart.
pub(crate) fn interrupts_enabled() -> bool {
    let status: usize;
    // SAFETY: reading changes nothing.
    unsafe { asm!("csrr {}, sstatus", out(reg) status, options(nostack, preserves_flags)) };
    status & SIE != 0
}

/// Lets an IPI end a sleep of the calling hart, beside what the kernel lets.
pub(crate) fn allow_wake() {
    // SAFETY: the handler for it is in place (promise 6), and it only runs with SIE set.
    unsafe { asm!("csrs sie, {}", in(reg) SSI, options(nostack)) };
}

/// Sleeps until an interrupt that is enabled in `sie` is pending; returns with it pending.
///
/// Context: interrupts closed, so that no handler runs and none is missed.
pub(crate) fn sleep() {
    // SAFETY: waits, and changes nothing.
    unsafe { asm!("wfi", options(nostack, preserves_flags)) };
}

/// Sleeps until an IPI, and nothing else, and takes it back.
///
/// Context: interrupts closed; the kernel has not set this hart's interrupts up yet.
pub(crate) fn sleep_until_wake() {
    let before: usize;
    // SAFETY: with SIE clear nothing runs, whatever is enabled here.
    unsafe { asm!("csrrw {}, sie, {}", out(reg) before, in(reg) SSI, options(nostack)) };
    sleep();
    // SAFETY: nobody but this backend uses the interrupt on this hart yet. It is cleared before the
    // caller looks at what it told of.
    unsafe { asm!("csrc sip, {}", in(reg) SSI, options(nostack)) };
    // SAFETY: what it was before.
    unsafe { asm!("csrw sie, {}", in(reg) before, options(nostack)) };
}

/// Makes the calling hart's record its per-CPU base.
///
/// # Safety
/// 1. Nothing else is kept in `tp`.
pub(crate) unsafe fn set_base(record: &'static BootRecord) {
    // SAFETY: promise 1; compiled code for bare metal does not use the register.
    unsafe { asm!("mv tp, {}", in(reg) record, options(nostack, preserves_flags)) };
}

/// Returns the calling hart's number, where the per-CPU base is the record.
pub(crate) fn this_cpu() -> CpuId {
    let number: u32;
    // SAFETY: `tp` is a `BootRecord` on every hart: the entry code and `Riscv::new` put it there where
    // the kernel gave no `this_cpu` of its own.
    unsafe {
        asm!("lw {}, {}(tp)", out(reg) number, const offset_of!(BootRecord, cpu),
            options(nostack, readonly, preserves_flags));
    }
    CpuId::new(number)
}

/// The boot hart's registers that an AP takes over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) satp: u64,
    pub(crate) stvec: u64,
    pub(crate) gp: u64,
    /// `sstatus.FS`.
    pub(crate) fs: u64,
}

impl Snapshot {
    /// Reads them on the calling hart.
    ///
    /// # Safety
    /// 1. The caller runs in supervisor mode.
    pub(crate) unsafe fn take() -> Self {
        let (satp, stvec, gp, status): (u64, u64, u64, usize);
        // SAFETY: promise 1; reading changes nothing.
        unsafe {
            asm!("csrr {}, satp", "csrr {}, stvec", "mv {}, gp", "csrr {}, sstatus",
                out(reg) satp, out(reg) stvec, out(reg) gp, out(reg) status,
                options(nostack, preserves_flags));
        }
        Self {
            satp,
            stvec,
            gp,
            fs: (status & FS) as u64,
        }
    }
}
