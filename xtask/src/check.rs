//! The verdict over one boot: the kernel's own `pass` is believed only if everything around it agrees.
//!
//! Every function returns what is wrong, as sentences; nothing wrong = passed.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::arch::Arch;
use crate::plan::{Plan, Scenario};
use crate::process::Ending;
use crate::qemu;
use crate::record::{BootResult, Log, Outcome, PerCpu, Record, Start};

mod calls;
mod expected;
mod fields;
#[cfg(test)]
mod tests;
mod trace;

/// Checks the whole log of a planned boot.
pub(crate) fn check(plan: &Plan, log: &Log, ending: Ending, wall: Duration) -> Vec<String> {
    let mut wrong = log.errors.clone();
    wrong.extend(qemu::explain(plan.arch, ending));
    wrong.extend(check_frame(plan, log));
    wrong.extend(trace::check(plan, log));
    for outcome in log.results() {
        wrong.extend(check_outcome(plan, outcome, wall));
    }
    if plan.scenario == Scenario::Boot {
        wrong.extend(check_modes(plan, log));
    } else if log.results().count() > 1 {
        let results = log.results().count();
        wrong.push(format!("{results} results, expected 1"));
    }
    wrong
}

/// `start` first, `done` last, both once, at least one result, no panic.
fn check_frame(plan: &Plan, log: &Log) -> Vec<String> {
    let mut wrong = Vec::new();
    let last = log.records.len().saturating_sub(1);
    let (mut starts, mut ends) = (0, 0);
    for (at, record) in log.records.iter().enumerate() {
        match record {
            Record::Start(start) => {
                starts += 1;
                if at > 0 {
                    wrong.push("`start` is not the first machine line".to_owned());
                }
                wrong.extend(check_start(plan, start));
            }
            Record::Done(done) => {
                ends += 1;
                if at < last {
                    wrong.push("`done` is not the last machine line".to_owned());
                }
                if !done.pass {
                    wrong.push("`done` says pass: false".to_owned());
                }
            }
            Record::Panic(panic) => wrong.push(format!("the kernel panicked: {}", panic.msg)),
            Record::Result(_)
            | Record::Step(_)
            | Record::Edge(_)
            | Record::Kick(_)
            | Record::Fault(_)
            | Record::Call(_)
            | Record::Table(_)
            | Record::Window(_)
            | Record::TraceLost(_) => {}
        }
    }
    for (name, count) in [("start", starts), ("done", ends)] {
        if count != 1 {
            wrong.push(format!("{count} `{name}` lines, expected 1"));
        }
    }
    if log.results().next().is_none() {
        wrong.push("no `result` line".to_owned());
    }
    wrong
}

fn check_start(plan: &Plan, start: &Start) -> Vec<String> {
    let mut wrong = Vec::new();
    if start.arch != plan.arch.name() {
        wrong.push(format!(
            "`start` says arch {}, expected {}",
            start.arch,
            plan.arch.name()
        ));
    }
    if start.smp != u64::from(plan.smp) {
        wrong.push(format!(
            "`start` says smp {}, expected {}",
            start.smp, plan.smp
        ));
    }
    if start.scenario != plan.scenario.name() {
        let asked = plan.scenario.name();
        wrong.push(format!(
            "`start` says scenario {}, expected {asked}",
            start.scenario
        ));
    }
    wrong
}

/// What holds for a result of any scenario, then what holds for this one.
fn check_outcome(plan: &Plan, outcome: &Outcome, wall: Duration) -> Vec<String> {
    let mut wrong = Vec::new();
    if outcome.scenario != plan.scenario.name() {
        let asked = plan.scenario.name();
        wrong.push(format!(
            "a result of scenario {}, expected {asked}",
            outcome.scenario
        ));
    }
    if let Some(why) = outcome.fields.get("error") {
        // A scenario that could not be run has none of its figures.
        let why = why.as_str().map_or_else(|| why.to_string(), str::to_owned);
        wrong.push(format!(
            "{} cannot run {}: {why}",
            plan.arch.name(),
            outcome.scenario
        ));
        return wrong;
    }
    if !outcome.pass {
        wrong.push("a result says pass: false".to_owned());
    }
    if outcome.violations > 0 {
        wrong.push(format!("{} violations", outcome.violations));
    }
    if plan.scenario == Scenario::Boot {
        match outcome.boot() {
            Ok(boot) => wrong.extend(check_boot(plan, &boot, wall)),
            Err(error) => wrong.push(format!("a result of boot: {error}")),
        }
    } else {
        wrong.extend(fields::check(plan, outcome));
    }
    wrong
}

