//! The trace file: Chrome's trace-event format, which Perfetto opens.
//!
//! One process per boot, one track per CPU with the steps it executed. The format wants events of one track to nest, so steps
//! that one CPU ran at the same time, which it may for others, go to further tracks of that CPU. A cross-CPU call is a slice on
//! either side and a flow between them.
//!
//! Spec: Chromium project, "Trace Event Format", sections "Duration Events", "Complete Events", "Instant Events",
//! "Flow Events" and "Metadata Events".

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::model::{Trace, manner};
use crate::record::{Call, Direction, Step};

/// What a track of a CPU shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Steps,
    Calls,
}

/// CPU, what it shows, and how many tracks of the same kind are above it.
type Track = (u64, Kind, usize);

/// Longest slice of a call on the caller's side: it only has to be seen.
const QUEUE_NS: u64 = 1_000;

/// Writes these traces as one file.
pub(super) fn write(traces: &[Trace]) -> String {
    let mut events = Vec::new();
    let mut flows = 0;
    for (pid, trace) in (1..).zip(traces) {
        Process {
            pid,
            trace,
            tracks: BTreeMap::new(),
        }
        .write(&mut events, &mut flows);
    }
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    let body = lines.join(",\n");
    format!("{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{body}\n]}}\n")
}

struct Process<'t> {
    pid: u64,
    trace: &'t Trace,
    /// The end of the last slice of each track.
    tracks: BTreeMap<Track, u64>,
}

impl Process<'_> {
    fn write(mut self, events: &mut Vec<Value>, flows: &mut u64) {
        let trace = self.trace;
        for cpu in 0..trace.cpus {
            self.tracks.insert((cpu, Kind::Steps, 0), 0);
        }
        let mut steps: Vec<&Step> = trace.steps.iter().collect();
        steps.sort_by_key(|step| step.t0);
        for step in steps {
            self.step(step, events);
        }
        for mark in &trace.marks {
            let tid = self.tid((mark.cpu, Kind::Steps, 0));
            events.push(json!({
                "ph": "i", "s": "t", "cat": "mark", "name": mark.kind.name(),
                "pid": self.pid, "tid": tid, "ts": us(mark.t),
            }));
        }
        let mut calls: Vec<&Call> = trace.calls.iter().collect();
        calls.sort_by_key(|call| call.queue);
        let mut entries = Vec::new();
        for call in calls {
            *flows += 1;
            self.queue(call, *flows, events);
            entries.push((call, *flows));
        }
        entries.sort_by_key(|(call, _)| call.entry);
        for (call, flow) in entries {
            self.entry(call, flow, events);
        }
        for window in &trace.windows {
            events.push(json!({
                "ph": "b", "cat": "window", "id": self.pid, "name": window.mode,
                "pid": self.pid, "tid": 1, "ts": us(window.t0),
            }));
            events.push(json!({
                "ph": "e", "cat": "window", "id": self.pid, "name": window.mode,
                "pid": self.pid, "tid": 1, "ts": us(window.t1),
            }));
        }
        self.names(events);
    }

    fn step(&mut self, step: &Step, events: &mut Vec<Value>) {
        let tid = self.track(step.on, Kind::Steps, step.t0, step.t1);
        let dir = match step.dir {
            Direction::Up => "up",
            Direction::Down => "down",
        };
        let name = match step.on == step.cpu {
            true => step.name.clone(),
            false => format!("{} of CPU {}", step.name, step.cpu),
        };
        events.push(json!({
            "ph": "B", "cat": "step", "name": name, "pid": self.pid, "tid": tid, "ts": us(step.t0),
            "args": {
                "cpu": step.cpu, "state": step.state, "dir": dir, "err": step.err,
                "section": self.trace.section(step).name(),
                "went": format!("{:?}", manner(step)).to_lowercase(),
            },
        }));
        events.push(json!({"ph": "E", "pid": self.pid, "tid": tid, "ts": us(step.t1)}));
    }

    fn queue(&mut self, call: &Call, flow: u64, events: &mut Vec<Value>) {
        let took = call.entry.saturating_sub(call.queue).clamp(1, QUEUE_NS);
        let tid = self.track(
            call.from,
            Kind::Calls,
            call.queue,
            call.queue.saturating_add(took),
        );
        events.push(json!({
            "ph": "X", "cat": "call", "name": format!("call CPU {}", call.cpu),
            "pid": self.pid, "tid": tid, "ts": us(call.queue), "dur": us(took),
            "args": {"id": call.id, "site": call.site, "ipi": call.ipi},
        }));
        events.push(json!({
            "ph": "s", "cat": "call", "name": "call", "id": flow,
            "pid": self.pid, "tid": tid, "ts": us(call.queue),
        }));
    }

    fn entry(&mut self, call: &Call, flow: u64, events: &mut Vec<Value>) {
        let took = call.exit.saturating_sub(call.entry).max(1);
        let tid = self.track(
            call.cpu,
            Kind::Calls,
            call.entry,
            call.entry.saturating_add(took),
        );
        let latency = call.entry.saturating_sub(call.queue);
        events.push(json!({
            "ph": "X", "cat": "call", "name": call.site,
            "pid": self.pid, "tid": tid, "ts": us(call.entry), "dur": us(took),
            "args": {"id": call.id, "from": call.from, "queue_to_entry_ns": latency},
        }));
        events.push(json!({
            "ph": "f", "bp": "e", "cat": "call", "name": "call", "id": flow,
            "pid": self.pid, "tid": tid, "ts": us(call.entry),
        }));
    }

    /// The first track of `cpu` that is free from `begin` on; it is taken until `end`.
    fn track(&mut self, cpu: u64, kind: Kind, begin: u64, end: u64) -> u64 {
        let mut lane = 0;
        while self
            .tracks
            .get(&(cpu, kind, lane))
            .is_some_and(|taken| *taken > begin)
        {
            lane += 1;
        }
        self.tracks.insert((cpu, kind, lane), end);
        self.tid((cpu, kind, lane))
    }

    /// A number for a track: CPU + 1 for the steps of a CPU, far above that for all others.
    fn tid(&self, (cpu, kind, lane): Track) -> u64 {
        let block = match (kind, lane) {
            (Kind::Steps, lane) => 2 * lane,
            (Kind::Calls, lane) => 2 * lane + 1,
        };
        block as u64 * self.trace.cpus + cpu + 1
    }

    fn names(&self, events: &mut Vec<Value>) {
        let name = format!("{} {}", self.trace.arch, self.trace.scenario);
        events.push(json!({
            "ph": "M", "name": "process_name", "pid": self.pid, "args": {"name": name},
        }));
        for (place, track) in self.tracks.keys().enumerate() {
            let (cpu, kind, lane) = *track;
            let what = match kind {
                Kind::Steps => "",
                Kind::Calls => " calls",
            };
            let more = match lane {
                0 => String::new(),
                _ => format!(" ({})", lane + 1),
            };
            let tid = self.tid(*track);
            for (name, args) in [
                (
                    "thread_name",
                    json!({"name": format!("CPU {cpu}{what}{more}")}),
                ),
                ("thread_sort_index", json!({"sort_index": place})),
            ] {
                events.push(json!({
                    "ph": "M", "name": name, "pid": self.pid, "tid": tid, "args": args,
                }));
            }
        }
    }
}

/// The format's unit is the microsecond.
fn us(ns: u64) -> f64 {
    ns as f64 / 1000.0
}
