//! The loom models as programs: build them, list them, run one of them under a time limit.
//!
//! A model is a test of a target in `tests/` whose name begins with `loom_`; one that is `#[ignore]`d takes long and runs
//! only with `--long`. When it passes it prints one line
//! `@loom {"model":…,"family":…,"threads":…,"bound":…,"executions":…,"seconds":…}`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::cargo::{self, Executable};
use crate::process::{self, Ending, Finished};

/// What the name of a target with models begins with.
const PREFIX: &str = "loom_";

/// The package of the models.
const PACKAGE: &str = "cpuhp-tests";

/// One test of a target with models.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// The test as the test program knows it.
    path: String,
    binary: PathBuf,
    target: String,
    /// Runs only with `--long`.
    pub(crate) is_long: bool,
}

/// What a model says about itself.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) model: String,
    pub(crate) family: String,
    pub(crate) threads: u32,
    /// Preemption bound; none = exhaustive.
    pub(crate) bound: Option<u32>,
    pub(crate) executions: u64,
    pub(crate) seconds: f64,
}

/// How a model ended.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Passed,
    /// With the first line of the reason.
    Failed(String),
    TimedOut,
}

/// One run of one model.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) verdict: Verdict,
    pub(crate) reports: Vec<Report>,
    pub(crate) wall: Duration,
    pub(crate) output: String,
}

/// Whether a run goes one bound higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    Quick,
    Long,
}

impl Model {
    /// Last part of the test's path: what people call the model.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit("::").next().unwrap_or(&self.path)
    }

    /// The target without its prefix: the family a model without a report belongs to.
    pub(crate) fn family(&self) -> &str {
        self.target.strip_prefix(PREFIX).unwrap_or(&self.target)
    }

    /// Whether `wanted` means this model: its name, its path, or `target::path`.
    pub(crate) fn is_called(&self, wanted: &str) -> bool {
        let full = || format!("{}::{}", self.target, self.path);
        wanted == self.name() || wanted == self.path || wanted == full()
    }

    /// Runs this model alone and ends it after `limit`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn run(&self, depth: Depth, limit: Duration) -> Result<Run> {
        let mut command = Command::new(&self.binary);
        command.args([&self.path, "--exact", "--include-ignored", "--nocapture"]);
        command.arg("--test-threads=1");
        remove_loom_settings(&mut command);
        command.env("RUST_BACKTRACE", "0");
        if depth == Depth::Long {
            command.env("CPUHP_LOOM_LONG", "1");
        }
        Ok(judge(process::run_limited(&mut command, limit)?))
    }
}

/// Settings from outside could bound a model that must be exhaustive; a bound appears in code only.
fn remove_loom_settings(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("LOOM_") {
            command.env_remove(&name);
        }
    }
    command.env_remove("CPUHP_LOOM_LONG");
}

/// Whether the compiler's messages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Messages {
    Shown,
    /// Only the first error, as the error of the build.
    Hidden,
}

/// How often the same sources are built, but for a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rebuilds {
    Few,
    /// Keeps what did not change: a build takes a third of the time, the models somewhat longer.
    Many,
}

/// Builds the models of the workspace at `root` into `target_dir` and lists them.
///
/// # Errors
/// There are none, or they do not build.
pub(crate) fn build(
    root: &Path,
    target_dir: &Path,
    messages: Messages,
    rebuilds: Rebuilds,
) -> Result<Vec<Model>> {
    let targets = targets()?;
    if targets.is_empty() {
        bail!("no models: tests/ has no test target whose name begins with {PREFIX}");
    }
    let mut command = cargo::cargo();
    command.current_dir(root);
    command
        .args([
            "test",
            "--release",
            "--no-run",
            "-p",
            PACKAGE,
            "--target-dir",
        ])
        .arg(target_dir);
    for target in &targets {
        command.args(["--test", target]);
    }
    command
        .env("RUSTFLAGS", "--cfg loom")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    if rebuilds == Rebuilds::Many {
        command.env("CARGO_INCREMENTAL", "1");
    }
    let mut models = Vec::new();
    let executables = match messages {
        Messages::Shown => cargo::build(&mut command)?,
        Messages::Hidden => cargo::build_quietly(&mut command)?,
    };
    for executable in executables {
        models.extend(list(&executable)?);
    }
    Ok(models)
}

/// The targets that hold models.
///
/// # Errors
/// The workspace cannot be read.
pub(crate) fn targets() -> Result<Vec<String>> {
    let metadata = cargo::metadata()?;
    let targets = metadata.package(PACKAGE)?.targets.iter();
    Ok(targets
        .filter(|target| target.name.starts_with(PREFIX) && target.kind == ["test"])
        .map(|target| target.name.clone())
        .collect())
}