/// One result per mode asked for.
fn check_modes(plan: &Plan, log: &Log) -> Vec<String> {
    let asked = plan.boot_modes();
    let boots = log.results().filter_map(|outcome| outcome.boot().ok());
    let got: Vec<String> = boots.map(|boot| boot.mode).collect();
    if got == asked {
        return Vec::new();
    }
    vec![format!(
        "results of modes [{}], expected [{}]",
        got.join(", "),
        asked.join(", ")
    )]
}

fn check_boot(plan: &Plan, boot: &BootResult, wall: Duration) -> Vec<String> {
    let mut wrong = Vec::new();
    if boot.cpus != plan.cpus() {
        wrong.push(format!(
            "cpus is {}, expected {} ({} existing and {} absent)",
            boot.cpus,
            plan.cpus(),
            plan.smp,
            plan.machine.absent
        ));
    }
    if boot.is_raw() && boot.online.is_none() {
        wrong.extend(check_count(
            "rows in per_cpu",
            boot.per_cpu.len(),
            plan.served() - 1,
        ));
    } else {
        wrong.extend(check_online(plan, boot));
    }
    wrong.extend(check_ids(boot));
    let limit = plan
        .is_clock_real()
        .then(|| u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX));
    for row in &boot.per_cpu {
        wrong.extend(check_row(boot, row, limit));
    }
    wrong.extend(check_waves(plan, boot));
    wrong.extend(check_totals(boot));
    wrong
        .into_iter()
        .map(|what| format!("boot/{}: {what}", boot.mode))
        .collect()
}

/// Every CPU that the firmware serves online, the others not present, every absent one failed, a row for each
/// secondary online.
fn check_online(plan: &Plan, boot: &BootResult) -> Vec<String> {
    let (Some(online), failed) = (boot.online, boot.failed.as_deref()) else {
        return vec!["the result has no number `online`".to_owned()];
    };
    let mut wrong = Vec::new();
    if online != u64::from(plan.served()) {
        wrong.push(format!("{online} CPUs online, expected {}", plan.served()));
    }
    wrong.extend(check_count(
        "ids in not_present",
        boot.not_present.len(),
        plan.unserved(),
    ));
    match failed {
        None => wrong.push("the result has no list `failed`".to_owned()),
        Some(ids) => {
            wrong.extend(check_count("ids in failed", ids.len(), plan.machine.absent));
        }
    }
    let rows = boot.per_cpu.len() as u64;
    if rows + 1 != online {
        wrong.push(format!(
            "{rows} rows in per_cpu with {online} CPUs online, expected one less"
        ));
    }
    wrong
}

fn check_count(what: &str, count: usize, expected: u32) -> Option<String> {
    (count as u64 != u64::from(expected)).then(|| format!("{count} {what}, expected {expected}"))
}

/// No CPU is named twice or beyond the last, neither with a row nor as failed or not present.
fn check_ids(boot: &BootResult) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let rows = boot.per_cpu.iter().map(|row| row.cpu);
    let others = boot.failed.iter().flatten().chain(&boot.not_present);
    let mut wrong = Vec::new();
    for cpu in rows.chain(others.copied()) {
        if !seen.insert(cpu) {
            wrong.push(format!("CPU {cpu} is named twice"));
        }
        if cpu >= boot.cpus {
            wrong.push(format!("CPU {cpu} of {} CPUs", boot.cpus));
        }
    }
    wrong
}

