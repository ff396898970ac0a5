//! CPUs as threads: one per possible CPU, waiting in its own power switch until it is kicked.
//!
//! A test makes the machine, puts a [`cpuhp_core::Cpuhp`] on it and calls [`Threads::run`], which starts
//! the threads, runs a closure as the boot CPU and, when that ends, cuts the power: a CPU that still
//! runs is unwound out of its next wait. Nothing outlives the call, so Miri finds no leak.

mod cpu;
mod run_on;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cpuhp_core::{ApExit, Confirm, CpuId, KickError, KickErrorKind, Platform, Who};

use crate::fate::{Fate, Power};
use cpu::Cpu;

thread_local! {
    static THIS: Cell<u32> = const { Cell::new(u32::MAX) };
    /// Which context a thread is; 0 = not numbered yet.
    static CONTEXT: Cell<u32> = const { Cell::new(0) };
    /// Count of control notifications that this thread has seen.
    static SEEN: Cell<u64> = const { Cell::new(0) };
}

/// How many threads have been numbered.
static CONTEXTS: AtomicU32 = AtomicU32::new(0);

/// Longest wait of a thread without another look.
const LONG: Duration = Duration::from_secs(3600);

/// Stack of a CPU's thread.
const STACK: usize = 256 * 1024;

/// A machine whose CPUs are threads.
///
/// ```
/// use cpuhp_core::{BootSteps, Cpuhp, Step, Store, states, words};
/// use cpuhp_sim::Threads;
///
/// states! { mod hp { prepare {} starting {} online { A = Step::new("a:online").parallel(); } } }
/// static STORE: Store<4, { words(4) }, { hp::NDYN }> = Store::new();
///
/// # fn main() {
/// let machine = Threads::new(4);
/// let cpuhp = Cpuhp::new(&machine, &hp::TABLE, STORE.get());
/// let report = machine.run(
///     |cpu| cpuhp.ap_run(cpu),
///     || {
///         cpuhp.adopt_boot_cpu(BootSteps::Run)?;
///         cpuhp.bring_up(cpuhp_core::Which::All)
///     },
/// );
/// assert_eq!(report.map(|report| report.done), Ok(3));
/// assert_eq!(cpuhp.online().count(), 4);
/// # }
/// ```
#[derive(Debug)]
pub struct Threads {
    start: Instant,
    cpus: Box<[Cpu]>,
    boot: CpuId,
    timeout_ns: u64,
    patience_ns: u64,
    /// Counts notifications of the control CPU, whichever CPU that is.
    control: Mutex<u64>,
    control_changed: Condvar,
    /// The power was cut: every CPU unwinds out of its next wait.
    cut: AtomicBool,
    /// A thread of a CPU panicked.
    crashed: AtomicBool,
}

/// What a thread unwinds with when the power is cut.
struct PowerCut;

impl Threads {
    /// Makes a machine of `cpus` CPUs, CPU 0 being the boot CPU.
    pub fn new(cpus: u32) -> Self {
        Self {
            start: Instant::now(),
            cpus: (0..cpus).map(|_| Cpu::new()).collect(),
            boot: CpuId::new(0),
            timeout_ns: 10_000_000_000,
            patience_ns: u64::MAX,
            control: Mutex::new(0),
            control_changed: Condvar::new(),
            cut: AtomicBool::new(false),
            crashed: AtomicBool::new(false),
        }
    }

    /// Sets which CPU boots the machine.
    #[must_use]
    pub fn boot_cpu(mut self, cpu: CpuId) -> Self {
        self.boot = cpu;
        self
    }

    /// Sets all three timeouts of the control CPU.
    #[must_use]
    pub fn timeout_ns(mut self, nanoseconds: u64) -> Self {
        self.timeout_ns = nanoseconds;
        self
    }

    /// Sets how long an AP waits for its release.
    #[must_use]
    pub fn patience_ns(mut self, nanoseconds: u64) -> Self {
        self.patience_ns = nanoseconds;
        self
    }

    /// Decides what the next kicks of `cpu` lead to. Any thread, any time.
    pub fn set_fate(&self, cpu: CpuId, fate: Fate) {
        if let Some(cpu) = self.cpu(cpu) {
            cpu.lock().fate = fate;
        }
    }

    /// Lets a CPU come whose kick was held back; its later kicks are prompt.
    pub fn let_go(&self, cpu: CpuId) {
        let Some(cpu) = self.cpu(cpu) else { return };
        let mut inner = cpu.lock();
        if inner.fate == Fate::Held && inner.power == Power::Missing {
            inner.power = Power::Starting(0);
        }
        inner.fate = Fate::Prompt;
        drop(inner);
        cpu.changed.notify_all();
    }

