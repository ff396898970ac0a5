//! Cargo as a program: the workspace, its members, and builds that say where the executable is.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use crate::process;

/// The workspace as `cargo metadata` describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) rust_version: Option<String>,
    pub(crate) targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

/// One line of cargo's JSON messages, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

/// An executable that cargo built.
#[derive(Clone, Debug)]
pub(crate) struct Executable {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let own = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own.parent().map_or_else(|| own.clone(), Path::to_path_buf)
}

/// Cargo of the current toolchain, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Cargo of another toolchain, such as `nightly`.
pub(crate) fn cargo_of(toolchain: &str) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", toolchain, "cargo"])
        .current_dir(root());
    for name in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC", "RUSTDOC"] {
        command.env_remove(name);
    }
    command
}

/// Reads the workspace; the members only.
///
/// # Errors
/// Cargo fails, or answers what cannot be read.
pub(crate) fn metadata() -> Result<Metadata> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    let answer = process::capture(&mut command)?;
    serde_json::from_str(&answer).context("cannot read the answer of `cargo metadata`")
}

impl Metadata {
    /// The member called `name`.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn package(&self, name: &str) -> Result<&Package> {
        let found = self.packages.iter().find(|package| package.name == name);
        found.ok_or_else(|| anyhow!("package `{name}` is not in the workspace"))
    }
}

/// Runs a cargo command that builds, shows its messages, and returns every executable it names.
///
/// # Errors
/// The build fails.
pub(crate) fn build(command: &mut Command) -> Result<Vec<Executable>> {
    build_with(command.stderr(Stdio::inherit()))
}

/// As [`build`], but shows nothing; the error carries the compiler's first one.
///
/// # Errors
/// The build fails.
pub(crate) fn build_quietly(command: &mut Command) -> Result<Vec<Executable>> {
    build_with(command.stderr(Stdio::piped()))
}

fn build_with(command: &mut Command) -> Result<Vec<Executable>> {
    command.arg("--message-format=json-render-diagnostics");
    let line = process::line(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        if let Some(first) = said.lines().find(|line| line.starts_with("error")) {
            bail!("{first}");
        }
        bail!("`{line}` failed ({})", output.status);
    }
    let answer = String::from_utf8_lossy(&output.stdout);
    let messages = answer
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok());
    Ok(messages
        .filter_map(|message| {
            Some(Executable {
                name: message.target?.name,
                path: message.executable?,
            })
        })
        .collect())
}

/// Compiled as one: the instructions of this kernel are counted, and the count should not depend on how the
/// compiler happens to part the crates.
const WHOLE: [&str; 4] = [
    "--config",
    "profile.release.lto=\"fat\"",
    "--config",
    "profile.release.codegen-units=1",
];

/// Builds the one executable of `package` in the release profile, for the host or for `target`.
///
/// # Errors
/// The build fails or makes no executable.
pub(crate) fn build_binary(package: &str, target: Option<&str>) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--release", "-p", package]);
    if target.is_some_and(|target| target.starts_with("aarch64")) {
        command.args(WHOLE);
    }
    if let Some(target) = target {
        // Flags from outside would replace those of `.cargo/config.toml`, which the kernels need.
        command.args(["--target", target]).env_remove("RUSTFLAGS");
    }
    let built = build(&mut command)?;
    let found = built
        .into_iter()
        .find(|executable| executable.name == package);
    found
        .map(|executable| executable.path)
        .ok_or_else(|| anyhow!("building {package} made no executable of that name"))
}
