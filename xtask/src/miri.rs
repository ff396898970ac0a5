//! `cargo xtask miri`: the core's unit tests and the thread tests under Miri, which sees undefined behaviour and data races.

use anyhow::{Result, bail};

use crate::cargo;
use crate::exit::Exit;
use crate::install;
use crate::process;

/// Targets in `tests/` whose names begin with one of these run under Miri.
const PREFIXES: [&str; 2] = ["threads", "miri"];

/// The package that holds them.
const PACKAGE: &str = "cpuhp-tests";

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
    let metadata = cargo::metadata()?;
    let target_dir = metadata.target_directory.join("miri");
    let miri = |words: &[&str]| {
        let mut command = cargo::cargo_of("nightly");
        command
            .args(["miri", "test", "--target-dir"])
            .arg(&target_dir)
            .args(words);
        process::show(&mut command)
    };
    let targets = metadata.package(PACKAGE)?.targets.iter();
    let chosen: Vec<&str> = targets
        .filter(|target| target.kind == ["test"])
        .map(|target| target.name.as_str())
        .filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    if chosen.is_empty() {
        bail!("nothing for Miri: tests/ has no test target whose name begins with threads or miri");
    }
    miri(&["-p", "cpuhp-core", "--lib"])?;
    for name in chosen {
        miri(&["-p", PACKAGE, "--test", name])?;
    }
    Ok(Exit::Pass)
}

/// Makes sure that nightly has Miri and the sources it builds the standard library from.
fn ensure_miri() -> Result<()> {
    install::ensure_toolchain("nightly")?;
    if process::succeeds(cargo::cargo_of("nightly").args(["miri", "--version"])) {
        return Ok(());
    }
    let mut rustup = std::process::Command::new("rustup");
    process::show(rustup.args([
        "component",
        "add",
        "--toolchain",
        "nightly",
        "miri",
        "rust-src",
    ]))
}
