//! `cargo xtask bench`: what parallel bringup gains and what the state machine costs, as ratios against bounds.
//!
//! `walk` counts instructions on this machine, `icount` those of a kernel that boots; the others compare times.
//!
//! Times of an emulated machine mean nothing by themselves, and differ from one boot to the next. So both figures of a ratio
//! come from one boot, in which the modes alternate, and are minima over its rounds.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::arch::Arch;
use crate::boot::{Booted, Kernel};
use crate::exit::{Exit, usage};
use crate::install;
use crate::plan::{Plan, Scenario, parse_params};
use crate::progress::Progress;
use crate::record::Log;
use crate::show;

mod icount;
mod walk;

/// Boots until the bound is met, at most. Other work on the host disturbs a window here and there; what the code itself
/// costs is there in every boot.
const BOOTS: usize = 3;

/// One ratio.
#[derive(Debug)]
struct Bench {
    name: &'static str,
    /// What is divided by what.
    what: &'static str,
    scenario: Scenario,
    smp: u32,
    params: &'static [&'static str],
    upper: Figure,
    lower: Figure,
    bound: Bound,
}

/// A number of a result line.
#[derive(Debug)]
struct Figure {
    /// Of the result of this mode; none = of the first result.
    mode: Option<&'static str>,
    field: &'static str,
}

/// What a ratio is held against.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

const fn mode(mode: &'static str, field: &'static str) -> Figure {
    Figure {
        mode: Some(mode),
        field,
    }
}

const fn only(field: &'static str) -> Figure {
    Figure { mode: None, field }
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "raw",
        what: "parallel / raw, to alive",
        scenario: Scenario::Boot,
        smp: 64,
        params: &["mode=raw,parallel", "rounds=9", "init_delay_us=0"],
        upper: mode("parallel", "kick_to_alive_ns"),
        lower: mode("raw", "kick_to_alive_ns"),
        bound: Bound::AtMost(2.0),
    },
    Bench {
        name: "boot",
        what: "serial / parallel, INIT delay 0",
        scenario: Scenario::Boot,
        smp: 64,
        params: &[
            "mode=serial,parallel",
            "rounds=5",
            "init_delay_us=0",
            "alive_delay_us=2000",
        ],
        upper: mode("serial", "kick_to_online_ns"),
        lower: mode("parallel", "kick_to_online_ns"),
        bound: Bound::AtLeast(12.0),
    },
    Bench {
        name: "boot",
        what: "serial / parallel, INIT delay 10 ms",
        scenario: Scenario::Boot,
        smp: 64,
        params: &["mode=serial,parallel", "rounds=5", "alive_delay_us=2000"],
        upper: mode("serial", "kick_to_online_ns"),
        lower: mode("parallel", "kick_to_online_ns"),
        bound: Bound::AtLeast(15.0),
    },
    Bench {
        name: "cycle",
        what: "one CPU down / up again",
        scenario: Scenario::Cycle,
        smp: 8,
        params: &["rounds=20"],
        upper: only("down_ns_median"),
        lower: only("up_ns_median"),
        bound: Bound::AtMost(3.0),
    },
];

/// How a ratio came out.
struct Measured {
    upper: u64,
    lower: u64,
}

/// Measures all ratios, or those of one name, and prints each beside its bound.
///
/// # Errors
/// An unknown name, or a kernel that does not build.
pub(crate) fn run(name: Option<&str>) -> Result<Exit> {
    match name {
        Some(WALK) => walk::run(),
        Some(ICOUNT) => icount::run(),
        Some(name) => run_booted(Some(name)),
        None => {
            let all = [walk::run()?, icount::run()?, run_booted(None)?];
            let worst = all.into_iter().find(|exit| *exit != Exit::Pass);
            Ok(worst.unwrap_or(Exit::Pass))
        }
    }
}

/// The names of those that count instructions.
const WALK: &str = "walk";
const ICOUNT: &str = "icount";

/// Counts the instructions of a walk: a part of `ci`.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_walk() -> Result<Exit> {
    walk::run()
}

/// Counts the instructions of the ways up and down: a part of `ci`.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_icount() -> Result<Exit> {
    icount::run()
}

fn run_booted(name: Option<&str>) -> Result<Exit> {
    let chosen = choose(name)?;
    if let Err(missing) = Arch::X86_64.emulator().map_or(Ok(()), install::ensure_qemu) {
        println!("skipped: {missing}");
        return Ok(if install::is_ci() {
            Exit::Fail
        } else {
            Exit::Skipped
        });
    }
    let kernel = Kernel::Scenarios(Arch::X86_64);
    let image = kernel.build()?;
    note_load();
    let titles = ["bench", "a / b", "a", "b", "ratio", "bound", "verdict"];
    let mut table = show::table(&titles, 2);
    let progress = Progress::bar(chosen.len());
    let mut missed = 0;
    for bench in chosen {
        let plan = bench.plan()?;
        progress.at(&plan.title());
        let (best, wrong) = bench.best_of(&progress, || kernel.boot(&plan, &image))?;
        let is_met = best
            .as_ref()
            .is_some_and(|best| bench.bound.is_met(best.ratio()));
        missed += usize::from(!is_met);
        let verdict = if is_met { "pass" } else { "MISSED" };
        let [upper, lower, ratio] = best.map_or_else(
            || ["-", "-", "-"].map(str::to_owned),
            |best| {
                [
                    show::time(best.upper),
                    show::time(best.lower),
                    format!("{:.1}", best.ratio()),
                ]
            },
        );
        let bound = bench.bound.text();
        let what = [bench.name, bench.what].map(str::to_owned);
        table.add_row([&what[..], &[upper, lower, ratio, bound, verdict.to_owned()]].concat());
        let line = format!("{verdict:8} {} {}", bench.name, plan.title());
        progress.done(&format!("{line}{wrong}"));
    }
    progress.finish();
    println!("\n{table}");
    println!("64 CPUs (`cycle`: 8) in QEMU; both figures of a ratio from the same boot");
    Ok(Exit::from_failures(missed))
}

