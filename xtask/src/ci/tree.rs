//! The part `tree`: rules about the files themselves that no compiler checks.

use std::env;
use std::fs;

use anyhow::{Context, Result};

use super::builds::LIBRARIES;
use super::guide;
use super::sources::{self, Source};
use crate::cargo;
use crate::exit::Exit;

/// Lines a source file may have, and lines it should have.
const MOST_LINES: usize = 450;
const AIM_LINES: usize = 400;

/// Files whose length is counted.
const COUNTED: [&str; 5] = [".rs", ".ld", ".S", ".s", ".asm"];

/// The only place that dependencies may come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// First folder of a path that exists on one machine only.
const PRIVATE: [&str; 3] = ["home", "Users", "root"];

pub(super) fn run() -> Result<Exit> {
    let sources = sources::read()?;
    let mut wrong = check_members()?;
    wrong.extend(guide::wrong(&sources));
    let paths = private_paths();
    for source in &sources {
        wrong.extend(check_length(source));
        wrong.extend(check_paths(source, &paths));
        wrong.extend(check_registry(source));
        wrong.extend(check_no_std(source));
    }
    println!("{} files read", sources.len());
    Ok(sources::verdict(&wrong))
}

/// Every member takes the lints of the workspace.
fn check_members() -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for package in cargo::metadata()?.packages {
        let manifest = fs::read_to_string(&package.manifest_path)
            .with_context(|| format!("cannot read {}", package.manifest_path.display()))?;
        if !takes_lints(&manifest) {
            wrong.push(format!(
                "{}: its Cargo.toml lacks `[lints] workspace = true`",
                package.name
            ));
        }
    }
    Ok(wrong)
}

fn takes_lints(manifest: &str) -> bool {
    let mut lines = manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[lints]")
        .skip(1);
    lines.find(|line| !line.is_empty() && !line.starts_with('#')) == Some("workspace = true")
}

fn check_length(source: &Source) -> Option<String> {
    if !COUNTED.iter().any(|ending| source.path.ends_with(ending)) {
        return None;
    }
    let count = source.text.lines().count();
    if count > AIM_LINES && count <= MOST_LINES {
        println!(
            "note: {} has {count} lines; aim at {AIM_LINES}",
            source.path
        );
    }
    (count > MOST_LINES).then(|| {
        format!(
            "{}: {count} lines, at most {MOST_LINES}; split it",
            source.path
        )
    })
}

/// What only this machine's paths begin with, and what every machine's do.
fn private_paths() -> Vec<String> {
    let mut paths: Vec<String> = PRIVATE.iter().map(|folder| format!("/{folder}/")).collect();
    paths.push(format!("{}/", cargo::root().display()));
    if let Some(home) = env::var_os("HOME").filter(|home| home.len() > 1) {
        paths.push(format!("{}/", home.to_string_lossy()));
    }
    paths
}

fn check_paths(source: &Source, paths: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        if let Some(path) = paths.iter().find(|path| line.contains(*path)) {
            wrong.push(format!(
                "{}:{number}: a path of one machine ({path})",
                source.path
            ));
        }
    }
    wrong
}

/// Nobody's mirror may slip into the lock file or into cargo's settings.
fn check_registry(source: &Source) -> Vec<String> {
    let is_lock = source.path.ends_with("Cargo.lock");
    let is_config = source.path.contains(".cargo/");
    if !is_lock && !is_config {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        let found = line
            .trim()
            .strip_prefix("source = ")
            .map(|name| name.trim_matches('"'));
        let is_foreign = found.is_some_and(|found| found != REGISTRY);
        let is_setting = is_config && (line.contains("registr") || line.starts_with("[source"));
        if is_foreign || is_setting {
            wrong.push(format!(
                "{}:{number}: {} is not crates.io",
                source.path,
                line.trim()
            ));
        }
    }
    wrong
}

/// The libraries do without std whatever features are on.
fn check_no_std(source: &Source) -> Option<String> {
    let is_root = LIBRARIES
        .iter()
        .any(|name| source.path == format!("{name}/src/lib.rs"));
    let is_no_std = source
        .text
        .lines()
        .any(|line| line == "#![no_std]" || line == "#![cfg_attr(not(any(test, loom)), no_std)]");
    (is_root && !is_no_std).then(|| format!("{}: `#![no_std]` is missing", source.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn lints_of_the_workspace_are_recognised() {
        assert!(takes_lints(
            "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"
        ));
        assert!(!takes_lints("[package]\nname = \"a\"\n"));
        assert!(!takes_lints(
            "[lints]\n\n[dependencies]\nworkspace = true\n"
        ));
    }

    #[test]
    fn long_files_are_refused() {
        assert!(check_length(&source("a.rs", &"\n".repeat(450))).is_none());
        assert!(check_length(&source("a.rs", &"\n".repeat(451))).is_some());
        assert!(check_length(&source("a.json", &"\n".repeat(451))).is_none());
    }

    #[test]
    fn paths_of_one_machine_are_refused() {
        let paths = private_paths();
        let private = format!("see /{}/me/notes", "home");
        assert_eq!(check_paths(&source("a.md", &private), &paths).len(), 1);
        assert!(check_paths(&source("a.md", "see examples/home.md"), &paths).is_empty());
    }

    #[test]
    fn foreign_registries_are_refused() {
        let lock = |from: &str| source("Cargo.lock", &format!("source = \"{from}\"\n"));
        assert!(check_registry(&lock(REGISTRY)).is_empty());
        assert_eq!(
            check_registry(&lock("sparse+https://mirror.example/")).len(),
            1
        );
        let config = source(".cargo/config.toml", "[source.mine]\n");
        assert_eq!(check_registry(&config).len(), 1);
    }

    #[test]
    fn library_without_no_std_is_refused() {
        assert!(check_no_std(&source("cpuhp-core/src/lib.rs", "#![no_std]\n")).is_none());
        assert!(check_no_std(&source("cpuhp-core/src/lib.rs", "//! Docs.\n")).is_some());
        assert!(check_no_std(&source("cpuhp-sim/src/lib.rs", "//! Docs.\n")).is_none());
    }
}
