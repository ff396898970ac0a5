//! What this kernel does with its local APICs itself: sleep on the timer, and disturb other CPUs.
//!
//! A simulated latency is slept, not spun: it then costs no host CPU, and many CPUs can have it at
//! once on two host cores.
//!
//! Spec: Intel SDM vol. 3A, "APIC Timer", "Interrupt Command Register (ICR)".
#![expect(
    unsafe_code,
    reason = "device registers, and instructions that open interrupts in the instant they sleep"
)]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use cpuhp_x86::clock;

use crate::interrupts::{TIMER, WAKE};

const APIC_BASE: u32 = 0x1b;
const X2APIC: u32 = 1 << 10;
const ENABLED: u32 = 1 << 11;
/// CPUID leaf 1, ECX.
const HAS_X2APIC: u32 = 1 << 21;
const LVT_TIMER: u32 = 0x320;
const LVT_MASKED: u32 = 1 << 16;
const INITIAL: u32 = 0x380;
const CURRENT: u32 = 0x390;
const DIVIDE: u32 = 0x3e0;
const BY_16: u32 = 3;
const ICR_LOW: u32 = 0x300;
const ICR_HIGH: u32 = 0x310;
const ASSERT: u32 = 0x4000;
const NMI: u32 = 0x4400;
const PENDING: u32 = 1 << 12;
/// Looks at the command register before an interrupt is given up; one is delivered in microseconds.
const LOOKS: u32 = 100_000;

/// Timer ticks per second. Written by the boot CPU before any AP runs.
static TIMER_HZ: AtomicU64 = AtomicU64::new(0);

const NS_PER_S: u64 = 1_000_000_000;

/// Brings the boot CPU's APIC into x2APIC mode, if the processor has it; APs follow the boot CPU.
///
/// Context: boot CPU, APIC enabled, before the backend is made.
pub(crate) fn enable_x2apic() {
    if has_x2apic() {
        write_base(read_base() | ENABLED | X2APIC);
    }
}

/// Brings the calling CPU's APIC into the mode that the system does not use, if the processor has two.
///
/// Context: the CPU is about to rest, interrupts off. The backend brings it back.
pub(crate) fn flip_mode() {
    if !has_x2apic() {
        return;
    }
    let base = read_base();
    if base & X2APIC == 0 {
        write_base(base | X2APIC);
    } else {
        // The way down leads through "disabled".
        write_base(base & !(ENABLED | X2APIC));
        write_base(base & !X2APIC);
    }
}

fn has_x2apic() -> bool {
    let features: u32;
    // SAFETY: CPUID exists on every 64-bit CPU; RBX is the compiler's and is put back.
    unsafe {
        asm!("mov {0}, rbx", "cpuid", "mov rbx, {0}", out(reg) _, inout("eax") 1 => _,
            out("ecx") features, out("edx") _, options(nostack, preserves_flags));
    }
    features & HAS_X2APIC != 0
}

/// Returns the low half of APIC_BASE.
fn read_base() -> u32 {
    let low: u32;
    // SAFETY: the register exists on every 64-bit CPU.
    unsafe {
        asm!("rdmsr", in("ecx") APIC_BASE, out("eax") low, out("edx") _,
            options(nostack, preserves_flags));
    }
    low
}

fn write_base(low: u32) {
    // SAFETY: the register exists on every 64-bit CPU; the callers make legal steps between modes that
    // the processor has. The APIC lies below 4 GiB.
    unsafe {
        asm!("wrmsr", in("ecx") APIC_BASE, in("eax") low, in("edx") 0,
            options(nostack, preserves_flags));
    }
}

