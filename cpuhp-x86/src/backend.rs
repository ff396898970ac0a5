//! The backend itself: [`X86`], made once by its unsafe constructor, with what the kernel asks of it.
//! What core asks of it is in `platform`.
#![expect(
    unsafe_code,
    reason = "`X86::new` is where every promise about the machine is made"
)]

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use cpuhp_core::{ApExit, CpuId, KickError, KickErrorKind, Platform};

use crate::apic::registers::{Hardware, disable_interrupts};
use crate::apic::{Apic, EXTD, LocalApic, Registers};
use crate::clock::{Clock, ticks};
use crate::config::{Caps, Config, Resting, SetupError, Stop, Timeouts, WakeMethod};
use crate::entry::{self, Snapshot, Start};
use crate::kick::{Engine, Sender, Slots};
use crate::low_page::Window;
use crate::madt::Madt;
use crate::park::code::Manner;
use crate::park::{Region, Spec};
use crate::record::BootRecord;
use crate::topology::smt::ThreadBits;
use crate::topology::{self, IdLeaf, Numbered};

/// Our APIC driver, for kernels without one. It is every CPU's, so there is one.
static APIC: Apic<Hardware> = Apic::new(Hardware::new());

/// The x86_64 backend.
pub struct X86 {
    records: &'static [BootRecord],
    pub(crate) numbered: Numbered,
    threads: ThreadBits,
    pub(crate) engine: Engine,
    pub(crate) window: Window,
    pub(crate) boot: Snapshot,
    pub(crate) apic: &'static dyn LocalApic,
    pub(crate) clock: Clock,
    pub(crate) timeouts: Timeouts,
    pub(crate) this_cpu: fn() -> CpuId,
    /// Whether the per-CPU base is the record, so that no record may name another.
    pub(crate) base_is_record: bool,
    pub(crate) idle: Option<fn(u64)>,
    pub(crate) context: Option<fn() -> u32>,
    pub(crate) spin_polls: u32,
    pub(crate) wake_vector: u8,
    pub(crate) bsp: Option<CpuId>,
    /// Where CPUs rest that are off.
    pub(crate) park: Option<Region>,
    /// Number of the CPU that controls now. Written by it; read by APs that notify it.
    pub(crate) control: AtomicU32,
    /// 1: core was told that a CPU still runs. Set by `confirm`, taken by the next sleep of `wait`.
    pub(crate) is_unsettled: AtomicU32,
}

/// How a CPU rests when core has no more work for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Until it is kicked; without a park region, for good.
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

