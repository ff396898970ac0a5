//! One boot: start the kernel as planned, collect what it prints, judge it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;

use crate::arch::Arch;
use crate::cargo;
use crate::check;
use crate::flat;
use crate::install;
use crate::monitor::{self, Monitor};
use crate::plan::Plan;
use crate::process::{self, Ending, Finished, Watch};
use crate::qemu;
use crate::record::Log;
use crate::terminal;

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
    ending: Ending,
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
        let package = match self {
            Self::Scenarios(arch) => arch.package(),
            Self::Minimal => "cpuhp-example-minimal",
        };
        let target = self.arch().target();
        if let Some(target) = target {
            install::ensure_target(target)?;
        }
        let program = cargo::build_binary(package, target)?;
        if self.arch() == Arch::Aarch64 {
            // As firmware loads it: its header says where, and the device tree comes in a register.
            return flat::write(&program);
        }
        Ok(program)
    }

    /// Where the kernel runs.
    pub(crate) fn arch(self) -> Arch {
        match self {
            Self::Scenarios(arch) => arch,
            Self::Minimal => Arch::X86_64,
        }
    }

    /// Boots `image` as planned and judges it.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn boot(self, plan: &Plan, image: &Path) -> Result<Booted> {
        let mut command = command(plan, image);
        let Some(monitor) = Monitor::of(plan) else {
            let finished = process::run_limited(&mut command, plan.limit)?;
            return Ok(self.judge(plan, finished, process::line(&command)));
        };
        monitor.add_to(&mut command);
        let (count, (say, said)) = (plan.machine.hotadd, mpsc::channel());
        let plugger = monitor.clone();
        let watch = Watch {
            text: monitor::READY,
            // Whoever listens has gone only if the boot has ended.
            then: Box::new(move || drop(say.send(plugger.plug(count)))),
        };
        let finished = process::run_watched(&mut command, plan.limit, Some(watch))?;
        let mut booted = self.judge(plan, finished, process::line(&command));
        if let Ok(Err(error)) = said.try_recv() {
            booted.wrong.insert(0, format!("{error:#}"));
        }
        Ok(booted)
    }

    /// Boots `image` as planned, with this terminal, or whatever standard input is, as its console.
    ///
    /// # Errors
    /// The program cannot be started, or a person or a signal ended it.
    pub(crate) fn connect(self, plan: &Plan, image: &Path) -> Result<Booted> {
        let mut command = command(plan, image);
        let finished = terminal::run_connected(&mut command, plan.limit)?;
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
            ending: finished.ending,
            serial: finished.stdout,
            errors: finished.stderr,
            command,
        }
    }
}

/// What runs `image` as planned.
fn command(plan: &Plan, image: &Path) -> Command {
    if let Some(program) = plan.arch.emulator() {
        return qemu::command(program, plan, image);
    }
    let mut command = Command::new(image);
    command.arg(plan.arguments());
    command
}

impl Booted {
    /// Whether nothing is wrong.
    pub(crate) fn passed(&self) -> bool {
        self.wrong.is_empty()
    }

    /// What the kernel or QEMU did not take of the arguments, as one line; none if the boot got further than that.
    pub(crate) fn refusal(&self) -> Option<String> {
        if !self.log.raw.is_empty() {
            return None;
        }
        refusal(self.ending.code(), &self.serial, &self.errors)
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

/// The kernel names the word it does not know on the serial line, the hosted runner on standard error; QEMU speaks under
/// its own name.
fn refusal(code: Option<i32>, serial: &str, errors: &str) -> Option<String> {
    let word = |line: &str| {
        let line = line.trim_end().strip_prefix("error: ")?;
        let line = line.strip_prefix("parameter ").unwrap_or(line);
        line.starts_with('`').then(|| line.to_owned())
    };
    if let Some(found) = serial.lines().chain(errors.lines()).find_map(word) {
        return Some(found);
    }
    let is_silent = serial.trim().is_empty() && code == Some(1);
    let said = errors
        .lines()
        .filter(|line| is_silent && !qemu::is_noise(line));
    let mut said = said.filter_map(|line| {
        let (program, what) = line.split_once(": ")?;
        program.starts_with("qemu-system-").then_some(what)
    });
    said.next_back()
        .map(|line| format!("QEMU does not take this machine: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_that_a_kernel_refuses_is_one_line() {
        let line = "`foo=1`: one of scenario, mode";
        let serial = format!("error: parameter {line}\r\n");
        assert_eq!(refusal(Some(255), &serial, "").as_deref(), Some(line));
        let errors = format!("error: {line}\n");
        assert_eq!(refusal(Some(2), "", &errors).as_deref(), Some(line));
    }

    #[test]
    fn machine_that_qemu_refuses_is_one_line() {
        let errors = "qemu-system-x86_64: unable to find CPU model 'nosuch'\n";
        let line = refusal(Some(1), "", errors).unwrap();
        assert!(
            line.ends_with("unable to find CPU model 'nosuch'"),
            "{line}"
        );
        assert_eq!(refusal(Some(1), "booting\n", errors), None);
    }

    #[test]
    fn other_failures_are_no_refusals() {
        assert_eq!(refusal(Some(255), "error: no RSDP\n", ""), None);
        assert_eq!(refusal(None, "", ""), None);
    }
}
