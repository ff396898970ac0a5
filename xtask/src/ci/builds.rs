//! The parts that are cargo commands: formatting, lints, documentation, the oldest compiler.

use std::process::Command;

use anyhow::{Result, anyhow};

use crate::cargo;
use crate::exit::Exit;
use crate::install;
use crate::models;
use crate::process;

/// The crates that kernels depend on and that are published.
pub(super) const LIBRARIES: [&str; 4] = ["cpuhp-core", "cpuhp-arm64", "cpuhp-riscv", "cpuhp-x86"];

/// The kernels, with their target.
const KERNELS: &[(&str, &str)] = &[
    ("cpuhp-example-x86_64", "x86_64-unknown-none"),
    ("cpuhp-example-minimal", "x86_64-unknown-none"),
    ("cpuhp-example-aarch64", "aarch64-unknown-none-softfloat"),
    ("cpuhp-example-riscv64", "riscv64gc-unknown-none-elf"),
];

/// Bare-metal targets that the libraries must build for.
pub(crate) const BARE_METAL: [&str; 3] = [
    "x86_64-unknown-none",
    "aarch64-unknown-none",
    "riscv64gc-unknown-none-elf",
];

/// The program that `size` measures; no member of the workspace.
const PROBE: &str = "xtask/probe/Cargo.toml";

/// The program that `bench walk` measures; neither.
const WALK: &str = "xtask/walk/Cargo.toml";

pub(super) fn fmt() -> Result<Exit> {
    install::ensure_component("rustfmt")?;
    done(cargo::cargo().args(["fmt", "--all", "--check"]))?;
    done(cargo::cargo().args(["fmt", "--check", "--manifest-path", PROBE]))?;
    done(cargo::cargo().args(["fmt", "--check", "--manifest-path", WALK]))
}

pub(super) fn clippy() -> Result<Exit> {
    install::ensure_component("clippy")?;
    let deny = ["--", "-D", "warnings"];
    done(cargo::cargo().args(["clippy", "--all-targets"]).args(deny))?;
    done(
        cargo::cargo()
            .args(["clippy", "--all-features"])
            .args(packages(&LIBRARIES))
            .args(deny),
    )?;
    let mut walk = cargo::cargo();
    walk.args(["clippy", "--release", "--manifest-path", WALK]);
    walk.arg("--target-dir")
        .arg(cargo::metadata()?.target_directory.join("walk"));
    done(walk.args(deny))?;
    clippy_of_models()
}

/// The models, and the core as they see it; the other tests are not made for that build.
fn clippy_of_models() -> Result<Exit> {
    let mut command = cargo::cargo();
    command
        .args(["clippy", "--release", "--lib"])
        .args(packages(&["cpuhp-core", "cpuhp-tests"]));
    for target in models::targets()? {
        command.args(["--test", &target]);
    }
    command
        .arg("--target-dir")
        .arg(cargo::metadata()?.target_directory.join("loom"));
    command.args(["--", "-D", "warnings"]);
    done(
        command
            .env("RUSTFLAGS", "--cfg loom")
            .env_remove("CARGO_ENCODED_RUSTFLAGS"),
    )
}

pub(super) fn cross() -> Result<Exit> {
    install::ensure_component("clippy")?;
    let probe_dir = cargo::metadata()?.target_directory.join("size");
    for target in BARE_METAL {
        install::ensure_target(target)?;
        for features in [&[][..], &["--all-features"]] {
            let mut members = clippy_for(target);
            members.args(packages(&LIBRARIES)).args(features);
            done(members.args(["--", "-D", "warnings"]))?;
        }
        let mut probe = clippy_for(target);
        probe.args(["--all-features", "--manifest-path", PROBE]);
        probe.arg("--target-dir").arg(&probe_dir);
        done(probe.args(["--", "-D", "warnings"]))?;
    }
    for (kernel, target) in KERNELS {
        install::ensure_target(target)?;
        done(clippy_for(target).args(["-p", kernel, "--", "-D", "warnings"]))?;
    }
    Ok(Exit::Pass)
}

/// Clippy for a bare-metal target, whose flags come from `.cargo/config.toml` alone.
fn clippy_for(target: &str) -> Command {
    let mut command = cargo::cargo();
    command
        .args(["clippy", "--target", target])
        .env_remove("RUSTFLAGS");
    command
}

pub(super) fn docs() -> Result<Exit> {
    let libraries = packages(&LIBRARIES);
    for what in [&[][..], &[&["--all-features"], &libraries[..]].concat()] {
        done(
            cargo::cargo()
                .args(["doc", "--no-deps"])
                .args(what)
                .env("RUSTDOCFLAGS", "-D warnings"),
        )?;
    }
    Ok(Exit::Pass)
}

pub(super) fn msrv() -> Result<Exit> {
    let metadata = cargo::metadata()?;
    let promised = metadata.package(LIBRARIES[0])?.rust_version.as_deref();
    let promised = promised.ok_or_else(|| anyhow!("{} has no rust-version", LIBRARIES[0]))?;
    let toolchain = if promised.matches('.').count() == 1 {
        format!("{promised}.0")
    } else {
        promised.into()
    };
    install::ensure_toolchain(&toolchain)?;
    let folder = metadata.target_directory.join("msrv");
    for features in [&[][..], &["--all-features"]] {
        let mut command = cargo::cargo_of(&toolchain);
        command
            .arg("check")
            .args(packages(&LIBRARIES))
            .args(features);
        done(command.arg("--target-dir").arg(&folder))?;
    }
    Ok(Exit::Pass)
}

fn done(command: &mut Command) -> Result<Exit> {
    process::show(command)?;
    Ok(Exit::Pass)
}

/// `-p NAME` for each name.
pub(super) fn packages<'a>(names: &[&'a str]) -> Vec<&'a str> {
    names.iter().flat_map(|name| ["-p", *name]).collect()
}
