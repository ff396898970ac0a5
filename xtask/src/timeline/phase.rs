//! The phases in a CPU's life: the bands behind the steps.

use super::model::{MarkKind, Section, Trace};
use crate::record::Direction;

/// What a CPU is between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Off,
    /// Kicked, not alive yet.
    Kicked,
    /// Alive, not online yet.
    Coming,
    Online,
    /// On its way down.
    Going,
    /// Given up: it did not come in time.
    GivenUp,
    Parked,
}

/// One phase of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) cpu: u64,
    pub(super) phase: Phase,
    pub(super) t0: u64,
    pub(super) t1: u64,
}

/// What turns one phase into the next.
#[derive(Clone, Copy, Debug)]
enum Change {
    Now(Phase),
    /// A step of the way down begins: only a CPU that is online leaves that.
    Leaves,
    /// The hardware was asked: from now on a CPU that is not alive is waited for.
    Kick,
}

/// Every phase of every CPU but [`Phase::Off`], in order of CPU and time.
pub(super) fn spans(trace: &Trace) -> Vec<Span> {
    let mut changes = changes(trace);
    changes.sort_by_key(|(cpu, t, _)| (*cpu, *t));
    let (_, end) = trace.range();
    let mut spans: Vec<Span> = Vec::new();
    for of_one in changes.chunk_by(|a, b| a.0 == b.0) {
        let mut open: Option<Span> = None;
        for &(cpu, t, change) in of_one {
            let phase = open.map_or(Phase::Off, |span| span.phase);
            let next = match change {
                Change::Now(next) => next,
                Change::Leaves if phase == Phase::Online => Phase::Going,
                Change::Leaves | Change::Kick => phase,
            };
            if let (Change::Kick, Phase::Kicked, Some(span)) = (change, phase, &mut open) {
                span.t0 = t;
            }
            if next == phase {
                continue;
            }
            spans.extend(open.map(|span| Span { t1: t, ..span }));
            open = (next != Phase::Off).then_some(Span {
                cpu,
                phase: next,
                t0: t,
                t1: end,
            });
        }
        spans.extend(open);
    }
    spans
}

fn changes(trace: &Trace) -> Vec<(u64, u64, Change)> {
    let edges = trace.edges.iter().filter_map(|edge| {
        let phase = match edge.to.as_str() {
            "KICKED" => Phase::Kicked,
            "ALIVE" | "GO" | "UP" => Phase::Coming,
            "DIE" | "GONE" => Phase::Going,
            "CANCELLED" => Phase::GivenUp,
            "PARKED" => Phase::Parked,
            "DEAD" => Phase::Off,
            _ => return None,
        };
        Some((edge.cpu, edge.t, Change::Now(phase)))
    });
    let downs = trace
        .steps
        .iter()
        .filter(|step| step.dir == Direction::Down && trace.section(step) == Section::Online);
    let downs = downs.map(|step| (step.cpu, step.t0, Change::Leaves));
    let back = trace
        .steps
        .iter()
        .filter(|step| trace.refuses_at_top(step))
        .map(|step| (step.cpu, step.t1));
    let online = trace
        .marks
        .iter()
        .filter(|mark| mark.kind == MarkKind::Online);
    let online = online.map(|mark| (mark.cpu, mark.t)).chain(back);
    let online = online.map(|(cpu, t)| (cpu, t, Change::Now(Phase::Online)));
    let kicks = trace
        .marks
        .iter()
        .filter(|mark| mark.kind == MarkKind::Kick)
        .map(|mark| (mark.cpu, mark.t, Change::Kick));
    edges.chain(downs).chain(online).chain(kicks).collect()
}

impl Phase {
    /// What the legend calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Kicked => "kicked, not alive",
            Self::Coming => "on its way up",
            Self::Online => "online",
            Self::Going => "on its way down",
            Self::GivenUp => "given up",
            Self::Parked => "parked",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn trace(lines: &[Value]) -> Trace {
        let records = lines.iter().map(|line| from_value(line.clone()).unwrap());
        Trace::read(records.collect()).pop().unwrap()
    }

    fn edge(from: &str, to: &str, t: u64) -> Value {
        json!({"ev": "edge", "cpu": 1, "from": from, "to": to, "t": t})
    }

    fn step(state: u64, dir: &str, t: u64, err: Value) -> Value {
        json!({"ev": "step", "cpu": 1, "state": state, "name": "x", "dir": dir, "rollback": false,
            "on": 1, "t0": t, "t1": t + 1, "err": err})
    }

