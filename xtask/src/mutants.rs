//! `cargo xtask mutants`: put each seeded mistake into a copy of the sources and see which model notices.
//!
//! A model whose unmutated run fails proves nothing, so its mutants do not count. A mutant that does not compile is no kill.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cargo;
use crate::exit::{Exit, usage};
use crate::models::{self, Depth, Messages, Model, Rebuilds, Verdict};
use crate::patch::{self, Mutant, Patched};
use crate::progress::Progress;
use crate::show;

/// Where the mutants are listed.
const TABLE: &str = "tests/mutants.json";

/// Host time an unmutated model may take; a mutated one gets ten times what the unmutated one took, at least [`FLOOR`].
const LIMIT: Duration = Duration::from_secs(600);
const FLOOR: Duration = Duration::from_secs(60);

/// What became of a mutant.
#[derive(Debug)]
enum Outcome {
    Killed {
        by: String,
        how: String,
    },
    Survived,
    Explained(String),
    /// The models it needs are red without it, or do not exist.
    NotCounted(String),
    /// It does not apply or does not build.
    Error(String),
}

/// The copy of the workspace that mutants live in.
struct Lab {
    tree: PathBuf,
    build: PathBuf,
    /// Unmutated seconds of every model that is green; the reason for every one that is not.
    baseline: BTreeMap<String, Result<Duration, String>>,
}

/// Runs all mutants, or those that `model` is expected to kill.
///
/// # Errors
/// The table or the sources cannot be read, or the unmutated models do not build.
pub(crate) fn run(model: Option<&str>) -> Result<Exit> {
    let root = cargo::root();
    let mut mutants = patch::read_table(&root.join(TABLE))?;
    if let Some(model) = model {
        mutants.retain(|mutant| mutant.killed_by.iter().any(|name| name == model));
        if mutants.is_empty() {
            return Err(usage(format!(
                "no mutant in {TABLE} names the model `{model}`"
            )));
        }
    }
    let lab = Lab::new(&root, &mutants)?;
    let mut table = show::table(&["id", "what", "killed by", "how", "seconds"], 4);
    let progress = Progress::bar(mutants.len());
    let (mut killed, mut explained, mut bad) = (0, 0, 0);
    for mutant in &mutants {
        progress.at(&format!("mutant {}", mutant.id));
        let started = Instant::now();
        let outcome = lab.try_mutant(mutant);
        match outcome {
            Outcome::Killed { .. } => killed += 1,
            Outcome::Explained(_) => explained += 1,
            Outcome::Survived | Outcome::NotCounted(_) | Outcome::Error(_) => bad += 1,
        }
        let seconds = format!("{:.1}", started.elapsed().as_secs_f64());
        let (by, how) = outcome.cells();
        progress.done(&format!(
            "mutant {}: {} ({seconds} s)",
            mutant.id,
            outcome.word()
        ));
        table.add_row([mutant.id.clone(), mutant.what.clone(), by, how, seconds]);
    }
    progress.finish();
    println!("\n{table}");
    println!("{killed} killed, {explained} explained, {bad} survived or in error");
    Ok(Exit::from_failures(bad))
}

impl Lab {
    /// Copies the sources and runs every model that a mutant names, without any mutant.
    fn new(root: &Path, mutants: &[Mutant]) -> Result<Self> {
        let folder = cargo::metadata()?.target_directory.join("mutants");
        let (tree, build) = (folder.join("tree"), folder.join("build"));
        patch::sync(root, &tree)?;
        println!("unmutated models:");
        let models = models::build(&tree, &build, Messages::Shown, Rebuilds::Many)?;
        let mut baseline = BTreeMap::new();
        for name in mutants.iter().flat_map(|mutant| &mutant.killed_by) {
            if !baseline.contains_key(name) {
                let run = run_unmutated(&models, name)?;
                match &run {
                    Ok(wall) => println!("  {name}: pass ({:.2} s)", wall.as_secs_f64()),
                    Err(why) => println!("  {name}: FAIL, does not count: {why}"),
                }
                baseline.insert(name.clone(), run);
            }
        }
        Ok(Self {
            tree,
            build,
            baseline,
        })
    }

    fn try_mutant(&self, mutant: &Mutant) -> Outcome {
        for name in &mutant.killed_by {
            if let Some(Err(why)) = self.baseline.get(name) {
                return Outcome::NotCounted(format!("{name} unmutated: {why}"));
            }
        }
        let patched = match Patched::new(&self.tree, mutant) {
            Ok(patched) => patched,
            Err(error) => return Outcome::Error(format!("patch does not apply: {error:#}")),
        };
        let outcome = match models::build(&self.tree, &self.build, Messages::Hidden, Rebuilds::Many)
        {
            Ok(models) => self.hunt(mutant, &models),
            Err(error) => Outcome::Error(format!("build failed: {error:#}")),
        };
        drop(patched);
        outcome
    }

    /// Runs the models that the mutant names until one fails.
    fn hunt(&self, mutant: &Mutant, models: &[Model]) -> Outcome {
        for name in &mutant.killed_by {
            let usual = self.baseline.get(name).and_then(|run| run.as_ref().ok());
            let limit = usual.map_or(FLOOR, |usual| FLOOR.max(*usual * 10));
            for model in models.iter().filter(|model| model.is_called(name)) {
                let by = format!("{} ({})", model.name(), model.family());
                match model.run(Depth::Quick, limit).map(|run| run.verdict) {
                    Ok(Verdict::Passed) => {}
                    Ok(Verdict::Failed(how)) => return Outcome::Killed { by, how },
                    Ok(Verdict::TimedOut) => {
                        return Outcome::Killed {
                            by,
                            how: "timeout".to_owned(),
                        };
                    }
                    Err(error) => return Outcome::Error(format!("{error:#}")),
                }
            }
        }
        match &mutant.explain {
            Some(why) => Outcome::Explained(why.clone()),
            None => Outcome::Survived,
        }
    }
}

/// The time all models of this name take together, or why one of them is red.
fn run_unmutated(models: &[Model], name: &str) -> Result<Result<Duration, String>> {
    let mut wall = Duration::ZERO;
    let mut count = 0;
    for model in models.iter().filter(|model| model.is_called(name)) {
        let run = model.run(Depth::Quick, LIMIT)?;
        match run.verdict {
            Verdict::Passed => wall += run.wall,
            Verdict::Failed(why) => return Ok(Err(why)),
            Verdict::TimedOut => return Ok(Err("timeout".to_owned())),
        }
        count += 1;
    }
    Ok(if count == 0 {
        Err("there is no such model".to_owned())
    } else {
        Ok(wall)
    })
}

impl Outcome {
    fn word(&self) -> String {
        match self {
            Self::Killed { by, .. } => format!("killed by {by}"),
            Self::Survived => "SURVIVED".to_owned(),
            Self::Explained(_) => "survived, explained".to_owned(),
            Self::NotCounted(why) => format!("NOT COUNTED: {why}"),
            Self::Error(why) => format!("ERROR: {why}"),
        }
    }

    /// What the columns "killed by" and "how" say.
    fn cells(&self) -> (String, String) {
        match self {
            Self::Killed { by, how } => (by.clone(), how.clone()),
            Self::Survived => ("SURVIVED".to_owned(), String::new()),
            Self::Explained(why) => ("explained".to_owned(), why.clone()),
            Self::NotCounted(why) => ("NOT COUNTED".to_owned(), why.clone()),
            Self::Error(why) => ("ERROR".to_owned(), why.clone()),
        }
    }
}
