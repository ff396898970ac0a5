//! The units that every CPU has of its own and that this kernel sets up on each entry: floating point,
//! system-call registers, timer.
//!
//! A CPU comes back in another state than it came first: INIT keeps most of it, the park region
//! clears CR4. So each unit is set up whole, whatever is found.
#![expect(
    unsafe_code,
    reason = "control registers and model-specific registers are reached by instructions only"
)]

use core::arch::asm;

use crate::apic;

const CR0_MP: u64 = 1 << 1;
const CR0_EM_TS: u64 = 1 << 2 | 1 << 3;
const CR4_FXSR_XMM: u64 = 1 << 9 | 1 << 10;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const FMASK: u32 = 0xc000_0084;

/// Sets all units of the calling CPU up. Context: STARTING, interrupts off.
pub(crate) fn enter() {
    floating_point();
    // Kernel and user segments, entry, and the flags it clears. This kernel has no user mode.
    for (register, value) in [(STAR, 0x0013_0008_u64 << 32), (LSTAR, 0), (FMASK, 0x200)] {
        let (low, high) = (value & 0xffff_ffff, value >> 32);
        // SAFETY: they exist on every 64-bit CPU, and nothing uses them while EFER.SCE is clear.
        unsafe {
            asm!("wrmsr", in("ecx") register, in("rax") low, in("rdx") high,
                options(nostack, preserves_flags));
        }
    }
    apic::stop_timer();
}

fn floating_point() {
    let (mut cr0, mut cr4): (u64, u64);
    // SAFETY: reading control registers changes nothing.
    unsafe {
        asm!("mov {}, cr0", "mov {}, cr4", out(reg) cr0, out(reg) cr4,
            options(nomem, nostack, preserves_flags));
    }
    cr0 = (cr0 | CR0_MP) & !CR0_EM_TS;
    cr4 |= CR4_FXSR_XMM;
    // No `ldmxcsr`: this kernel has no SSE code, and a KVM that emulates ring 0 stops the machine at
    // that instruction.
    // SAFETY: every 64-bit CPU has these bits and this instruction; this kernel keeps nothing in the
    // registers that it resets.
    unsafe {
        asm!("mov cr0, {}", "mov cr4, {}", "fninit", in(reg) cr0, in(reg) cr4, options(nostack));
    }
}
