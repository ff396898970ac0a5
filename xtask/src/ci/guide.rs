//! Of the part `tree`: the porting guide names files that exist, and every file of the backend and the kernel that
//! it tells to copy.

use std::collections::BTreeSet;

use super::sources::Source;
use crate::cargo;

const GUIDE: &str = "docs/porting.md";

/// What the guide tells to copy; each source file below is named in it.
const COPIED: [&str; 2] = ["cpuhp-riscv/src/", "examples/riscv64/"];

/// Endings of what is taken for the name of a file, where it has a folder.
const ENDINGS: [&str; 5] = [".rs", ".toml", ".ld", ".md", ".json"];

/// Returns what is wrong with the guide.
pub(super) fn wrong(sources: &[Source]) -> Vec<String> {
    let root = cargo::root();
    match sources.iter().find(|source| source.path == GUIDE) {
        Some(guide) => check(guide, sources, |path| root.join(path).is_file()),
        None => vec![format!("{GUIDE} is missing")],
    }
}

fn check(guide: &Source, sources: &[Source], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let named = named(&guide.text);
    let missing = named.iter().filter(|path| !exists(path));
    let missing = missing.map(|path| format!("{GUIDE} names {path}, which does not exist"));
    let copied = sources.iter().filter(|source| {
        let is_copied = COPIED.iter().any(|folder| source.path.starts_with(folder));
        is_copied && !named.contains(source.path.as_str())
    });
    let forgotten = copied.map(|source| format!("{GUIDE} does not name {}", source.path));
    missing.chain(forgotten).collect()
}

/// Words between backquotes that are names of files with a folder, or of a file at the root.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split('`').skip(1).step_by(2);
    let is_file = |word: &&str| {
        let has_ending = ENDINGS.iter().any(|ending| word.ends_with(ending));
        has_ending && !word.contains(' ') && (word.contains('/') || *word == "Cargo.toml")
    };
    words.filter(is_file).collect()
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
    fn only_names_of_files_with_a_folder_are_looked_up() {
        let text = "`a/b.rs`, `Cargo.toml`, `x.rs`, `R --smp 1`, `fn a()`, `new` and `c/link.ld`";
        let right = ["Cargo.toml", "a/b.rs", "c/link.ld"];
        assert_eq!(named(text).into_iter().collect::<Vec<_>>(), right);
    }

    #[test]
    fn file_that_is_gone_and_file_that_is_not_named_are_told() {
        let guide = source(GUIDE, "copy `cpuhp-riscv/src/kick.rs` and `a/gone.rs`");
        let tree = [
            source("cpuhp-riscv/src/kick.rs", ""),
            source("cpuhp-riscv/src/new.rs", ""),
            source("cpuhp-core/src/walk.rs", ""),
        ];
        let exists = |path: &str| path == "cpuhp-riscv/src/kick.rs";
        let wrong = check(&guide, &tree, exists);
        let right = [
            "docs/porting.md names a/gone.rs, which does not exist",
            "docs/porting.md does not name cpuhp-riscv/src/new.rs",
        ];
        assert_eq!(wrong, right);
    }
}
