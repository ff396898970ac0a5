//! The backend itself: [`Arm64`], made once by its unsafe constructor, with what the kernel asks of it.
//! What core asks of it is in `platform`.
#![expect(
    unsafe_code,
    reason = "`Arm64::new` is where every promise about the machine is made"
)]

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use cpuhp_core::{ApExit, CpuId, HwId, Platform};

use crate::clock::{Clock, ticks};
use crate::config::{
    Caps, Config, CpuDesc, Gic, Mapping, SetupError, Stop, Timeouts, Wake, WakeMethod,
};
use crate::entry::{self, Sleep, Start};
use crate::gic;
use crate::gic::registers::{Driver, Mapped};
use crate::hardware::{self, Hardware, disable_interrupts, halt};
use crate::kick::{Engine, Places};
use crate::park::Region;
use crate::psci::Firmware;
use crate::record::BootRecord;
use crate::shared::Snapshot;
use crate::topology::{self, Numbered};

/// The arm64 backend.
pub struct Arm64 {
    pub(crate) numbered: Numbered,
    pub(crate) engine: Engine<Hardware>,
    pub(crate) clock: Clock,
    pub(crate) timeouts: Timeouts,
    pub(crate) this_cpu: fn() -> CpuId,
    /// Whether the per-CPU base is the record, so that no record may name another.
    pub(crate) base_is_record: bool,
    pub(crate) idle: Option<fn(u64)>,
    pub(crate) context: Option<fn() -> u32>,
    pub(crate) spin_polls: u32,
    pub(crate) look_again_ns: u64,
    /// Where CPUs rest that are down and not off.
    pub(crate) park: Option<Region>,
    /// Number of the CPU that controls now. Written by it; read by APs that notify it.
    pub(crate) control: AtomicU32,
    /// 1: core was told that a CPU still runs. Set by `confirm`, taken by the next sleep of `wait`.
    pub(crate) is_unsettled: AtomicU32,
}

/// How a CPU rests when core has no more work for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Until it is kicked; for good where nothing could start it again.
    Off,
    /// Until [`Platform::unpark`]. In both cases it comes back through `ap_main`.
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

