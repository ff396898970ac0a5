//! The local APIC: one CPU's door for INIT, SIPI and the wake interrupt.
//!
//! [`LocalApic`] is what the backend needs of it, so that a kernel with an APIC driver can pass its
//! own. [`Apic`] is ours, for xAPIC and x2APIC, over a register file that a test can fake; the real
//! one is in `registers`, the only unsafe part.
//!
//! Spec: Intel SDM vol. 3A, "Local APIC", "Extended XAPIC (x2APIC)", "Interrupt Command Register
//! (ICR)", "Error Handling".

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

#[cfg(target_arch = "x86_64")]
pub(crate) mod registers;

/// What one CPU sends another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ipi {
    /// INIT, level asserted.
    Init,
    /// Start-up: begin in real mode at this 4 KiB page.
    Startup {
        /// Page number: physical address / 4096.
        page: u8,
    },
    /// An ordinary interrupt.
    Fixed {
        /// Its vector.
        vector: u8,
    },
}

/// Why nothing was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IpiError {
    /// The APIC still delivered the one before when the bound was reached.
    Busy,
    /// Ids from 255 need x2APIC.
    Unreachable,
}

impl fmt::Display for IpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "local apic busy past its bound",
            Self::Unreachable => "apic id needs x2apic mode",
        })
    }
}

impl core::error::Error for IpiError {}

/// The local APIC of whichever CPU calls.
///
/// The backend calls it from any CPU at any time, also from an AP that has nothing but a stack and
/// a per-CPU base, and from interrupt handlers. No method may take a lock or block.
pub trait LocalApic: Sync {
    /// Makes the calling CPU's APIC usable: the system's mode, software-enabled, all local vector
    /// table entries masked, task priority 0. Called first on every entry of an AP, and last before it
    /// rests in the park region; it may find any mode, since x2APIC survives INIT.
    fn enter_cpu(&self);

    /// Sends `ipi` to the one CPU with APIC id `to`.
    ///
    /// Stores made before the call are visible to `to` when the signal reaches it.
    ///
    /// # Errors
    /// [`IpiError`]; nothing was sent.
    fn send(&self, to: u32, ipi: Ipi) -> Result<(), IpiError>;

    /// Returns the error bits collected since the last call (ESR).
    fn take_errors(&self) -> u32;

    /// Ends the interrupt that is being served.
    fn eoi(&self);

    /// Whether the calling CPU is the hardware's bootstrap processor, which INIT would reset.
    fn is_bsp(&self) -> bool;
}

/// Local APIC registers, by their MMIO offset; x2APIC numbers follow from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub(crate) enum Reg {
    Version = 0x030,
    Tpr = 0x080,
    Eoi = 0x0b0,
    Svr = 0x0f0,
    Esr = 0x280,
    LvtCmci = 0x2f0,
    IcrLow = 0x300,
    IcrHigh = 0x310,
    LvtTimer = 0x320,
    LvtThermal = 0x330,
    LvtPerf = 0x340,
    LvtLint0 = 0x350,
    LvtLint1 = 0x360,
    LvtError = 0x370,
}

/// The registers of the calling CPU's APIC.
pub(crate) trait Registers: Sync {
    fn apic_base(&self) -> u64;
    fn set_apic_base(&self, value: u64);
    /// MMIO, xAPIC mode only.
    fn read(&self, reg: Reg) -> u32;
    fn write(&self, reg: Reg, value: u32);
    /// MSR, x2APIC mode only. Orders no earlier store.
    fn read_msr(&self, reg: Reg) -> u32;
    fn write_msr(&self, reg: Reg, value: u64);
    /// Makes all earlier stores visible before any later MSR write.
    fn fence(&self);
    /// Runs `work` with interrupts off and restores them.
    fn without_interrupts<T>(&self, work: impl FnOnce() -> T) -> T;
}

/// APIC_BASE: this CPU is the bootstrap processor.
const BSP: u64 = 1 << 8;
/// APIC_BASE: x2APIC mode; legal only together with `EN`.
pub(crate) const EXTD: u64 = 1 << 10;
/// APIC_BASE: enabled.
const EN: u64 = 1 << 11;

/// SVR: software enable.
const SVR_ENABLE: u32 = 1 << 8;
/// Spurious vector where the boot CPU had not chosen one.
const SPURIOUS: u32 = 0xff;
const LVT_MASKED: u32 = 1 << 16;
const ICR_PENDING: u32 = 1 << 12;
/// How often the delivery status is read before a send gives up. An uncached read takes 50 ns and
/// more, so this is about the millisecond that hardware may need, and never much less.
const ICR_POLLS: u32 = 20_000;

const XAPIC: u8 = 1;
const X2APIC: u8 = 2;

/// Our driver: the mode and spurious vector that the boot CPU chose, and a register file.
#[derive(Debug)]
pub(crate) struct Apic<R> {
    /// XAPIC or X2APIC. Written by `adopt` before any AP runs; read everywhere.
    mode: AtomicU8,
    svr: AtomicU32,
    pub(crate) regs: R,
}

