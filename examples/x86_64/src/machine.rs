//! This kernel as the scenario driver sees it: [`Host`] for the callbacks, [`Machine`] for the rest.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use cpuhp_core::{
    ApNext, Confirm, CpuId, Cpuhp, DynSlot, Entry, KickError, KickOutcome, LockWord, MaskStore,
    MaskWord, Platform, Record, StepError, StepResult, Storage, Table, Tag, Who, words,
};
use cpuhp_example_common as common;
use cpuhp_example_common::{Existence, Forward, Host, Hp, Machine, Slept, Tracer, Unable, Verdict};
use cpuhp_x86::{BootRecord, X86};
use spin::{Mutex, Once};

use crate::console::Ending;
use crate::cpu::MAX_CPUS;
use crate::{apic, boot, console, cpu, poison, units};

/// Dynamic states of the example tables, at most.
const DYNAMIC: usize = 32;
/// How long a CPU of mode `raw` may take from its one word to its rest, or to obey an INIT.
const SETTLE_NS: u64 = 20_000_000;

static RECORDS: [Record; MAX_CPUS] = [const { Record::new() }; MAX_CPUS];
static MASKS: [MaskWord; Storage::mask_words(MAX_CPUS)] =
    [const { MaskWord::new(0) }; Storage::mask_words(MAX_CPUS)];
static SLOTS: [DynSlot; DYNAMIC] = [const { DynSlot::new() }; DYNAMIC];
static LOCK: LockWord = LockWord::new();
static HOTPLUG: Once<Hp<&'static X86>> = Once::new();

/// Listed by firmware as not there, and made present all the same.
static ABSENT: MaskStore<{ words(MAX_CPUS) }> = MaskStore::new();
/// CPUs that mode `raw` kicked. Written by the control CPU.
static RAW: MaskStore<{ words(MAX_CPUS) }> = MaskStore::new();
/// Work for one CPU, and its number + 1; 0 = none. The number is stored last, and read first.
static JOB: Mutex<Option<fn(&Kernel)>> = Mutex::new(None);
static JOB_FOR: AtomicU32 = AtomicU32::new(0);

/// 1: all other CPUs are sent a wake interrupt that means nothing, whenever the control CPU sleeps.
static IS_NOISY: AtomicU32 = AtomicU32::new(0);
/// 1: each AP changes its APIC's mode before it rests.
static FLIPS: AtomicU32 = AtomicU32::new(0);

static KERNEL: Once<Kernel> = Once::new();

/// The kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    backend: &'static X86,
    /// CPUs the state machine knows.
    cpus: usize,
}

/// Installs the one kernel. Context: boot CPU, once.
pub(crate) fn install(kernel: Kernel) -> &'static Kernel {
    KERNEL.call_once(|| kernel)
}

/// Returns the kernel. Context: after `install`, so on every AP.
pub(crate) fn get() -> &'static Kernel {
    KERNEL.wait()
}

/// Notes that `cpu` will never come. Context: boot CPU, before `install`.
pub(crate) fn mark_absent(cpu: CpuId) {
    ABSENT.get_mut().insert(cpu);
}

/// Puts the control CPU to sleep until an interrupt or the time. Context: interrupts off.
pub(crate) fn idle(until: u64) {
    if let Some(kernel) = KERNEL.get() {
        if IS_NOISY.load(Ordering::Relaxed) != 0 {
            kernel.wake_all_for_nothing();
        }
        let ns = until.saturating_sub(kernel.now());
        if ns > 0 {
            apic::sleep_ns(ns);
        }
    }
}

/// Begins to send wake interrupts that mean nothing, in every phase of every CPU.
pub(crate) fn turn_noise_on() {
    IS_NOISY.store(1, Ordering::Relaxed);
}

/// Begins to change the APIC's mode of each AP that goes to rest.
pub(crate) fn turn_flips_on() {
    FLIPS.store(1, Ordering::Relaxed);
}

