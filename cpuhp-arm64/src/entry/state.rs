//! The registers that an AP takes over from the boot CPU.
#![expect(
    unsafe_code,
    reason = "translation and trap registers are reached by instructions only"
)]

use core::arch::asm;

use crate::config::SetupError;
use crate::hardware::{EL2, level};
use crate::shared::Snapshot;

/// EL1, as a number.
const EL1: u64 = 1;
/// HCR_EL2: the hypervisor has an upper half of its own.
const HCR_E2H: u64 = 1 << 34;

/// Reads a register that exists at the calling level.
macro_rules! read {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading these registers changes nothing, and the level has been checked.
        unsafe {
            asm!(concat!("mrs {}, ", $name), out(reg) value,
                options(nomem, nostack, preserves_flags));
        }
        value
    }};
}

impl Snapshot {
    /// Reads them on the calling CPU.
    ///
    /// At EL2 the counter's offset becomes 0: both counts are one from here on.
    ///
    /// # Errors
    /// [`SetupError::Level`] at another level than EL1 and EL2.
    ///
    /// # Safety
    /// 1. Nobody else uses this CPU's offset of the virtual counter.
    pub(crate) unsafe fn take() -> Result<Self, SetupError> {
        match level() {
            EL1 => Ok(Self {
                level: EL1,
                sctlr: read!("sctlr_el1"),
                tcr: read!("tcr_el1"),
                mair: read!("mair_el1"),
                ttbr0: read!("ttbr0_el1"),
                ttbr1: read!("ttbr1_el1"),
                vbar: read!("vbar_el1"),
                traps: read!("cpacr_el1"),
                hcr: 0,
                cnthctl: 0,
            }),
            EL2 => {
                let hcr = read!("hcr_el2");
                // SAFETY: promise 1.
                unsafe {
                    asm!(
                        "msr cntvoff_el2, xzr",
                        "isb",
                        options(nostack, preserves_flags)
                    )
                };
                Ok(Self {
                    level: EL2,
                    sctlr: read!("sctlr_el2"),
                    tcr: read!("tcr_el2"),
                    mair: read!("mair_el2"),
                    ttbr0: read!("ttbr0_el2"),
                    ttbr1: if hcr & HCR_E2H == 0 {
                        0
                    } else {
                        read!("S3_4_C2_C0_1")
                    },
                    vbar: read!("vbar_el2"),
                    traps: read!("cptr_el2"),
                    hcr,
                    cnthctl: read!("cnthctl_el2"),
                })
            }
            level => Err(SetupError::Level(u8::try_from(level).unwrap_or(u8::MAX))),
        }
    }
}
