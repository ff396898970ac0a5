//! This kernel as the scenario driver sees it: [`Host`] for the callbacks, [`Machine`] for the rest.

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use cpuhp_core::{
    BootSteps, CpuId, Cpuhp, DynSlot, Entry, KickError, KickOutcome, LockWord, MaskStore, MaskWord,
    Platform, Record, StepError, StepResult, Storage, Table, Tag, words,
};
use cpuhp_example_common as common;
use cpuhp_example_common::{Existence, Forward, Host, Hp, Machine, Slept, Tracer, Unable};
use cpuhp_x86::X86;
use spin::Once;

use crate::cpu::MAX_CPUS;
use crate::{apic, console, cpu};

/// How often the state machine can start over in one boot.
const GENERATIONS: usize = 64;
/// Dynamic states of the example tables, at most.
const DYNAMIC: usize = 32;
/// How long a CPU may take to obey an INIT.
const SETTLE_NS: u64 = 10_000_000;

/// Storage of one generation of the state machine, all zero.
struct Memory {
    records: [Record; MAX_CPUS],
    masks: [MaskWord; Storage::mask_words(MAX_CPUS)],
    slots: [DynSlot; DYNAMIC],
    lock: LockWord,
    hp: Once<Hp<&'static X86>>,
}

static MEMORY: [Memory; GENERATIONS] = [const {
    Memory {
        records: [const { Record::new() }; MAX_CPUS],
        masks: [const { MaskWord::new(0) }; Storage::mask_words(MAX_CPUS)],
        slots: [const { DynSlot::new() }; DYNAMIC],
        lock: LockWord::new(),
        hp: Once::new(),
    }
}; GENERATIONS];

/// Listed by firmware as not there, and made present all the same.
static ABSENT: MaskStore<{ words(MAX_CPUS) }> = MaskStore::new();
/// What mode `raw` did with a CPU: nothing, kicked it, or saw it to its rest.
///
/// Written by the control CPU; `RESTS` by the CPU itself: Release, with the Acquire of `end_raw`.
static RAW: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];

const NOTHING: u32 = 0;
const KICKED: u32 = 1;
const RESTS: u32 = 2;

static KERNEL: Once<Kernel> = Once::new();

/// The kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    backend: &'static X86,
    /// CPUs the state machine knows.
    cpus: usize,
    /// Generation of the state machine. Written by the boot CPU while no AP runs.
    now: AtomicUsize,
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
    ABSENT.get().insert(cpu);
}

/// Puts the control CPU to sleep until an interrupt or the time. Context: interrupts off.
pub(crate) fn idle(until: u64) {
    if let Some(kernel) = KERNEL.get() {
        let ns = until.saturating_sub(kernel.now());
        if ns > 0 {
            apic::sleep_ns(ns);
        }
    }
}

/// Prints the machine line of a panic, whatever state the kernel is in.
pub(crate) fn print_panic(message: &dyn fmt::Display) {
    common::print_panic(&LastWords, message);
}

impl Kernel {
    /// Makes the kernel around its backend; `cpus` of the backend's CPUs are used.
    pub(crate) const fn new(backend: &'static X86, cpus: usize) -> Self {
        Self {
            backend,
            cpus,
            now: AtomicUsize::new(0),
        }
    }

