//! `cargo xtask ci`: every check that `.ci/run` makes after `cargo xtask test`; each part also runs alone.

use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;

use crate::cli::{LoomArgs, SimArgs};
use crate::exit::Exit;
use crate::{bench, loom, miri, mutants, show, sim, size};

mod builds;
mod guide;
mod package;
mod sources;
mod tree;
mod unsafe_list;

pub(crate) use builds::BARE_METAL;

/// The parts, in the order they run: what is quick to fail comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Formatting
    Fmt,
    /// Lints of members, lengths of files, `no_std` of the libraries, names of machines, the porting guide
    Tree,
    /// The files that may hold `unsafe`
    Unsafe,
    /// Clippy on the host, with and without `--cfg loom`
    Clippy,
    /// Clippy on the bare-metal targets: libraries and kernels
    Cross,
    /// Documentation without warnings
    Docs,
    /// The libraries on the oldest compiler they promise
    Msrv,
    /// What would be published
    Package,
    /// `cargo xtask size`
    Size,
    /// `cargo xtask bench walk`
    Walk,
    /// `cargo xtask bench icount`
    Icount,
    /// `cargo xtask sim`
    Sim,
    /// `cargo xtask loom`
    Loom,
    /// `cargo xtask mutants`
    Mutants,
    /// `cargo xtask miri`
    Miri,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Tree => "tree",
            Self::Unsafe => "unsafe",
            Self::Clippy => "clippy",
            Self::Cross => "cross",
            Self::Docs => "docs",
            Self::Msrv => "msrv",
            Self::Package => "package",
            Self::Size => "size",
            Self::Walk => "walk",
            Self::Icount => "icount",
            Self::Sim => "sim",
            Self::Loom => "loom",
            Self::Mutants => "mutants",
            Self::Miri => "miri",
        }
    }

    fn run(self) -> Result<Exit> {
        match self {
            Self::Fmt => builds::fmt(),
            Self::Tree => tree::run(),
            Self::Unsafe => unsafe_list::run(),
            Self::Clippy => builds::clippy(),
            Self::Cross => builds::cross(),
            Self::Docs => builds::docs(),
            Self::Msrv => builds::msrv(),
            Self::Package => package::run(),
            Self::Size => size::run(),
            Self::Walk => bench::run_walk(),
            Self::Icount => bench::run_icount(),
            Self::Sim => sim::run(&SimArgs::default()),
            Self::Loom => loom::run(&LoomArgs::default()),
            Self::Mutants => mutants::run(None),
            Self::Miri => miri::run(),
        }
    }
}

/// Runs the parts asked for, or all of them; one that fails does not stop the others.
///
/// # Errors
/// None of its own: the errors of the parts are printed and counted.
pub(crate) fn run(parts: &[Part]) -> Result<Exit> {
    let parts = if parts.is_empty() {
        Part::value_variants()
    } else {
        parts
    };
    let mut table = show::table(&["part", "verdict", "seconds"], 2);
    let mut failures = 0;
    let all = Instant::now();
    for part in parts {
        println!("\n== {}", part.name());
        let started = Instant::now();
        let verdict = match part.run() {
            Ok(Exit::Pass) => "pass",
            Ok(Exit::Skipped) => "skipped",
            Ok(Exit::Fail | Exit::Usage) => "FAIL",
            Err(error) => {
                println!("error: {error:#}");
                "FAIL"
            }
        };
        failures += usize::from(verdict == "FAIL");
        table.add_row([part.name(), verdict, &seconds(started)]);
    }
    table.add_row([
        "all",
        if failures == 0 { "pass" } else { "FAIL" },
        &seconds(all),
    ]);
    println!("\n{table}");
    Ok(Exit::from_failures(failures))
}

fn seconds(since: Instant) -> String {
    format!("{:.1}", since.elapsed().as_secs_f64())
}