    fn phases(lines: &[Value]) -> Vec<(Phase, u64, u64)> {
        let spans = spans(&trace(lines));
        spans
            .iter()
            .map(|span| (span.phase, span.t0, span.t1))
            .collect()
    }

    #[test]
    fn life_up_and_down_has_every_phase() {
        let lines = [
            edge("DEAD", "KICKED", 10),
            edge("KICKED", "GO", 20),
            edge("GO", "UP", 25),
            step(8, "up", 30, Value::Null),
            step(9, "up", 31, Value::Null),
            step(9, "down", 40, Value::Null),
            step(8, "down", 41, Value::Null),
            edge("UP", "GONE", 50),
            edge("GONE", "DEAD", 60),
            edge("DEAD", "KICKED", 70),
            edge("KICKED", "CANCELLED", 80),
            edge("CANCELLED", "PARKED", 90),
            edge("PARKED", "KICKED", 95),
        ];
        let expected = [
            (Phase::Kicked, 10, 20),
            (Phase::Coming, 20, 32),
            (Phase::Online, 32, 40),
            (Phase::Going, 40, 60),
            (Phase::Kicked, 70, 80),
            (Phase::GivenUp, 80, 90),
            (Phase::Parked, 90, 95),
            (Phase::Kicked, 95, 95),
        ];
        assert_eq!(phases(&lines), expected);
    }

    #[test]
    fn wait_for_a_cpu_is_counted_from_its_kick() {
        let kick = |t: u64| json!({"ev": "kick", "cpu": 1, "t": t});
        let lines = [
            edge("DEAD", "KICKED", 10),
            kick(14),
            edge("KICKED", "GO", 20),
            kick(22),
        ];
        let expected = [(Phase::Kicked, 14, 20), (Phase::Coming, 20, 22)];
        assert_eq!(phases(&lines), expected);
    }

    #[test]
    fn cpu_whose_first_step_down_refuses_is_online_again() {
        let lines = [
            edge("KICKED", "GO", 20),
            step(9, "up", 30, Value::Null),
            step(9, "down", 40, json!(-5)),
            edge("UP", "GONE", 90),
        ];
        let expected = [
            (Phase::Coming, 20, 31),
            (Phase::Online, 31, 40),
            (Phase::Going, 40, 41),
            (Phase::Online, 41, 90),
            (Phase::Going, 90, 90),
        ];
        assert_eq!(phases(&lines), expected);
    }

    #[test]
    fn marks_say_what_the_edges_mean() {
        let lines = [
            edge("KICKED", "ALIVE", 1),
            edge("ALIVE", "GO", 2),
            edge("ALIVE", "PARKED", 3),
            edge("CANCELLED", "PARKED", 4),
            edge("KICKED", "DEAD", 5),
            edge("PARKED", "DEAD", 6),
        ];
        let marks = trace(&lines).marks;
        let marks: Vec<(u64, MarkKind)> = marks.iter().map(|mark| (mark.t, mark.kind)).collect();
        let expected = [
            (1, MarkKind::Alive),
            (3, MarkKind::Parked),
            (4, MarkKind::Late),
            (5, MarkKind::GaveUp),
            (6, MarkKind::Dead),
        ];
        assert_eq!(marks, expected);
    }

    #[test]
    fn section_is_the_tables_or_else_the_names_or_else_the_executing_cpus() {
        let named = |name: &str| {
            let mut line = step(4, "up", 1, Value::Null);
            line["name"] = json!(name);
            line
        };
        let mut of_other = named("extra");
        of_other["on"] = json!(0);
        let lines = [
            named("extra"),
            named("a:starting"),
            named("a:prepare"),
            of_other,
        ];
        let sections = |table: Option<Value>| {
            let trace = trace(&lines.iter().cloned().chain(table).collect::<Vec<_>>());
            let sections = trace.steps.iter().map(|step| trace.section(step));
            sections.collect::<Vec<_>>()
        };
        let by_name = [
            Section::Online,
            Section::Starting,
            Section::Prepare,
            Section::Prepare,
        ];
        assert_eq!(sections(None), by_name);
        let table = |kick: u64, ap_idle: u64| {
            let table = json!({"ev": "table", "kick": kick, "ap_idle": ap_idle, "online": 20});
            sections(Some(table))
        };
        assert_eq!(table(5, 9), [Section::Prepare; 4]);
        assert_eq!(table(3, 6), [Section::Starting; 4]);
        assert_eq!(table(1, 3), [Section::Online; 4]);
    }
}
