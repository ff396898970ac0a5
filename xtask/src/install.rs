//! Getting what is lacking: targets, toolchains, components and QEMU; or one line that says what to install.

use std::env;
use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::cargo_of;
use crate::process;

/// Why something could not be had, and what would help.
#[derive(Clone, Debug)]
pub(crate) struct Missing(pub(crate) String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an emulator needs on a system: its own package, by the name that Debian, Fedora, Arch and macOS give it.
struct Packages {
    debian: &'static [&'static str],
    fedora: &'static str,
    arch: &'static str,
}

impl Packages {
    fn of(program: &str) -> Self {
        match program {
            "qemu-system-aarch64" => Self {
                debian: &["qemu-system-arm", "qemu-system-data"],
                fedora: "qemu-system-aarch64",
                arch: "qemu-system-aarch64",
            },
            "qemu-system-riscv64" => Self {
                debian: &["qemu-system-misc", "qemu-system-data", "opensbi"],
                fedora: "qemu-system-riscv",
                arch: "qemu-system-riscv",
            },
            VALGRIND => Self {
                debian: &[VALGRIND],
                fedora: VALGRIND,
                arch: VALGRIND,
            },
            _ => Self {
                debian: &["qemu-system-x86", "qemu-system-data", "seabios"],
                fedora: "qemu-system-x86",
                arch: "qemu-system-x86",
            },
        }
    }

    /// What to install where this program cannot do it itself.
    fn hint(&self) -> String {
        format!(
            "install it: Debian `apt-get install {}`, Fedora `dnf install {}`, Arch `pacman -S {}`, macOS `brew`",
            self.debian.join(" "),
            self.fedora,
            self.arch
        )
    }
}

/// Whether this is a CI machine, where a missing tool is a failure.
pub(crate) fn is_ci() -> bool {
    matches!(env::var("CI").as_deref(), Ok("true" | "1"))
}

/// Makes sure that the current toolchain has the standard library of `target`.
///
/// # Errors
/// It is not there and cannot be installed.
pub(crate) fn ensure_target(target: &str) -> Result<()> {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--print", "target-libdir", "--target", target]);
    let library = process::capture(&mut rustc)?;
    if has_library(Path::new(library.trim())) {
        return Ok(());
    }
    if !is_on_path("rustup") {
        bail!(
            "the standard library for {target} is missing: install Rust by rustup (https://rustup.rs), \
             or your distribution's package for that target"
        );
    }
    process::show(Command::new("rustup").args(["target", "add", target]))
}

fn has_library(folder: &Path) -> bool {
    let Ok(mut entries) = folder.read_dir() else {
        return false;
    };
    entries.any(|entry| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

/// Makes sure that `cargo NAME` works with the current toolchain, else adds the rustup component.
///
/// # Errors
/// It is not there and cannot be installed.
pub(crate) fn ensure_component(name: &str) -> Result<()> {
    let mut probe = crate::cargo::cargo();
    probe.args([if name == "rustfmt" { "fmt" } else { name }, "--version"]);
    if process::succeeds(&mut probe) {
        return Ok(());
    }
    process::show(Command::new("rustup").args(["component", "add", name]))
        .with_context(|| format!("{name} is missing: install Rust by rustup (https://rustup.rs)"))
}

/// Whether rustup lists `toolchain`.
///
/// # Errors
/// There is no rustup.
pub(crate) fn lists_toolchain(toolchain: &str) -> Result<bool> {
    let list = process::capture(Command::new("rustup").args(["toolchain", "list"]))
        .with_context(|| format!("toolchain {toolchain} needs rustup (https://rustup.rs)"))?;
    Ok(list.lines().any(|line| line.starts_with(toolchain)))
}

/// Whether `toolchain` works.
fn has_toolchain(toolchain: &str) -> bool {
    process::succeeds(cargo_of(toolchain).arg("--version"))
}

/// Makes sure that rustup has `toolchain`.
///
/// # Errors
/// There is no rustup, or it cannot install the toolchain.
pub(crate) fn ensure_toolchain(toolchain: &str) -> Result<()> {
    // `rustup run` may install a missing toolchain by itself; asking for the list never does.
    if lists_toolchain(toolchain)? && has_toolchain(toolchain) {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    process::show(rustup.args(["toolchain", "install", toolchain, "--profile", "minimal"]))
}

/// Makes sure that rustup has `toolchain` with these components.
///
/// # Errors
/// There is no rustup, or it cannot install them.
pub(crate) fn ensure_toolchain_with(toolchain: &str, components: &[&str]) -> Result<()> {
    if lists_toolchain(toolchain)? {
        let mut add = Command::new("rustup");
        add.args(["component", "add", "--toolchain", toolchain]);
        if process::show(add.args(components)).is_ok() {
            return Ok(());
        }
    }
    // Not every nightly has every component: named here, rustup takes the last one that has them all.
    let mut install = Command::new("rustup");
    install.args(["toolchain", "install", toolchain, "--profile", "minimal"]);
    install.args(["--allow-downgrade", "--component", &components.join(",")]);
    process::show(&mut install)
}

/// The program that counts instructions.
pub(crate) const VALGRIND: &str = "valgrind";

/// Makes sure that valgrind is there.
///
/// # Errors
/// The reason it is not, with what to install on which system.
pub(crate) fn ensure_valgrind() -> Result<(), Missing> {
    ensure_qemu(VALGRIND)
}

/// Makes sure that `program` of QEMU is there.
///
/// # Errors
/// The reason it is not, with what to install on which system.
pub(crate) fn ensure_qemu(program: &str) -> Result<(), Missing> {
    if is_on_path(program) {
        return Ok(());
    }
    let packages = Packages::of(program);
    let hint = packages.hint();
    if !is_on_path("apt-get") || !is_root() {
        return Err(Missing(format!("{program} is missing; {hint}")));
    }
    let install = || -> Result<()> {
        if let Err(error) = process::show(apt().arg("update")) {
            // One list of several may be out of reach without harm.
            println!("note: {error:#}");
        }
        process::show(
            apt()
                .args(["install", "-y", "--no-install-recommends"])
                .args(packages.debian),
        )
    };
    if let Err(error) = install() {
        return Err(Missing(format!(
            "{program} is missing and {error:#}; {hint}"
        )));
    }
    if is_on_path(program) {
        Ok(())
    } else {
        Err(Missing(format!(
            "the packages are installed but {program} is not there; {hint}"
        )))
    }
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"]);
    command
}

fn is_root() -> bool {
    process::capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Whether `program` lies in one of the folders of `PATH`.
pub(crate) fn is_on_path(program: &str) -> bool {
    let Some(path) = env::var_os("PATH") else {
        return false;
    };
    env::split_paths(&path).any(|folder| {
        let file = folder.join(program);
        file.is_file() || file.with_extension("exe").is_file()
    })
}