impl<R: Registers> Apic<R> {
    pub(crate) const fn new(regs: R) -> Self {
        Self {
            mode: AtomicU8::new(0),
            svr: AtomicU32::new(0),
            regs,
        }
    }

    /// Takes the calling boot CPU's mode as the system's, and enables its APIC if it was not.
    pub(crate) fn adopt(&self) {
        let mut base = self.regs.apic_base();
        if base & EN == 0 {
            base |= EN;
            self.regs.set_apic_base(base);
        }
        let mode = if base & EXTD == 0 { XAPIC } else { X2APIC };
        self.mode.store(mode, Ordering::Release);
        let mut svr = self.get(Reg::Svr);
        if svr & SVR_ENABLE == 0 {
            svr = SVR_ENABLE | SPURIOUS;
            self.set(Reg::Svr, svr);
        }
        self.svr.store(svr, Ordering::Release);
    }

    fn is_x2(&self) -> bool {
        self.mode.load(Ordering::Acquire) == X2APIC
    }

    fn get(&self, reg: Reg) -> u32 {
        if self.is_x2() {
            self.regs.read_msr(reg)
        } else {
            self.regs.read(reg)
        }
    }

    fn set(&self, reg: Reg, value: u32) {
        if self.is_x2() {
            self.regs.write_msr(reg, u64::from(value));
        } else {
            self.regs.write(reg, value);
        }
    }

    /// Brings the calling CPU into the system's mode, whatever mode it is found in.
    fn enter_mode(&self) {
        let found = self.regs.apic_base();
        let wanted = if self.is_x2() { EN | EXTD } else { EN };
        let mut base = found & !(EN | EXTD);
        match (found & (EN | EXTD), wanted) {
            (now, wanted) if now == wanted => return,
            // EXTD cannot be cleared alone: that faults. The way down leads through "disabled",
            // and so does the way out of the reserved pair EXTD without EN.
            (now, _) if now & EXTD != 0 => self.regs.set_apic_base(base),
            _ => {}
        }
        base |= EN;
        self.regs.set_apic_base(base);
        if wanted & EXTD != 0 {
            self.regs.set_apic_base(base | EXTD);
        }
    }

    fn send_xapic(&self, to: u32, low: u32) -> Result<(), IpiError> {
        // 255 is the broadcast destination.
        if to >= 0xff {
            return Err(IpiError::Unreachable);
        }
        // An interrupt handler that sends between the two writes would change the destination.
        self.regs.without_interrupts(|| {
            let mut polls = 0;
            while self.regs.read(Reg::IcrLow) & ICR_PENDING != 0 {
                polls += 1;
                if polls >= ICR_POLLS {
                    return Err(IpiError::Busy);
                }
                core::hint::spin_loop();
            }
            self.regs.write(Reg::IcrHigh, to << 24);
            self.regs.write(Reg::IcrLow, low);
            Ok(())
        })
    }
}

/// Encodes the low half of the ICR: physical destination, no shorthand, level asserted.
fn icr_low(ipi: Ipi) -> u32 {
    match ipi {
        Ipi::Init => 0x4500,
        Ipi::Startup { page } => 0x4600 | u32::from(page),
        Ipi::Fixed { vector } => 0x4000 | u32::from(vector),
    }
}

impl<R: Registers> LocalApic for Apic<R> {
    fn enter_cpu(&self) {
        self.enter_mode();
        // Highest LVT index; the optional entries exist only from their number on.
        let last = (self.get(Reg::Version) >> 16) & 0xff;
        let entries = [
            (3, Reg::LvtTimer),
            (3, Reg::LvtLint0),
            (3, Reg::LvtLint1),
            (3, Reg::LvtError),
            (4, Reg::LvtPerf),
            (5, Reg::LvtThermal),
            (6, Reg::LvtCmci),
        ];
        for (number, lvt) in entries {
            // After an INIT they are masked already; a read costs no more than a blind write, and
            // a write to the timer entry could disturb firmware's timer mode.
            if number <= last && self.get(lvt) & LVT_MASKED == 0 {
                self.set(lvt, LVT_MASKED);
            }
        }
        self.set(Reg::Svr, self.svr.load(Ordering::Acquire));
        self.set(Reg::Tpr, 0);
    }

    fn send(&self, to: u32, ipi: Ipi) -> Result<(), IpiError> {
        let low = icr_low(ipi);
        if self.is_x2() {
            self.regs.fence();
            let icr = u64::from(to) << 32 | u64::from(low);
            self.regs.write_msr(Reg::IcrLow, icr);
            return Ok(());
        }
        self.send_xapic(to, low)
    }

    fn take_errors(&self) -> u32 {
        // The write latches what was collected; the read returns it.
        self.set(Reg::Esr, 0);
        self.get(Reg::Esr)
    }

    fn eoi(&self) {
        self.set(Reg::Eoi, 0);
    }

    fn is_bsp(&self) -> bool {
        self.regs.apic_base() & BSP != 0
    }
}

#[cfg(test)]
mod tests;
