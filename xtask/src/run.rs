//! `cargo xtask run`: build the example kernels, boot them, show when each CPU came up.

use std::fs;
use std::mem;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::arch::Arch;
use crate::boot::Kernel;
use crate::cli::RunArgs;
use crate::exit::{Exit, usage};
use crate::install;
use crate::machine::Machine;
use crate::plan::{self, Plan, Scenario};
use crate::progress::Progress;
use crate::qemu;
use crate::show;
use crate::terminal;
use crate::timeline::{self, Timeline};

/// Runs what the arguments ask for.
///
/// # Errors
/// Wrong arguments, a build that fails, a program that cannot be started, a file that cannot be written.
pub(crate) fn run(args: &RunArgs) -> Result<Exit> {
    let mut lines = Vec::new();
    let mut exit = Exit::Pass;
    if let Some(file) = &args.json {
        // Before minutes of work: a file that cannot be written is a wrong argument.
        write_json(file, &[]).map_err(|error| usage(format!("--json: {error:#}")))?;
    }
    if let Some(file) = &args.timeline {
        timeline::check_names(file).map_err(|error| usage(format!("--timeline: {error:#}")))?;
    }
    let mut is_on_threads = false;
    for plan in plan_all(args)? {
        let asked = plan.arch;
        let Some(plan) = settle(plan, args.arch.as_deref())? else {
            if exit == Exit::Pass {
                exit = Exit::Skipped;
            }
            continue;
        };
        if plan.arch != asked {
            // Every architecture without QEMU comes down to this one, which has to run once.
            if mem::replace(&mut is_on_threads, true) {
                continue;
            }
            println!("note: running the same scenario on threads of this machine instead (hosted)");
        }
        if !boot(&plan, &mut lines)? {
            exit = Exit::Fail;
        }
    }
    if let Some(file) = &args.json {
        write_json(file, &lines)?;
    }
    if let Some(file) = &args.timeline {
        match Timeline::of(&lines) {
            Ok(timeline) => timeline.write(file)?,
            // A boot that failed that early was reported already.
            Err(error) => println!("note: no timeline: {error:#}"),
        }
    }
    Ok(exit)
}

/// Plans every boot before the first one: a wrong argument is told at once.
fn plan_all(args: &RunArgs) -> Result<Vec<Plan>> {
    let mut arches = Arch::select(args.arch.as_deref())?;
    if args.scenario == Scenario::Shell && args.arch.is_none() {
        // One person types on one machine.
        arches.truncate(1);
    }
    let plans = arches.into_iter().map(|arch| plan_of(args, arch));
    plans.collect()
}

fn plan_of(args: &RunArgs, arch: Arch) -> Result<Plan> {
    let mut plan = Plan::new(arch);
    plan.accel = args.accel;
    plan.scenario = args.scenario;
    plan.params = plan::parse_params(&args.param)?;
    if args.timeline.is_some() {
        plan.params.retain(|(key, _)| key != "trace");
        plan.params.push(("trace".to_owned(), "1".to_owned()));
    }
    plan.machine = Machine::parse(&args.machine, arch)?;
    plan.seed = args.seed;
    plan.limit = Duration::from_secs(args.timeout.unwrap_or_else(|| default_limit(args)));
    plan.set_smp(args.smp)?;
    qemu::check_limits(&plan)?;
    Ok(plan)
}

/// Seconds that a boot may take if nothing is said: a person at the monitor has all day.
fn default_limit(args: &RunArgs) -> u64 {
    if args.scenario == Scenario::Shell && terminal::is_there() {
        86_400
    } else {
        60
    }
}

/// The plan to run with what this machine has: the same, on `hosted`, or none.
///
/// # Errors
/// QEMU is missing and the architecture was asked for by name.
fn settle(plan: Plan, asked: Option<&str>) -> Result<Option<Plan>> {
    let Some(emulator) = plan.arch.emulator() else {
        return Ok(Some(plan));
    };
    if let Err(missing) = install::ensure_qemu(emulator) {
        if asked == Some(plan.arch.name()) {
            anyhow::bail!("{missing}");
        }
        println!("note: {missing}");
        return Ok(Some(on_threads(plan)));
    }
    if let Some(reason) = qemu::missing_accel(plan.accel) {
        println!("skipped: {reason}");
        return Ok(None);
    }
    Ok(Some(plan))
}

/// The same with the hosted runner, as far as that knows the machine.
fn on_threads(plan: Plan) -> Plan {
    let machine = Machine {
        absent: plan.machine.absent,
        hotadd: plan.machine.hotadd,
        ..Machine::default()
    };
    Plan {
        arch: Arch::Hosted,
        machine,
        ..plan
    }
}

/// Builds, boots and shows; true if the boot passed.
fn boot(plan: &Plan, lines: &mut Vec<Value>) -> Result<bool> {
    let kernel = Kernel::Scenarios(plan.arch);
    let image = kernel.build()?;
    let booted = if plan.scenario == Scenario::Shell {
        kernel.connect(plan, &image)?
    } else {
        let progress = Progress::spinner(&format!("booting {}", plan.title()));
        let booted = kernel.boot(plan, &image)?;
        progress.finish();
        booted
    };
    if let Some(refusal) = booted.refusal() {
        return Err(usage(refusal));
    }
    lines.extend(booted.log.raw.iter().cloned());
    if booted.passed() {
        show::booted(plan, &booted);
    } else {
        println!("FAIL: {}\n{}", plan.title(), booted.explain());
    }
    Ok(booted.passed())
}

/// Writes all machine lines as one JSON array, one line each.
fn write_json(file: &Path, lines: &[Value]) -> Result<()> {
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn plans(words: &str) -> Result<Vec<Plan>> {
        let words = ["cargo xtask", "run"]
            .into_iter()
            .chain(words.split_whitespace());
        let Command::Run(args) = Cli::try_parse_from(words).unwrap().command else {
            panic!("not parsed as run");
        };
        plan_all(&args)
    }

    #[test]
    fn without_arguments_every_kernel_is_planned() {
        let planned = plans("").unwrap();
        let arches: Vec<Arch> = planned.iter().map(|plan| plan.arch).collect();
        assert_eq!(arches, Arch::BOOTABLE);
        assert!(planned.iter().all(|plan| plan.smp == 8));
        assert_eq!(plans("--scenario shell").unwrap().len(), 1);
    }

    #[test]
    fn what_a_later_kernel_does_not_take_is_refused_before_the_first_one_boots() {
        let line = plans("--scenario hotadd --machine hotadd=1").unwrap_err();
        assert!(line.to_string().contains("aarch64 takes only"), "{line}");
    }

    #[test]
    fn without_qemu_the_machine_is_the_same_as_far_as_it_can_be() {
        let words = "--arch x86_64 --scenario hotadd --machine hotadd=2 cpu=qemu64 --smp 4";
        let plan = on_threads(plans(words).unwrap().remove(0));
        assert_eq!((plan.arch, plan.smp, plan.cpus()), (Arch::Hosted, 4, 6));
        assert_eq!(plan.machine.cpu, None);
    }
}
