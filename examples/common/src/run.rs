//! The frame of every run: first line, scenario, events, last line; and the path an AP takes.

use core::fmt;
use core::sync::atomic::Ordering;

use cpuhp_core::{ApExit, CpuId, Platform};

use crate::machine::{Host, Machine};
use crate::params::ParamError;
use crate::result::Stage;
use crate::scenario::{From, Scenario, Toggle};
use crate::scene::{self, Scene};
use crate::violation::Violation;
use crate::{
    boot, check, control, critical, cycle, dead, disable, fault, forward, hotadd, ipi, json, limit,
    partial, register, shell, storm, suspend, trace,
};

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
    if machine.polls_max(machine.this_cpu()).is_none() {
        forward::count_waits();
    }
    print_start(machine, scene);
    let stage = Stage { machine, scene };
    check_size(&stage);
    check::all(machine, scene);
    match (scene.params.scenario, scene.params.from) {
        (Scenario::Boot, _) => boot::run(&stage),
        (Scenario::Cycle, From::Boot) => cycle::run(&stage),
        (Scenario::Cycle, From::Last) => cycle_from_last(&stage),
        (Scenario::Bulk, _) => cycle::bulk(&stage),
        (Scenario::Partial, _) => partial::run(&stage),
        (Scenario::Fault, _) => fault::run(&stage),
        (Scenario::Dead, _) => dead::run(&stage),
        (Scenario::Register, _) => register::run(&stage),
        (Scenario::Suspend, _) => suspend::run(&stage),
        (Scenario::Storm, _) => storm::run(&stage),
        (Scenario::Hotadd, _) => hotadd::run(&stage),
        (Scenario::Ipi, _) => ipi::run(&stage),
        (Scenario::Limit, _) => limit::run(&stage),
        (Scenario::Disable, _) => disable::run(&stage),
        (Scenario::Control, _) => control::run(&stage),
        (Scenario::Critical, _) => critical::run(&stage),
        (Scenario::Shell, _) => shell::run(&stage),
    }
    finish(&stage);
    verdict()
}

/// Hands `cycle` to the last CPU. The job prints everything, since its caller may not survive it.
fn cycle_from_last<M: Machine>(stage: &Stage<'_, M>) {
    stage.bring_all_up();
    let Some(last) = stage.online_others().last() else {
        return cycle::run(stage);
    };
    let ran = stage.machine.run_on(last, |machine| {
        let Some(scene) = scene::get() else { return };
        let stage = Stage { machine, scene };
        let this = machine.this_cpu().get();
        scene.control.store(this, Ordering::Relaxed);
        cycle::run(&stage);
        finish(&stage);
    });
    if let Err(why) = ran {
        stage.refuse(why);
    }
}

/// Prints what comes after the results, once.
fn finish<M: Machine>(stage: &Stage<'_, M>) {
    if stage.scene.done.swap(1, Ordering::Relaxed) == 1 {
        return;
    }
    if stage.scene.params.trace == Toggle::On {
        trace::print(stage.scene, &|at| stage.hp().name(at));
    }
    json::line(stage.machine, "done", |line| {
        line.truth("pass", verdict() == Verdict::Pass)
    });
}

/// The machine has as many CPUs as the command line says, and there is a log for each.
fn check_size<M: Machine>(stage: &Stage<'_, M>) {
    let (scene, boot) = (stage.scene, stage.machine.this_cpu());
    let listed = stage.hp().cpus() as u64;
    let logs = scene.parts.cpus.len() as u64;
    let absent = u64::from(scene.params.absent);
    let hotadd = u64::from(scene.params.hotadd);
    let right = scene
        .params
        .smp
        .map_or(listed, |smp| u64::from(smp) + absent + hotadd);
    if listed != right || absent >= listed {
        scene.wrong(Violation::Count, boot, listed, right);
    }
    if logs != listed {
        scene.wrong(Violation::Count, boot, logs, listed);
    }
    let unserved = u64::from(scene.params.unserved) + hotadd;
    let not_present = stage.not_present().count() as u64;
    if not_present != unserved {
        let first = stage.not_present().next().unwrap_or(boot);
        scene.wrong(Violation::Presence, first, not_present, unserved);
    }
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

/// Runs the calls that are queued, and what else the scenarios do in a handler; the kernel's wake interrupt calls it.
///
/// Context: interrupt handler on any CPU, interrupts off.
pub fn on_interrupt() {
    let Some(scene) = scene::get() else { return };
    if scene.params.scenario.has_calls() {
        scene.host.poll_calls(scene.host.this_cpu());
    }
    critical::visit_in_handler(scene);
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
    let found = listed.saturating_sub(params.absent + params.hotadd);
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
