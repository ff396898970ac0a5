//! `cargo xtask bench icount`: what a CPU's way up and its way down cost, counted in instructions.
//!
//! The arm64 kernel runs where one instruction of any CPU takes one nanosecond, so its times are counts: of all CPUs
//! together, the same on every run and on every host. Each boot is made twice, and both have to say the same.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::arch::Arch;
use crate::boot::Kernel;
use crate::cli::Accel;
use crate::exit::Exit;
use crate::install;
use crate::plan::{Plan, Scenario, parse_params};
use crate::show;

/// A CPU's share of the way from the first kick to the last CPU online, among 8 CPUs, in nanoseconds.
const UP: f64 = 8000.0;
/// How much more it may be among 64.
const GROWTH: f64 = 1.2;
/// One CPU down, in nanoseconds.
const DOWN: f64 = 5000.0;

/// No-op steps per section more than the kernel's own.
const STEPS: &str = "steps=30";

/// The figures of one run of all boots.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Figures {
    up_8: f64,
    up_64: f64,
    down: f64,
}

/// One figure beside its bound.
#[derive(Debug)]
struct Row {
    what: &'static str,
    figure: f64,
    bound: f64,
}

/// Boots, counts and judges.
///
/// # Errors
/// The kernel does not build, or a boot does not pass.
pub(super) fn run() -> Result<Exit> {
    if let Err(missing) = Arch::Aarch64
        .emulator()
        .map_or(Ok(()), install::ensure_qemu)
    {
        println!("skipped: {missing}");
        return Ok(if install::is_ci() {
            Exit::Fail
        } else {
            Exit::Skipped
        });
    }
    let kernel = Kernel::Scenarios(Arch::Aarch64);
    let image = kernel.build()?;
    let (Some(first), Some(second)) = (measure(kernel, &image)?, measure(kernel, &image)?) else {
        return Ok(Exit::Fail);
    };
    let titles = ["per CPU", "ns = instructions", "bound", "verdict"];
    let mut table = show::table(&titles, 1);
    let mut missed = 0;
    for row in rows(first) {
        let is_met = row.is_met();
        missed += usize::from(!is_met);
        table.add_row([
            row.what.to_owned(),
            format!("{:.2}", row.figure),
            format!("<= {}", row.bound),
            if is_met { "pass" } else { "MISSED" }.to_owned(),
        ]);
    }
    println!("\n{table}");
    if first != second {
        println!("the second run says something else: {second:?}");
        missed += 1;
    }
    println!("instructions of all CPUs, {STEPS} more in each section, release; two runs alike");
    Ok(Exit::from_failures(missed))
}

/// What is held against what.
fn rows(figures: Figures) -> [Row; 3] {
    [
        Row {
            what: "up among 8",
            figure: figures.up_8,
            bound: UP,
        },
        Row {
            what: "up among 64 / up among 8",
            figure: figures.up_64 / figures.up_8,
            bound: GROWTH,
        },
        Row {
            what: "down, one of 8",
            figure: figures.down,
            bound: DOWN,
        },
    ]
}

impl Row {
    /// A figure of nothing is no figure.
    fn is_met(&self) -> bool {
        self.figure > 0.0 && self.figure <= self.bound
    }
}

/// Makes all boots once; `None` if one of them does not pass.
fn measure(kernel: Kernel, image: &Path) -> Result<Option<Figures>> {
    let share = |ns: u64, smp: u32| precise(ns) / f64::from(smp - 1);
    let up = |smp| -> Result<Option<f64>> {
        let ns = boot(kernel, image, Scenario::Boot, smp, "kick_to_online_ns")?;
        Ok(ns.map(|ns| share(ns, smp)))
    };
    let down = boot(kernel, image, Scenario::Cycle, 8, "down_ns_median")?;
    let (Some(up_8), Some(up_64), Some(down)) = (up(8)?, up(64)?, down) else {
        return Ok(None);
    };
    let down = precise(down);
    Ok(Some(Figures { up_8, up_64, down }))
}

/// One boot; says what is wrong if it does not pass.
fn boot(
    kernel: Kernel,
    image: &Path,
    scenario: Scenario,
    smp: u32,
    field: &str,
) -> Result<Option<u64>> {
    let mut plan = Plan::new(Arch::Aarch64);
    plan.scenario = scenario;
    plan.accel = Accel::Icount;
    plan.params = parse_params(&[STEPS.to_owned()])?;
    plan.set_smp(Some(smp))?;
    plan.limit = Duration::from_secs(120);
    let booted = kernel.boot(&plan, image)?;
    if !booted.passed() {
        println!("{}\n{}", plan.title(), booted.explain());
        return Ok(None);
    }
    let result = booted.log.results().next();
    let figure = result.and_then(|result| result.fields.get(field)?.as_u64());
    if figure.is_none() {
        println!("{}: no {field}", plan.title());
    }
    Ok(figure)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds of a benchmark are far below 2^53"
)]
fn precise(ns: u64) -> f64 {
    ns as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Figures = Figures {
        up_8: 8000.0,
        up_64: 9600.0,
        down: 5000.0,
    };

    fn met(figures: Figures) -> [bool; 3] {
        rows(figures).map(|row| row.is_met())
    }

    #[test]
    fn figures_at_their_bounds_pass() {
        assert_eq!(met(GOOD), [true; 3]);
    }

    #[test]
    fn each_figure_beyond_its_bound_is_missed() {
        let up_8 = 8000.1;
        assert_eq!(met(Figures { up_8, ..GOOD }), [false, true, true]);
        let up_64 = 9601.0;
        assert_eq!(met(Figures { up_64, ..GOOD }), [true, false, true]);
        let down = 5001.0;
        assert_eq!(met(Figures { down, ..GOOD }), [true, true, false]);
    }

    #[test]
    fn what_was_not_measured_is_missed() {
        let none = Figures {
            up_8: 0.0,
            up_64: 0.0,
            down: 0.0,
        };
        assert_eq!(met(none), [false; 3]);
    }
}
