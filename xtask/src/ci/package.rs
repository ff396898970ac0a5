//! The part `package`: what would be published holds what it must, and builds from itself alone.

use anyhow::{Result, bail};

use super::builds::{LIBRARIES, packages};
use crate::cargo;
use crate::exit::Exit;
use crate::process;

/// Files that every published crate holds.
const NEEDED: [&str; 3] = ["Cargo.toml", "README.md", "src/lib.rs"];

pub(super) fn run() -> Result<Exit> {
    for library in LIBRARIES {
        let mut command = cargo::cargo();
        command.args(["package", "--list", "--allow-dirty", "-p", library]);
        let list = process::capture(&mut command)?;
        println!("{library}: {} files", list.lines().count());
        for file in NEEDED {
            if !list.lines().any(|line| line == file) {
                bail!("{library} would be published without {file}");
            }
        }
    }
    // All in one command: cargo then takes those that are not published yet from each other.
    let mut command = cargo::cargo();
    command.args(["package", "--allow-dirty", "--target-dir"]);
    command.arg(cargo::metadata()?.target_directory.join("publish"));
    process::show(command.args(packages(&LIBRARIES)))?;
    Ok(Exit::Pass)
}