    /// Switches the machine on, runs `boot` as the boot CPU, cuts the power and returns its result.
    ///
    /// `entry` is what a started CPU runs: [`cpuhp_core::Cpuhp::ap_run`], as a rule.
    ///
    /// # Panics
    /// If `boot`, or a callback on any CPU, panics.
    pub fn run<R>(&self, entry: impl Fn(CpuId) -> ApExit + Sync, boot: impl FnOnce() -> R) -> R {
        self.cut.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            let entry = &entry;
            for (number, _) in (0..).zip(&self.cpus) {
                let spawned = thread::Builder::new()
                    .name(format!("cpu {number}"))
                    .stack_size(STACK)
                    .spawn_scoped(scope, move || self.live(CpuId::new(number), entry));
                if let Err(error) = spawned {
                    self.cut_power();
                    panic!("no thread for cpu {number}: {error}");
                }
            }
            THIS.set(self.boot.get());
            if let Some(cpu) = self.cpu(self.boot) {
                cpu.lock().power = Power::Running;
            }
            let result = catch_unwind(AssertUnwindSafe(boot));
            self.cut_power();
            match result {
                Ok(result) => {
                    self.check_crash();
                    result
                }
                Err(payload) => resume_unwind(payload),
            }
        })
    }

    /// Runs `run` on the calling thread as one more context of `cpu`, as of a kernel that schedules several
    /// threads there.
    pub fn as_context_of<R>(&self, cpu: CpuId, run: impl FnOnce() -> R) -> R {
        let before = THIS.replace(cpu.get());
        let result = run();
        THIS.set(before);
        result
    }

    fn cpu(&self, cpu: CpuId) -> Option<&Cpu> {
        self.cpus.get(cpu.index())
    }

    fn cut_power(&self) {
        self.cut.store(true, Ordering::Relaxed);
        for cpu in &self.cpus {
            // Under the lock, so that no thread is between its look and its wait.
            drop(cpu.lock());
            cpu.changed.notify_all();
        }
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// The life of one thread: off, started, running, at rest, and so on until the power is cut.
    fn live(&self, number: CpuId, entry: &(impl Fn(CpuId) -> ApExit + Sync)) {
        THIS.set(number.get());
        let Some(cpu) = self.cpu(number) else { return };
        while self.await_start(cpu) {
            let rest = match catch_unwind(AssertUnwindSafe(|| entry(number))) {
                Ok(ApExit::Park) => Power::Parked,
                Ok(ApExit::Off | ApExit::Stale) => Power::Off,
                Err(payload) if payload.is::<PowerCut>() => return,
                Err(payload) => {
                    self.crashed.store(true, Ordering::Relaxed);
                    self.notify_control();
                    resume_unwind(payload);
                }
            };
            cpu.rest(rest);
            self.notify_control();
        }
    }

    /// Waits until the CPU is started, or wanted back from its rest; `false` once the power is cut.
    fn await_start(&self, cpu: &Cpu) -> bool {
        let mut inner = cpu.lock();
        loop {
            if self.is_cut() {
                return false;
            }
            let extra = match inner.power {
                Power::Starting(extra) => Some(extra),
                Power::Parked if inner.notified => Some(0),
                Power::Off | Power::Missing | Power::Running | Power::Parked => None,
            };
            if let Some(extra) = extra {
                inner.power = Power::Running;
                inner.notified = false;
                drop(inner);
                if extra > 0 {
                    thread::sleep(Duration::from_nanos(extra));
                }
                return true;
            }
            inner = wait(&cpu.changed, inner, LONG);
        }
    }

    fn notify_control(&self) {
        *lock(&self.control) += 1;
        self.control_changed.notify_all();
    }

    fn until(&self, deadline: u64) -> Duration {
        Duration::from_nanos(deadline.saturating_sub(self.now())).min(LONG)
    }

    fn wait_ap(&self, cpu: &Cpu, deadline: u64) {
        let mut inner = cpu.lock();
        if !inner.notified && inner.job.is_none() && !self.is_cut() {
            inner = wait(&cpu.changed, inner, self.until(deadline));
        }
        inner.notified = false;
        let job = inner.job.take();
        drop(inner);
        if let Some(job) = job {
            job();
        }
        self.check_power();
    }

    fn wait_control(&self, deadline: u64) {
        let mut count = lock(&self.control);
        if *count == SEEN.get() {
            count = wait(&self.control_changed, count, self.until(deadline));
        }
        SEEN.set(*count);
        drop(count);
        self.check_crash();
        self.check_power();
    }

    fn check_crash(&self) {
        assert!(!self.crashed.load(Ordering::Relaxed), "a CPU panicked");
    }

    /// Ends the calling thread if the power is cut.
    fn check_power(&self) {
        if self.is_cut() {
            resume_unwind(Box::new(PowerCut));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(changed: &Condvar, guard: MutexGuard<'a, T>, most: Duration) -> MutexGuard<'a, T> {
    let waited = changed.wait_timeout(guard, most);
    waited.unwrap_or_else(PoisonError::into_inner).0
}

impl Platform for Threads {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn this_cpu(&self) -> CpuId {
        CpuId::new(THIS.get())
    }

    fn context(&self) -> u32 {
        if CONTEXT.get() == 0 {
            CONTEXT.set(CONTEXTS.fetch_add(1, Ordering::Relaxed) + 1);
        }
        CONTEXT.get()
    }

    fn kick(&self, cpu: CpuId, _epoch: u16) -> Result<(), KickError> {
        let there = self.cpu(cpu);
        let cpu = there.ok_or(KickError::new(KickErrorKind::NotPresent))?;
        cpu.kick()
    }

    fn confirm(&self, cpu: CpuId) -> Confirm {
        self.cpu(cpu).map_or(Confirm::Off, Cpu::confirm)
    }

    fn wait(&self, who: Who, deadline: u64) {
        match who {
            Who::Ap(cpu) => {
                if let Some(cpu) = self.cpu(cpu) {
                    self.wait_ap(cpu, deadline);
                }
            }
            Who::Control(_) => self.wait_control(deadline),
        }
    }

    fn relax(&self) {
        thread::yield_now();
        self.check_power();
    }

    fn notify_ap(&self, cpu: CpuId) {
        if let Some(cpu) = self.cpu(cpu) {
            cpu.lock().notified = true;
            cpu.changed.notify_all();
        }
    }

    fn notify_ctl(&self, _cpu: CpuId) {
        self.notify_control();
    }

    fn alive_timeout(&self) -> u64 {
        self.timeout_ns
    }

    fn die_timeout(&self) -> u64 {
        self.timeout_ns
    }

    fn step_timeout(&self) -> u64 {
        self.timeout_ns
    }

    fn ap_patience(&self) -> u64 {
        self.patience_ns
    }
}

#[cfg(test)]
mod tests;