/// 0 < alive <= online <= host wall time.
fn check_row(boot: &BootResult, row: &PerCpu, limit: Option<u64>) -> Option<String> {
    let cpu = row.cpu;
    if row.alive_ns == 0 {
        return Some(format!("CPU {cpu} was alive at 0 ns"));
    }
    let last = match row.online_ns {
        Some(online) if online < row.alive_ns => {
            return Some(format!(
                "CPU {cpu} was online at {online} ns, before it was alive at {} ns",
                row.alive_ns
            ));
        }
        Some(online) => online,
        None if boot.is_raw() => row.alive_ns,
        None => return Some(format!("CPU {cpu} has no online_ns")),
    };
    let limit = limit.filter(|limit| last > *limit)?;
    Some(format!(
        "CPU {cpu} came after {last} ns, but the whole boot took {limit} ns of host time"
    ))
}

/// The first thread of each core is in wave 0 and its siblings in wave 1. The boot CPU is a first one.
fn check_waves(plan: &Plan, boot: &BootResult) -> Vec<String> {
    // QEMU says nothing of threads then, so every CPU counts as a core.
    let mut features = plan.machine.features.iter();
    let is_silent = plan.arch == Arch::Riscv64 || features.any(|word| word == "cpuid-0xb=off");
    let topology = plan.machine.topology.as_ref().filter(|_| !is_silent);
    let threads = topology.map_or(1, |has| has.threads);
    if let Some(row) = boot.per_cpu.iter().find(|row| row.wave > 1) {
        return vec![format!("CPU {} is in wave {}", row.cpu, row.wave)];
    }
    let siblings = u64::from(plan.smp - plan.smp.div_ceil(threads));
    let rows = boot.per_cpu.len() as u64;
    let right = [rows.saturating_sub(siblings), siblings];
    let waves = [0, 1].map(|wave| {
        let rows = boot.per_cpu.iter().filter(|row| row.wave == wave);
        rows.count() as u64
    });
    if waves == right {
        return Vec::new();
    }
    vec![format!(
        "{} and {} secondaries in waves 0 and 1, expected {} and {} with threads={threads}",
        waves[0], waves[1], right[0], right[1]
    )]
}

/// The totals fit together: minimum <= median, alive <= online.
fn check_totals(boot: &BootResult) -> Vec<String> {
    let mut wrong = Vec::new();
    if boot.kick_to_alive_ns > boot.kick_to_alive_ns_median {
        wrong.push("kick_to_alive_ns is above its median".to_owned());
    }
    if !boot.per_cpu.is_empty() && boot.kick_to_alive_ns == 0 {
        wrong.push("kick_to_alive_ns is 0".to_owned());
    }
    match (boot.kick_to_online_ns, boot.kick_to_online_ns_median) {
        _ if boot.is_raw() => {}
        (Some(online), Some(median)) => {
            if online > median {
                wrong.push("kick_to_online_ns is above its median".to_owned());
            }
            if boot.kick_to_alive_ns > online {
                wrong.push("kick_to_alive_ns is above kick_to_online_ns".to_owned());
            }
        }
        _ => wrong.push("kick_to_online_ns or its median is missing".to_owned()),
    }
    if !boot.is_raw() && boot.ap_polls_max.is_none() {
        wrong.push("ap_polls_max is missing".to_owned());
    }
    if !boot.is_raw() && boot.control_ns_per_cpu.is_none() {
        wrong.push("control_ns_per_cpu is missing".to_owned());
    }
    wrong
}

/// The smallest kernel has no scenario driver: it must end as a pass, and whatever it prints as a machine line must hold.
pub(crate) fn check_minimal(log: &Log, ending: Ending) -> Vec<String> {
    let mut wrong = log.errors.clone();
    wrong.extend(qemu::explain(Arch::X86_64, ending));
    for record in &log.records {
        match record {
            Record::Panic(panic) => wrong.push(format!("the kernel panicked: {}", panic.msg)),
            Record::Done(done) if !done.pass => wrong.push("`done` says pass: false".to_owned()),
            Record::Result(outcome) if !outcome.pass || outcome.violations > 0 => {
                wrong.push("a result is no pass".to_owned());
            }
            Record::Start(_)
            | Record::Result(_)
            | Record::Step(_)
            | Record::Edge(_)
            | Record::Kick(_)
            | Record::Fault(_)
            | Record::Call(_)
            | Record::Table(_)
            | Record::Window(_)
            | Record::TraceLost(_)
            | Record::Done(_) => {}
        }
    }
    wrong
}
