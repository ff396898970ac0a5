//! GICv3 by its system registers and its redistributors' memory.
#![expect(
    unsafe_code,
    reason = "the interrupt controller's registers are reached by instructions and addresses only"
)]

use core::arch::asm;
use core::sync::atomic::Ordering;

use super::{Frames, WakeIrq, open};
use crate::hardware::{EL2, level};
use crate::record::BootRecord;

/// Who carries the wake interrupt.
#[derive(Clone, Copy)]
pub(crate) enum Driver {
    /// Ours.
    V3,
    /// The kernel's.
    Custom(&'static dyn WakeIrq),
}

/// Redistributors where the kernel has mapped them.
pub(crate) struct Mapped;

impl Frames for Mapped {
    fn read(&self, frame: u64, at: usize) -> u32 {
        // SAFETY: promises 1 and 2 of `Arm64::new`: the region is mapped and holds redistributors.
        // Reading these registers changes nothing.
        unsafe { place(frame, at).read_volatile() }
    }

    fn write(&self, frame: u64, at: usize, value: u32) {
        // SAFETY: as above; what is written opens one interrupt of the CPU that this frame is of.
        unsafe { place(frame, at).write_volatile(value) };
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "an address has 64 bits here"
)]
fn place(frame: u64, at: usize) -> *mut u32 {
    core::ptr::with_exposed_provenance_mut(frame as usize + at)
}

impl Driver {
    /// Sets up the calling CPU for `sgi`. Context: on every entry, interrupts off.
    pub(crate) fn init_cpu(self, record: &BootRecord, sgi: u8) {
        match self {
            Self::V3 => {
                open(&Mapped, record.frame.load(Ordering::Relaxed), sgi);
                open_interface();
            }
            Self::Custom(driver) => driver.init_cpu(sgi),
        }
    }

    pub(crate) fn send(self, sgi: u8, to: &BootRecord) {
        match self {
            Self::V3 => {
                let value = to.sgi.load(Ordering::Relaxed);
                // SAFETY: the register is there once the interface is open; the interrupt is ours. The
                // barrier puts it behind every store before it.
                unsafe {
                    asm!("dsb ishst", "msr S3_0_C12_C11_5, {}", "isb", in(reg) value,
                        options(nostack, preserves_flags));
                }
            }
            Self::Custom(driver) => driver.send(sgi, to.hw_id()),
        }
    }

    /// Takes `sgi` back if it is what is pending.
    pub(crate) fn ack(self, sgi: u8) -> bool {
        let Self::Custom(driver) = self else {
            return ack_v3(u64::from(sgi));
        };
        driver.ack()
    }
}

fn ack_v3(sgi: u64) -> bool {
    let pending: u64;
    // SAFETY: ICC_HPPIR1_EL1 says what is pending and changes nothing.
    unsafe { asm!("mrs {}, S3_0_C12_C12_2", out(reg) pending, options(nostack, preserves_flags)) };
    if pending & 0xff_ffff != sgi {
        return false;
    }
    // SAFETY: ICC_IAR1_EL1 and ICC_EOIR1_EL1: takes the pending interrupt, which nobody else can take
    // on this CPU, and ends it.
    unsafe {
        asm!("mrs {0}, S3_0_C12_C12_0", "dsb sy", "msr S3_0_C12_C12_1, {0}", "isb", out(reg) _,
            options(nostack, preserves_flags));
    }
    true
}

/// Opens the calling CPU's interface: system registers, every priority, group 1.
fn open_interface() {
    if level() == EL2 {
        // SAFETY: ICC_SRE_EL2: its use, and that of EL1, by system registers.
        unsafe {
            asm!("mrs {0}, S3_4_C12_C9_5", "orr {0}, {0}, #1", "orr {0}, {0}, #8",
                "msr S3_4_C12_C9_5, {0}", "isb", out(reg) _, options(nostack, preserves_flags));
        }
    }
    // SAFETY: ICC_SRE_EL1, ICC_PMR_EL1, ICC_CTLR_EL1 (one write ends an interrupt), ICC_IGRPEN1_EL1:
    // with interrupts masked nothing is taken here.
    unsafe {
        asm!("mrs {0}, S3_0_C12_C12_5", "orr {0}, {0}, #1", "msr S3_0_C12_C12_5, {0}", "isb",
            "msr S3_0_C4_C6_0, {1}",
            "mrs {0}, S3_0_C12_C12_4", "bic {0}, {0}, #2", "msr S3_0_C12_C12_4, {0}",
            "mov {0}, #1", "msr S3_0_C12_C12_7, {0}", "isb",
            out(reg) _, in(reg) 0xf0_u64, options(nostack, preserves_flags));
    }
}
