//! The kernel: backend and state machine in set-once cells, its start, the way of every AP, its end.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use cpuhp_core::{
    ApExit, ApNext, BootSteps, CpuId, Cpuhp, MaskStore, OpError, Platform, Who, words,
};
use cpuhp_example_common as common;
use cpuhp_example_common::{Forward, Hp, ParamError, Rest, Scene, Toggle, Tracer, Verdict};
use spin::{Mutex, Once};

use crate::board::Board;
use crate::host::LastWords;
use crate::poison;
use crate::settings::Settings;
use crate::storage::{self, MAX_CPUS};

/// The one kernel of a program: a static of its own crate.
#[derive(Debug)]
pub struct Kernel<B: Board> {
    backend: Once<B::Backend>,
    hp: Once<Hp<&'static B::Backend>>,
    /// Work for one CPU, and its number + 1; 0 = none. The number is stored last, and read first.
    job: Mutex<Option<fn(&Self)>>,
    job_for: AtomicU32,
    /// 1: all other CPUs are sent a wake interrupt that means nothing, whenever the control CPU sleeps.
    is_noisy: AtomicU32,
    /// Listed by firmware as not there, and made present all the same.
    pub(crate) absent: MaskStore<{ words(MAX_CPUS) }>,
    /// CPUs that mode `raw` kicked. Written by the control CPU.
    pub(crate) raw: MaskStore<{ words(MAX_CPUS) }>,
    /// CPUs that were set up before. Each changes its own bit.
    pub(crate) seen: MaskStore<{ words(MAX_CPUS) }>,
}

/// Why a kernel with a backend does not get as far as its scenario.
#[derive(Clone, Copy, Debug)]
pub enum StartError {
    /// A word of the command line.
    Param(ParamError),
    /// The boot CPU was not adopted.
    Adopt(OpError),
    /// Firmware lists fewer CPUs as not there than `absent` wants.
    TooFewListed,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Param(error) => write!(f, "parameter {error}"),
            Self::Adopt(error) => error.fmt(f),
            Self::TooFewListed => {
                f.write_str("firmware lists fewer absent CPUs than `absent` says")
            }
        }
    }
}

impl From<ParamError> for StartError {
    fn from(error: ParamError) -> Self {
        Self::Param(error)
    }
}

