//! One boot: start the kernel as planned, collect what it prints, judge it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::cargo;
use crate::check;
use crate::install;
use crate::machine::Arch;
use crate::plan::Plan;
use crate::process::{self, Finished};
use crate::qemu;
use crate::record::Log;

/// The target of the x86_64 kernels.
pub(crate) const X86_TARGET: &str = "x86_64-unknown-none";

/// The programs that can be booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    /// The kernel that runs every scenario on this architecture.
    Scenarios(Arch),
    /// The smallest kernel, which only brings all CPUs up.
    Minimal,
}

/// What is left of a boot.
#[derive(Debug)]
pub(crate) struct Booted {
    pub(crate) log: Log,
    /// What is wrong; empty = passed.
    pub(crate) wrong: Vec<String>,
    pub(crate) wall: Duration,
    serial: String,
    errors: String,
    command: String,
}

impl Kernel {
    /// Builds the kernel in the release profile and returns its image.
    ///
    /// # Errors
    /// The target cannot be had or the build fails.
    pub(crate) fn build(self) -> Result<PathBuf> {
        let (package, target) = match self {
            Self::Scenarios(Arch::X86_64) => ("cpuhp-example-x86_64", Some(X86_TARGET)),
            Self::Minimal => ("cpuhp-example-minimal", Some(X86_TARGET)),
            Self::Scenarios(Arch::Hosted) => ("cpuhp-example-hosted", None),
        };
        if let Some(target) = target {
            install::ensure_target(target)?;
        }
        cargo::build_binary(package, target)
    }

    /// Boots `image` as planned and judges it.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn boot(self, plan: &Plan, image: &Path) -> Result<Booted> {
        let mut command = match plan.arch {
            Arch::X86_64 => qemu::command(plan, image),
            Arch::Hosted => {
                let mut command = Command::new(image);
                command.arg(plan.arguments());
                command
            }
        };
        let finished = process::run_limited(&mut command, plan.limit)?;
        Ok(self.judge(plan, finished, process::line(&command)))
    }

    fn judge(self, plan: &Plan, finished: Finished, command: String) -> Booted {
        let log = Log::parse(&finished.stdout);
        let wrong = match self {
            Self::Scenarios(_) => check::check(plan, &log, finished.ending, finished.wall),
            Self::Minimal => check::check_minimal(&log, finished.ending),
        };
        Booted {
            log,
            wrong,
            wall: finished.wall,
            serial: finished.stdout,
            errors: finished.stderr,
            command,
        }
    }
}

impl Booted {
    /// Whether nothing is wrong.
    pub(crate) fn passed(&self) -> bool {
        self.wrong.is_empty()
    }

    /// Everything a person needs to see what went wrong.
    pub(crate) fn explain(&self) -> String {
        let mut text = String::new();
        for what in &self.wrong {
            text.push_str(&format!("  wrong: {what}\n"));
        }
        text.push_str(&format!("  command: {}\n", self.command));
        let errors: Vec<&str> = self
            .errors
            .lines()
            .filter(|line| !qemu::is_noise(line))
            .collect();
        if !errors.is_empty() {
            text.push_str("  its errors:\n");
            text.push_str(&process::tail(&errors.join("\n"), 20));
        }
        text.push_str("  end of the serial log:\n");
        text.push_str(&process::tail(&self.serial, 30));
        text
    }
}
