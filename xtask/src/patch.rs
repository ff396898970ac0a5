//! A scratch copy of the workspace, and mutants as patches of its sources, so that the real sources stay clean.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// One seeded mistake, as `tests/mutants.json` lists it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    pub(crate) id: String,
    pub(crate) what: String,
    /// Path from the root of the workspace.
    pub(crate) file: PathBuf,
    /// Text that occurs exactly once in the file.
    pub(crate) find: String,
    pub(crate) replace: String,
    /// Models to run, in this order, until one fails.
    pub(crate) killed_by: Vec<String>,
    /// Why no model can kill it.
    pub(crate) explain: Option<String>,
}

/// Reads the table of mutants.
///
/// # Errors
/// The file cannot be read, is no such table, or uses an id twice.
pub(crate) fn read_table(file: &Path) -> Result<Vec<Mutant>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mutants: Vec<Mutant> =
        serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?;
    let mut ids = BTreeSet::new();
    for mutant in &mutants {
        if !ids.insert(&mutant.id) {
            bail!("{}: mutant {} is listed twice", file.display(), mutant.id);
        }
        if mutant.killed_by.is_empty() && mutant.explain.is_none() {
            bail!(
                "{}: mutant {} names no model and no reason",
                file.display(),
                mutant.id
            );
        }
    }
    Ok(mutants)
}

impl Mutant {
    /// Returns the text of the file with the mistake in it.
    ///
    /// # Errors
    /// The text to replace does not occur exactly once, or the patch changes nothing.
    pub(crate) fn apply(&self, source: &str) -> Result<String> {
        if self.find == self.replace {
            bail!("the patch changes nothing");
        }
        match source.matches(&self.find).count() {
            1 => Ok(source.replacen(&self.find, &self.replace, 1)),
            count => bail!(
                "the text to replace occurs {count} times in {}",
                self.file.display()
            ),
        }
    }
}

/// A file of the scratch copy that holds a mutant; the original text comes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Patched {
    path: PathBuf,
    original: String,
}

impl Patched {
    /// Puts the mutant into the copy at `tree`. Writing sets the time of change, so cargo builds it anew.
    ///
    /// # Errors
    /// The file leaves the tree or cannot be read or written, or the patch does not apply.
    pub(crate) fn new(tree: &Path, mutant: &Mutant) -> Result<Self> {
        if mutant
            .file
            .components()
            .any(|part| !matches!(part, Component::Normal(_)))
        {
            bail!("{} is no path inside the workspace", mutant.file.display());
        }
        let path = tree.join(&mutant.file);
        let shown = || format!("cannot read or write {}", mutant.file.display());
        let original = fs::read_to_string(&path).with_context(shown)?;
        fs::write(&path, mutant.apply(&original)?).with_context(shown)?;
        Ok(Self { path, original })
    }
}

impl Drop for Patched {
    fn drop(&mut self) {
        // A failure here is repaired by the next `sync`, which compares the contents.
        if let Err(error) = fs::write(&self.path, &self.original) {
            eprintln!("cannot restore {}: {error}", self.path.display());
        }
    }
}

/// Makes `to` a copy of the sources at `from`; files with the same content keep their time of change.
///
/// # Errors
/// A file cannot be read, written or removed.
pub(crate) fn sync(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if is_left_out(&source) {
            continue;
        }
        names.insert(entry.file_name());
        if kind.is_dir() {
            sync(&source, &target)?;
        } else if kind.is_file() {
            let content = fs::read(&source)?;
            if fs::read(&target).ok().as_ref() != Some(&content) {
                fs::write(&target, content)
                    .with_context(|| format!("cannot write {}", target.display()))?;
            }
        }
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if names.contains(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(path)?
        } else {
            fs::remove_file(path)?
        }
    }
    Ok(())
}

/// Build results and the repository itself; a build folder is known by the tag cargo puts into it.
fn is_left_out(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == ".git") || path.join("CACHEDIR.TAG").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant() -> Mutant {
        Mutant {
            id: "1".to_owned(),
            what: "store is relaxed".to_owned(),
            file: PathBuf::from("src/a.rs"),
            find: "Release".to_owned(),
            replace: "Relaxed".to_owned(),
            killed_by: vec!["l1_up".to_owned()],
            explain: None,
        }
    }

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("from/src")).unwrap();
        fs::write(folder.join("from/src/a.rs"), "store(Release)").unwrap();
        folder
    }

    #[test]
    fn patch_applies_only_where_the_text_occurs_once() {
        assert_eq!(mutant().apply("a(Release)").unwrap(), "a(Relaxed)");
        assert!(
            mutant()
                .apply("a(Acquire)")
                .unwrap_err()
                .to_string()
                .contains("0 times")
        );
        assert!(
            mutant()
                .apply("Release Release")
                .unwrap_err()
                .to_string()
                .contains("2 times")
        );
        let nothing = Mutant {
            replace: "Release".to_owned(),
            ..mutant()
        };
        assert!(
            nothing
                .apply("Release")
                .unwrap_err()
                .to_string()
                .contains("nothing")
        );
    }

    #[test]
    fn patched_file_comes_back() {
        let folder = scratch("patched");
        let tree = folder.join("from");
        let patched = Patched::new(&tree, &mutant()).unwrap();
        assert_eq!(
            fs::read_to_string(tree.join("src/a.rs")).unwrap(),
            "store(Relaxed)"
        );
        drop(patched);
        assert_eq!(
            fs::read_to_string(tree.join("src/a.rs")).unwrap(),
            "store(Release)"
        );
        let outside = Mutant {
            file: PathBuf::from("../a.rs"),
            ..mutant()
        };
        assert!(Patched::new(&tree, &outside).is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn sync_copies_updates_and_removes_but_leaves_build_folders_out() {
        let folder = scratch("sync");
        let (from, to) = (folder.join("from"), folder.join("to"));
        fs::create_dir_all(from.join("target")).unwrap();
        fs::write(from.join("target/CACHEDIR.TAG"), "").unwrap();
        fs::create_dir_all(to.join("old")).unwrap();
        fs::write(to.join("old/b.rs"), "").unwrap();
        sync(&from, &to).unwrap();
        assert_eq!(
            fs::read_to_string(to.join("src/a.rs")).unwrap(),
            "store(Release)"
        );
        assert!(!to.join("old").exists() && !to.join("target").exists());
        let before = fs::metadata(to.join("src/a.rs"))
            .unwrap()
            .modified()
            .unwrap();
        sync(&from, &to).unwrap();
        assert_eq!(
            fs::metadata(to.join("src/a.rs"))
                .unwrap()
                .modified()
                .unwrap(),
            before
        );
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn table_must_be_complete_and_ids_unique() {
        let folder = scratch("table");
        let file = folder.join("mutants.json");
        let row = r#"{"id":"1","what":"w","file":"a.rs","find":"a","replace":"b","killed_by":["m"],"explain":null}"#;
        let read = |text: String| {
            fs::write(&file, text).unwrap();
            read_table(&file)
        };
        assert_eq!(read(format!("[{row}]")).unwrap().len(), 1);
        assert!(
            read(format!("[{row},{row}]"))
                .unwrap_err()
                .to_string()
                .contains("twice")
        );
        let unnamed = row.replace(r#""m""#, "");
        assert!(
            read(format!("[{unnamed}]"))
                .unwrap_err()
                .to_string()
                .contains("no reason")
        );
        assert!(read("[{}]".to_owned()).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