/// Measures the timer against the TSC for a millisecond. Context: boot CPU, APIC enabled.
pub(crate) fn calibrate(tsc_hz: u64) {
    write(DIVIDE, BY_16);
    write(LVT_TIMER, LVT_MASKED | u32::from(TIMER));
    write(INITIAL, u32::MAX);
    let start = clock::ticks();
    while clock::ticks() - start < tsc_hz / 1000 {
        core::hint::spin_loop();
    }
    let timer = u64::from(u32::MAX - read(CURRENT));
    let tsc = clock::ticks() - start;
    write(INITIAL, 0);
    let hz = u128::from(timer) * u128::from(tsc_hz) / u128::from(tsc.max(1));
    TIMER_HZ.store(u64::try_from(hz).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Sends a wake interrupt to the CPU with this id, which means nothing to it.
pub(crate) fn wake(id: u32) {
    send(id, u32::from(WAKE) | ASSERT);
}

/// Sends a wake interrupt and an NMI that mean nothing to the CPU with this id.
pub(crate) fn disturb(id: u32) {
    wake(id);
    send(id, NMI);
}

fn send(id: u32, what: u32) {
    // An interrupt handler that sends between the two writes would change the destination.
    let were_on = interrupts_are_on();
    interrupts_off();
    write_command(id, what);
    if were_on {
        interrupts_on();
    }
}

fn write_command(id: u32, what: u32) {
    if is_x2apic() {
        write_msr(ICR_LOW, u64::from(id) << 32 | u64::from(what));
        return;
    }
    let is_free = (0..LOOKS).any(|_| {
        core::hint::spin_loop();
        read(ICR_LOW) & PENDING == 0
    });
    if !is_free {
        // It means nothing to its CPU, so it may as well not be sent.
        return;
    }
    write(ICR_HIGH, id << 24);
    write(ICR_LOW, what);
}

/// Stops the calling CPU's timer, whatever it did.
pub(crate) fn stop_timer() {
    write(LVT_TIMER, LVT_MASKED | u32::from(TIMER));
    write(DIVIDE, BY_16);
    write(INITIAL, 0);
}

/// Sleeps until the next interrupt, at most `ns` nanoseconds.
///
/// Context: interrupts off, before and after.
pub(crate) fn sleep_ns(ns: u64) {
    let ticks = u128::from(ns) * u128::from(TIMER_HZ.load(Ordering::Relaxed));
    let ticks = (ticks / u128::from(NS_PER_S)).clamp(1, u128::from(u32::MAX));
    write(DIVIDE, BY_16);
    write(LVT_TIMER, u32::from(TIMER));
    write(INITIAL, u32::try_from(ticks).unwrap_or(u32::MAX));
    // SAFETY: every vector has a handler; `sti` takes effect when `hlt` has begun, so no interrupt
    // is missed between the two.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
    write(INITIAL, 0);
}

/// Opens interrupts on the calling CPU.
pub(crate) fn interrupts_on() {
    // SAFETY: every vector has a handler.
    unsafe { asm!("sti", options(nostack)) };
}

/// Closes interrupts on the calling CPU.
pub(crate) fn interrupts_off() {
    // SAFETY: changes IF only.
    unsafe { asm!("cli", options(nostack)) };
}

/// Whether interrupts are open on the calling CPU.
pub(crate) fn interrupts_are_on() -> bool {
    let flags: u64;
    // SAFETY: uses one word of stack and changes no flag.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags & (1 << 9) != 0
}

fn is_x2apic() -> bool {
    read_base() & X2APIC != 0
}

fn place(reg: u32) -> *mut u32 {
    core::ptr::with_exposed_provenance_mut(0xfee0_0000 + reg as usize)
}

fn read(reg: u32) -> u32 {
    if !is_x2apic() {
        // SAFETY: a register of the local APIC at its reset address, mapped uncached by `boot`.
        return unsafe { place(reg).read_volatile() };
    }
    let low: u32;
    // SAFETY: in x2APIC mode the register with this offset has this number.
    unsafe {
        asm!("rdmsr", in("ecx") 0x800 + (reg >> 4), out("eax") low, out("edx") _,
            options(nostack, preserves_flags));
    }
    low
}

fn write(reg: u32, value: u32) {
    if !is_x2apic() {
        // SAFETY: as in `read`; the values are legal in the three timer registers.
        return unsafe { place(reg).write_volatile(value) };
    }
    write_msr(reg, u64::from(value));
}

fn write_msr(reg: u32, value: u64) {
    let (low, high) = (value & 0xffff_ffff, value >> 32);
    // SAFETY: in x2APIC mode the register with this offset has this number.
    unsafe {
        asm!("wrmsr", in("ecx") 0x800 + (reg >> 4), in("rax") low, in("rdx") high,
            options(nostack, preserves_flags));
    }
}