impl X86 {
    /// Makes the backend: reads the table, numbers the CPUs, takes over the boot CPU's state.
    ///
    /// Nothing is sent to any CPU. The boot CPU's local APIC is enabled if it was not.
    ///
    /// Context: boot CPU, once.
    ///
    /// # Errors
    /// [`SetupError`]; the records may have been written, nothing else.
    ///
    /// # Safety
    /// 1. `records` is ordinary cached memory that nobody else writes; `map` is right for every
    ///    address it answers, and stays so.
    /// 2. The topology is this machine's: what it names are CPUs that run nothing of ours yet,
    ///    registers and mailboxes. The low page belongs to the backend from its opening to its
    ///    closing.
    /// 3. The calling CPU is the boot CPU in ring 0, with its final GDT, IDT, page tables and
    ///    per-CPU base; `this_cpu` is right on every CPU from its first Rust instruction on. If it
    ///    is `None`, nothing else uses the GS base. A CPU that rests has left VMX operation.
    /// 4. `ap_main`, the entry code, the GDT and IDT that are loaded now and each `root` stay mapped
    ///    and as they are while the backend lives, even if the boot CPU goes off; the boot CPU's page
    ///    tables map the low page and the park region at their physical addresses, the one executable
    ///    and the code in the other. The region is nobody else's, also after this kernel.
    /// 5. The stack given in [`BootRecord::set`] belongs to that CPU alone until core runs the
    ///    PREPARE down of the step that gave it, and holds what `ap_main` needs. Of what is on it when
    ///    [`Self::rest`] is called nothing is used again.
    /// 6. The wake vector is ours alone and its handler is in place, without IST; so is one for the
    ///    spurious vector, 0xff unless the boot CPU has chosen another. At most one backend lives
    ///    per machine; once a CPU was kicked, it is never dropped.
    pub unsafe fn new(config: Config<'_>) -> Result<Self, SetupError> {
        let common = config.common;
        let madt = Madt::parse(config.madt)?;
        check_vector(config.wake_vector)?;
        let low_page = config.low_page.ok_or(SetupError::NoWakeMethod)?;
        // SAFETY: promise 2 gives the backend the page, and this is its only window.
        let window = unsafe { Window::new(low_page)? };
        // SAFETY: promise 3: ring 0.
        let boot = unsafe { boot_state()? };
        let leaf = IdLeaf::choose(entry::cpuid);
        let id = leaf.read(entry::cpuid);
        let numbered = topology::number(&madt, id, common.numbering, common.records)?;
        let apic = match config.apic {
            Some(apic) => apic,
            // SAFETY: promise 1 for the mapping of the register page.
            None => unsafe { own_apic(common.map.to_virt)? },
        };
        let records = common.records.get(..numbered.cpus as usize).unwrap_or(&[]);
        let this = records.get(numbered.boot.index());
        let this = this.ok_or(SetupError::NoRecords)?;
        let threads = ThreadBits::read(leaf, entry::cpuid);
        threads.mark_all(records);
        if common.this_cpu.is_none() {
            // SAFETY: promise 3: without a `this_cpu` the GS base is ours.
            unsafe { entry::set_base(this) };
        }
        let bsp = apic.is_bsp().then_some(numbered.boot);
        let spec = park_spec(&boot, leaf, config.wake_vector, bsp.map(|_| id));
        // SAFETY: promise 4, and the records are those just numbered.
        let install = |park| unsafe { Region::install(park, common.map, records, spec) };
        let park = config.park.map(install).transpose()?;
        let slots = park.map_or(&[][..], |park| park.slots);
        let start = Start {
            apic,
            ap_main: common.ap_main,
            slots,
        };
        // SAFETY: promises 2 and 6: no AP runs anything of ours yet, and there is one backend. The
        // records are those just numbered.
        unsafe { entry::install(&boot, records, leaf, start) };
        let stub = park.map_or(0, |park| park.stub());
        let engine = Engine::new(records, common.timings, Slots { slots, stub });
        engine.adopt(numbered.boot);
        let this_cpu = common.this_cpu.unwrap_or(entry::this_cpu);
        #[cfg(feature = "critical-section")]
        crate::critical_section::install(this_cpu);
        Ok(Self {
            records,
            numbered,
            threads,
            engine,
            window,
            boot,
            apic,
            clock: Clock::new(common.clock_hz, ticks()),
            timeouts: common.timeouts,
            this_cpu,
            base_is_record: common.this_cpu.is_none(),
            idle: common.idle,
            context: common.context,
            spin_polls: common.timings.spin_polls,
            wake_vector: config.wake_vector,
            bsp,
            park,
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

    /// Returns how many CPUs firmware lists that got no record.
    pub const fn left_out(&self) -> u32 {
        self.numbered.left_out
    }

    /// Returns how many ids one entry type of the table lists more than once; each counts as one
    /// CPU.
    pub const fn duplicates(&self) -> u32 {
        self.numbered.duplicates
    }

    /// Whether `cpu` is usable now.
    pub fn is_present(&self, cpu: CpuId) -> bool {
        self.record(cpu).is_some_and(BootRecord::is_present)
    }

    /// Makes a possible CPU present: it was added, or shall be tried.
    pub fn set_present(&self, cpu: CpuId) {
        if let Some(record) = self.record(cpu) {
            record.set_present();
            self.threads.mark_core_of(record, self.records);
        }
    }

    /// Returns what can be done with `cpu`.
    pub fn caps(&self, cpu: CpuId) -> Caps {
        let exists = self.record(cpu).is_some();
        let wake = match (self.takes_init(cpu), self.park) {
            (true, Some(park)) if park.resting == Resting::Ipi => Some(WakeMethod::ParkIpi),
            (true, _) => Some(WakeMethod::InitSipi),
            (false, Some(_)) => Some(WakeMethod::ParkIpi),
            (false, None) => None,
        };
        let stop = match self.park {
            Some(_) if exists => Stop::Park,
            _ => Stop::Never,
        };
        Caps {
            wake: wake.filter(|_| exists),
            stop,
        }
    }

    /// Whether `cpu` may be sent INIT: not the CPU that started the machine.
    pub(crate) fn takes_init(&self, cpu: CpuId) -> bool {
        cpu != self.numbered.boot && self.bsp != Some(cpu)
    }

    /// Sends INIT to a CPU that was kicked and never came, so that what it was given can be taken back.
    ///
    /// Returns at once; 10 ms later [`Platform::confirm`] says `Off`, and core's next operation with
    /// this CPU finds it so.
    ///
    /// Context: control CPU, no operation running with `cpu`.
    ///
    /// # Errors
    /// Nothing was sent:
    /// * `Denied`: the CPU that started the machine, the caller itself, or a CPU that nobody kicked.
    /// * `AlreadyOn`: it has come. `Busy`: the local APIC is. `NotPresent`: no such CPU.
    pub fn cancel(&self, cpu: CpuId) -> Result<(), KickError> {
        if !self.takes_init(cpu) || cpu == (self.this_cpu)() {
            return Err(KickError::new(KickErrorKind::Denied));
        }
        self.engine.cancel(cpu, self.sender(), self.now())
    }

    /// Keeps the low page open until the answer is dropped, over kicks that come one after the other.
    ///
    /// Without it the page is written, and its old bytes restored, around each kick that runs
    /// alone. That is a few hundred bytes; but an emulator that translates code, such as QEMU's
    /// TCG, looks through the state of *every* CPU when a page that holds code is written.
    ///
    /// Context: control CPU.
    ///
    /// # Errors
    /// [`cpuhp_core::KickErrorKind::BadAddress`] if the page does not open.
    pub fn open_low_page(&self) -> Result<OpenPage<'_>, KickError> {
        let page = self.window.phys();
        self.window.get(|| entry::image(&self.boot, page))?;
        Ok(OpenPage { backend: self })
    }

    /// Serves the wake interrupt. The handler calls it, then [`Self::eoi`] or its own.
    ///
    /// Context: interrupt handler on any CPU; takes no lock. Spurious and late calls are legal.
    pub fn on_wake(&self) {
        // A CPU that sleeps wakes by the interrupt itself. One that does not must not sleep over
        // what the interrupt told of.
        if let Some(record) = self.record((self.this_cpu)()) {
            record.poke();
        }
    }

    /// Ends the interrupt at the local APIC. Context: interrupt handler.
    pub fn eoi(&self) {
        self.apic.eoi();
    }

    /// Sends the SIPIs that are due; for kernels that never call `wait`.
    ///
    /// Context: any CPU but a waiting AP. Sends at most a few signals.
    pub fn service(&self) {
        self.engine.service(self.sender(), || self.now());
    }

    /// Rests the calling AP, after `ap_run` returned.
    ///
    /// Context: the AP, on its own stack; it leaves the stack and all else for its slot. Without a park
    /// region [`Rest::Park`] stays on that stack: core keeps what PREPARE made for a CPU that
    /// [`Platform::confirm`] calls running.
    pub fn rest(&self, how: Rest) -> ! {
        disable_interrupts();
        let cpu = (self.this_cpu)();
        match (self.park, self.record(cpu)) {
            (Some(park), Some(record)) => self.enter_park(park, cpu, record, how),
            (None, Some(record)) if how == Rest::Park => {
                self.sleep_ap(record);
                entry::restart(record)
            }
            _ => entry::halt(),
        }
    }

    fn enter_park(&self, park: Region, cpu: CpuId, record: &BootRecord, how: Rest) -> ! {
        let wants_init = how == Rest::Off && park.resting == Resting::Hlt;
        let manner = if wants_init && self.takes_init(cpu) {
            Manner::Hlt
        } else {
            Manner::Ipi
        };
        record.manner.store(manner as u32, Ordering::Relaxed);
        // The system's mode, enabled, every local vector masked.
        self.apic.enter_cpu();
        let class = (self.wake_vector >> 4) - 1;
        // SAFETY: the slot has this CPU's number; interrupts are off and the APIC is as it must be;
        // core needs nothing of a CPU that rests; promise 4 of `new`.
        unsafe { park.enter(cpu.index(), class, manner) }
    }

    pub(crate) fn sender(&self) -> Sender<'_> {
        Sender {
            apic: self.apic,
            page: self.window.number(),
            vector: self.wake_vector,
        }
    }
}

/// The low page is open while this lives; see [`X86::open_low_page`].
#[derive(Debug)]
pub struct OpenPage<'a> {
    backend: &'a X86,
}