impl Arm64 {
    /// Makes the backend: numbers the CPUs, takes over the boot CPU's state, sets up its wake interrupt.
    ///
    /// Nothing is sent to any CPU.
    ///
    /// Context: boot CPU, once, MMU and caches on.
    ///
    /// # Errors
    /// [`SetupError`]; the records and the park region may have been written, and the boot CPU's interrupt
    /// interface opened for the wake interrupt.
    ///
    /// # Safety
    /// 1. `records` is ordinary cached memory that nobody else writes; `map` is right for every
    ///    address it answers, and stays so. The image is as contiguous in physical memory as in virtual.
    /// 2. The topology is this machine's: what it names are CPUs that run nothing of ours yet,
    ///    redistributors and words of a spin-table.
    /// 3. The calling CPU is the boot CPU with its final vectors, translation and per-CPU base; `this_cpu`
    ///    is right on every CPU from its first Rust instruction on. If it is `None`, nothing else uses the
    ///    thread-id register of this exception level. At EL2 nothing else uses CNTVOFF_EL2.
    /// 4. `ap_main`, the entry code and each `root` stay mapped and as they are while the backend lives,
    ///    even if the boot CPU goes off. The boot CPU's lower half (TTBR0), and at EL2 each `root`, map the
    ///    entry code and the park region at their physical addresses, executable. The region is nobody
    ///    else's, also after this kernel.
    /// 5. The stack given in [`BootRecord::set`] belongs to that CPU alone until core runs the
    ///    PREPARE down of the step that gave it, and holds what `ap_main` needs. Of what is on it when
    ///    [`Self::rest`] is called nothing is used again.
    /// 6. The wake interrupt is ours alone, the distributor passes it on, and its handler is in place before
    ///    interrupts are opened. On a CPU that has called [`Self::rest`] no other interrupt becomes pending.
    ///    At most one backend lives per machine; once a CPU was kicked, it is never dropped.
    pub unsafe fn new<I>(config: Config<I>) -> Result<Self, SetupError>
    where
        I: IntoIterator<Item = CpuDesc>,
    {
        let (common, wake) = (config.common, config.wake);
        if wake.sgi > 15 {
            return Err(SetupError::WakeNumber(u32::from(wake.sgi)));
        }
        // SAFETY: promise 3.
        let boot = unsafe { Snapshot::take()? };
        let id = hardware::hw_id();
        let numbered = topology::number(config.cpus, id, common.numbering, common.records)?;
        let records = common.records.get(..numbered.cpus as usize).unwrap_or(&[]);
        let this = records.get(numbered.boot.index());
        let this = this.ok_or(SetupError::NoRecords)?;
        let needs_psci = |record: &BootRecord| record.method() == WakeMethod::Psci;
        let mut others = records.iter().filter(|record| record.hw_id() != id);
        if config.conduit.is_none() && others.any(needs_psci) {
            return Err(SetupError::NoWakeMethod);
        }
        let gic = own_gic(wake, (records, id), common.map)?;
        let hardware = Hardware {
            conduit: config.conduit,
            to_virt: common.map.to_virt,
            sgi: wake.sgi,
            gic,
        };
        if common.this_cpu.is_none() {
            // SAFETY: promise 3: without a `this_cpu` the register is ours.
            unsafe { hardware::set_base(this) };
        }
        gic.init_cpu(this, wake.sgi);
        let install = |park| {
            // SAFETY: promise 4, and the records are those just numbered.
            unsafe { Region::install(park, common.map, records, wake, &hardware, boot.level) }
        };
        let park = config.park.map(install).transpose()?;
        let slots = park.map_or(&[][..], |park| park.slots);
        let places = Places {
            entry: physical(common.map, entry::address())?,
            records: physical(common.map, records.as_ptr().addr())?,
        };
        let (ap_main, sgi) = (common.ap_main, wake.sgi);
        let start = Start { gic, sgi, ap_main };
        // SAFETY: promises 2 and 6: no AP runs anything of ours yet, and there is one backend.
        unsafe { entry::install(&boot, records, places.records, start, &hardware) };
        let engine = Engine::new(records, slots, places, common.timings, hardware);
        engine.publish_all();
        engine.adopt(numbered.boot);
        let this_cpu = common.this_cpu.unwrap_or(hardware::this_cpu(boot.level));
        #[cfg(feature = "critical-section")]
        crate::critical_section::install(this_cpu);
        Ok(Self {
            numbered,
            engine,
            clock: Clock::new(common.clock_hz, ticks()),
            timeouts: common.timeouts,
            this_cpu,
            base_is_record: common.this_cpu.is_none(),
            idle: common.idle,
            context: common.context,
            spin_polls: common.timings.spin_polls,
            look_again_ns: u64::from(common.timings.poll_us) * 1_000,
            park,
            control: AtomicU32::new(numbered.boot.get()),
            is_unsettled: AtomicU32::new(0),
        })
    }

    /// Returns the record that starts `cpu`, for [`BootRecord::set`].
    pub fn boot_record(&self, cpu: CpuId) -> Option<&'static BootRecord> {
        self.engine.record(cpu)
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

    /// Returns how many ids are listed more than once; each counts as one CPU.
    pub const fn duplicates(&self) -> u32 {
        self.numbered.duplicates
    }

    /// Whether `cpu` is usable now.
    pub fn is_present(&self, cpu: CpuId) -> bool {
        self.boot_record(cpu).is_some_and(BootRecord::is_present)
    }

    /// Takes a CPU out that is listed and shall not be tried. Context: before it was kicked.
    pub fn set_absent(&self, cpu: CpuId) {
        if let Some(record) = self.boot_record(cpu) {
            record.set_absent();
        }
    }

    /// Makes a possible CPU present: it was added, or shall be tried.
    pub fn set_present(&self, cpu: CpuId) {
        if let Some(record) = self.boot_record(cpu) {
            record.set_present();
        }
    }

