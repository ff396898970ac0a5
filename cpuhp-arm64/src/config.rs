//! What the kernel says once, when it makes the backend, and what can be wrong with it.

use core::fmt;
use core::num::NonZeroU64;
use core::ptr::NonNull;

use cpuhp_core::{CpuId, HwId};

use crate::gic::WakeIrq;
use crate::park::slot::SLOT_LEN;
use crate::record::BootRecord;

/// Bytes of the park region before its slots: one page that says what it is, one of code.
pub(crate) const PARK_SLOTS: usize = 2 * SLOT_LEN;

/// Which logical number a CPU gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Numbering {
    /// The boot CPU is 0; then the others in the order they are given.
    #[default]
    BootFirst,
    /// The order they are given; the boot CPU may have any number.
    Table,
}

/// How long is waited for firmware, and how long a waiting CPU polls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timings {
    /// Questions to firmware in a row, with a `yield` after each: whether a CPU is off, and starts that
    /// firmware puts off. A CPU that leaves takes microseconds, not a timer's step.
    pub yields: u32,
    /// From one look at a CPU that does not come to rest to the next, in microseconds.
    pub poll_us: u32,
    /// Polls of a waiting CPU before it sleeps.
    pub spin_polls: u32,
}

impl Timings {
    /// 16 questions, 100 us, 64 polls. Nothing here depends on the age of a machine.
    pub const fn conservative() -> Self {
        Self {
            yields: 16,
            poll_us: 100,
            spin_polls: 64,
        }
    }

    /// The same as [`Self::conservative`]: PSCI has no delay that newer machines could spare.
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
    /// Where `len` bytes at a physical address are mapped; device registers as Device memory.
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

/// One CPU as firmware lists it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuDesc {
    /// Its MPIDR affinity fields: Aff3 in bits 39:32, Aff2 to Aff0 in bits 23:0.
    pub hw: HwId,
    /// How it is started.
    pub method: WakeMethod,
    /// The wave it is brought up in: 0, or 1 for a thread whose core has an earlier one.
    pub wave: u8,
}

/// How a CPU is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WakeMethod {
    /// PSCI `CPU_ON`; it goes off by `CPU_OFF`, and `AFFINITY_INFO` tells.
    Psci,
    /// An address in a word of memory that it watches. It cannot go off again, but may rest in a
    /// [`ParkRegion`].
    SpinTable {
        /// Physical address of the word (`cpu-release-addr`).
        release: u64,
    },
}

/// The instruction by which firmware is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// HVC: a hypervisor answers.
    Hvc,
    /// SMC: firmware at EL3 answers.
    Smc,
}

/// The interrupt that wakes a CPU.
#[derive(Clone, Copy, Debug)]
pub struct Wake {
    /// Number of the software-generated interrupt, 0..=15.
    pub sgi: u8,
    /// The controller that carries it.
    pub gic: Gic,
}

/// Regions of redistributors, as (physical address, bytes); unused ones are (0, 0).
pub type Redistributors = [(u64, u64); 4];

/// The interrupt controller.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Gic {
    /// A GICv3 or v4 with system registers. The backend sets up redistributor and CPU interface of each
    /// CPU on each entry, just for its own interrupt; the distributor is the kernel's.
    V3 {
        /// Where the redistributors are.
        redistributors: Redistributors,
    },
    /// The kernel's own driver, for any other controller.
    Custom(&'static dyn WakeIrq),
}

impl fmt::Debug for Gic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V3 { redistributors } => f.debug_tuple("V3").field(redistributors).finish(),
            Self::Custom(_) => f.debug_tuple("Custom").finish_non_exhaustive(),
        }
    }
}

/// Reserved memory where CPUs rest that are down and not powered off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParkRegion {
    /// Its physical address, a multiple of 4096.
    pub phys: u64,
    /// Its bytes, at least [`Self::len_for`] the CPUs of the machine.
    pub len: usize,
    /// How they rest.
    pub resting: Resting,
}

