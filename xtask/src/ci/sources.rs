//! The text files of the repository, as git knows them.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo;
use crate::process;

/// One text file.
#[derive(Debug)]
pub(super) struct Source {
    /// From the root of the workspace, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

/// Reads every tracked file, and every new one that git does not ignore, as far as they are text.
///
/// # Errors
/// Git or a file cannot be read.
pub(super) fn read() -> Result<Vec<Source>> {
    let root = cargo::root();
    let mut git = Command::new("git");
    // A CI machine may run this as another user than the one that made the checkout.
    git.arg("-c")
        .arg(format!("safe.directory={}", root.display()));
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ])
    .current_dir(&root);
    let list = process::capture(&mut git).context("the list of files comes from git")?;
    let mut sources = Vec::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        let file = root.join(path);
        if !file.is_file() {
            // Deleted, and not committed yet.
            continue;
        }
        let bytes = fs::read(&file).with_context(|| format!("cannot read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            sources.push(Source {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(sources)
}

/// Prints what is wrong, if anything.
pub(super) fn verdict(wrong: &[String]) -> crate::exit::Exit {
    for line in wrong {
        println!("wrong: {line}");
    }
    crate::exit::Exit::from_failures(wrong.len())
}
