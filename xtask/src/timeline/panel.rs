//! The panels of a picture: one per mode of a boot, one below the other, all on the same time scale.

use super::model::{MarkKind, Trace};
use crate::record::Window;
use crate::show;

/// How much shorter than the longest a panel has to be to be shown once more, enlarged.
const ENLARGED_FROM: u64 = 5;

/// One panel: a part of a trace.
#[derive(Clone, Debug)]
pub(super) struct Panel<'t> {
    pub(super) trace: &'t Trace,
    pub(super) title: String,
    pub(super) note: String,
    /// The part that is shown.
    pub(super) from: u64,
    pub(super) to: u64,
    /// Where the axis says 0: the first kick.
    pub(super) origin: u64,
    /// Nanoseconds that the width stands for, before the origin and after it.
    pub(super) before: u64,
    pub(super) after: u64,
}

/// Every panel of these traces.
pub(super) fn panels(traces: &[Trace]) -> Vec<Panel<'_>> {
    let mut panels = Vec::new();
    for trace in traces {
        let name = match traces.len() {
            1 => String::new(),
            _ => format!("{}, {}", trace.arch, trace.scenario),
        };
        let of_modes = modes(trace);
        if of_modes.is_empty() {
            let (from, to) = trace.range();
            let title = match (name.is_empty(), trace.scenario.is_empty()) {
                (false, _) => name.clone(),
                (true, false) => trace.scenario.clone(),
                (true, true) => "all events".to_owned(),
            };
            panels.push(panel(trace, title, from, to, 1));
        }
        for (window, rounds) in of_modes {
            let gap = if name.is_empty() { "" } else { ", " };
            let title = format!("{name}{gap}{}", window.mode);
            panels.push(panel(trace, title, window.t0, window.t1, rounds));
        }
    }
    share_scale(panels)
}

/// The shortest window of each mode, with how many there are.
fn modes(trace: &Trace) -> Vec<(&Window, usize)> {
    let mut modes: Vec<(&Window, usize)> = Vec::new();
    for window in &trace.windows {
        let length = |window: &Window| window.t1.saturating_sub(window.t0);
        match modes.iter_mut().find(|(best, _)| best.mode == window.mode) {
            None => modes.push((window, 1)),
            Some((best, rounds)) => {
                *rounds += 1;
                if length(window) < length(best) {
                    *best = window;
                }
            }
        }
    }
    modes
}

fn panel(trace: &Trace, title: String, from: u64, to: u64, rounds: usize) -> Panel<'_> {
    // Before the first event and after the last nothing is seen; it would only shrink the rest.
    let times = || trace.times().filter(|t| (from..=to).contains(t));
    let ends = (times().min(), times().max());
    let (from, to) = (ends.0.unwrap_or(from), ends.1.unwrap_or(to));
    let marks = || {
        let inside = |t: u64| (from..=to).contains(&t);
        trace.marks.iter().filter(move |mark| inside(mark.t))
    };
    let of_kind = |kind: MarkKind| marks().filter(move |mark| mark.kind == kind);
    let kick = of_kind(MarkKind::Kick).map(|mark| mark.t).min();
    let origin = kick.unwrap_or(from);
    let mut notes = Vec::new();
    let online = of_kind(MarkKind::Online).filter(|mark| mark.t >= origin);
    if let (Some(_), Some(last)) = (kick, online.map(|mark| mark.t).max()) {
        let total = show::time(last - origin);
        notes.push(format!("first kick to last online {total}"));
    }
    for kind in [MarkKind::GaveUp, MarkKind::Late, MarkKind::Failed] {
        let count = of_kind(kind).count();
        if count > 0 {
            notes.push(format!("{count} {}", kind.name()));
        }
    }
    if rounds > 1 {
        notes.push(format!("fastest of {rounds} rounds"));
    }
    if trace.lost > 0 {
        notes.push(format!("{} events lost", trace.lost));
    }
    Panel {
        trace,
        title,
        note: notes.join(", "),
        from,
        to,
        origin,
        before: origin - from,
        after: to.saturating_sub(origin),
    }
}

/// Gives all one scale, the first kicks below each other, and follows the short ones with an enlarged one.
fn share_scale(panels: Vec<Panel<'_>>) -> Vec<Panel<'_>> {
    let before = panels.iter().map(|panel| panel.before).max().unwrap_or(0);
    let after = panels.iter().map(|panel| panel.after).max().unwrap_or(0);
    let mut all = Vec::new();
    for panel in panels {
        let width = panel.before.saturating_add(panel.after).max(1);
        let times = before.saturating_add(after) / width;
        all.push(Panel {
            before,
            after,
            ..panel.clone()
        });
        if times >= ENLARGED_FROM {
            let title = format!("{}, enlarged {times} times", panel.title);
            all.push(Panel { title, ..panel });
        }
    }
    all
}
