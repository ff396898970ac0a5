//! `cargo xtask loom`: run the models and show what each of them explored.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Result, bail};
use comfy_table::Table;

use crate::cargo;
use crate::cli::LoomArgs;
use crate::exit::{Exit, usage};
use crate::models::{self, Depth, Messages, Model, Rebuilds, Run, Verdict};
use crate::process;
use crate::progress::Progress;
use crate::show;

/// Host time one model may take.
const LIMIT: Duration = Duration::from_secs(600);
const LONG_LIMIT: Duration = Duration::from_secs(4 * 3600);

/// Runs the models and prints the table.
///
/// # Errors
/// The models do not build, or the one asked for does not exist.
pub(crate) fn run(args: &LoomArgs) -> Result<Exit> {
    let target_dir = cargo::metadata()?.target_directory.join("loom");
    let all = models::build(&cargo::root(), &target_dir, Messages::Shown, Rebuilds::Few)?;
    let (depth, limit) = if args.long {
        (Depth::Long, LONG_LIMIT)
    } else {
        (Depth::Quick, LIMIT)
    };
    let chosen = choose(&all, args.model.as_deref(), depth)?;
    let mut table = show::table(
        &[
            "model",
            "family",
            "threads",
            "bound",
            "executions",
            "seconds",
            "verdict",
        ],
        2,
    );
    let runs = run_all(&chosen, depth, limit)?;
    for (model, run) in chosen.iter().zip(&runs) {
        add_rows(&mut table, model, run);
    }
    let is_failure = |run: &&Run| !matches!(run.verdict, Verdict::Passed);
    let failures = runs.iter().filter(is_failure).count();
    println!("\n{table}");
    let left = all.iter().filter(|model| model.is_long).count();
    if depth == Depth::Quick && args.model.is_none() && left > 0 {
        println!("{left} long models were left out; `cargo xtask loom --long` runs them");
    }
    Ok(Exit::from_failures(failures))
}

/// Runs the models side by side, since each is one thread; the answers come in the order of the models.
fn run_all(chosen: &[&Model], depth: Depth, limit: Duration) -> Result<Vec<Run>> {
    let progress = Progress::bar(chosen.len());
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Run)>> {
        let mut mine = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(model) = chosen.get(at) else {
                return Ok(mine);
            };
            progress.at(model.name());
            let run = model.run(depth, limit)?;
            progress.done(&line(model, &run));
            mine.push((at, run));
        }
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let answers: Result<Vec<Vec<(usize, Run)>>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let join = |worker: ScopedJoinHandle<'_, Result<_>>| {
            worker
                .join()
                .unwrap_or_else(|_| bail!("a thread that runs models panicked"))
        };
        workers.into_iter().map(join).collect()
    });
    progress.finish();
    let mut runs: Vec<(usize, Run)> = answers?.into_iter().flatten().collect();
    runs.sort_unstable_by_key(|(at, _)| *at);
    Ok(runs.into_iter().map(|(_, run)| run).collect())
}

/// What is shown as soon as a model has run.
fn line(model: &Model, run: &Run) -> String {
    let mut line = format!(
        "loom {} {}: {} ({:.2} s)",
        model.family(),
        model.name(),
        word(&run.verdict),
        run.wall.as_secs_f64()
    );
    if !matches!(run.verdict, Verdict::Passed) {
        line.push('\n');
        line.push_str(&process::tail(&run.output, 40));
    }
    line
}

/// All models, without the long ones unless asked for; or the ones of a name.
fn choose<'a>(all: &'a [Model], wanted: Option<&str>, depth: Depth) -> Result<Vec<&'a Model>> {
    let Some(wanted) = wanted else {
        return Ok(all
            .iter()
            .filter(|model| depth == Depth::Long || !model.is_long)
            .collect());
    };
    let chosen: Vec<&Model> = all.iter().filter(|model| model.is_called(wanted)).collect();
    if chosen.is_empty() {
        let mut names: Vec<&str> = all.iter().map(Model::name).collect();
        names.sort_unstable();
        names.dedup();
        return Err(usage(format!(
            "no model `{wanted}`; there are {}",
            names.join(", ")
        )));
    }
    Ok(chosen)
}

fn add_rows(table: &mut Table, model: &Model, run: &Run) {
    let verdict = word(&run.verdict);
    for report in &run.reports {
        table.add_row([
            report.model.clone(),
            report.family.clone(),
            report.threads.to_string(),
            report
                .bound
                .map_or("none".to_owned(), |bound| bound.to_string()),
            report.executions.to_string(),
            format!("{:.2}", report.seconds),
            verdict.clone(),
        ]);
    }
    if run.reports.is_empty() {
        let dash = || "-".to_owned();
        let seconds = format!("{:.2}", run.wall.as_secs_f64());
        let (name, family) = (model.name().to_owned(), model.family().to_owned());
        table.add_row([name, family, dash(), dash(), dash(), seconds, verdict]);
    }
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Passed => "pass".to_owned(),
        Verdict::Failed(why) => format!("FAIL: {why}"),
        Verdict::TimedOut => "FAIL: timeout".to_owned(),
    }
}
