//! CPUs that firmware refuses to start, for the tests: ids that it does not know, and CPUs that run already.
#![expect(
    unsafe_code,
    reason = "a CPU in foreign hands runs a few instructions of its own"
)]

use core::arch::global_asm;

use cpuhp_arm64::{Arm64, Conduit, CpuDesc, WakeMethod};
use cpuhp_core::{CpuId, HwId, Platform};
use smccc::psci;

use crate::memory;

/// Ids from here on belong to nobody: Aff3 is as large as it can be.
const UNKNOWN: u64 = 0xff_0000_0000;

/// Questions to firmware before a CPU is taken to be on.
const MOST_QUESTIONS: u32 = 1_000_000;

global_asm!(
    ".pushsection .text.absent, \"ax\", @progbits",
    ".balign 64",
    ".global absent_loop",
    "absent_loop: wfi",
    "b absent_loop",
    ".popsection",
);

unsafe extern "C" {
    /// What a CPU in foreign hands runs, MMU and caches off, interrupts masked.
    static absent_loop: u8;
}

/// How many of each kind there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Absent {
    unknown: u32,
    taken: u32,
}

impl Absent {
    /// `taken` of the `all` CPUs run already.
    pub(crate) fn new(all: u32, taken: u32) -> Self {
        let taken = taken.min(all);
        let unknown = all - taken;
        Self { unknown, taken }
    }

    /// Starts the last of the listed CPUs, as somebody else would. Context: boot CPU, before the backend.
    pub(crate) fn take(
        self,
        cpus: impl Iterator<Item = CpuDesc> + Clone,
        conduit: Option<Conduit>,
    ) {
        let count = cpus.clone().count();
        let first = count.saturating_sub(self.taken as usize);
        let entry = memory::to_phys((&raw const absent_loop).expose_provenance() as u64);
        for cpu in cpus.skip(first) {
            match conduit {
                Some(Conduit::Hvc) => start::<smccc::Hvc>(cpu.hw.0, entry),
                Some(Conduit::Smc) => start::<smccc::Smc>(cpu.hw.0, entry),
                None => {}
            }
        }
    }

    /// Returns CPUs that firmware does not know.
    pub(crate) fn unknown(self) -> impl Iterator<Item = CpuDesc> {
        (0..u64::from(self.unknown)).map(|number| CpuDesc {
            hw: HwId(UNKNOWN + number),
            method: WakeMethod::Psci,
            wave: 0,
        })
    }

    /// Notes all of them as not present. Context: boot CPU, before any kick.
    pub(crate) fn note(self, backend: &Arm64) {
        let count = self.unknown + self.taken;
        let cpus = backend.cpus();
        for cpu in cpus.saturating_sub(count)..cpus {
            backend.set_absent(CpuId::new(cpu));
        }
    }
}

/// Starts a CPU and waits until firmware says that it is on. Whether that worked is seen by the kick that is
/// refused, or not.
fn start<C: smccc::Call>(id: u64, entry: u64) {
    if psci::cpu_on::<C>(id, entry, 0).is_err() {
        return;
    }
    for _ in 0..MOST_QUESTIONS {
        let state = psci::affinity_info::<C>(id, psci::LowestAffinityLevel::All);
        if state == Ok(psci::AffinityState::On) {
            break;
        }
        core::hint::spin_loop();
    }
}

/// With which code firmware refuses an absent CPU: it does not know its id, or it is on.
pub(crate) fn refusal(backend: &Arm64, cpu: CpuId) -> Option<i64> {
    let code = if backend.hw_id(cpu).0 >= UNKNOWN {
        psci::error::INVALID_PARAMETERS
    } else {
        psci::error::ALREADY_ON
    };
    Some(i64::from(code))
}
