//! The other machine: QEMU's `raspi3b`, four CPUs on a spin-table and no GIC.
//!
//! It has no device tree of its own, so what firmware would tell is known here. The wake interrupt is a
//! mailbox of each CPU.
//!
//! Spec: Broadcom "BCM2836 ARM-local peripherals", "Mailboxes", "Core timers interrupt control".
#![expect(
    unsafe_code,
    reason = "the CPUs' own devices are known by address only"
)]

use core::sync::atomic::{AtomicU32, Ordering};

use cpuhp_arm64::{CpuDesc, WakeIrq, WakeMethod};
use cpuhp_core::HwId;

/// The serial line.
pub(crate) const UART: usize = 0x3f20_1000;

const CPUS: u64 = 4;
/// Where each CPU looks for its entry: eight bytes per CPU from here.
const SPIN_TABLE: u64 = 0xd8;

/// The CPUs' own devices, as `boot` maps them; then per CPU: timers, mailboxes, sources, set, clear.
const LOCAL: usize = 0xc000_0000;
const TIMERS: usize = 0x40;
const MAILBOXES: usize = 0x50;
const SOURCES: usize = 0x60;
const SET: usize = 0x80;
const CLEAR: usize = 0xc0;
/// The non-secure physical timer, and the first mailbox.
const TIMER: u32 = 1 << 1;
const MAILBOX: u32 = 1;
const FROM_MAILBOX: u32 = 1 << 4;

/// 1: this is the machine. Written once, before anything else runs.
static IS_HERE: AtomicU32 = AtomicU32::new(0);

/// Notes which machine this is: its loader hands over a list of tags at 0x100, and no device tree.
pub(crate) fn notice(loader: usize) {
    IS_HERE.store(u32::from(loader == 0x100), Ordering::Relaxed);
}

/// Whether this is the machine.
pub(crate) fn is_here() -> bool {
    IS_HERE.load(Ordering::Relaxed) != 0
}

/// Its CPUs.
pub(crate) fn cpus() -> impl Iterator<Item = CpuDesc> + Clone {
    (0..CPUS).map(|core| CpuDesc {
        hw: HwId(core),
        method: WakeMethod::SpinTable {
            release: SPIN_TABLE + 8 * core,
        },
        wave: 0,
    })
}

/// The mailboxes as a wake interrupt.
pub(crate) struct Mailboxes;

fn place(at: usize) -> *mut u32 {
    core::ptr::with_exposed_provenance_mut(LOCAL + at)
}

fn write(at: usize, value: u32) {
    // SAFETY: a register of the CPUs' own devices, mapped as a device.
    unsafe { place(at).write_volatile(value) };
}

fn read(at: usize) -> u32 {
    // SAFETY: as above.
    unsafe { place(at).read_volatile() }
}

fn this_core() -> usize {
    let id: u64;
    // SAFETY: reading the register changes nothing.
    unsafe {
        core::arch::asm!("mrs {}, mpidr_el1", out(reg) id,
            options(nomem, nostack, preserves_flags));
    }
    (id & 3) as usize
}

impl WakeIrq for Mailboxes {
    fn init_cpu(&self, _sgi: u8) {
        let core = this_core();
        write(MAILBOXES + 4 * core, MAILBOX);
        write(TIMERS + 4 * core, TIMER);
    }

    fn send(&self, _sgi: u8, to: HwId) {
        let core = (to.0 & 3) as usize;
        // SAFETY: orders only: what the CPU shall see comes first.
        unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) };
        write(SET + 16 * core, 1);
    }

    fn ack(&self) -> bool {
        let core = this_core();
        let was_sent = read(SOURCES + 4 * core) & FROM_MAILBOX != 0;
        if was_sent {
            write(CLEAR + 16 * core, u32::MAX);
        }
        was_sent
    }
}
