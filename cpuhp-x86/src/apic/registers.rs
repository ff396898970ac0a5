//! The real register file of the local APIC, and the two model-specific registers beside it.
#![expect(
    unsafe_code,
    reason = "device registers and MSRs have no safe form; the address comes from `X86::new`"
)]

use core::arch::asm;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::{Reg, Registers};

const MSR_APIC_BASE: u32 = 0x1b;
const MSR_X2APIC: u32 = 0x800;
pub(crate) const MSR_EFER: u32 = 0xc000_0080;
pub(crate) const MSR_GS_BASE: u32 = 0xc000_0101;

/// The calling CPU's registers: one page of MMIO, at the same address on every CPU, or MSRs.
#[derive(Debug)]
pub(crate) struct Hardware {
    page: AtomicPtr<u32>,
}

impl Hardware {
    pub(crate) const fn new() -> Self {
        Self {
            page: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// Returns the physical address of the register page.
    pub(crate) fn physical(&self) -> u64 {
        self.apic_base() & 0x000f_ffff_ffff_f000
    }

    /// Says where that page is mapped.
    ///
    /// # Safety
    /// 1. `page` is the local APIC's register page, mapped uncached, and stays so.
    pub(crate) unsafe fn map(&self, page: NonNull<u32>) {
        self.page.store(page.as_ptr(), Ordering::Release);
    }

    fn at(&self, reg: Reg) -> Option<*mut u32> {
        let page = self.page.load(Ordering::Acquire);
        // Every `Reg` is below 4096 and a multiple of 16.
        (!page.is_null()).then(|| page.wrapping_byte_add(reg as usize))
    }
}

impl Registers for Hardware {
    fn apic_base(&self) -> u64 {
        // SAFETY: APIC_BASE exists on every 64-bit CPU, and reading it changes nothing.
        unsafe { read_msr(MSR_APIC_BASE) }
    }

    fn set_apic_base(&self, value: u64) {
        // SAFETY: the only caller changes EN and EXTD of the value it read, in the legal order.
        unsafe { write_msr(MSR_APIC_BASE, value) }
    }

    fn read(&self, reg: Reg) -> u32 {
        self.at(reg).map_or(0, |register| {
            // SAFETY: promise 1 of `map`: this is a 32-bit register of the calling CPU's APIC.
            unsafe { register.read_volatile() }
        })
    }

    fn write(&self, reg: Reg, value: u32) {
        if let Some(register) = self.at(reg) {
            // SAFETY: promise 1 of `map`; uncached, so it is ordered behind all earlier stores.
            unsafe { register.write_volatile(value) }
        }
    }

    fn read_msr(&self, reg: Reg) -> u32 {
        // SAFETY: called in x2APIC mode only, where the number is offset / 16 above 0x800.
        let value = unsafe { read_msr(MSR_X2APIC + (reg as u32 >> 4)) };
        (value & 0xffff_ffff) as u32
    }

    fn write_msr(&self, reg: Reg, value: u64) {
        // SAFETY: called in x2APIC mode only, with values the register defines.
        unsafe { write_msr(MSR_X2APIC + (reg as u32 >> 4), value) }
    }

    fn fence(&self) {
        // SAFETY: both fences are part of 64-bit mode. Without `nomem`, so that the compiler keeps
        // earlier stores before them.
        unsafe { asm!("mfence", "lfence", options(nostack, preserves_flags)) }
    }

    fn without_interrupts<T>(&self, work: impl FnOnce() -> T) -> T {
        let enabled = interrupts_enabled();
        disable_interrupts();
        let result = work();
        if enabled {
            enable_interrupts();
        }
        result
    }
}

/// Reads a model-specific register.
///
/// # Safety
/// 1. The register exists on this CPU.
pub(crate) unsafe fn read_msr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: promise 1; `rdmsr` writes EAX and EDX only. Without `nomem`: some are side effects.
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high,
            options(nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// 1. The register exists on this CPU, and `value` is legal and harmless in it.
pub(crate) unsafe fn write_msr(number: u32, value: u64) {
    let low = (value & 0xffff_ffff) as u32;
    let high = (value >> 32) as u32;
    // SAFETY: promise 1. Without `nomem`: it may start what looks at memory.
    unsafe {
        asm!("wrmsr", in("ecx") number, in("eax") low, in("edx") high,
            options(nostack, preserves_flags));
    }
}

/// Whether the calling CPU takes interrupts.
pub(crate) fn interrupts_enabled() -> bool {
    let flags: u64;
    // SAFETY: pushes and pops one word of this function's own stack and changes no flag.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags & (1 << 9) != 0
}

/// Closes interrupts. A compiler barrier too: no `nomem`.
pub(crate) fn disable_interrupts() {
    // SAFETY: changes IF only; ring 0 by promise 3 of `X86::new`.
    unsafe { asm!("cli", options(nostack)) };
}

/// Opens interrupts. A compiler barrier too: no `nomem`.
pub(crate) fn enable_interrupts() {
    // SAFETY: changes IF only; promise 6 of `X86::new` says that the handlers are in place.
    unsafe { asm!("sti", options(nostack)) };
}

/// Sleeps until an interrupt, and returns with interrupts off.
///
/// One that is pending already ends the sleep at once: `sti` takes effect after `hlt` has begun.
pub(crate) fn sleep() {
    // SAFETY: no register or stack changes but by handlers, which restore them. No `nomem`.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Sets the lowest priority class that may interrupt to one above `class`, and returns the old one.
///
/// CR8 is TPR bits 7:4 in both APIC modes, without a device access.
pub(crate) fn set_priority(class: u8) -> u8 {
    let old: u64;
    // SAFETY: CR8 exists in 64-bit mode; reading it has no effect.
    unsafe { asm!("mov {}, cr8", out(reg) old, options(nostack, preserves_flags)) };
    // SAFETY: the class is below 16, all other bits are zero, as CR8 demands.
    unsafe {
        asm!("mov cr8, {}", in(reg) u64::from(class & 15), options(nostack, preserves_flags))
    };
    (old & 15) as u8
}
