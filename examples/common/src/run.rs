//! The frame of every run: first line, scenario, events, last line; and the path an AP takes.

use core::fmt;
use core::sync::atomic::Ordering;

use cpuhp_core::{ApExit, CpuId, Platform};

use crate::json;
use crate::machine::{Host, Machine};
use crate::params::ParamError;
use crate::scene::{self, Scene};
use crate::trace;

/// How a run ended; what the exit device is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "it decides the exit status"]
pub enum Verdict {
    /// Every result says `pass`: exit status 33.
    Pass,
    /// Something does not, or the run has not ended.
    Fail,
}

/// How an AP rests after [`ap_main`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "the answer says how this CPU has to rest"]
pub enum Rest {
    /// As the core's answer says.
    Core(ApExit),
    /// Mode `raw`: no state machine knows of this CPU. Rest so that it can be started again.
    Raw,
}

/// Runs the scenario of the installed [`Scene`] and prints every machine line from `start` to `done`.
///
/// Context: the boot CPU, adopted, interrupts on.
pub fn run<M: Machine>(machine: &M) -> Verdict {
    let Some(scene) = scene::get() else {
        return Verdict::Fail;
    };
    print_start(machine, scene);
    trace::print(scene);
    json::line(machine, "done", |line| {
        line.truth("pass", verdict() == Verdict::Pass)
    });
    verdict()
}

/// Returns how the run ended; [`Verdict::Fail`] until it has.
pub fn verdict() -> Verdict {
    let passed = scene::get().is_some_and(|scene| scene.verdict.load(Ordering::Relaxed) == 1);
    if passed { Verdict::Pass } else { Verdict::Fail }
}

/// The path of an AP: the simulated delay of its arrival, then the core's side, until it has to rest.
///
/// Context: the AP, from its entry code, interrupts off, on the stack that PREPARE made.
pub fn ap_main<M: Machine>(machine: &M, cpu: CpuId) -> Rest {
    if let Some(scene) = scene::get() {
        if scene.params.alive_delay_ns > 0 {
            let until = machine.now().saturating_add(scene.params.alive_delay_ns);
            while machine.now() < until {
                let _ = machine.sleep(cpu, until);
            }
        }
        if scene.raw.load(Ordering::Acquire) != 0 {
            if let Some(log) = scene.cpu(cpu) {
                log.alive.store(machine.now().max(1), Ordering::Release);
            }
            machine.hp().platform().notify_ctl(cpu);
            return Rest::Raw;
        }
    }
    Rest::Core(machine.hp().ap_run(cpu))
}

/// Prints why the command line is refused. The kernel then leaves as a failure.
pub fn print_bad_params(host: &dyn Host, error: &ParamError) {
    host.print(format_args!("error: parameter {error}"));
}

/// Prints the machine line of a panic. The kernel then leaves as a failure.
pub fn print_panic(host: &dyn Host, message: &dyn fmt::Display) {
    json::line(host, "panic", |line| line.text("msg", message));
}

fn print_start<M: Machine>(machine: &M, scene: &Scene) {
    let params = &scene.params;
    let listed = u32::try_from(machine.hp().cpus()).unwrap_or(u32::MAX);
    let found = listed.saturating_sub(params.absent);
    json::line(machine, "start", |line| {
        line.text("arch", &machine.arch())?;
        line.number("smp", found)?;
        line.text("scenario", &params.scenario.name())?;
        line.object("params", |object| {
            params
                .pairs()
                .filter(|(key, _)| *key != "scenario" && *key != "smp")
                .try_for_each(|(key, value)| object.text(key, &value))
        })?;
        line.text("version", &env!("CARGO_PKG_VERSION"))
    });
}
