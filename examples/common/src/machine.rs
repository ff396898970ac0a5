//! What a kernel implements to run the scenarios: [`Host`], for the callbacks, and [`Machine`].
//!
//! Two traits, because the callbacks of the table are plain functions: they reach a `&'static dyn
//! Host` through the [`Scene`](crate::Scene). [`Machine`] adds what only the driver needs.
//!
//! What else a kernel does, in this order:
//!
//! 1. [`Params::parse`](crate::Params::parse) of the command line.
//! 2. [`Scene::install`](crate::Scene::install) with storage of its own and a `Host`.
//! 3. `Cpuhp::with_trace(Forward::new(backend), Tracer, scene.table(), store.get())`, kept static.
//! 4. `adopt_boot_cpu(BootSteps::Run)`: the table's steps run on the boot CPU as well.
//! 5. [`run`](crate::run), then leave through the exit device.
//!
//! An AP calls [`ap_main`](crate::ap_main) from its entry code, then rests as the answer says.

use core::fmt;

use cpuhp_core::{
    Call, CallError, CpuId, Cpuhp, Entry, KickError, KickErrorKind, Platform, StepResult,
};

use crate::forward::Forward;
use crate::trace::Tracer;

/// The hotplug machine of a kernel with the backend `B`.
pub type Hp<B> = Cpuhp<'static, Forward<B>, Tracer>;

/// What a console that was closed goes on to say: end of transmission, control-D on a keyboard.
///
/// **Spec**: ECMA-6, "Transmission control characters".
pub const END_OF_INPUT: u8 = 4;

/// How [`Host::sleep`] slept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slept {
    /// The time is over.
    Over,
    /// Not yet: the step answers "call me again", and the machine polls the CPU at that time.
    CallAgain,
}

/// What the callbacks of the example table, the tracer and the printer need of a kernel.
///
/// Every method may be called on any CPU.
pub trait Host: Sync {
    /// Returns monotonic nanoseconds, comparable between CPUs: the platform's clock.
    fn now(&self) -> u64;

    /// Returns the number of the calling CPU.
    fn this_cpu(&self) -> CpuId;

    /// Writes one line and ends it. Called by one CPU at a time, never in a timed window.
    fn print(&self, line: fmt::Arguments<'_>);

    /// Writes text as it is, without ending the line, and at once: what the monitor echoes.
    ///
    /// Context: as [`Self::print`]. The default writes nothing.
    fn echo(&self, _text: &str) {}

    /// Takes the next byte that was typed on the console; `None` if there is none now.
    ///
    /// Context: one CPU, interrupts on. Returns soon, typed or not. A console that was closed answers
    /// [`END_OF_INPUT`].
    ///
    /// # Errors
    /// This kernel reads no console. The default.
    fn typed(&self) -> Result<Option<u8>, Unable> {
        Err("it has no console input")
    }

    /// Spends the time until `until` in a step of `cpu`, asleep where this CPU can sleep now.
    ///
    /// Context: the CPU that executes the step; in STARTING interrupts are off and must stay so.
    /// [`Slept::CallAgain`] is for machines that cannot block inside a callback.
    fn sleep(&self, cpu: CpuId, until: u64) -> Slept;

    /// Runs `work` in a critical section: no other CPU is in one, and no handler of this CPU runs.
    ///
    /// # Errors
    /// This kernel has none; `work` did not run. The default.
    fn section(&self, _work: &mut dyn FnMut()) -> Result<(), Unable> {
        Err("it has no critical sections")
    }

    /// Gives `cpu` what it needs to enter: stack, per-CPU area, start record.
    ///
    /// Context: control CPU, PREPARE. Also called for the boot CPU, by itself when it is adopted, and by
    /// another CPU when it comes back.
    ///
    /// # Errors
    /// The kernel's own, if there is no memory.
    fn prepare(&self, _cpu: CpuId) -> StepResult {
        Ok(())
    }

    /// Takes back what [`Self::prepare`] gave. Context: control CPU, PREPARE.
    fn unprepare(&self, _cpu: CpuId) {}

    /// Is told that no operation runs and that `cpu` is about to be looked at; never in a timed window.
    ///
    /// For what a kernel does with a CPU that is off and that would only disturb what is measured.
    fn at_rest(&self, _cpu: CpuId) {}

    /// Sets up the calling CPU's interrupts and timer, for the first time or again.
    ///
    /// Context: STARTING, interrupts off.
    fn start(&self, _cpu: CpuId, _entry: Entry) {}

    /// Undoes [`Self::start`]. Context: STARTING, interrupts off.
    fn stop(&self, _cpu: CpuId) {}

    /// Has `cpu` run the function of `node`: [`Cpuhp::call`]. Context: also inside such a function.
    ///
    /// # Errors
    /// As there. The default: this kernel has no calls.
    fn call(&self, _cpu: CpuId, _node: &'static Call, _arg: usize) -> Result<(), CallError> {
        Err(CallError::NoSuchCpu)
    }

    /// Runs the calls that are queued for `cpu`: [`Cpuhp::poll_calls`]. Context: `cpu`, in a handler or before
    /// and after its waits.
    fn poll_calls(&self, _cpu: CpuId) -> usize {
        0
    }

    /// Whether `cpu` is online.
    fn takes_calls(&self, _cpu: CpuId) -> bool {
        false
    }

    /// May run other work of this kernel on `cpu`, which waits.
    ///
    /// Context: `cpu`, before each of its waits; interrupts as the core has them there.
    fn idle(&self, _cpu: CpuId) {}
}

/// Why a machine cannot do what a scenario needs: one sentence.
pub type Unable = &'static str;

/// A kernel, or the hosted runner, as the driver sees it.
pub trait Machine: Host {
    /// The platform below the forwarding one.
    type Backend: Platform + 'static;

