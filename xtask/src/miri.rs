//! `cargo xtask miri`: the core's protocol under Miri, which sees undefined behaviour and data races: on threads and in virtual
//! time by the simulator's tests, step by step by the fake machine's.

use anyhow::Result;

use crate::cargo;
use crate::exit::Exit;
use crate::install;
use crate::process;

const TOOLCHAIN: &str = "nightly";

/// Tests that run under Miri. It takes some hundred times as long, so enumerations, and waits for late CPUs, are left out.
const SUITES: &[Suite] = &[
    // CPUs are threads here: the only place where Miri can see two of them race.
    suite("cpuhp-sim", &["--lib"], ""),
    // Registration, instances and every other operation from several contexts at once; shorter than elsewhere. Its machines
    // are leaked, to live as long as statics, here and below.
    suite("cpuhp-sim", &["--test", "storm"], "-Zmiri-ignore-leaks"),
    // The trace ring, whose slots are written and read without a lock.
    suite("cpuhp-core", &["--lib", "ring"], ""),
    // Every public call of the core, used well and badly, and registrations without an answer, on one thread.
    suite(
        "cpuhp-tests",
        &[
            "--test",
            "misuse",
            "--test",
            "register_stuck",
            "--test",
            "lock",
        ],
        "-Zmiri-ignore-leaks",
    ),
];

/// Tests of one package that run together.
#[derive(Debug)]
struct Suite {
    package: &'static str,
    target: &'static [&'static str],
    /// Miri's own.
    flags: &'static str,
}

const fn suite(
    package: &'static str,
    target: &'static [&'static str],
    flags: &'static str,
) -> Suite {
    Suite {
        package,
        target,
        flags,
    }
}

/// Runs Miri; without a nightly toolchain that has it, this is a visible skip, and a failure where `CI=true`.
///
/// # Errors
/// A test fails, or Miri reports an error.
pub(crate) fn run() -> Result<Exit> {
    if let Err(error) = ensure_miri() {
        println!("skipped: Miri needs a nightly toolchain with its component: {error:#}");
        return Ok(if install::is_ci() {
            Exit::Fail
        } else {
            Exit::Skipped
        });
    }
    let target_dir = cargo::metadata()?.target_directory.join("miri");
    for suite in SUITES {
        let mut command = cargo::cargo_of(TOOLCHAIN);
        command.args(["miri", "test", "-p", suite.package]);
        command.args(suite.target).env("MIRIFLAGS", suite.flags);
        process::show(command.arg("--target-dir").arg(&target_dir))?;
    }
    Ok(Exit::Pass)
}

/// Makes sure that nightly has Miri and the sources it builds the standard library from.
fn ensure_miri() -> Result<()> {
    // `rustup run` may install a missing toolchain by itself; asking for the list never does.
    let is_there = install::lists_toolchain(TOOLCHAIN)?;
    if is_there && process::succeeds(cargo::cargo_of(TOOLCHAIN).args(["miri", "--version"])) {
        return Ok(());
    }
    install::ensure_toolchain_with(TOOLCHAIN, &["miri", "rust-src"])
}
