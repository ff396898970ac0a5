//! The backend itself: [`Riscv`], made once by its unsafe constructor, with what the kernel asks of it.
//! What core asks of it is in `platform`.
#![expect(
    unsafe_code,
    reason = "`Riscv::new` is where every promise about the machine is made"
)]

use core::fmt;
use core::sync::atomic::AtomicU32;

use cpuhp_core::{ApExit, CpuId};

use crate::clock::{Clock, ticks};
use crate::config::{
    Caps, Config, CpuDesc, Mapping, SetupError, Stop, Timeouts, Timings, WakeMethod,
};
use crate::csr::{self, Snapshot};
use crate::entry;
use crate::kick::{Engine, Places};
use crate::record::BootRecord;
use crate::sbi::Sbi;
use crate::topology::{self, Numbered};

/// The riscv64 backend.
pub struct Riscv {
    records: &'static [BootRecord],
    pub(crate) numbered: Numbered,
    pub(crate) engine: Engine<Sbi>,
    pub(crate) clock: Clock,
    pub(crate) timings: Timings,
    pub(crate) timeouts: Timeouts,
    pub(crate) poll_ns: u64,
    pub(crate) this_cpu: fn() -> CpuId,
    /// Whether the per-CPU base is the record, so that no record may name another.
    pub(crate) base_is_record: bool,
    pub(crate) idle: Option<fn(u64)>,
    pub(crate) context: Option<fn() -> u32>,
    /// Number of the CPU that controls now. Written by it; read by APs that notify it.
    pub(crate) control: AtomicU32,
    /// 1: core was told that a CPU still runs. Set by `confirm`, taken by the next `wait`.
    pub(crate) is_unsettled: AtomicU32,
}

/// How a CPU rests when core has no more work for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// In the firmware, until it is kicked.
    Off,
    /// Until [`cpuhp_core::Platform::unpark`]. In both cases it comes back through `ap_main`.
    Park,
}

impl From<ApExit> for Rest {
    fn from(exit: ApExit) -> Self {
        match exit {
            ApExit::Park => Self::Park,
            // Nobody waits for the entry of an earlier start; it has touched nothing.
            ApExit::Off | ApExit::Stale => Self::Off,
        }
    }
}

impl Riscv {
    /// Makes the backend: numbers the CPUs, asks the firmware after each, takes over the boot CPU's state.
    ///
    /// No hart is started or interrupted. A hart the firmware does not serve is numbered, but not
    /// present: it is never kicked unless [`Self::set_present`] says otherwise.
    ///
    /// Context: boot CPU, once.
    ///
    /// # Errors
    /// [`SetupError`]; the records may have been written, nothing else.
    ///
    /// # Safety
    /// 1. `records` is ordinary cached memory that nobody else writes; `map` is right for every
    ///    address it answers, and stays so.
    /// 2. The harts listed are this machine's and run nothing of ours yet; `boot_hart` is the calling
    ///    one.
    /// 3. The calling CPU is the boot CPU in supervisor mode, with its final trap vector, page table and
    ///    per-CPU base; `this_cpu` is right on every CPU from its first Rust instruction on. If it is
    ///    `None`, nothing else uses `tp`.
    /// 4. `ap_main`, the entry code, the trap vector and the boot CPU's page table stay mapped and as they
    ///    are while the backend lives, even if the boot CPU goes off, and each `root` until its CPU is; all
    ///    of them map code and records where the boot CPU's does, and the page of the entry code executable
    ///    at its physical address too.
    /// 5. The stack given in [`BootRecord::set`] belongs to that CPU alone until core runs the
    ///    PREPARE down of the step that gave it, and holds what `ap_main` needs. Of what is on it when
    ///    [`Self::rest`] is called nothing is used again.
    /// 6. The trap vector clears `sip.SSIP` before it calls [`Self::on_wake`], on every CPU whose
    ///    interrupts are open. At most one backend lives per machine; once a CPU was kicked, it is never
    ///    dropped.
    pub unsafe fn new<I>(config: Config<I>) -> Result<Self, SetupError>
    where
        I: IntoIterator<Item = CpuDesc>,
        I::IntoIter: Clone,
    {
        let common = config.common;
        if !Sbi::serves_harts() {
            return Err(SetupError::NoWakeMethod);
        }
        let cpus = config.cpus.into_iter();
        let (hart, numbering) = (config.boot_hart, common.numbering);
        let numbered = topology::number(&cpus, hart, numbering, common.records, &Sbi)?;
        let records = common.records.get(..numbered.cpus as usize).unwrap_or(&[]);
        let this = records.get(numbered.boot.index());
        let this = this.ok_or(SetupError::NoRecords)?;
        let places = places(records, common.map)?;
        // SAFETY: promise 3: supervisor mode.
        let boot = unsafe { Snapshot::take() };
        if common.this_cpu.is_none() {
            // SAFETY: promise 3: without a `this_cpu` the register is ours.
            unsafe { csr::set_base(this) };
        }
        // SAFETY: promises 2 and 6: no AP runs anything of ours yet, and there is one backend. The
        // records are those just numbered.
        unsafe { entry::install(&boot, records, places, common.ap_main) };
        let engine = Engine::new(records, Sbi, common.timings, places);
        engine.adopt(numbered.boot);
        let this_cpu = common.this_cpu.unwrap_or(csr::this_cpu);
        #[cfg(feature = "critical-section")]
        crate::critical_section::install(this_cpu);
        Ok(Self {
            records,
            numbered,
            engine,
            clock: Clock::new(common.clock_hz, ticks()),
            timings: common.timings,
            timeouts: common.timeouts,
            poll_ns: u64::from(common.timings.poll_us) * 1_000,
            this_cpu,
            base_is_record: common.this_cpu.is_none(),
            idle: common.idle,
            context: common.context,
            control: AtomicU32::new(numbered.boot.get()),
            is_unsettled: AtomicU32::new(0),
        })
    }