/// Asks a test program for its tests.
fn list(executable: &Executable) -> Result<Vec<Model>> {
    let ask = |more: &[&str]| {
        let mut command = Command::new(&executable.path);
        process::capture(command.args(["--list", "--format", "terse"]).args(more))
    };
    let (all, long) = (ask(&[])?, ask(&["--ignored"])?);
    let names = |text: &str| -> Vec<String> {
        text.lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .map(str::to_owned)
            .collect()
    };
    let long = names(&long);
    let models = names(&all).into_iter().map(|path| Model {
        is_long: long.contains(&path),
        path,
        binary: executable.path.clone(),
        target: executable.name.clone(),
    });
    Ok(models.collect())
}

fn judge(finished: Finished) -> Run {
    let mut reports = Vec::new();
    let mut bad = None;
    for line in finished.stdout.lines() {
        // The test program prints `test NAME ... ` without a newline before the model speaks.
        let Some((_, json)) = line.split_once("@loom ") else {
            continue;
        };
        match serde_json::from_str(json) {
            Ok(report) => reports.push(report),
            Err(error) => bad = Some(format!("bad @loom line ({error}): {json}")),
        }
    }
    let verdict = match finished.ending {
        Ending::TimedOut => Verdict::TimedOut,
        Ending::Exited(status) if !status.success() => {
            let reason = panic_line(&finished.stderr).or_else(|| panic_line(&finished.stdout));
            Verdict::Failed(reason.unwrap_or_else(|| status.to_string()))
        }
        Ending::Exited(_) => match bad {
            Some(bad) => Verdict::Failed(bad),
            None if reports.is_empty() => {
                Verdict::Failed("passed but printed no @loom line".to_owned())
            }
            None => Verdict::Passed,
        },
    };
    let output = finished.stdout + &finished.stderr;
    Run {
        verdict,
        reports,
        wall: finished.wall,
        output,
    }
}

/// First line of the message of the first panic.
fn panic_line(text: &str) -> Option<String> {
    let mut lines = text
        .lines()
        .skip_while(|line| !line.contains(" panicked at "));
    let head = lines.next()?;
    let message = lines.find(|line| !line.trim().is_empty()).unwrap_or(head);
    Some(message.trim().chars().take(100).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(code: i32, stdout: &str, stderr: &str) -> Finished {
        let script = format!("exit {code}");
        let status = Command::new("sh").args(["-c", &script]).status().unwrap();
        Finished {
            ending: Ending::Exited(status),
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
            wall: Duration::ZERO,
        }
    }

    const LINE: &str = r#"test l1_up ... @loom {"model":"l1_up","family":"spinning","threads":2,"bound":null,"executions":1216,"seconds":0.12}"#;

    #[test]
    fn report_is_read_behind_the_test_name() {
        let run = judge(finished(0, LINE, ""));
        assert!(matches!(run.verdict, Verdict::Passed));
        assert_eq!(
            (run.reports[0].threads, run.reports[0].executions),
            (2, 1216)
        );
        assert_eq!(run.reports[0].bound, None);
    }

    #[test]
    fn pass_without_a_report_or_with_a_bad_one_is_a_failure() {
        assert!(matches!(
            judge(finished(0, "ok", "")).verdict,
            Verdict::Failed(_)
        ));
        let bad = LINE.replace("1216", "\"many\"");
        assert!(matches!(
            judge(finished(0, &bad, "")).verdict,
            Verdict::Failed(_)
        ));
    }

    #[test]
    fn failure_carries_the_first_line_of_the_panic() {
        let stderr =
            "\nthread 'l1_up' (7) panicked at src/a.rs:1:2:\ncausality violation\nnote: x\n";
        let verdict = judge(finished(101, "", stderr)).verdict;
        assert!(matches!(&verdict, Verdict::Failed(why) if why == "causality violation"));
    }

    #[test]
    fn model_is_found_by_name_path_and_target() {
        let model = Model {
            path: "up::l1_up".to_owned(),
            binary: PathBuf::new(),
            target: "loom_spinning".to_owned(),
            is_long: false,
        };
        for name in ["l1_up", "up::l1_up", "loom_spinning::up::l1_up"] {
            assert!(model.is_called(name), "{name}");
        }
        assert!(!model.is_called("l1"));
        assert_eq!(model.family(), "spinning");
    }
}