impl ParkRegion {
    /// Returns how many bytes the region of `cpus` CPUs needs.
    ///
    /// ```
    /// assert_eq!(cpuhp_arm64::ParkRegion::len_for(8), (2 + 8) * 4096);
    /// ```
    pub const fn len_for(cpus: usize) -> usize {
        PARK_SLOTS + cpus * SLOT_LEN
    }
}

/// How a CPU that is down rests in its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Resting {
    /// Asleep in WFI until the wake interrupt finds it released. Needs [`Gic::V3`].
    #[default]
    Ipi,
    /// In WFE until an event finds it released: for whoever sends nothing but SEV.
    Event,
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
    /// Frequency of the system counter: CNTFRQ_EL0, or what the devicetree says.
    pub clock_hz: NonZeroU64,
    /// Delays.
    pub timings: Timings,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// How physical memory is mapped.
    pub map: Mapping,
    /// The number of the calling CPU. `None`: the per-CPU base is the record, which
    /// `Arm64::new` installs on the boot CPU; then every [`crate::Boot::percpu`] must be 0.
    pub this_cpu: Option<fn() -> CpuId>,
    /// Puts the control CPU to sleep until an interrupt or the time `until` of
    /// [`cpuhp_core::Platform::now`]. Called with interrupts off and returns with interrupts off;
    /// WFI ends by a pending interrupt all the same. `None`: it polls with `yield`.
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

/// The whole configuration; `I` gives the CPUs in the order of firmware's list.
#[derive(Clone, Copy, Debug)]
pub struct Config<I> {
    /// The part that is the same for every architecture.
    pub common: Common,
    /// Every CPU that firmware lists as usable, the boot CPU among them.
    pub cpus: I,
    /// How PSCI is called; `None` where nothing needs it.
    pub conduit: Option<Conduit>,
    /// What wakes a CPU that waits.
    pub wake: Wake,
    /// Memory where CPUs rest. `None`: those started by PSCI are powered off, others stay up.
    pub park: Option<ParkRegion>,
}

/// What is known of a CPU before anything is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// How it is started; `None` if there is no such CPU.
    pub wake: Option<WakeMethod>,
    /// Whether it can be stopped and started again.
    pub stop: Stop,
}

/// Whether a CPU can be stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Stop {
    /// It cannot: no firmware takes it, and there is no memory of its own where it could rest.
    Never,
    /// Firmware powers it off.
    Firmware,
    /// It rests in its slot of the park region.
    Park,
}

/// Why no backend was made. Nothing was sent to any CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SetupError {
    /// There is no record for the boot CPU.
    NoRecords,
    /// The calling CPU's id is not in the list.
    BootCpuNotListed(HwId),
    /// This physical address is not mapped, or this virtual one belongs to none.
    Unmapped(u64),
    /// The number is none of a software-generated interrupt.
    WakeNumber(u32),
    /// No redistributor names the boot CPU.
    NoRedistributor(HwId),
    /// The park region at this address is not aligned, too short, or cannot be used by this machine: its
    /// cache lines are longer than what a slot keeps apart, or it has no GICv3 to wake a CPU in WFI.
    Park(u64),
    /// A CPU is started by PSCI, and there is no conduit.
    NoWakeMethod,
    /// The calling CPU runs at an exception level other than EL1 and EL2.
    Level(u8),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecords => f.write_str("no boot record for the boot cpu"),
            Self::BootCpuNotListed(id) => write!(f, "the boot cpu, {id}, is not listed"),
            Self::Unmapped(at) => write!(f, "address {at:#x} is not mapped"),
            Self::WakeNumber(sgi) => write!(f, "{sgi} is no software-generated interrupt"),
            Self::NoRedistributor(id) => write!(f, "no redistributor for cpu {id}"),
            Self::Park(phys) => write!(f, "no park region possible at {phys:#x}"),
            Self::NoWakeMethod => f.write_str("a cpu is started by psci, and there is no conduit"),
            Self::Level(level) => write!(f, "cannot run at exception level {level}"),
        }
    }
}

impl core::error::Error for SetupError {}