    pub(crate) fn record(&self, cpu: CpuId) -> Option<&'static BootRecord> {
        self.records.get(cpu.index())
    }

    /// Returns the record that starts `cpu`, for [`BootRecord::set`].
    pub fn boot_record(&self, cpu: CpuId) -> Option<&'static BootRecord> {
        self.record(cpu)
    }

    /// Returns the number of the boot CPU.
    pub const fn boot_cpu(&self) -> CpuId {
        self.numbered.boot
    }

    /// Returns how many CPUs have a number.
    pub const fn cpus(&self) -> u32 {
        self.numbered.cpus
    }

    /// Returns how many CPUs are listed that got no record.
    pub const fn left_out(&self) -> u32 {
        self.numbered.left_out
    }

    /// Returns how many entries of the list repeat an id; each id counts as one CPU.
    pub const fn duplicates(&self) -> u32 {
        self.numbered.duplicates
    }

    /// Whether `cpu` is usable now: the firmware serves it, or it was made present.
    pub fn is_present(&self, cpu: CpuId) -> bool {
        self.record(cpu).is_some_and(BootRecord::is_present)
    }

    /// Makes a listed CPU present: it was added, or shall be tried.
    pub fn set_present(&self, cpu: CpuId) {
        if let Some(record) = self.record(cpu) {
            record.set_present();
        }
    }

    /// Returns what can be done with `cpu`.
    pub fn caps(&self, cpu: CpuId) -> Caps {
        if self.is_present(cpu) {
            Caps {
                wake: Some(WakeMethod::SbiHsm),
                stop: Stop::Firmware,
            }
        } else {
            Caps {
                wake: None,
                stop: Stop::Never,
            }
        }
    }

    /// Returns how many starts the firmware was asked for since the backend was made.
    pub fn start_calls(&self) -> u32 {
        self.engine.calls()
    }

    /// Returns the value of the `time` counter, for the timer, at which
    /// [`cpuhp_core::Platform::now`] reaches `ns`.
    pub fn timer_at(&self, ns: u64) -> u64 {
        self.clock.ticks_at(ns)
    }

    /// Serves the wake interrupt. The handler clears `sip.SSIP` first, then calls it.
    ///
    /// Context: interrupt handler on any CPU; takes no lock. Spurious and late calls are legal.
    pub fn on_wake(&self) {
        // A CPU that sleeps wakes by the interrupt itself. One that does not must not sleep over
        // what the interrupt told of.
        if let Some(record) = self.record((self.this_cpu)()) {
            record.poke();
        }
    }

    /// Rests the calling AP, after `ap_run` returned.
    ///
    /// [`Rest::Off`] gives it to the firmware. [`Rest::Park`], or a firmware that refuses, lets it stand on this
    /// crate's code, the boot hart's page table and the record.
    ///
    /// Context: the AP, on its own stack, which it leaves.
    pub fn rest(&self, how: Rest) -> ! {
        csr::disable_interrupts();
        let Some(record) = self.record((self.this_cpu)()) else {
            entry::stop()
        };
        if how == Rest::Off {
            // Returns only if firmware refuses: then the hart rests all the same, and a kick releases it.
            let _code = Sbi::hart_stop();
        }
        // SAFETY: interrupts are off, core needs nothing of a CPU that rests, nor does the kernel of its stack
        // (promise 5); promise 4 for the page table.
        unsafe { entry::park(record) }
    }
}

/// Finds the physical addresses of the entry code and of the records, which have to lie in one piece.
fn places(records: &[BootRecord], map: Mapping) -> Result<Places, SetupError> {
    let phys = |virt: usize| (map.to_phys)(virt).ok_or(SetupError::Unmapped(virt as u64));
    let address = |record: &BootRecord| core::ptr::from_ref(record) as usize;
    let first = records.first().ok_or(SetupError::NoRecords)?;
    let start = phys(address(first))?;
    for record in records {
        let distance = (address(record) - address(first)) as u64;
        if phys(address(record))? != start + distance {
            return Err(SetupError::Unmapped(address(record) as u64));
        }
    }
    Ok(Places {
        entry: phys(entry::address())?,
        records: start,
    })
}

impl fmt::Debug for Riscv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Riscv")
            .field("numbered", &self.numbered)
            .finish_non_exhaustive()
    }
}
