//! `cargo xtask test`: what a newcomer sees pass.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;

use crate::arch::Arch;
use crate::boot::Kernel;
use crate::cargo;
use crate::cli::{LoomArgs, TestPart};
use crate::exit::Exit;
use crate::install::{self, Missing};
use crate::loom;
use crate::process;
use crate::progress::Progress;
use crate::scenarios::{self, Case};
use crate::show;
use crate::timeline;

/// What runs a part.
type Run<'r> = &'r mut dyn FnMut() -> Result<Exit>;

/// How the boots went.
#[derive(Debug, Default)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// Runs tests, models and boots, and ends with a line that counts the boots.
///
/// # Errors
/// A scenario row is wrong.
pub(crate) fn run(asked: &[TestPart]) -> Result<Exit> {
    let mut table = show::table(&["part", "verdict", "seconds"], 2);
    let mut failures = 0;
    let mut counts = Counts::default();
    let parts: [(TestPart, &str, Run<'_>); 4] = [
        (
            TestPart::Unit,
            "unit, integration and doc tests",
            &mut cargo_test,
        ),
        (TestPart::Loom, "loom models", &mut || {
            loom::run(&LoomArgs::default())
        }),
        (TestPart::Scenarios, "scenarios", &mut || {
            boot_all(&mut counts)
        }),
        (
            TestPart::Monitor,
            "monitor on a pseudo-terminal",
            &mut monitor,
        ),
    ];
    let is_asked = |part: &TestPart| asked.is_empty() || asked.contains(part);
    for (_, name, part) in parts.into_iter().filter(|(part, ..)| is_asked(part)) {
        println!("\n== {name}");
        let started = Instant::now();
        let verdict = match part() {
            Ok(Exit::Pass) => "pass",
            Ok(Exit::Fail | Exit::Usage | Exit::Skipped) => "FAIL",
            Err(error) => {
                println!("error: {error:#}");
                "FAIL"
            }
        };
        failures += usize::from(verdict == "FAIL");
        let seconds = format!("{:.1}", started.elapsed().as_secs_f64());
        table.add_row([name, verdict, &seconds]);
    }
    println!("\n{table}\n");
    println!(
        "{} passed, {} failed, {} skipped",
        counts.passed, counts.failed, counts.skipped
    );
    Ok(Exit::from_failures(failures))
}

/// Types everything the monitor knows, and everything it does not.
#[cfg(unix)]
fn monitor() -> Result<Exit> {
    crate::session::run()
}

#[cfg(not(unix))]
fn monitor() -> Result<Exit> {
    println!("skipped  no pseudo-terminals on this system");
    Ok(Exit::Pass)
}

fn cargo_test() -> Result<Exit> {
    process::show(cargo::cargo().arg("test"))?;
    Ok(Exit::Pass)
}

/// Boots every row of the table.
fn boot_all(counts: &mut Counts) -> Result<Exit> {
    let mut emulators = Emulators::default();
    let mut images = Images::default();
    let cases: Vec<Case> = scenarios::all().collect();
    for case in &cases {
        if emulators.missing(case.arch()).is_none() {
            images.build(case.kernel);
        }
    }
    let progress = Progress::bar(cases.len());
    for case in &cases {
        let missing = emulators.missing(case.arch());
        boot(case, missing.as_ref(), &images, &progress, counts)?;
    }
    progress.finish();
    let is_failure = counts.failed > 0 || (counts.skipped > 0 && install::is_ci());
    Ok(Exit::from_failures(usize::from(is_failure)))
}

fn boot(
    case: &Case,
    missing: Option<&Missing>,
    images: &Images,
    progress: &Progress,
    counts: &mut Counts,
) -> Result<()> {
    let plan = case.plan()?;
    let title = case.title(&plan);
    progress.at(&title);
    if let Some(missing) = missing {
        if install::is_ci() {
            counts.failed += 1;
            progress.done(&format!("FAIL     {title}: {missing}"));
        } else {
            counts.skipped += 1;
            progress.done(&format!("skipped  {title}: {missing}"));
        }
        return Ok(());
    }
    let mut booted = match images.get(case.kernel) {
        Ok(image) => case.kernel.boot(&plan, image)?,
        Err(error) => {
            counts.failed += 1;
            progress.done(&format!("FAIL     {title}: {error}"));
            return Ok(());
        }
    };
    if plan.number("trace") == Some(1) {
        booted.wrong.extend(timeline::check(&booted.log.raw));
    }
    if booted.passed() {
        counts.passed += 1;
        progress.done(&format!(
            "pass     {title} ({:.2} s)",
            booted.wall.as_secs_f64()
        ));
    } else {
        counts.failed += 1;
        progress.done(&format!("FAIL     {title}\n{}", booted.explain()));
    }
    Ok(())
}

/// Every emulator is looked for, and installed, once.
#[derive(Default)]
struct Emulators(HashMap<Arch, Option<Missing>>);

impl Emulators {
    /// Why kernels of `arch` cannot be run, if so.
    fn missing(&mut self, arch: Arch) -> Option<Missing> {
        let emulator = arch.emulator()?;
        let look = || install::ensure_qemu(emulator).err();
        self.0.entry(arch).or_insert_with(look).clone()
    }
}

/// Every kernel is built once; one that does not build fails its own rows only.
#[derive(Default)]
struct Images(HashMap<Kernel, Result<PathBuf, String>>);

impl Images {
    fn build(&mut self, kernel: Kernel) {
        let build = || kernel.build().map_err(|error| format!("{error:#}"));
        self.0.entry(kernel).or_insert_with(build);
    }

    fn get(&self, kernel: Kernel) -> Result<&PathBuf, String> {
        match self.0.get(&kernel) {
            Some(Ok(image)) => Ok(image),
            Some(Err(error)) => Err(error.clone()),
            None => Err("was not built".to_owned()),
        }
    }
}
