//! What the kernel says once, when it makes the backend, and what can be wrong with it.

use core::fmt;
use core::num::NonZeroU64;
use core::ptr::NonNull;

use cpuhp_core::{CpuId, HwId};

use crate::acpi::TableError;
use crate::apic::LocalApic;
use crate::park::pages::SLOTS;
use crate::park::slot::SLOT_LEN;
use crate::record::BootRecord;

/// Which logical number a CPU gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Numbering {
    /// The boot CPU is 0; then the enabled CPUs in the order of the table, then the possible ones:
    /// a CPU that is not there never takes the record of one that is.
    #[default]
    BootFirst,
    /// The order of the table; the boot CPU may have any number.
    Table,
}

/// Delays of the start sequence, in microseconds, and how long a waiting CPU polls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timings {
    /// From INIT to the first SIPI. Paid once for a batch.
    pub init_us: u32,
    /// From the first SIPI to the second, if the CPU has not arrived.
    pub sipi_us: u32,
    /// From each further SIPI to the next, for one second.
    pub resend_us: u32,
    /// Polls of a waiting CPU before it sleeps.
    pub spin_polls: u32,
}

impl Timings {
    /// What every processor with a local APIC can follow: 10 ms, 200 us, 1 ms, 64 polls.
    pub const fn conservative() -> Self {
        Self {
            init_us: 10_000,
            sipi_us: 200,
            resend_us: 1_000,
            spin_polls: 64,
        }
    }

    /// No delay after INIT: Intel family 6, AMD family 0x0F, Hygon family 0x18 and later, on bare
    /// hardware. Some hypervisors trap INIT and then lose a SIPI that comes at once.
    pub const fn modern() -> Self {
        Self {
            init_us: 0,
            sipi_us: 10,
            ..Self::conservative()
        }
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

/// One page below 1 MiB for the trampoline, accessible only while CPUs are being started.
#[derive(Clone, Copy, Debug)]
pub struct LowPage {
    /// Its physical address: below 1 MiB, a multiple of 4096, not 0.
    pub phys: u32,
    /// Makes it writable and answers where. Called when the first kick begins.
    pub open: fn(phys: u32) -> Option<NonNull<[u8; 4096]>>,
    /// Takes it back; its old bytes have been restored. Called when the last kick has ended.
    pub close: fn(phys: u32),
}

/// Reserved memory where CPUs rest that are off; see the crate's documentation.
#[derive(Clone, Copy, Debug)]
pub struct ParkRegion {
    /// Its physical address: below 4 GiB, a multiple of 4096.
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
    /// assert_eq!(cpuhp_x86::ParkRegion::len_for(8), (11 + 8 + 1) * 4096);
    /// ```
    pub const fn len_for(cpus: usize) -> usize {
        SLOTS + (cpus + 1) * SLOT_LEN
    }
}

/// How a CPU that is off rests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Resting {
    /// Asleep until the wake interrupt finds it released: it needs no low page to come back.
    #[default]
    Ipi,
    /// Halted until INIT and SIPI. The hardware's bootstrap processor rests as [`Self::Ipi`].
    Hlt,
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
    /// Frequency of the time-stamp counter; see [`crate::clock::calibrate`].
    pub clock_hz: NonZeroU64,
    /// Delays.
    pub timings: Timings,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// How physical memory is mapped.
    pub map: Mapping,
    /// The number of the calling CPU. `None`: the per-CPU base is the record, which
    /// [`crate::X86::new`] installs on the boot CPU; then every [`crate::Boot::percpu`] must be 0.
    pub this_cpu: Option<fn() -> CpuId>,
    /// Puts the control CPU to sleep until an interrupt or the time `until` of
    /// [`cpuhp_core::Platform::now`]. Called with interrupts off and returns with interrupts off;
    /// it must open them in the instant it sleeps (`sti; hlt; cli`). `None`: it polls.
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

/// The whole configuration.
#[derive(Clone, Copy)]
pub struct Config<'m> {
    /// The part that is the same for every architecture.
    pub common: Common,
    /// The bytes of the MADT, from its header on.
    pub madt: &'m [u8],
    /// Memory for the trampoline. `None` needs another wake method for every CPU.
    pub low_page: Option<LowPage>,
    /// Vector of the wake interrupt, 0x20..=0xfe, in the highest priority class in use.
    pub wake_vector: u8,
    /// The kernel's own APIC driver. `None`: ours.
    pub apic: Option<&'static dyn LocalApic>,
    /// Memory where CPUs rest that are off. `None`: none can be stopped.
    pub park: Option<ParkRegion>,
}

impl fmt::Debug for Config<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("common", &self.common)
            .field("low_page", &self.low_page)
            .field("wake_vector", &self.wake_vector)
            .field("park", &self.park)
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

/// How a CPU is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WakeMethod {
    /// INIT and SIPI, through the low page; any number of CPUs at once.
    InitSipi,
    /// A release from its slot of the park region, and the wake interrupt. The only way for the
    /// hardware's bootstrap processor; INIT and SIPI start any other CPU that is not in its slot.
    ParkIpi,
}

/// Whether a CPU can be stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Stop {
    /// It cannot: there is no memory of its own where it could rest.
    Never,
    /// It rests in its slot of the park region.
    Park,
}

/// Why no backend was made. Nothing was sent to any CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SetupError {
    /// A firmware table is malformed at this offset.
    BadTable {
        /// Offset in bytes.
        at: u32,
    },
    /// A firmware table does not add up.
    BadChecksum,
    /// There is no record for the boot CPU.
    NoRecords,
    /// The calling CPU's id is not in the table.
    BootCpuNotListed(HwId),
    /// This physical address is not mapped.
    Unmapped(u64),
    /// The low page is not below 1 MiB, not aligned, or 0.
    LowPage(u32),
    /// The boot CPU's page table, the park region or the local APIC lies beyond 4 GiB: a CPU in 32-bit
    /// mode cannot load the one, and the region's page tables do not map the others.
    Above4G(u64),
    /// The wake vector is an exception's, or the spurious interrupt's.
    WakeNumber(u32),
    /// The park region at this address is not aligned, or too short.
    Park(u64),
    /// Some CPU can be started by no method.
    NoWakeMethod,
    /// Firmware answered with this.
    Firmware(i64),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadTable { at } => write!(f, "bad madt at offset {at}"),
            Self::BadChecksum => f.write_str("madt with a wrong checksum"),
            Self::NoRecords => f.write_str("no boot record for the boot cpu"),
            Self::BootCpuNotListed(id) => write!(f, "the boot cpu, {id}, is not in the madt"),
            Self::Unmapped(phys) => write!(f, "physical address {phys:#x} is not mapped"),
            Self::LowPage(phys) => write!(f, "{phys:#x} is no page below 1 MiB"),
            Self::Above4G(phys) => write!(f, "{phys:#x} is not below 4 GiB"),
            Self::WakeNumber(vector) => write!(f, "{vector:#x} cannot be the wake vector"),
            Self::Park(phys) => write!(f, "no park region at {phys:#x}: not aligned, or too short"),
            Self::NoWakeMethod => f.write_str("no way to start a cpu: no low page"),
            Self::Firmware(code) => write!(f, "firmware answered {code}"),
        }
    }
}

impl core::error::Error for SetupError {}

impl From<TableError> for SetupError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Bad { at } => Self::BadTable { at },
            TableError::Checksum => Self::BadChecksum,
            TableError::Unmapped(phys) => Self::Unmapped(phys),
            TableError::NotFound => Self::BadTable { at: 0 },
        }
    }
}
