//! The command line: what may be typed, and the one line a wrong argument gets.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::ci::Part;
use crate::exit::Exit;
use crate::plan::Scenario;

/// Every command a contributor needs. Each one installs what it lacks, or says in one line what to install.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build the example kernels, boot them and show when each CPU came up
    Run(RunArgs),
    /// Run unit, integration and doc tests, the quick loom models and every scenario in QEMU and hosted
    Test {
        /// Parts to run; none = all of them
        #[arg(value_enum, value_name = "PART")]
        parts: Vec<TestPart>,
    },
    /// Run every check CI runs after `test`, or only the parts named
    Ci {
        /// Parts to run; none = all of them
        #[arg(value_enum, value_name = "PART")]
        parts: Vec<Part>,
    },
    /// Run the loom models and show threads, bound, executions and seconds of each
    Loom(LoomArgs),
    /// Apply the seeded mutants of `tests/mutants.json` and show which model kills which
    Mutants {
        /// Only mutants that this model is expected to kill
        model: Option<String>,
    },
    /// Run the unit and thread tests under Miri (nightly)
    Miri,
    /// Run the enumerations and the long random tests of the core, and show what each went through
    Proof,
    /// Draw the trace of a run: FILE.svg, and FILE.trace.json for ui.perfetto.dev
    Timeline {
        /// What `run --param trace=1 --json FILE.json` wrote
        #[arg(value_name = "FILE.json")]
        file: PathBuf,
    },
    /// Measure record, text and storage on every bare-metal target against their bounds
    Size,
    /// Run latency models of machines from 28 to 65,536 CPUs in virtual time, beside what was published about them
    Sim(SimArgs),
    /// Count the instructions of a walk, boot with 64 CPUs, and show what parallel bringup gains and what the state
    /// machine costs, against their bounds
    Bench {
        /// walk, raw, boot or cycle; none = all of them
        name: Option<String>,
    },
}

/// A part of `test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TestPart {
    /// Unit, integration and doc tests
    Unit,
    /// The quick loom models
    Loom,
    /// Every scenario in QEMU and hosted
    Scenarios,
    /// The monitor on a pseudo-terminal: every word, every wrong input, every key
    Monitor,
}

/// Arguments of `run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// x86_64, aarch64, riscv64, hosted, or all (= every kernel in the tree)
    #[arg(long)]
    pub(crate) arch: Option<String>,
    /// Number of CPUs that exist, the boot CPU included [default: 8, or what topology= gives]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) smp: Option<u32>,
    /// What executes the guest
    #[arg(long, value_enum, default_value_t = Accel::Tcg)]
    pub(crate) accel: Accel,
    /// What the kernel does
    #[arg(long, value_enum, default_value_t = Scenario::Boot)]
    pub(crate) scenario: Scenario,
    /// Parameters of the scenario, such as timeout_ms=300 or mode=serial,parallel
    #[arg(long, value_name = "K=V", num_args = 1..)]
    pub(crate) param: Vec<String>,
    /// The machine: cpu=NAME, thread=single|multi, topology=sockets=3,cores=3,threads=3; x86_64: absent=N,
    /// hotadd=N, cpuid-0xb=off; aarch64: el=1|2, board=virt|raspi3b, absent=N, taken=N; hosted: only absent=N, hotadd=N,
    /// time=virtual|threads
    #[arg(long, value_name = "K=V", num_args = 1..)]
    pub(crate) machine: Vec<String>,
    /// Seed of everything random in the scenario
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write every machine line of the run to FILE as one JSON array
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Trace the run and draw it: FILE.svg, and FILE.trace.json for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    pub(crate) timeline: Option<PathBuf>,
    /// Seconds of host time one boot may take [default: 60; a day for shell on a terminal]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: Option<u64>,
}

/// Arguments of `loom`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LoomArgs {
    /// Run the bounded models one bound higher, and those that take long
    #[arg(long)]
    pub(crate) long: bool,
    /// Only the model of this name
    pub(crate) model: Option<String>,
}

/// Arguments of `sim`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SimArgs {
    /// Only the model of this name [default: all of `cpuhp-sim/models/data`]
    pub(crate) model: Option<String>,
    /// Where to draw time against number of CPUs [default: sim.svg in the target folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

/// What executes the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accel {
    /// QEMU's translator, one host thread per CPU
    #[default]
    Tcg,
    /// QEMU's translator with a deterministic clock: one instruction is one nanosecond
    Icount,
    /// The host's hypervisor
    Kvm,
}

/// Prints what clap found wrong as one line and returns the exit code; help and version go out as they are.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        print!("{error}");
        return Exit::Pass.into();
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprint!("{error}");
    } else {
        eprintln!("{}", one_line(&error.to_string()));
    }
    Exit::Usage.into()
}

/// Joins clap's paragraphs into one line, without the usage block.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        if part.starts_with("Usage:") || part.starts_with("For more information") {
            continue;
        }
        if !line.is_empty() {
            line.push_str(if line.ends_with(':') { " " } else { "; " });
        }
        line.push_str(part);
    }
    if !(line.contains("[possible values:")
        || line.contains("tip:")
        || line.contains(" is not in "))
    {
        line.push_str(
            "; `cargo xtask --help` lists the commands, `cargo xtask COMMAND --help` the arguments",
        );
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(words: &[&str]) -> String {
        let words = ["cargo xtask"].iter().chain(words);
        one_line(&Cli::try_parse_from(words).unwrap_err().to_string())
    }

    #[test]
    fn wrong_argument_is_one_line_that_names_what_is_right() {
        let line = rejected(&["run", "--accel", "fast"]);
        assert!(
            line.starts_with("error: ") && !line.contains('\n'),
            "{line}"
        );
        assert!(line.contains("tcg, icount, kvm"), "{line}");
    }

    #[test]
    fn unknown_flag_is_one_line() {
        let line = rejected(&["run", "--smb", "4"]);
        assert!(line.contains("--smp") && !line.contains("Usage"), "{line}");
    }

    #[test]
    fn unknown_command_is_told_where_the_commands_are_listed() {
        assert!(rejected(&["frob"]).contains("cargo xtask --help"));
    }

    #[test]
    fn zero_cpus_are_refused() {
        assert!(rejected(&["run", "--smp", "0"]).contains("1..=65536"));
    }

    #[test]
    fn several_values_after_one_flag_and_repeated_flags_are_all_kept() {
        let words = [
            "cargo xtask",
            "run",
            "--param",
            "a=1",
            "b=2",
            "--param",
            "c=3",
            "--machine",
            "absent=4",
        ];
        let Command::Run(args) = Cli::try_parse_from(words).unwrap().command else {
            panic!("not parsed as run");
        };
        assert_eq!(args.param, ["a=1", "b=2", "c=3"]);
        assert_eq!(args.machine, ["absent=4"]);
    }
}
