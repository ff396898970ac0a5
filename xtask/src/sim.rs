//! `cargo xtask sim`: machines nobody here has, in virtual time: what was published about them, what the core makes of them, and
//! how far that is from the best that is possible.
//!
//! The models are data files (`cpuhp-sim/models/data`); the program of `cpuhp-sim/models` runs them, this prints and judges.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::cargo;
use crate::cli::SimArgs;
use crate::exit::{Exit, usage};
use crate::process;
use crate::show;

mod draw;
mod figures;
mod verdict;

use figures::{Case, Document, Mode, Report, Sweep};
use verdict::{Spread, Verdict};

/// Where the data files are.
const DATA: &str = "cpuhp-sim/models/data";

/// The program that runs them.
const PROGRAM: &str = "cpuhp-models";

/// Runs all models, or one, prints each figure beside its bound and draws time against number of CPUs.
///
/// # Errors
/// An unknown model, a program that does not build, or a picture that cannot be written.
pub(crate) fn run(args: &SimArgs) -> Result<Exit> {
    let files = choose(args.model.as_deref())?;
    let program = cargo::build_binary(PROGRAM, None)?;
    let started = Instant::now();
    let answer = process::capture(Command::new(program).args(files))?;
    let mut document: Document = serde_json::from_str(&answer).context("the simulator's answer")?;
    document.reports.sort_by_key(|report| report.cpus);
    let wall = started.elapsed().as_secs_f64();
    let mut missed = show_reports(&document.reports);
    if let Some(sweep) = &document.sweep {
        missed += show_sweep(sweep) + show_cases(&sweep.cases);
        let file = picture(args.svg.as_deref())?;
        fs::write(&file, draw::draw(sweep, &document.reports))
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("\n{}", largest(sweep));
        println!("picture: {}", file.display());
    }
    println!("{wall:.2} s of host time in all; virtual time is the same on every host");
    Ok(Exit::from_failures(missed))
}

/// The data files of all models, or of the one of this name.
fn choose(model: Option<&str>) -> Result<Vec<PathBuf>> {
    let folder = cargo::root().join(DATA);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {DATA}"))? {
        files.push(entry?.path());
    }
    files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
    files.sort();
    let name = |file: &Path| {
        file.file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
    };
    let Some(model) = model else {
        return Ok(files);
    };
    if let Some(file) = files
        .iter()
        .find(|file| name(file).as_deref() == Some(model))
    {
        return Ok(vec![file.clone()]);
    }
    let names: Vec<String> = files.iter().filter_map(|file| name(file)).collect();
    Err(usage(format!(
        "no model `{model}`; there are {}",
        names.join(", ")
    )))
}

/// Where the picture goes.
fn picture(asked: Option<&Path>) -> Result<PathBuf> {
    match asked {
        Some(file) => Ok(file.to_owned()),
        None => Ok(cargo::metadata()?.target_directory.join("sim.svg")),
    }
}

const DASH: &str = "-";

fn show_reports(reports: &[Report]) -> usize {
    let titles = [
        "model",
        "CPUs",
        "way",
        "mode",
        "published",
        "predicted",
        "off by",
        "critical path",
        "ratio",
        "polls/CPU",
        "host s",
        "verdict",
    ];
    let mut table = show::table(&titles, 1);
    let mut notes = Vec::new();
    let mut missed = 0;
    for report in reports {
        for row in &report.rows {
            let published = report.published_of(row);
            let deviation = published.map(|figure| figure.deviation(row));
            let ratio = report.ratio(row);
            let verdict = verdict::of_row(published, deviation, ratio);
            missed += usize::from(verdict == Verdict::Missed);
            if let Some(note) = published.and_then(|figure| figure.note(report, row)) {
                notes.push(note);
            }
            table.add_row([
                report.model.clone(),
                report.cpus.to_string(),
                row.way.name().to_owned(),
                row.mode.name().to_owned(),
                published.map_or(DASH.to_owned(), |figure| show::time(figure.ns)),
                published.map_or(show::time(row.ns), |figure| figure.shown(row)),
                deviation.map_or(DASH.to_owned(), |part| format!("{:+.0} %", part * 100.0)),
                show::time(report.critical_of(row.way)),
                ratio.map_or(DASH.to_owned(), |ratio| format!("{ratio:.3}")),
                format!("{:.1}", row.polls_per_cpu),
                format!("{:.2}", row.wall_s),
                verdict.name().to_owned(),
            ]);
        }
    }
    println!("\n{table}");
    println!(
        "bounds: a fitted figure within {:.0} %, a predicted one within {:.0} % or explained, parallel / critical path <= {}",
        verdict::FIT * 100.0,
        verdict::NEAR * 100.0,
        verdict::RATIO
    );
    println!("(wait): what was published is the control CPU's waiting, so that is compared");
    for note in notes {
        println!("{note}");
    }
    missed
}