    pub(crate) const fn backend(&self) -> &'static X86 {
        self.backend
    }

    /// Makes the state machine of the current generation, once the scene with its table is there.
    pub(crate) fn begin(&self, table: &'static Table) -> &'static Hp<&'static X86> {
        let memory = self.memory();
        let records = memory.records.get(..self.cpus).unwrap_or(&[]);
        let storage = Storage::from_parts(records, &memory.masks, &memory.slots, &memory.lock);
        let storage = storage.expect("the masks are as many as the most records need");
        let platform = Forward::new(self.backend);
        let make = || Cpuhp::with_trace(platform, Tracer, table, storage);
        memory.hp.call_once(make)
    }

    fn memory(&self) -> &'static Memory {
        let generation = self.now.load(Ordering::Acquire);
        MEMORY.get(generation).unwrap_or(&MEMORY[0])
    }

    /// Notes that `cpu` rests after mode `raw` and may be reset. Context: `cpu`, its last word.
    pub(crate) fn rests_raw(&self, cpu: CpuId) {
        if let Some(word) = RAW.get(cpu.index()) {
            word.store(RESTS, Ordering::Release);
        }
    }

    /// Ends what mode `raw` did with `cpu`: waits for its rest, since it wrote its one word a moment
    /// before, and resets a CPU that never came.
    fn end_raw(&self, cpu: CpuId) {
        let Some(word) = RAW.get(cpu.index()) else {
            return;
        };
        if word.load(Ordering::Acquire) == NOTHING {
            return;
        }
        let deadline = self.now() + SETTLE_NS;
        while word.load(Ordering::Acquire) != RESTS && self.now() < deadline {
            core::hint::spin_loop();
        }
        if word.swap(NOTHING, Ordering::Acquire) != RESTS {
            self.reset([cpu].into_iter());
        }
        // It has halted for good, or waits for SIPI; the next kick begins with an INIT.
        self.backend.kick_done(cpu, KickOutcome::Lost);
    }

    /// Sends INIT to `cpus` and gives them the time to obey.
    fn reset(&self, cpus: impl Iterator<Item = CpuId>) {
        let were_on = apic::interrupts_are_on();
        apic::interrupts_off();
        for cpu in cpus {
            // 8 bits in xAPIC mode, 32 in x2APIC mode; larger ones could not be kicked either.
            let id = self.backend.hw_id(cpu).0;
            apic::reset(u32::try_from(id).unwrap_or(u32::MAX));
        }
        if were_on {
            apic::interrupts_on();
        }
        let settled = self.now() + SETTLE_NS;
        while self.now() < settled {
            core::hint::spin_loop();
        }
    }

    /// Every CPU but the boot CPU.
    fn others(&self) -> impl Iterator<Item = CpuId> {
        let boot = self.backend.boot_cpu();
        let cpus = (0..self.backend.cpus()).take(self.cpus).map(CpuId::new);
        cpus.filter(move |cpu| *cpu != boot)
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
    }

    fn start(&self, cpu: CpuId, _entry: Entry) {
        cpu::load_tables(cpu);
    }
}

impl Machine for Kernel {
    type Backend = &'static X86;

    fn hp(&self) -> &Hp<Self::Backend> {
        self.memory().hp.wait()
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

    /// Resets every other CPU by INIT and goes on with the next storage.
    ///
    /// That is more than an ordinary kernel could do: here it is known that no CPU holds a lock or
    /// has any work.
    fn renew(&self) -> Result<(), Unable> {
        let next = self.now.load(Ordering::Relaxed) + 1;
        if next == GENERATIONS {
            return Err("it can start over 63 times in one boot");
        }
        self.reset(self.others());
        for cpu in self.others() {
            self.backend.kick_done(cpu, KickOutcome::Lost);
            self.unprepare(cpu);
            if let Some(word) = RAW.get(cpu.index()) {
                word.store(NOTHING, Ordering::Relaxed);
            }
        }
        let hp = self.hp();
        let table = hp.table();
        self.now.store(next, Ordering::Release);
        self.begin(table)
            .adopt_boot_cpu(BootSteps::Run)
            .map_err(|_| "its boot CPU could not be adopted again")
    }

    fn raw_kick(&self, cpu: CpuId) -> Option<Result<(), KickError>> {
        let kicked = self.backend.kick(cpu, 1);
        if let (Ok(()), Some(word)) = (kicked, RAW.get(cpu.index())) {
            // The CPU may be faster: then it rests already.
            let _ = word.compare_exchange(NOTHING, KICKED, Ordering::Relaxed, Ordering::Relaxed);
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