/// Prints the machine line of a panic, whatever state the kernel is in.
pub(crate) fn print_panic(message: &dyn fmt::Display) {
    common::print_panic(&LastWords, message);
}

impl Kernel {
    /// Makes the kernel around its backend; `cpus` of the backend's CPUs are used.
    pub(crate) const fn new(backend: &'static X86, cpus: usize) -> Self {
        Self { backend, cpus }
    }

    pub(crate) const fn backend(&self) -> &'static X86 {
        self.backend
    }

    /// Makes the state machine, once the scene with its table is there.
    pub(crate) fn begin(&self, table: &'static Table) -> &'static Hp<&'static X86> {
        let records = RECORDS.get(..self.cpus).unwrap_or(&[]);
        let storage = Storage::from_parts(records, &MASKS, &SLOTS, &LOCK);
        let storage = storage.expect("the masks are as many as the most records need");
        let platform = Forward::new(self.backend);
        let make = || Cpuhp::with_trace(platform, Tracer, table, storage);
        HOTPLUG.call_once(make)
    }

    /// Ends what mode `raw` did with `cpu`: waits for its rest, since it wrote its one word a moment
    /// before, and resets a CPU that never came.
    fn end_raw(&self, cpu: CpuId) {
        if !RAW.get().contains(cpu) {
            return;
        }
        RAW.get_mut().remove(cpu);
        let has_come = self.backend.cancel(cpu).is_err();
        let deadline = self.now() + SETTLE_NS;
        while self.backend.confirm(cpu) == Confirm::Running && self.now() < deadline {
            core::hint::spin_loop();
        }
        if !has_come {
            self.backend.kick_done(cpu, KickOutcome::Lost);
        }
    }

    /// Serves this CPU's own record, like any AP, until the machine ends.
    ///
    /// What is on the stack now is lost when the CPU goes off: it comes back by `ap_entry`.
    fn serve(&self, cpu: CpuId) -> ! {
        let platform = self.hp().platform();
        loop {
            match self.hp().poll_ap(cpu) {
                ApNext::Off => self.backend.rest(cpuhp_x86::Rest::Off),
                ApNext::Park => self.backend.rest(cpuhp_x86::Rest::Park),
                ApNext::Spin => platform.relax(),
                ApNext::Wait | ApNext::Idle | ApNext::Refused(_) => {
                    platform.wait(Who::Ap(cpu), u64::MAX);
                }
            }
        }
    }

    /// What an AP does last. Context: the AP, interrupts off.
    pub(crate) fn before_rest(&self) {
        if FLIPS.load(Ordering::Relaxed) != 0 {
            apic::flip_mode();
        }
    }

    fn wake_all_for_nothing(&self) {
        let cpus = (0..self.backend.cpus()).take(self.cpus).map(CpuId::new);
        for cpu in cpus.filter(|cpu| *cpu != self.this_cpu()) {
            apic::wake(self.hw_id(cpu));
        }
    }

    fn hw_id(&self, cpu: CpuId) -> u32 {
        // 8 bits in xAPIC mode, 32 in x2APIC mode.
        u32::try_from(self.backend.hw_id(cpu).0).unwrap_or(u32::MAX)
    }
}

impl Host for Kernel {
    fn now(&self) -> u64 {
        self.backend.now()
    }

    fn this_cpu(&self) -> CpuId {
        cpu::this_cpu()
    }

    fn print(&self, line: fmt::Arguments<'_>) {
        console::print(format_args!("{line}\n"));
    }