fn choose(name: Option<&str>) -> Result<Vec<&'static Bench>> {
    let is_chosen = |bench: &&Bench| name.is_none_or(|name| name == bench.name);
    let chosen: Vec<&Bench> = BENCHES.iter().filter(is_chosen).collect();
    if let (true, Some(name)) = (chosen.is_empty(), name) {
        return Err(usage(format!(
            "no bench `{name}`; there are walk, icount, raw, boot and cycle"
        )));
    }
    Ok(chosen)
}

/// Says so if other work is going to disturb the figures.
fn note_load() {
    // Only Linux tells it in a file; elsewhere nothing is said.
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Option<f64> = text
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok());
    let cpus = thread::available_parallelism().map_or(1, |cpus| cpus.get());
    let is_busy = |load: &f64| *load > 1.0 + f64::from(u32::try_from(cpus).unwrap_or(u32::MAX));
    if let Some(load) = load.filter(is_busy) {
        println!("note: this machine is busy (load {load} on {cpus} CPUs); ratios suffer");
    }
}

impl Bench {
    fn plan(&self) -> Result<Plan> {
        let mut plan = Plan::new(Arch::X86_64);
        plan.scenario = self.scenario;
        let params: Vec<String> = self.params.iter().map(|word| (*word).to_owned()).collect();
        plan.params = parse_params(&params)?;
        plan.set_smp(Some(self.smp))?;
        plan.limit = Duration::from_secs(180);
        Ok(plan)
    }

    /// Boots until the bound is met; returns the best boot, and what was wrong with those that did not pass.
    fn best_of(
        &self,
        progress: &Progress,
        mut boot: impl FnMut() -> Result<Booted>,
    ) -> Result<(Option<Measured>, String)> {
        let mut best: Option<Measured> = None;
        let mut wrong = String::new();
        for _ in 0..BOOTS {
            let booted = boot()?;
            let measured = self.measure(&booted.log).filter(|_| booted.passed());
            let Some(measured) = measured else {
                // A boot that does not pass is no noise.
                wrong = format!("\n{}", booted.explain());
                best = None;
                break;
            };
            let ratio = measured.ratio();
            progress.at(&format!("{}: {ratio:.1}", self.what));
            let is_better = |best: &Measured| self.bound.is_better(ratio, best.ratio());
            if best.as_ref().is_none_or(is_better) {
                best = Some(measured);
            }
            if self.bound.is_met(ratio) {
                break;
            }
        }
        Ok((best, wrong))
    }

    fn measure(&self, log: &Log) -> Option<Measured> {
        Some(Measured {
            upper: self.upper.read(log)?,
            lower: self.lower.read(log)?,
        })
    }
}

impl Figure {
    fn read(&self, log: &Log) -> Option<u64> {
        let is_mine = |mode: Option<&str>| self.mode.is_none_or(|mine| mode == Some(mine));
        let mut results = log.results();
        let result = results.find(|outcome| {
            let mode = outcome.fields.get("mode");
            is_mine(mode.and_then(serde_json::Value::as_str))
        })?;
        result.fields.get(self.field)?.as_u64()
    }
}

impl Measured {
    #[expect(
        clippy::cast_precision_loss,
        reason = "nanoseconds of a benchmark are far below 2^53"
    )]
    fn ratio(&self) -> f64 {
        self.upper as f64 / self.lower.max(1) as f64
    }
}

impl Bound {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(bound) => ratio >= bound,
            Self::AtMost(bound) => ratio <= bound,
        }
    }

    fn is_better(self, ratio: f64, than: f64) -> bool {
        match self {
            Self::AtLeast(_) => ratio > than,
            Self::AtMost(_) => ratio < than,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!(">= {bound}"),
            Self::AtMost(bound) => format!("<= {bound}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"@cpuhp {"ev":"result","scenario":"boot","mode":"serial","pass":true,"kick_to_online_ns":300,"violations":0}
@cpuhp {"ev":"result","scenario":"boot","mode":"parallel","pass":true,"kick_to_online_ns":20,"violations":0}"#;

    #[test]
    fn figures_come_from_the_result_of_their_mode() {
        let log = Log::parse(LOG);
        let boot = &BENCHES[1];
        assert_eq!(
            boot.measure(&log).map(|m| (m.upper, m.lower)),
            Some((300, 20))
        );
        assert_eq!(only("kick_to_online_ns").read(&log), Some(300));
        assert_eq!(mode("raw", "kick_to_online_ns").read(&log), None);
    }

    #[test]
    fn bounds_are_met_on_their_side() {
        assert!(Bound::AtLeast(12.0).is_met(12.0) && !Bound::AtLeast(12.0).is_met(11.9));
        assert!(Bound::AtMost(2.0).is_met(2.0) && !Bound::AtMost(2.0).is_met(2.1));
        assert!(Bound::AtMost(2.0).is_better(1.0, 1.5));
    }

    #[test]
    fn every_bench_is_a_plan_that_qemu_takes() {
        for bench in BENCHES {
            crate::qemu::check_limits(&bench.plan().unwrap()).unwrap();
        }
        assert_eq!(choose(Some("boot")).unwrap().len(), 2);
        assert!(
            choose(Some("storm"))
                .unwrap_err()
                .to_string()
                .contains("cycle")
        );
    }
}
