//! The one-shot timer of the calling CPU's local APIC, and sleeping on it.
//!
//! A simulated latency is slept, not spun: it then costs no host CPU, and many CPUs can have it at
//! once on two host cores.
//!
//! Spec: Intel SDM vol. 3A, "APIC Timer".
#![expect(
    unsafe_code,
    reason = "device registers, and instructions that open interrupts in the instant they sleep"
)]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use cpuhp_x86::clock;

use crate::cpu::TIMER;

const APIC_BASE: u32 = 0x1b;
const X2APIC: u64 = 1 << 10;
const LVT_TIMER: u32 = 0x320;
const LVT_MASKED: u32 = 1 << 16;
const INITIAL: u32 = 0x380;
const CURRENT: u32 = 0x390;
const DIVIDE: u32 = 0x3e0;
const BY_16: u32 = 3;

/// Timer ticks per second, and TSC ticks per second. Written by the boot CPU before any AP runs.
static TIMER_HZ: AtomicU64 = AtomicU64::new(0);
static TSC_HZ: AtomicU64 = AtomicU64::new(0);

const NS_PER_S: u64 = 1_000_000_000;

/// Measures the timer against the TSC for a millisecond. Context: boot CPU, APIC enabled.
pub fn calibrate(tsc_hz: u64) {
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
    TSC_HZ.store(tsc_hz, Ordering::Relaxed);
}

/// Sleeps for `us` microseconds; other interrupts are served meanwhile.
///
/// Context: any CPU with its APIC enabled; interrupts are afterwards as they were.
pub fn sleep_us(us: u64) {
    let ticks = u128::from(us) * u128::from(TSC_HZ.load(Ordering::Relaxed)) / 1_000_000;
    let end = clock::ticks().saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX));
    let were_on = interrupts_off();
    loop {
        let left = end.saturating_sub(clock::ticks());
        if left == 0 {
            break;
        }
        let ns = u128::from(left) * u128::from(NS_PER_S)
            / u128::from(TSC_HZ.load(Ordering::Relaxed).max(1));
        sleep_ns(u64::try_from(ns).unwrap_or(u64::MAX));
    }
    if were_on {
        interrupts_on();
    }
}

/// Sleeps until the next interrupt, at most `ns` nanoseconds.
///
/// Context: interrupts off, before and after.
pub fn sleep_ns(ns: u64) {
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
pub fn interrupts_on() {
    // SAFETY: every vector has a handler.
    unsafe { asm!("sti", options(nostack)) };
}

/// Closes interrupts and answers whether they were open.
fn interrupts_off() -> bool {
    let flags: u64;
    // SAFETY: uses one word of stack, changes IF only.
    unsafe { asm!("pushfq", "pop {}", "cli", out(reg) flags) };
    flags & (1 << 9) != 0
}

fn is_x2apic() -> bool {
    let low: u32;
    // SAFETY: the register exists on every 64-bit CPU.
    unsafe {
        asm!("rdmsr", in("ecx") APIC_BASE, out("eax") low, out("edx") _,
            options(nostack, preserves_flags));
    }
    u64::from(low) & X2APIC != 0
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
    // SAFETY: as in `read`.
    unsafe {
        asm!("wrmsr", in("ecx") 0x800 + (reg >> 4), in("eax") value, in("edx") 0,
            options(nostack, preserves_flags));
    }
}