impl<B: Board> Kernel<B> {
    /// Makes the kernel, without a backend: for the static.
    #[expect(
        clippy::new_without_default,
        reason = "there is one, and it is a static"
    )]
    pub const fn new() -> Self {
        Self {
            backend: Once::new(),
            hp: Once::new(),
            job: Mutex::new(None),
            job_for: AtomicU32::new(0),
            is_noisy: AtomicU32::new(0),
            absent: MaskStore::new(),
            raw: MaskStore::new(),
            seen: MaskStore::new(),
        }
    }

    /// Keeps the backend for ever. Context: boot CPU, once.
    pub fn keep(&'static self, backend: B::Backend) -> &'static B::Backend {
        self.backend.call_once(|| backend)
    }

    /// Returns the backend once it is there: for interrupt handlers, which may run before.
    pub fn backend(&'static self) -> Option<&'static B::Backend> {
        self.backend.get()
    }

    /// Makes the state machine and runs the scenario of the command line.
    ///
    /// Context: boot CPU, after [`Self::keep`], interrupts off; opens them.
    ///
    /// # Errors
    /// [`StartError`]; nothing was kicked.
    pub fn run(&'static self, settings: &Settings) -> Result<Verdict, StartError> {
        let backend = self.wait_backend();
        self.make_present(backend, settings.params.absent)?;
        if settings.poison == Toggle::On {
            poison::turn_on();
        }
        self.is_noisy
            .store(u32::from(settings.noise == Toggle::On), Ordering::Relaxed);
        let cpus = B::cpus(backend) as usize;
        let scene = Scene::install(storage::scene(cpus), settings.params, self);
        let (forward, storage) = (Forward::new(backend), storage::core(cpus));
        let machine = Cpuhp::with_trace(forward, Tracer, scene.table(), storage);
        // The others are measured without.
        let make = || {
            if settings.params.scenario.has_calls() {
                machine.with_calls(storage::queues(cpus))
            } else {
                machine
            }
        };
        let hp = self.hp.call_once(make);
        B::interrupts_on();
        hp.adopt_boot_cpu(BootSteps::Run)
            .map_err(StartError::Adopt)?;
        Ok(common::run(self))
    }

    /// Makes the first `absent` CPUs present that firmware lists as not there.
    fn make_present(&self, backend: &B::Backend, absent: u32) -> Result<(), StartError> {
        let missing = |cpu: &CpuId| !backend.present(*cpu);
        for _ in 0..absent {
            let mut cpus = (0..B::cpus(backend)).map(CpuId::new);
            let cpu = cpus.find(missing).ok_or(StartError::TooFewListed)?;
            self.absent.get_mut().insert(cpu);
            B::set_present(backend, cpu);
        }
        Ok(())
    }

    /// Returns the backend. Context: after `keep`, so on every AP.
    pub(crate) fn wait_backend(&self) -> &B::Backend {
        self.backend.wait()
    }

    /// Returns the state machine. Context: after `run` has made it, so on every AP.
    pub(crate) fn wait_hp(&self) -> &Hp<&'static B::Backend> {
        self.hp.wait()
    }

    /// Returns the state machine once it is there: for interrupt handlers.
    pub(crate) fn try_hp(&self) -> Option<&Hp<&'static B::Backend>> {
        self.hp.get()
    }

    // ---- work for one CPU

    /// Leaves `job` for `cpu`, wakes it, and serves this CPU's own record from now on, like any AP.
    ///
    /// What is on the stack now is lost when the CPU goes off: it comes back by [`ap_entry`].
    pub(crate) fn hand_over(&self, cpu: CpuId, job: fn(&Self)) -> ! {
        *self.job.lock() = Some(job);
        self.job_for.store(cpu.get() + 1, Ordering::Release);
        let (hp, this) = (self.wait_hp(), B::this_cpu());
        hp.platform().notify_ap(cpu);
        let how = loop {
            match hp.poll_ap(this) {
                ApNext::Off => break ApExit::Off,
                ApNext::Park => break ApExit::Park,
                ApNext::Spin => hp.platform().relax(),
                ApNext::Wait | ApNext::Idle | ApNext::Refused(_) => {
                    hp.platform().wait(Who::Ap(this), u64::MAX);
                }
            }
        };
        B::rest(self.wait_backend(), Rest::Core(how))
    }

    /// Does the work that was left for `cpu`, and then ends the machine.
    pub(crate) fn take_job(&self, cpu: CpuId) {
        if self.job_for.load(Ordering::Acquire) != cpu.get() + 1 {
            return;
        }
        self.job_for.store(0, Ordering::Relaxed);
        let job = self.job.lock().take();
        if let Some(job) = job {
            job(self);
            B::exit(common::verdict());
        }
    }

    fn wake_all_for_nothing(&self, backend: &B::Backend) {
        let this = B::this_cpu();
        let cpus = (0..B::cpus(backend)).map(CpuId::new);
        for cpu in cpus.filter(|cpu| *cpu != this) {
            B::wake(backend, cpu);
        }
    }
}

/// Puts the control CPU to sleep until an interrupt or the time. Context: interrupts off.
pub(crate) fn idle<B: Board>(until: u64) {
    let kernel = B::kernel();
    let Some(backend) = kernel.backend() else {
        return;
    };
    if kernel.is_noisy.load(Ordering::Relaxed) != 0 {
        kernel.wake_all_for_nothing(backend);
    }
    let ns = until.saturating_sub(backend.now());
    if ns > 0 {
        B::sleep_ns(ns);
    }
}

/// Where every AP begins, for the backend's `ap_main`: its own stack and area, interrupts off.
pub fn ap_entry<B: Board>(cpu: CpuId) -> ! {
    let kernel = B::kernel();
    let how = common::ap_main(kernel, cpu);
    B::rest(kernel.wait_backend(), how)
}

/// Ends the machine as `result` says, for the end of `main`.
pub fn end<B: Board>(result: Result<Verdict, impl fmt::Display>) -> ! {
    B::exit(result.unwrap_or_else(|cause| {
        B::print(format_args!("error: {cause}\n"));
        Verdict::Fail
    }))
}

/// Prints the machine line of a panic, whatever state the kernel is in, and ends the machine.
pub fn panic<B: Board>(message: &dyn fmt::Display) -> ! {
    common::print_panic(&LastWords::<B>::new(), message);
    B::exit(Verdict::Fail)
}
