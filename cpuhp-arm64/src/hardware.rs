//! The machine itself: firmware calls, cache maintenance, waiting, and what says which CPU this is.
#![expect(
    unsafe_code,
    reason = "system registers, caches and the wait instructions are reached by assembly only"
)]

use core::arch::asm;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;

use cpuhp_core::{CpuId, HwId};
use smccc::psci;

use crate::cache::{Area, Cache};
use crate::config::Conduit;
use crate::gic::registers::Driver;
use crate::kick::Machine;
use crate::psci::Firmware;
use crate::record::BootRecord;
use crate::topology::AFFINITY;

/// EL2, as a number.
pub(crate) const EL2: u64 = 2;

/// Firmware by a conduit, the caches of this CPU, and the wake interrupt.
#[derive(Clone, Copy)]
pub(crate) struct Hardware {
    pub(crate) conduit: Option<Conduit>,
    pub(crate) to_virt: fn(u64, usize) -> Option<NonNull<u8>>,
    pub(crate) sgi: u8,
    pub(crate) gic: Driver,
}

impl Hardware {
    /// Calls firmware and returns its answer, 32 bits with a sign.
    fn call(&self, function: u32, args: [u64; 3]) -> i64 {
        let [first, second, third] = args;
        let args = [
            first, second, third, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        let [answer, ..] = match self.conduit {
            Some(Conduit::Hvc) => smccc::hvc64(function, args),
            Some(Conduit::Smc) => smccc::smc64(function, args),
            None => return i64::from(psci::error::NOT_SUPPORTED),
        };
        #[expect(clippy::cast_possible_truncation, reason = "PSCI answers 32 bits")]
        let answer = answer as u32;
        i64::from(answer.cast_signed())
    }
}

impl Firmware for Hardware {
    fn cpu_on(&self, target: u64, entry: u64, context: u64) -> i64 {
        barrier();
        self.call(psci::PSCI_CPU_ON_64, [target, entry, context])
    }

    fn affinity_info(&self, target: u64) -> i64 {
        let state = self.call(psci::PSCI_AFFINITY_INFO_64, [target, 0, 0]);
        barrier();
        state
    }

    fn cpu_off(&self) -> i64 {
        barrier();
        let [answer, ..] = match self.conduit {
            Some(Conduit::Hvc) => smccc::hvc32(psci::PSCI_CPU_OFF, [0; 7]),
            Some(Conduit::Smc) => smccc::smc32(psci::PSCI_CPU_OFF, [0; 7]),
            None => return i64::from(psci::error::NOT_SUPPORTED),
        };
        i64::from(answer.cast_signed())
    }

    fn relax(&self) {
        relax();
    }

    fn send_event(&self) {
        // SAFETY: the event means at most one more look for whoever waits.
        unsafe { asm!("dsb sy", "sev", options(nostack, preserves_flags)) };
    }
}

impl Cache for Hardware {
    fn publish(&self, area: Area) {
        let (mut at, end, step) = lines(area);
        while at < end {
            // SAFETY: `at` is in a line of memory that the caller has a reference to; cleaning and
            // dropping it changes no value.
            unsafe { asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) };
            at += step;
        }
        barrier();
    }

    fn refresh(&self, area: Area) {
        let (mut at, end, step) = lines(area);
        while at < end {
            // SAFETY: as above; the line is never dirty here, since only a CPU with its caches off
            // writes it, and 256 bytes around it are its own.
            unsafe { asm!("dc ivac, {}", in(reg) at, options(nostack, preserves_flags)) };
            at += step;
        }
        barrier();
    }
}

impl Machine for Hardware {
    fn interrupt(&self, to: &BootRecord) {
        self.gic.send(self.sgi, to);
    }

    fn rouse(&self, cpu: &BootRecord) {
        match self.gic {
            Driver::V3 => self.interrupt(cpu),
            Driver::Custom(_) => self.send_event(),
        }
    }

    fn release_word(&self, phys: u64) -> Option<&'static AtomicU64> {
        if phys == 0 || !phys.is_multiple_of(8) {
            return None;
        }
        let word = (self.to_virt)(phys, 8)?.cast::<AtomicU64>();
        if !word.is_aligned() {
            return None;
        }
        // SAFETY: promises 1 and 2 of `Arm64::new`: it is mapped, and firmware's word for us.
        Some(unsafe { word.as_ref() })
    }
}

/// First line of an area, its end, and the length of a line.
fn lines(area: Area) -> (usize, usize, usize) {
    let line = 4 << (cache_type() >> 16 & 0xf);
    let start = area.at.addr();
    (start & !(line - 1), start + area.len, line)
}

