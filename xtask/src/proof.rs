//! `cargo xtask proof`: the enumerations and the long random tests of the core, with the figures they print.
//!
//! A test says what it went through in a line that begins with `@proof`; one that says nothing proves nothing.

use std::time::Duration;

use anyhow::Result;

use crate::cargo;
use crate::exit::Exit;
use crate::process::{self, Ending};
use crate::progress::Progress;
use crate::show;

/// What a test that says what it went through begins its line with.
const MARK: &str = "@proof ";

/// Host time one program of tests may take.
const LIMIT: Duration = Duration::from_secs(1200);

/// Programs of tests: package and target. Whatever they ignore because it takes long runs here.
const PROOFS: &[(&str, &str)] = &[
    ("cpuhp-tests", "walk_enumerated"),
    ("cpuhp-tests", "instances_enumerated"),
    ("cpuhp-tests", "register"),
    ("cpuhp-tests", "whole_machine"),
    ("cpuhp-tests", "suspend"),
    ("cpuhp-tests", "stuck"),
    ("cpuhp-tests", "history"),
    ("cpuhp-tests", "control_input"),
    ("cpuhp-tests", "random"),
    ("cpuhp-sim", "storm"),
];

/// Runs them one after the other and prints the table.
///
/// # Errors
/// A program of tests cannot be started.
pub(crate) fn run() -> Result<Exit> {
    let mut table = show::table(&["tests", "went through", "seconds", "verdict"], 2);
    let mut failures = 0;
    let progress = Progress::bar(PROOFS.len());
    for (package, target) in PROOFS {
        progress.at(target);
        let mut command = cargo::cargo();
        command.args(["test", "-p", package, "--test", target, "--"]);
        command.args(["--include-ignored", "--nocapture"]);
        let finished = process::run_limited(&mut command, LIMIT)?;
        let figures = figures(&finished.stdout);
        let verdict = match finished.ending {
            Ending::Exited(status) if !status.success() => "FAIL",
            Ending::TimedOut => "FAIL: timeout",
            Ending::Exited(_) if figures.is_empty() => "FAIL: no figure",
            Ending::Exited(_) => "pass",
        };
        if verdict != "pass" {
            failures += 1;
            let said = finished.stdout + &finished.stderr;
            eprintln!("{}", process::tail(&said, 40));
        }
        let seconds = format!("{:.1}", finished.wall.as_secs_f64());
        progress.done(&format!("{target}: {verdict} ({seconds} s)"));
        table.add_row([*target, &figures, &seconds, verdict]);
    }
    progress.finish();
    println!("\n{table}");
    Ok(Exit::from_failures(failures))
}

/// The figures of a run, one per line.
fn figures(stdout: &str) -> String {
    // The test program prints dots and names without a newline before a test speaks.
    let said = stdout
        .lines()
        .filter_map(|line| line.split_once(MARK).map(|(_, said)| said));
    said.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_behind_what_the_test_program_prints() {
        let stdout = "running 2 tests\n..@proof 12 cases\ntest a ... @proof 3 aborts\nok\n";
        assert_eq!(figures(stdout), "12 cases\n3 aborts");
        assert_eq!(figures("12 cases\n"), "");
    }

    #[test]
    fn every_proof_is_a_target_of_the_workspace() {
        let metadata = cargo::metadata().unwrap();
        for (package, target) in PROOFS {
            let targets = &metadata.package(package).unwrap().targets;
            assert!(targets.iter().any(|t| t.name == *target), "{target}");
        }
    }
}
