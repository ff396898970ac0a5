//! Steps as bars: what is too narrow to be told apart becomes one bar, so that a picture's size is bounded by its area.

use std::collections::BTreeMap;

use super::model::{Manner, manner};
use super::panel::Panel;
use super::rows::Rows;
use super::scale::Scale;
use super::style::Look;
use crate::record::{Direction, Step};
use crate::show;

/// Bars are at least this wide, or a step of a microsecond could not be seen at all.
const LEAST: f64 = 1.0;

/// One bar: one step, or several that lie too close.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) row: u64,
    pub(super) look: Look,
    pub(super) x0: f64,
    pub(super) x1: f64,
    /// What a pointer that rests on it is told.
    pub(super) tip: String,
    /// What is written into it, if there is room: the longest that fits.
    pub(super) texts: Vec<String>,
    steps: u64,
}

/// The bars of a panel, those of the moved CPU's row before those of the CPU that ran them for another.
pub(super) fn bars(panel: &Panel<'_>, rows: &Rows, scale: &Scale) -> Vec<Bar> {
    let trace = panel.trace;
    let shown = |step: &&Step| step.t1 >= panel.from && step.t0 <= panel.to;
    let mut steps: Vec<&Step> = trace.steps.iter().filter(shown).collect();
    steps.sort_by_key(|step| step.t0);
    let mut merged = Merged::default();
    for step in &steps {
        let look = Look::Bar(manner(step), trace.section(step));
        merged.add(step, rows.of(step.cpu), look, panel, scale);
    }
    for step in steps.iter().filter(|step| step.on != step.cpu) {
        merged.add(step, rows.of(step.on), Look::Strip, panel, scale);
    }
    merged.bars
}

/// Bars so far, and the last of each look in each row.
#[derive(Default)]
struct Merged {
    bars: Vec<Bar>,
    last: BTreeMap<(u64, Look), usize>,
}

impl Merged {
    fn add(&mut self, step: &Step, row: u64, look: Look, panel: &Panel<'_>, scale: &Scale) {
        let x0 = scale.x(step.t0.max(panel.from));
        let x1 = scale.x(step.t1.min(panel.to)).max(x0 + LEAST);
        let last = self
            .last
            .get(&(row, look))
            .and_then(|at| self.bars.get_mut(*at));
        if let Some(bar) = last.filter(|bar| touches(bar, x0, x1)) {
            bar.x1 = bar.x1.max(x1);
            bar.steps += 1;
            bar.tip = format!("CPU {}: {} steps", step.cpu, bar.steps);
            bar.texts.clear();
            return;
        }
        self.last.insert((row, look), self.bars.len());
        self.bars.push(Bar {
            row,
            look,
            x0,
            x1,
            tip: tip(step),
            texts: texts(step),
            steps: 1,
        });
    }
}

/// Whether a bar from `x0` to `x1` cannot be told from this one. Wide bars are never merged.
fn touches(bar: &Bar, x0: f64, x1: f64) -> bool {
    x0 < bar.x1 && x1 < bar.x1 + 2.0 * LEAST && (x1 - x0 <= LEAST || bar.x1 - bar.x0 <= LEAST)
}

fn tip(step: &Step) -> String {
    let dir = match step.dir {
        Direction::Up => "up",
        Direction::Down => "down",
    };
    let took = show::time(step.t1.saturating_sub(step.t0));
    let mut tip = format!("CPU {}: {} {dir}, {took}", step.cpu, step.name);
    if step.on != step.cpu {
        tip += &format!(", on CPU {}", step.on);
    }
    if manner(step) == Manner::Rollback {
        tip += ", rollback";
    }
    if let Some(error) = &step.err {
        tip += &format!(", failed with {error}");
    }
    tip
}

fn texts(step: &Step) -> Vec<String> {
    let took = show::time(step.t1.saturating_sub(step.t0));
    vec![format!("{} {took}", step.name), step.name.clone()]
}