fn cache_type() -> u64 {
    let ctr: u64;
    // SAFETY: reading the register changes nothing.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    ctr
}

/// The most memory that one write-back may cover, in bytes.
pub(crate) fn write_back_granule() -> u64 {
    match cache_type() >> 24 & 0xf {
        // Not said: the architecture's limit.
        0 => 2048,
        words => 4 << words,
    }
}

/// Drops stale instructions on every CPU, after new ones have been cleaned to memory.
pub(crate) fn forget_instructions() {
    // SAFETY: costs time only.
    unsafe {
        asm!(
            "ic ialluis",
            "dsb sy",
            "isb",
            options(nostack, preserves_flags)
        )
    };
}

/// Completes every access before it, for every observer.
fn barrier() {
    // SAFETY: orders only.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// Lets other CPUs of the same core, or of the same emulator thread, go on.
pub(crate) fn relax() {
    // SAFETY: a hint. Not `spin_loop`, which is another instruction and gives nothing away.
    unsafe { asm!("yield", options(nostack, preserves_flags)) };
}

/// Sleeps until an interrupt is pending, masked or not.
pub(crate) fn sleep() {
    // SAFETY: waits only.
    unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
}

/// Stops the calling CPU for good.
pub(crate) fn halt() -> ! {
    disable_interrupts();
    loop {
        sleep();
    }
}

/// Returns the calling CPU's exception level.
pub(crate) fn level() -> u64 {
    let level: u64;
    // SAFETY: reading the register changes nothing.
    unsafe { asm!("mrs {}, CurrentEL", out(reg) level, options(nomem, nostack, preserves_flags)) };
    level >> 2
}

/// Returns the calling CPU's hardware id.
pub(crate) fn hw_id() -> HwId {
    let id: u64;
    // SAFETY: as above.
    unsafe { asm!("mrs {}, mpidr_el1", out(reg) id, options(nomem, nostack, preserves_flags)) };
    HwId(id & AFFINITY)
}

/// Masks interrupts on the calling CPU.
pub(crate) fn disable_interrupts() {
    // SAFETY: changes the mask only.
    unsafe { asm!("msr daifset, #3", options(nostack, preserves_flags)) };
}

/// Opens interrupts on the calling CPU.
pub(crate) fn enable_interrupts() {
    // SAFETY: the kernel's vectors are in place (promise 3 of `Arm64::new`).
    unsafe { asm!("msr daifclr, #3", options(nostack, preserves_flags)) };
}

/// Whether interrupts are open on the calling CPU.
pub(crate) fn interrupts_enabled() -> bool {
    let mask: u64;
    // SAFETY: reading the mask changes nothing.
    unsafe { asm!("mrs {}, daif", out(reg) mask, options(nomem, nostack, preserves_flags)) };
    mask & 1 << 7 == 0
}

/// Makes the calling CPU's record its per-CPU base.
///
/// # Safety
/// 1. Nothing else is kept in the thread-id register of this level.
pub(crate) unsafe fn set_base(record: &'static BootRecord) {
    let base = core::ptr::from_ref(record).expose_provenance();
    if level() == EL2 {
        // SAFETY: promise 1.
        unsafe { asm!("msr tpidr_el2, {}", in(reg) base, options(nostack, preserves_flags)) };
    } else {
        // SAFETY: promise 1.
        unsafe { asm!("msr tpidr_el1, {}", in(reg) base, options(nostack, preserves_flags)) };
    }
}

/// Chooses what tells the calling CPU's number where the per-CPU base is the record.
pub(crate) fn this_cpu(level: u64) -> fn() -> CpuId {
    if level == EL2 {
        this_cpu_el2
    } else {
        this_cpu_el1
    }
}

fn this_cpu_el1() -> CpuId {
    let number: u32;
    // SAFETY: TPIDR_EL1 is a `BootRecord` on every CPU: the entry code and `Arm64::new` put it there
    // where the kernel gave no `this_cpu` of its own.
    unsafe {
        asm!("mrs {0:x}, tpidr_el1", "ldr {0:w}, [{0:x}, {1}]", out(reg) number,
            const offset_of!(BootRecord, cpu), options(nostack, readonly, preserves_flags));
    }
    CpuId::new(number)
}

fn this_cpu_el2() -> CpuId {
    let number: u32;
    // SAFETY: as above, TPIDR_EL2.
    unsafe {
        asm!("mrs {0:x}, tpidr_el2", "ldr {0:w}, [{0:x}, {1}]", out(reg) number,
            const offset_of!(BootRecord, cpu), options(nostack, readonly, preserves_flags));
    }
    CpuId::new(number)
}
