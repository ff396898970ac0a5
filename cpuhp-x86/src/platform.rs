//! The backend itself: [`X86`], made once by its unsafe constructor, and its [`Platform`].
#![expect(
    unsafe_code,
    reason = "`X86::new` is where every promise about the machine is made"
)]

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use cpuhp_core::{Confirm, CpuId, HwId, KickError, KickErrorKind, KickOutcome, Platform, Who};

use crate::apic::registers::{
    Hardware, disable_interrupts, enable_interrupts, interrupts_enabled, set_priority, sleep,
};
use crate::apic::{Apic, Ipi, LocalApic};
use crate::clock::{Clock, ticks};
use crate::config::{Caps, Config, SetupError, Stop, Timeouts, WakeMethod};
use crate::entry::{self, Snapshot, Start};
use crate::kick::{Done, Engine, Sender};
use crate::low_page::Window;
use crate::madt::Madt;
use crate::record::{BootRecord, Poke};
use crate::topology::{self, IdLeaf, Numbered};

/// Our APIC driver, for kernels without one. It is every CPU's, so there is one.
static APIC: Apic<Hardware> = Apic::new(Hardware::new());

/// The x86_64 backend.
pub struct X86 {
    records: &'static [BootRecord],
    numbered: Numbered,
    engine: Engine,
    window: Window,
    boot: Snapshot,
    apic: &'static dyn LocalApic,
    clock: Clock,
    timeouts: Timeouts,
    this_cpu: fn() -> CpuId,
    /// Whether the per-CPU base is the record, so that no record may name another.
    base_is_record: bool,
    idle: Option<fn(u64)>,
    context: Option<fn() -> u32>,
    spin_polls: u32,
    wake_vector: u8,
    bsp: Option<CpuId>,
    /// Number of the CPU that controls now. Written by it; read by APs that notify it.
    control: AtomicU32,
}