fn show_sweep(sweep: &Sweep) -> usize {
    let titles = [
        "CPUs",
        "serial",
        "split",
        "parallel",
        "critical path",
        "ratio",
        "polls/CPU",
        "host s",
        "verdict",
    ];
    let mut table = show::table(&titles, 0);
    let mut missed = 0;
    for point in &sweep.points {
        let parallel = point.row(Mode::Parallel);
        let ratio = parallel.map(|row| verdict::ratio(row.ns, point.critical_ns));
        let verdict = verdict::of_row(None, None, ratio);
        missed += usize::from(verdict == Verdict::Missed);
        let time = |mode| {
            point
                .row(mode)
                .map_or(DASH.to_owned(), |row| show::time(row.ns))
        };
        table.add_row([
            point.cpus.to_string(),
            time(Mode::Serial),
            time(Mode::Split),
            time(Mode::Parallel),
            show::time(point.critical_ns),
            ratio.map_or(DASH.to_owned(), |ratio| format!("{ratio:.3}")),
            parallel.map_or(DASH.to_owned(), |row| format!("{:.2}", row.polls_per_cpu)),
            parallel.map_or(DASH.to_owned(), |row| format!("{:.2}", row.wall_s)),
            verdict.name().to_owned(),
        ]);
    }
    println!("\n{} with other numbers of CPUs:\n{table}", sweep.model);
    let spread = Spread::of(sweep);
    let verdict = spread.verdict();
    println!(
        "polls per CPU from {} to {} CPUs: {:.2} to {:.2}, ±{:.0} % around the middle; bound ±{:.0} %: {}",
        spread.from,
        spread.to,
        spread.least,
        spread.most,
        spread.half_width() * 100.0,
        verdict::FLAT * 100.0,
        verdict.name()
    );
    missed + usize::from(verdict == Verdict::Missed)
}

fn show_cases(cases: &[Case]) -> usize {
    let titles = [
        "CPUs",
        "what is wrong",
        "with",
        "online",
        "failed",
        "costs",
        "may cost",
        "last CPU at",
        "polls/CPU",
        "host s",
        "verdict",
    ];
    let mut table = show::table(&titles, 0);
    let mut missed = 0;
    for case in cases {
        let verdict = verdict::of_case(case);
        missed += usize::from(verdict == Verdict::Missed);
        table.add_row([
            case.cpus.to_string(),
            case.what.clone(),
            case.hit.to_string(),
            case.row.done.to_string(),
            case.row.failed.to_string(),
            show::time(case.costs()),
            show::time(case.may_cost_ns),
            show::time(case.row.last_ns),
            format!("{:.2}", case.row.polls_per_cpu),
            format!("{:.2}", case.row.wall_s),
            verdict.name().to_owned(),
        ]);
    }
    println!("\nparallel bringup where not every CPU does as it should:\n{table}");
    println!(
        "bounds: only those fail that must, the dead delay the last living CPU by at most 10 %, polls per CPU <= {}",
        verdict::POLLS
    );
    missed
}

/// What the largest run took the host: reported, never judged.
fn largest(sweep: &Sweep) -> String {
    let last = sweep.points.last();
    let row = last.and_then(|point| Some((point.cpus, point.row(Mode::Parallel)?)));
    row.map_or_else(String::new, |(cpus, row)| {
        format!(
            "{cpus} CPUs in parallel took {:.2} s of host time; aim 1 s",
            row.wall_s
        )
    })
}
