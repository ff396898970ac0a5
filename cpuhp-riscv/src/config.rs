//! What the kernel says once, when it makes the backend, and what can be wrong with it.

use core::fmt;
use core::num::NonZeroU64;
use core::ptr::NonNull;

use cpuhp_core::{CpuId, HwId};

use crate::record::BootRecord;

/// Which logical number a CPU gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Numbering {
    /// The boot CPU is 0; then those that firmware serves, in the order they are listed, then the
    /// others: a CPU that is not there never takes the record of one that is.
    #[default]
    BootFirst,
    /// The order in which they are listed; the boot CPU may have any number.
    Table,
}

/// How often the firmware is asked and how long a waiting CPU polls. There is no delay before a start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timings {
    /// How often in a row the firmware is asked whether a CPU that has left is off.
    pub yields: u32,
    /// How long the control CPU sleeps before it asks again, in microseconds.
    pub poll_us: u32,
    /// Polls of a waiting CPU before it sleeps.
    pub spin_polls: u32,
}

impl Timings {
    /// 16 times, 100 us, 64 polls.
    pub const fn conservative() -> Self {
        Self {
            yields: 16,
            poll_us: 100,
            spin_polls: 64,
        }
    }

    /// The same as [`Self::conservative`]: there is no delay that newer hardware could do without.
    pub const fn modern() -> Self {
        Self::conservative()
    }
}

impl Default for Timings {
    fn default() -> Self {
        Self::conservative()
    }
}

/// What the three deadlines of the core are, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// From kick to alive.
    pub alive_ns: u64,
    /// For one step on an AP.
    pub step_ns: u64,
    /// From the order to die until confirmed.
    pub die_ns: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            alive_ns: 10_000_000_000,
            step_ns: 10_000_000_000,
            die_ns: 10_000_000_000,
        }
    }
}

/// How the kernel maps physical memory.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// Where `len` bytes at a physical address are mapped; device registers uncached.
    pub to_virt: fn(phys: u64, len: usize) -> Option<NonNull<u8>>,
    /// The physical address of a virtual one.
    pub to_phys: fn(virt: usize) -> Option<u64>,
}

impl Mapping {
    /// Every physical address is mapped at itself.
    pub const IDENTITY: Self = Self {
        to_virt: |phys, _| {
            let address = usize::try_from(phys).ok()?;
            NonNull::new(core::ptr::with_exposed_provenance_mut(address))
        },
        to_phys: |virt| Some(virt as u64),
    };
}

/// The part of the configuration that is the same for every architecture.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    /// One record per CPU that may ever be used; the index is the logical number.
    pub records: &'static [BootRecord],
    /// Where each AP begins, on its own stack, interrupts off.
    pub ap_main: fn(CpuId) -> !,
    /// Who gets which number.
    pub numbering: Numbering,
    /// Frequency of the `time` counter: `timebase-frequency` of the device tree.
    pub clock_hz: NonZeroU64,
    /// Delays.
    pub timings: Timings,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// How physical memory is mapped.
    pub map: Mapping,
    /// The number of the calling CPU. `None`: the per-CPU base is the record, which
    /// `Riscv::new` installs on the boot CPU; then every [`crate::Boot::percpu`] must be 0.
    pub this_cpu: Option<fn() -> CpuId>,
    /// Puts the control CPU to sleep until an interrupt or the time `until` of
    /// [`cpuhp_core::Platform::now`]: the timer and `wfi`, which returns with interrupts off as well.
    /// Called with interrupts off, software interrupts enabled in `sie`, and returns so. `None`: it
    /// polls.
    pub idle: Option<fn(until: u64)>,
    /// Names the calling context where steps can be preempted. `None`: the CPU number.
    pub context: Option<fn() -> u32>,
}

impl Common {
    /// The defaults: everything optional left out.
    pub fn new(
        records: &'static [BootRecord],
        ap_main: fn(CpuId) -> !,
        clock_hz: NonZeroU64,
    ) -> Self {
        Self {
            records,
            ap_main,
            numbering: Numbering::default(),
            clock_hz,
            timings: Timings::default(),
            timeouts: Timeouts::default(),
            map: Mapping::IDENTITY,
            this_cpu: None,
            idle: None,
            context: None,
        }
    }
}

/// One hart, as firmware tables list it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuDesc {
    /// Its hart id.
    pub hw: HwId,
    /// How it is started.
    pub method: WakeMethod,
    /// 0, or 1 for a hart that shares its core with another one.
    pub wave: u8,
}

/// How a hart is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WakeMethod {
    /// By the firmware, any number of harts at once.
    SbiHsm,
    /// Not at all: it is listed as disabled. It gets a number, and is not present.
    Disabled,
}

/// The whole configuration.
#[derive(Clone, Copy)]
pub struct Config<I> {
    /// The part that is the same for every architecture.
    pub common: Common,
    /// Id of the calling hart. Firmware hands it to the kernel in `a0`; no register of supervisor mode
    /// has it.
    pub boot_hart: HwId,
    /// The harts, each once, in the order that gives them their numbers.
    pub cpus: I,
}

impl<I> fmt::Debug for Config<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("common", &self.common)
            .field("boot_hart", &self.boot_hart)
            .finish_non_exhaustive()
    }
}

/// What is known of a CPU before anything is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// How it is started; `None` if it cannot be.
    pub wake: Option<WakeMethod>,
    /// Whether it can be stopped and started again.
    pub stop: Stop,
}

/// Whether a CPU can be stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Stop {
    /// It cannot: firmware does not serve it.
    Never,
    /// It gives itself back to the firmware.
    Firmware,
}

/// Why no backend was made. Nothing was sent to any CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SetupError {
    /// There is no record for the boot CPU.
    NoRecords,
    /// The calling hart's id is not listed.
    BootCpuNotListed(HwId),
    /// The firmware lacks the calls that start harts or interrupt them. The boot hart can go on alone.
    NoWakeMethod,
    /// The record or the code at this virtual address has no physical one, or the records lie in several
    /// pieces.
    Unmapped(u64),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecords => f.write_str("no boot record for the boot cpu"),
            Self::BootCpuNotListed(id) => write!(f, "the boot cpu, {id}, is not listed"),
            Self::NoWakeMethod => {
                f.write_str("no way to start a cpu: firmware has no hsm or no ipi")
            }
            Self::Unmapped(virt) => write!(f, "{virt:#x} has no physical address"),
        }
    }
}

impl core::error::Error for SetupError {}
