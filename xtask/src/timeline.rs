//! `cargo xtask timeline` and `run --timeline`: the trace of a run as a picture and for the Perfetto viewer.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::exit::{Exit, usage};
use crate::record::Record;

mod bars;
mod label;
mod model;
mod paint;
mod panel;
mod perfetto;
mod phase;
mod picture;
mod rows;
mod scale;
mod style;
#[cfg(test)]
mod tests;
mod verify;

use model::Trace;

/// More CPUs than any run has come from a line that is wrong.
const MOST_CPUS: u64 = 65_536;

/// The two files of a timeline.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) svg: String,
    pub(crate) trace: String,
}

/// Endings a name may have that are replaced by those of the two files.
const ENDINGS: [&str; 3] = [".trace.json", ".json", ".svg"];

/// Events that are drawn; a file may hold others as well.
const DRAWN: [&str; 9] = [
    "start",
    "step",
    "edge",
    "kick",
    "fault",
    "call",
    "table",
    "window",
    "trace_lost",
];

/// Draws the machine lines in `file` and says where.
///
/// # Errors
/// The file cannot be read, is no JSON array of machine lines, or has no trace events; a file cannot be written.
pub(crate) fn run(file: &Path) -> Result<Exit> {
    let name = file.display();
    let text =
        fs::read_to_string(file).map_err(|error| usage(format!("cannot read {name}: {error}")))?;
    let lines: Vec<Value> = serde_json::from_str(&text).map_err(|error| {
        usage(format!(
            "{name} is no JSON array as `run --json` writes it: {error}"
        ))
    })?;
    let timeline = Timeline::of(&lines).map_err(|error| usage(format!("{name}: {error:#}")))?;
    timeline.write(file)?;
    Ok(Exit::Pass)
}

/// Draws these machine lines and compares what is written with them; returns what is wrong, as sentences.
pub(crate) fn check(lines: &[Value]) -> Vec<String> {
    let mut wrong = match Timeline::of(lines) {
        Ok(timeline) => verify::verify(lines, &timeline),
        Err(error) => vec![format!("{error:#}")],
    };
    let totals = lines.iter().filter(|line| line["ev"] == "trace_lost");
    let lost: u64 = totals.filter_map(|line| line["n"].as_u64()).sum();
    if lost > 0 {
        wrong.push(format!("{lost} events were lost"));
    }
    wrong
        .into_iter()
        .map(|what| format!("timeline: {what}"))
        .collect()
}

impl Timeline {
    /// Draws these machine lines.
    ///
    /// # Errors
    /// A line is malformed, or none is a trace event; one line that says which.
    pub(crate) fn of(lines: &[Value]) -> Result<Self> {
        let mut records = Vec::new();
        for (number, line) in (1..).zip(lines) {
            let ev = line.get("ev").and_then(Value::as_str);
            let Some(ev) = ev else {
                anyhow::bail!("entry {number} is no machine line: it has no \"ev\"");
            };
            if DRAWN.contains(&ev) {
                let record = Record::deserialize(line);
                records.push(record.with_context(|| format!("entry {number}, a {ev}"))?);
            }
        }
        let traces = Trace::read(records);
        let most = traces.iter().map(|trace| trace.cpus).max().unwrap_or(0);
        anyhow::ensure!(
            most <= MOST_CPUS,
            "a line names CPU {}, and {MOST_CPUS} CPUs is the most",
            most.saturating_sub(1)
        );
        anyhow::ensure!(
            !traces.is_empty(),
            "it has no trace events; `cargo xtask run --param trace=1 --json FILE` writes them"
        );
        Ok(Self {
            svg: picture::draw(&traces),
            trace: perfetto::write(&traces),
        })
    }

    /// Writes the two files beside `file`, named like it, and says so.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let [svg, trace] = names(file);
        for (name, text) in [(&svg, &self.svg), (&trace, &self.trace)] {
            fs::write(name, text).with_context(|| format!("cannot write {}", name.display()))?;
        }
        println!(
            "timeline: {}, and {} for ui.perfetto.dev",
            svg.display(),
            trace.display()
        );
        Ok(())
    }
}

/// Finds out that a file cannot be written, before minutes of work; what is there already stays.
///
/// # Errors
/// One of the two files cannot be opened.
pub(crate) fn check_names(file: &Path) -> Result<()> {
    for name in names(file) {
        let mut options = fs::OpenOptions::new();
        let opened = options.append(true).create(true).open(&name);
        opened.with_context(|| format!("cannot write {}", name.display()))?;
    }
    Ok(())
}

/// The names of picture and trace file for `file`.
fn names(file: &Path) -> [PathBuf; 2] {
    let text = file.as_os_str().to_string_lossy();
    let stem = ENDINGS.iter().find_map(|ending| text.strip_suffix(ending));
    let stem = stem.unwrap_or(&text);
    [format!("{stem}.svg"), format!("{stem}.trace.json")].map(PathBuf::from)
}
