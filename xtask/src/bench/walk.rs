//! `cargo xtask bench walk`: what a walk of 64 steps costs beside a loop written by hand, in instructions.
//!
//! Valgrind counts them in the program `xtask/walk`, so that the figures are the same on every run. Beside them stands a
//! loop that asks everything at each step: it has to miss the bound, or the bound would say nothing.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::cargo;
use crate::exit::Exit;
use crate::install;
use crate::process;
use crate::show;

/// What the walk of the core may cost, in hundredths of the loop written by hand.
const BOUND: u64 = 105;

/// How long one run may take; it takes a second.
const LIMIT: Duration = Duration::from_secs(60);

/// Who walks, and what of the program is counted.
const WALKERS: [(&str, &str); 3] = [
    ("hand", "cpuhp_walk::hand::by_hand_*"),
    ("core", "cpuhp_core::walk::Walk*::run*"),
    ("naive", "cpuhp_walk::naive::naive_walk*"),
];

/// Measures both kinds of step in both directions.
///
/// # Errors
/// The program does not build or run.
pub(super) fn run() -> Result<Exit> {
    if let Err(missing) = install::ensure_valgrind() {
        println!("skipped: {missing}");
        return Ok(if install::is_ci() {
            Exit::Fail
        } else {
            Exit::Skipped
        });
    }
    let program = build()?;
    let titles = ["walk", "by", "instructions", "ratio", "bound", "verdict"];
    let mut table = show::table(&titles, 2);
    let mut missed = 0;
    for kind in ["static", "dynamic"] {
        let mut counted = Vec::new();
        for (walker, functions) in WALKERS {
            let up = count(&program, functions, [walker, kind, "up"])?;
            let both = count(&program, functions, [walker, kind, "both"])?;
            counted.push((walker, up, both.saturating_sub(up)));
        }
        for way in ["up", "down"] {
            let of = |(_, up, down): (&str, u64, u64)| if way == "up" { up } else { down };
            let by_hand = counted.first().copied().map_or(0, of);
            for walked in counted.iter().copied() {
                let (walker, instructions) = (walked.0, of(walked));
                let expected = Expected::of(walker);
                let is_met = expected.is_met(instructions, by_hand);
                missed += usize::from(!is_met);
                table.add_row([
                    format!("64 steps {way}, {kind}"),
                    walker.to_owned(),
                    instructions.to_string(),
                    format!("{:.3}", ratio(instructions, by_hand)),
                    expected.text().to_owned(),
                    if is_met { "pass" } else { "MISSED" }.to_owned(),
                ]);
            }
        }
    }
    println!("\n{table}");
    println!("instructions of 16 walks on this host's architecture, callbacks included");
    Ok(Exit::from_failures(missed))
}

/// What is expected of a walker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Itself,
    Within,
    Beyond,
}

impl Expected {
    fn of(walker: &str) -> Self {
        match walker {
            "core" => Self::Within,
            "naive" => Self::Beyond,
            _ => Self::Itself,
        }
    }

    fn is_met(self, instructions: u64, by_hand: u64) -> bool {
        let is_within = instructions * 100 <= by_hand * BOUND;
        match self {
            // A loop that did not run is no measure.
            Self::Itself => by_hand > 0,
            Self::Within => is_within && instructions > 0,
            Self::Beyond => !is_within,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Itself => "-",
            Self::Within => "<= 1.05",
            Self::Beyond => "> 1.05",
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are far below 2^53"
)]
fn ratio(upper: u64, lower: u64) -> f64 {
    upper as f64 / lower.max(1) as f64
}

fn build() -> Result<PathBuf> {
    let folder = cargo::metadata()?.target_directory.join("walk");
    let mut command = cargo::cargo();
    command.args(["build", "--quiet", "--release", "--manifest-path"]);
    command
        .arg(cargo::root().join("xtask/walk/Cargo.toml"))
        .arg("--target-dir")
        .arg(folder);
    // What the figures depend on is in the program's own profile.
    command
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let built = cargo::build(&mut command)?;
    let mut named = built.into_iter().filter(|built| built.name == "cpuhp-walk");
    let program = named.next().map(|built| built.path);
    program.ok_or_else(|| anyhow!("building the program made no executable"))
}

/// Counts the instructions inside `functions`, and in what they call.
fn count(program: &PathBuf, functions: &str, words: [&str; 3]) -> Result<u64> {
    let mut command = Command::new(install::VALGRIND);
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no"])
        .arg(format!("--toggle-collect={functions}"))
        .arg(program)
        .args(words);
    let finished = process::run_limited(&mut command, LIMIT)?;
    let counted = parse(&finished.stderr).filter(|_| finished.ending.code() == Some(0));
    counted.with_context(|| format!("no count in what valgrind said:\n{}", finished.stderr))
}

fn parse(said: &str) -> Option<u64> {
    let mut lines = said.lines();
    let collected = lines.find_map(|line| line.split_once("Collected : "))?.1;
    collected.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_is_what_valgrind_collected() {
        let said = "==7== Events    : Ir\n==7== Collected : 16240\n==7== \n";
        assert_eq!(parse(said), Some(16_240));
        assert_eq!(parse("==7== Callgrind, a call-graph generator"), None);
    }

    #[test]
    fn bound_holds_the_core_and_fails_the_loop_that_asks() {
        let is_met = |walker, instructions| Expected::of(walker).is_met(instructions, 1000);
        assert!(is_met("core", 1050) && !is_met("core", 1051) && !is_met("core", 0));
        assert!(is_met("naive", 1051) && !is_met("naive", 1050));
        assert!(is_met("hand", 1000) && !Expected::Itself.is_met(0, 0));
    }
}