    /// Returns the hotplug machine.
    fn hp(&self) -> &Hp<Self::Backend>;

    /// Returns the architecture as the machine lines name it.
    fn arch(&self) -> &'static str;

    /// Whether `cpu`, which firmware lists, really exists; `None` if this kernel cannot know.
    fn exists(&self, _cpu: CpuId) -> Option<Existence> {
        None
    }

    /// Returns with which raw code firmware refuses to start `cpu`, which is absent. `None`: it takes the kick,
    /// and the CPU never comes. The default.
    fn refusal(&self, _cpu: CpuId) -> Option<i64> {
        None
    }

    /// Resets `cpu`, which was kicked and never came, so that it is confirmed off a moment later.
    ///
    /// # Errors
    /// The backend's; nothing was sent. The default: this machine cannot.
    fn cancel(&self, _cpu: CpuId) -> Result<(), KickError> {
        Err(KickError::new(KickErrorKind::NotSupported))
    }

    /// Whether `cpu`, which is listed and not present, is plugged in now; it is present from then on.
    ///
    /// Context: control CPU, nothing in flight.
    ///
    /// # Errors
    /// This machine cannot tell. The default.
    fn plugged(&self, _cpu: CpuId) -> Result<Plugged, Unable> {
        Err("it cannot tell which CPUs are plugged in")
    }

    /// Returns the most polls `cpu` made between two wake-ups, if the backend counts them.
    ///
    /// `None`: the driver counts the waits itself. It cannot see a wake-up, only who was notified. The
    /// default.
    fn polls_max(&self, _cpu: CpuId) -> Option<u32> {
        None
    }

    /// Runs `job` on `cpu`, which is online; the calling CPU serves its own record meanwhile, like
    /// any AP, and may be taken down and started again.
    ///
    /// Returns when the job has ended. A kernel on which the calling context does not survive being
    /// taken down never returns, and ends the machine after the job by [`crate::verdict`].
    ///
    /// # Errors
    /// This machine cannot; nothing ran. The default.
    fn run_on(&self, _cpu: CpuId, _job: fn(&Self)) -> Result<(), Unable> {
        Err("it cannot hand the driver to another CPU")
    }

    /// Starts `cpu` by the backend alone, for mode `raw`: no state machine knows of it.
    ///
    /// [`Host::prepare`] was called, and is called again before the next start. The CPU enters by [`crate::ap_main`], which writes one flag and
    /// answers [`crate::Rest::Raw`].
    ///
    /// # Errors
    /// The backend's. `None`: this machine has no such mode. The default.
    fn raw_kick(&self, _cpu: CpuId) -> Option<Result<(), KickError>> {
        None
    }
}

/// Whether a CPU that is listed is plugged in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plugged {
    /// It is, and may be started.
    Yes,
    /// Not yet.
    No,
}

/// Whether a CPU that is listed is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existence {
    /// It comes when it is kicked.
    There,
    /// It is listed and never comes.
    Absent,
}