    /// Sleeps in `hlt` on the CPU's own timer, but in STARTING: there only a spin keeps interrupts
    /// off. Before its arrival the AP has them off as well, but nothing forbids to open them.
    fn sleep(&self, cpu: CpuId, until: u64) -> Slept {
        let tag = self.hp().tag(cpu);
        let in_starting = matches!(tag, Some(Tag::Go | Tag::Up | Tag::Die));
        let were_on = apic::interrupts_are_on();
        while self.now() < until {
            if in_starting && !were_on {
                core::hint::spin_loop();
                continue;
            }
            apic::interrupts_off();
            apic::sleep_ns(until.saturating_sub(self.now()));
            if were_on {
                apic::interrupts_on();
            }
        }
        Slept::Over
    }

    fn prepare(&self, cpu: CpuId) -> StepResult {
        if cpu == self.this_cpu() {
            return Ok(());
        }
        self.end_raw(cpu);
        let changed = poison::check(cpu);
        assert!(changed == 0, "{cpu} was off and changed {changed} words");
        let boot = cpu::prepare(cpu);
        let (Some(boot), Some(record)) = (boot, self.backend.boot_record(cpu)) else {
            return Err(StepError::user(1).unwrap_or(StepError::TIMEOUT));
        };
        record.set(boot);
        Ok(())
    }

    fn unprepare(&self, cpu: CpuId) {
        if let Some(record) = self.backend.boot_record(cpu) {
            record.clear();
        }
        let more = (cpu == self.backend.boot_cpu()).then(boot::first_stack);
        poison::apply(cpu, self.hw_id(cpu), more);
    }

    fn start(&self, cpu: CpuId, entry: Entry) {
        cpu::load_tables(cpu);
        units::enter(cpu, entry);
    }

    fn stop(&self, _cpu: CpuId) {
        apic::stop_timer();
    }

    fn idle(&self, cpu: CpuId) {
        if JOB_FOR.load(Ordering::Acquire) != cpu.get() + 1 {
            return;
        }
        JOB_FOR.store(0, Ordering::Relaxed);
        let job = JOB.lock().take();
        if let Some(job) = job {
            job(self);
            let ending = match common::verdict() {
                Verdict::Pass => Ending::Pass,
                Verdict::Fail => Ending::Fail,
            };
            console::exit(ending);
        }
    }
}

impl Machine for Kernel {
    type Backend = &'static X86;

    fn hp(&self) -> &Hp<Self::Backend> {
        HOTPLUG.wait()
    }

    fn arch(&self) -> &'static str {
        "x86_64"
    }

    fn exists(&self, cpu: CpuId) -> Option<Existence> {
        Some(if ABSENT.get().contains(cpu) {
            Existence::Absent
        } else {
            Existence::There
        })
    }

    fn cancel(&self, cpu: CpuId) -> Result<(), KickError> {
        self.backend.cancel(cpu)
    }

    fn polls_max(&self, cpu: CpuId) -> Option<u32> {
        self.backend.boot_record(cpu).map(BootRecord::polls_max)
    }

    /// Never returns: what called it does not survive the CPU's going off.
    fn run_on(&self, cpu: CpuId, job: fn(&Self)) -> Result<(), Unable> {
        *JOB.lock() = Some(job);
        JOB_FOR.store(cpu.get() + 1, Ordering::Release);
        self.hp().platform().notify_ap(cpu);
        self.serve(self.this_cpu())
    }

    fn raw_kick(&self, cpu: CpuId) -> Option<Result<(), KickError>> {
        let kicked = self.backend.kick(cpu, 1);
        if kicked.is_ok() {
            RAW.get_mut().insert(cpu);
        }
        Some(kicked)
    }
}

/// Prints while the kernel is falling: takes no lock for long, needs no backend.
struct LastWords;

impl Host for LastWords {
    fn now(&self) -> u64 {
        KERNEL.get().map_or(0, Host::now)
    }

    fn this_cpu(&self) -> CpuId {
        cpu::this_cpu()
    }

    fn print(&self, line: fmt::Arguments<'_>) {
        console::print_last(format_args!("{line}\n"));
    }

    fn sleep(&self, _cpu: CpuId, _until: u64) -> Slept {
        Slept::Over
    }
}