/// How a CPU rests when core has no more work for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// For good.
    Off,
    /// Until [`Platform::unpark`]; then it enters `ap_main` again.
    Park,
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
    ///    is `None`, nothing else uses the GS base.
    /// 4. `ap_main`, the entry code, the boot CPU's GDT and IDT and each `root` stay mapped while the
    ///    backend lives; the boot CPU's page tables map the low page executable at its physical
    ///    address.
    /// 5. The stack given in [`BootRecord::set`] belongs to that CPU alone until core runs the
    ///    PREPARE down of the step that gave it, and holds what `ap_main` needs.
    /// 6. The wake vector is ours alone and its handler is in place, without IST; so is one for the
    ///    spurious vector, 0xff unless the boot CPU has chosen another. At most one backend lives
    ///    per machine; once a CPU was kicked, it is never dropped.
    pub unsafe fn new(config: Config<'_>) -> Result<Self, SetupError> {
        let common = config.common;
        let madt = Madt::parse(config.madt)?;
        if config.wake_vector < 0x20 || config.wake_vector == 0xff {
            return Err(SetupError::WakeNumber(u32::from(config.wake_vector)));
        }
        let low_page = config.low_page.ok_or(SetupError::NoWakeMethod)?;
        // SAFETY: promise 2 gives the backend the page, and this is its only window.
        let window = unsafe { Window::new(low_page)? };
        // SAFETY: promise 3: ring 0.
        let boot = unsafe { Snapshot::take() };
        if boot.cr3 >= 1 << 32 {
            return Err(SetupError::Above4G(boot.cr3));
        }
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
        if common.this_cpu.is_none() {
            // SAFETY: promise 3: without a `this_cpu` the GS base is ours.
            unsafe { entry::set_base(this) };
        }
        let start = Start {
            apic,
            ap_main: common.ap_main,
        };
        // SAFETY: promises 2 and 6: no AP runs anything of ours yet, and there is one backend. The
        // records are those just numbered.
        unsafe { entry::install(&boot, records, leaf, start) };
        Ok(Self {
            records,
            numbered,
            engine: Engine::new(records, common.timings),
            window,
            boot,
            apic,
            clock: Clock::new(common.clock_hz, ticks()),
            timeouts: common.timeouts,
            this_cpu: common.this_cpu.unwrap_or(entry::this_cpu),
            base_is_record: common.this_cpu.is_none(),
            idle: common.idle,
            context: common.context,
            spin_polls: common.timings.spin_polls,
            wake_vector: config.wake_vector,
            bsp: apic.is_bsp().then_some(numbered.boot),
            control: AtomicU32::new(numbered.boot.get()),
        })
    }

    fn record(&self, cpu: CpuId) -> Option<&'static BootRecord> {
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
        }
    }

    /// Returns what can be done with `cpu`.
    pub fn caps(&self, cpu: CpuId) -> Caps {
        let startable = self.record(cpu).is_some() && self.bsp != Some(cpu);
        Caps {
            wake: startable.then_some(WakeMethod::InitSipi),
            stop: Stop::Never,
        }
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
    /// Context: the AP, on its own stack. [`Rest::Park`] stays on that stack: core keeps what
    /// PREPARE made for a CPU that [`Platform::confirm`] calls running.
    pub fn rest(&self, how: Rest) -> ! {
        disable_interrupts();
        let record = self.record((self.this_cpu)());
        if let (Rest::Park, Some(record)) = (how, record) {
            self.sleep_ap(record);
            entry::restart(record);
        }
        entry::halt()
    }

    fn sender(&self) -> Sender<'_> {
        Sender {
            apic: self.apic,
            page: self.window.number(),
        }
    }

    /// Sleeps until a poke. Context: AP, interrupts off before and after.
    fn sleep_ap(&self, record: &BootRecord) {
        if record.begin_sleep() {
            // One class below the wake vector's: nothing else of this machine can wake the CPU, or
            // run a handler on it before the kernel has set it up.
            let old = set_priority((self.wake_vector >> 4) - 1);
            sleep();
            set_priority(old);
            record.end_sleep();
        }
    }

    fn wait_ap(&self, record: &BootRecord, deadline: u64) {
        // An AP has no timer of ours: with a deadline to watch it polls.
        if record.count_poll() < self.spin_polls || deadline != u64::MAX {
            core::hint::spin_loop();
        } else if interrupts_enabled() {
            // Past AP_IDLE: the CPU lives a normal life, and any interrupt may end its wait.
            disable_interrupts();
            if record.begin_sleep() {
                sleep();
                record.end_sleep();
            }
            enable_interrupts();
        } else {
            self.sleep_ap(record);
        }
    }

    fn wait_control(&self, deadline: u64) {
        let this = (self.this_cpu)();
        self.control.store(this.get(), Ordering::Relaxed);
        self.service();
        let (Some(idle), Some(record)) = (self.idle, self.record(this)) else {
            return core::hint::spin_loop();
        };
        if record.count_poll() < self.spin_polls {
            return core::hint::spin_loop();
        }
        let were_on = interrupts_enabled();
        disable_interrupts();
        if record.begin_sleep() {
            idle(deadline.min(self.engine.next_due()));
            record.end_sleep();
        }
        if were_on {
            enable_interrupts();
        }
        self.service();
    }

    /// Makes the next or running sleep of `cpu` end.
    fn poke(&self, cpu: CpuId) {
        let Some(record) = self.record(cpu) else {
            return;
        };
        if record.poke() == Poke::Interrupt {
            let vector = self.wake_vector;
            let id = record.hw_id.load(Ordering::Relaxed);
            // Busy past the bound cannot be reported here; a wait is a hint, and has a deadline.
            let _ = self.apic.send(id, Ipi::Fixed { vector });
        }
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

impl Platform for X86 {
    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn this_cpu(&self) -> CpuId {
        (self.this_cpu)()
    }

    /// Sends INIT; the SIPIs follow from the engine.
    ///
    /// Order: record and trampoline, core's KICKED, then the ICR, which [`LocalApic::send`] puts
    /// behind every earlier store.
    fn kick(&self, cpu: CpuId, epoch: u16) -> Result<(), KickError> {
        let record = self.record(cpu);
        let record = record.ok_or(KickError::new(KickErrorKind::NotPresent))?;
        if self.bsp == Some(cpu) || cpu == (self.this_cpu)() {
            return Err(KickError::new(KickErrorKind::Denied));
        }
        if self.base_is_record && record.percpu.load(Ordering::Relaxed) != 0 {
            return Err(KickError::new(KickErrorKind::BadAddress));
        }
        let page = self.window.phys();
        self.window.get(|| entry::image(&self.boot, page))?;
        let kicked = self.engine.kick(cpu, epoch, self.sender(), self.now());
        if kicked.is_err() {
            self.window.put();
        }
        self.service();
        kicked
    }

    fn confirm(&self, cpu: CpuId) -> Confirm {
        self.service();
        if cpu != self.numbered.boot && !self.engine.is_kicked(cpu) {
            // It has never run anything of ours, or was confirmed lost.
            return Confirm::Off;
        }
        Confirm::Running
    }

    fn present(&self, cpu: CpuId) -> bool {
        self.is_present(cpu)
    }

    fn kick_done(&self, cpu: CpuId, how: KickOutcome) {
        if self.engine.done(cpu, how) == Done::Ended {
            self.window.put();
        }
    }

    fn wait(&self, who: Who, deadline: u64) {
        match who {
            Who::Ap(cpu) => {
                if let Some(record) = self.record(cpu) {
                    self.wait_ap(record, deadline);
                }
            }
            Who::Control(_) => self.wait_control(deadline),
        }
    }

    fn notify_ap(&self, cpu: CpuId) {
        self.poke(cpu);
    }

    fn notify_ctl(&self, _cpu: CpuId) {
        // A control CPU that cannot sleep needs no interrupt, nor the store that asks for it.
        if self.idle.is_some() {
            self.poke(CpuId::new(self.control.load(Ordering::Relaxed)));
        }
    }

    fn enter_atomic(&self) {
        disable_interrupts();
    }

    fn leave_atomic(&self) {
        enable_interrupts();
    }

    fn can_off(&self, _cpu: CpuId) -> bool {
        false
    }

    fn hw_id(&self, cpu: CpuId) -> HwId {
        self.record(cpu).map_or(HwId(u64::MAX), BootRecord::hw_id)
    }

    fn context(&self) -> u32 {
        self.context
            .map_or_else(|| self.this_cpu().get(), |context| context())
    }

    fn alive_timeout(&self) -> u64 {
        self.timeouts.alive_ns
    }

    fn die_timeout(&self) -> u64 {
        self.timeouts.die_ns
    }

    fn step_timeout(&self) -> u64 {
        self.timeouts.step_ns
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