    /// Returns the wave in which `cpu` is brought up, as its [`CpuDesc`] said.
    pub fn wave_of(&self, cpu: CpuId) -> u8 {
        self.boot_record(cpu).map_or(0, BootRecord::wave)
    }

    /// Returns the virtual address of the redistributor of `cpu`, for the kernel's own interrupts; `None` if it
    /// has none, or the machine another controller.
    pub fn redistributor(&self, cpu: CpuId) -> Option<u64> {
        let frame = self.boot_record(cpu)?.frame.load(Ordering::Relaxed);
        (frame != 0).then_some(frame)
    }

    /// Returns what can be done with `cpu`.
    pub fn caps(&self, cpu: CpuId) -> Caps {
        let wake = self.boot_record(cpu).map(BootRecord::method);
        let has_firmware = self.engine.machine.conduit.is_some();
        let stop = match (wake, self.park) {
            (None, _) => Stop::Never,
            (Some(WakeMethod::Psci), None) if has_firmware => Stop::Firmware,
            (Some(_), _) => Stop::Park,
        };
        Caps { wake, stop }
    }

    /// Serves the wake interrupt: the kernel's handler acknowledges it, calls this, and ends it.
    ///
    /// Context: interrupt handler on any CPU; takes no lock. Spurious and late calls are legal.
    pub fn on_wake(&self) {
        // A CPU that sleeps wakes by the interrupt itself. One that does not must not sleep over
        // what the interrupt told of.
        if let Some(record) = self.boot_record((self.this_cpu)()) {
            record.poke();
        }
    }

    /// Starts CPUs again that core had parked and wants, once they have come to rest; for kernels that never
    /// call `wait`.
    ///
    /// Context: control CPU.
    pub fn service(&self) {
        self.engine.service(|| self.now());
    }

    /// Rests the calling AP, after `ap_run` returned.
    ///
    /// It goes to its slot of the park region. Without one it is powered off; or, if core only parks it, or no
    /// firmware can turn it off, it sleeps in this kernel's text, off everything that PREPARE made.
    ///
    /// Context: the AP, on its own stack, which it leaves.
    pub fn rest(&self, how: Rest) -> ! {
        disable_interrupts();
        let cpu = (self.this_cpu)();
        if let Some(park) = self.park {
            // SAFETY: the slot has this CPU's number; core needs nothing of a CPU that rests; promise 4
            // of `new`.
            unsafe { park.enter(cpu.index()) }
        }
        let Some(record) = self.boot_record(cpu) else {
            halt()
        };
        if how == Rest::Off && record.method() == WakeMethod::Psci {
            // Returns only if firmware refuses, or there is none: then the CPU rests all the same.
            self.engine.machine.cpu_off();
        }
        let wakes = match self.engine.machine.gic {
            Driver::V3 => Sleep::Interrupt,
            Driver::Custom(_) => Sleep::Event,
        };
        // SAFETY: promises 4 and 5 of `new`: the entry code stays, and nothing on the stack is used again.
        unsafe { entry::rest(record, wakes) }
    }
}

/// Chooses who carries the wake interrupt, and finds the redistributors.
fn own_gic(wake: Wake, cpus: (&[BootRecord], HwId), map: Mapping) -> Result<Driver, SetupError> {
    match wake.gic {
        Gic::Custom(driver) => Ok(Driver::Custom(driver)),
        Gic::V3 { redistributors } => {
            let to_virt = |phys, len| {
                let base = (map.to_virt)(phys, len)?;
                Some(base.as_ptr().expose_provenance() as u64)
            };
            gic::assign(redistributors, wake.sgi, cpus, to_virt, &Mapped)?;
            Ok(Driver::V3)
        }
    }
}

fn physical(map: Mapping, virt: usize) -> Result<u64, SetupError> {
    (map.to_phys)(virt).ok_or(SetupError::Unmapped(virt as u64))
}

impl fmt::Debug for Arm64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arm64")
            .field("numbered", &self.numbered)
            .field("is_parking", &self.park.is_some())
            .finish_non_exhaustive()
    }
}
