//! Every command a contributor needs; `cargo xtask --help` lists them.
//!
//! `main` only dispatches. A command answers with an [`Exit`]; a wrong argument found after parsing is a [`Usage`] error.

use std::process::ExitCode;

use clap::Parser;

mod arch;
mod bench;
mod boot;
mod cargo;
mod check;
mod ci;
mod cli;
mod exit;
mod flat;
mod install;
mod loom;
mod machine;
mod miri;
mod models;
mod monitor;
mod mutants;
mod patch;
mod plan;
mod process;
mod progress;
mod proof;
mod qemu;
mod record;
mod run;
mod scenarios;
#[cfg(unix)]
mod session;
mod show;
mod sim;
mod size;
mod terminal;
mod test;
mod timeline;

use cli::{Cli, Command};
use exit::{Exit, Usage};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::report(&error),
    };
    let answer = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Test { parts } => test::run(&parts),
        Command::Ci { parts } => ci::run(&parts),
        Command::Loom(args) => loom::run(&args),
        Command::Mutants { model } => mutants::run(model.as_deref()),
        Command::Miri => miri::run(),
        Command::Proof => proof::run(),
        Command::Timeline { file } => timeline::run(&file),
        Command::Size => size::run(),
        Command::Sim(args) => sim::run(&args),
        Command::Bench { name } => bench::run(name.as_deref()),
    };
    match answer {
        Ok(exit) => exit.into(),
        Err(error) if error.is::<Usage>() => {
            eprintln!("error: {error}");
            Exit::Usage.into()
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::Fail.into()
        }
    }
}
