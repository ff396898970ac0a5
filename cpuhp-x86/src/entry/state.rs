//! The registers an AP takes over from the boot CPU, and those that say which CPU this is.
#![expect(
    unsafe_code,
    reason = "control registers, descriptor tables and the per-CPU base are reached by instructions only"
)]

use core::arch::asm;
use core::mem::offset_of;

use cpuhp_core::CpuId;

use crate::apic::registers::{MSR_EFER, MSR_GS_BASE, read_msr, write_msr};
use crate::record::BootRecord;

/// The boot CPU's registers that an AP takes over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) cr3: u64,
    pub(crate) cr0: u64,
    pub(crate) cr4: u64,
    pub(crate) efer: u64,
    pub(crate) gdt: [u64; 2],
    pub(crate) idt: [u64; 2],
    pub(crate) cs: u16,
    pub(crate) ss: u16,
}

impl Snapshot {
    /// Reads them on the calling CPU.
    ///
    /// # Safety
    /// 1. The caller runs in ring 0.
    pub(crate) unsafe fn take() -> Self {
        let (cr0, cr3, cr4): (u64, u64, u64);
        // SAFETY: promise 1; reading control registers changes nothing.
        unsafe {
            asm!("mov {}, cr0", "mov {}, cr3", "mov {}, cr4",
                out(reg) cr0, out(reg) cr3, out(reg) cr4,
                options(nomem, nostack, preserves_flags));
        }
        // SAFETY: promise 1; EFER exists on every 64-bit CPU.
        let efer = unsafe { read_msr(MSR_EFER) };
        let (mut gdt, mut idt) = ([0_u64; 2], [0_u64; 2]);
        let (cs, ss): (u16, u16);
        // SAFETY: both stores write ten bytes, from byte 6 of a 16-byte array to its end.
        unsafe {
            asm!("sgdt [{0} + 6]", "sidt [{1} + 6]", "mov {2:x}, cs", "mov {3:x}, ss",
                in(reg) &raw mut gdt, in(reg) &raw mut idt, out(reg) cs, out(reg) ss,
                options(nostack, preserves_flags));
        }
        Self {
            cr3: cr3 & !0xfff,
            cr0,
            cr4,
            efer,
            gdt,
            idt,
            cs,
            ss,
        }
    }
}

/// Makes the calling CPU's record its per-CPU base.
///
/// # Safety
/// 1. Nothing else is kept in the GS base.
pub(crate) unsafe fn set_base(record: &'static BootRecord) {
    let address = core::ptr::from_ref(record) as u64;
    // SAFETY: promise 1; the address is canonical, since it is a reference's.
    unsafe { write_msr(MSR_GS_BASE, address) };
}

/// Returns the calling CPU's number, where the per-CPU base is the record.
pub(crate) fn this_cpu() -> CpuId {
    let number: u32;
    // SAFETY: the GS base is a `BootRecord` on every CPU: the entry code and `X86::new` put it
    // there where the kernel gave no `this_cpu` of its own.
    unsafe {
        asm!("mov {:e}, gs:[{}]", out(reg) number, const offset_of!(BootRecord, cpu),
            options(nostack, readonly, preserves_flags));
    }
    CpuId::new(number)
}

/// CPUID.
pub(crate) fn cpuid(leaf: u32, sub_leaf: u32) -> [u32; 4] {
    let (eax, ebx, ecx, edx): (u32, u64, u32, u32);
    // SAFETY: CPUID exists on every 64-bit CPU. RBX is the compiler's: it is put back.
    unsafe {
        asm!("mov {0}, rbx", "cpuid", "xchg {0}, rbx",
            out(reg) ebx, inout("eax") leaf => eax, inout("ecx") sub_leaf => ecx,
            out("edx") edx, options(nostack, preserves_flags));
    }
    [eax, (ebx & 0xffff_ffff) as u32, ecx, edx]
}