impl Drop for OpenPage<'_> {
    fn drop(&mut self) {
        self.backend.window.put();
    }
}

/// Reads what every AP shall have as the boot CPU has it.
///
/// # Safety
/// 1. The caller is the boot CPU in ring 0.
unsafe fn boot_state() -> Result<Snapshot, SetupError> {
    // SAFETY: promise 1.
    let boot = unsafe { Snapshot::take() };
    if boot.cr3 >= 1 << 32 {
        return Err(SetupError::Above4G(boot.cr3));
    }
    Ok(boot)
}

/// The vectors below 0x20 are the exceptions', 0xff is the spurious interrupt's.
fn check_vector(vector: u8) -> Result<(), SetupError> {
    match vector {
        0x20..=0xfe => Ok(()),
        _ => Err(SetupError::WakeNumber(u32::from(vector))),
    }
}

/// Sets up our APIC driver for the calling boot CPU.
///
/// # Safety
/// 1. `to_virt` maps the register page right, uncached, and for ever.
unsafe fn own_apic(
    to_virt: fn(u64, usize) -> Option<NonNull<u8>>,
) -> Result<&'static dyn LocalApic, SetupError> {
    let phys = APIC.regs.physical();
    let page = to_virt(phys, 4096).ok_or(SetupError::Unmapped(phys))?;
    // SAFETY: promise 1.
    unsafe { APIC.regs.map(page.cast()) };
    APIC.adopt();
    Ok(&APIC)
}

/// What the park region's pages say of this machine. Context: boot CPU.
fn park_spec(boot: &Snapshot, leaf: IdLeaf, vector: u8, bsp: Option<u32>) -> Spec {
    let is_x2apic = APIC.regs.apic_base() & EXTD != 0;
    Spec {
        kernel: entry::kernel(boot),
        apic: APIC.regs.physical(),
        apic_mode: if is_x2apic { 2 } else { 1 },
        leaf: u64::from(leaf as u32),
        vector,
        bsp,
        levels: entry::levels(boot),
    }
}

impl fmt::Debug for X86 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X86")
            .field("numbered", &self.numbered)
            .field("bsp", &self.bsp)
            .field("wake_vector", &self.wake_vector)
            .finish_non_exhaustive()
    }
}
