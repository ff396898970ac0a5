//! What the machine lines of one boot tell, in the terms of the pictures.
//!
//! The lines name callbacks and edges; what a person looks for (alive, online, dead, late) is derived here, once.

use serde_json::Value;

use crate::record::{Call, Direction, Edge, Fault, Record, Start, Step, Table, Window};

/// Everything one boot tells.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) arch: String,
    pub(super) scenario: String,
    /// The parameters as they were given, for a subtitle.
    pub(super) params: String,
    /// CPUs the kernel knows of, absent ones included.
    pub(super) cpus: u64,
    pub(super) steps: Vec<Step>,
    pub(super) edges: Vec<Edge>,
    pub(super) marks: Vec<Mark>,
    pub(super) calls: Vec<Call>,
    pub(super) windows: Vec<Window>,
    /// Events the kernel had no room for.
    pub(super) lost: u64,
    table: Option<Table>,
    /// The last state that was seen to be reached: a CPU is online when its step is done.
    top: u64,
}

/// A moment in the life of a CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) cpu: u64,
    pub(super) t: u64,
    pub(super) kind: MarkKind,
    /// The place of the step that failed, in [`Trace::steps`].
    pub(super) step: Option<usize>,
}

/// What happened at a [`Mark`]. The order is that of the legend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MarkKind {
    Kick,
    Alive,
    Online,
    Dead,
    Parked,
    /// It came after it was given up.
    Late,
    /// It did not come in time, or could not be kicked.
    GaveUp,
    /// A step failed, or an armed fault was hit.
    Failed,
}

/// Where a step belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    Prepare,
    Starting,
    Online,
}

/// How a step went, as far as it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Manner {
    Up,
    Down,
    Rollback,
    Failed,
}

impl Trace {
    /// Sorts the records of a file into one trace per `start` line; boots without any event are left out.
    pub(super) fn read(records: Vec<Record>) -> Vec<Self> {
        let mut traces: Vec<Self> = Vec::new();
        for record in records {
            if let Record::Start(start) = record {
                traces.push(Self::begin(&start));
                continue;
            }
            if traces.is_empty() {
                traces.push(Self::default());
            }
            if let Some(trace) = traces.last_mut() {
                trace.take(record);
            }
        }
        traces.retain(|trace| trace.times().next().is_some());
        for trace in &mut traces {
            trace.settle();
        }
        traces
    }

    fn begin(start: &Start) -> Self {
        let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
        let params = start
            .params
            .iter()
            .map(|(key, value)| format!("{key}={}", text(value)));
        Self {
            arch: start.arch.clone(),
            scenario: start.scenario.clone(),
            params: params.collect::<Vec<_>>().join(" "),
            cpus: start.smp,
            ..Self::default()
        }
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Step(step) => self.steps.push(step),
            Record::Edge(edge) => self.edges.push(edge),
            Record::Kick(kick) => self.mark(kick.cpu, kick.t, MarkKind::Kick),
            Record::Fault(Fault {
                cpu: Some(cpu),
                t: Some(t),
            }) => self.mark(cpu, t, MarkKind::Failed),
            Record::Call(call) => self.calls.push(call),
            Record::Window(window) => self.windows.push(window),
            Record::Table(table) => self.table = Some(table),
            Record::TraceLost(lost) => self.lost += lost.n,
            Record::Start(_)
            | Record::Result(_)
            | Record::Fault(_)
            | Record::Panic(_)
            | Record::Done(_) => {}
        }
    }

    fn mark(&mut self, cpu: u64, t: u64, kind: MarkKind) {
        let step = None;
        self.marks.push(Mark { cpu, t, kind, step });
    }

    /// Derives what needs all lines: how many CPUs there are, and the marks no line says.
    fn settle(&mut self) {
        let steps = self.steps.iter().flat_map(|step| [step.cpu, step.on]);
        let calls = self.calls.iter().flat_map(|call| [call.cpu, call.from]);
        let edges = self.edges.iter().map(|edge| edge.cpu);
        let marks = self.marks.iter().map(|mark| mark.cpu);
        let last = steps.chain(calls).chain(edges).chain(marks).max();
        self.cpus = self.cpus.max(last.map_or(0, |cpu| cpu.saturating_add(1)));
        let ups = self.steps.iter().filter(|step| is_done(step));
        let ups = ups.filter(|step| self.section(step) == Section::Online);
        self.top = ups.map(|step| step.state).max().unwrap_or(u64::MAX);
        let mut marks: Vec<Mark> = self.edges.iter().filter_map(edge_mark).collect();
        let steps = self.steps.iter().enumerate();
        marks.extend(steps.filter_map(|(at, step)| self.step_mark(at, step)));
        self.marks.extend(marks);
        self.marks.sort_by_key(|mark| mark.t);
    }

    fn step_mark(&self, at: usize, step: &Step) -> Option<Mark> {
        let kind = match manner(step) {
            Manner::Failed => MarkKind::Failed,
            Manner::Up | Manner::Rollback if self.reaches_top(step) => MarkKind::Online,
            Manner::Up | Manner::Down | Manner::Rollback => return None,
        };
        let (cpu, t) = (step.cpu, step.t1);
        let step = Some(at);
        Some(Mark { cpu, t, kind, step })
    }

    /// What is said beside a mark.
    pub(super) fn text(&self, mark: &Mark) -> String {
        let step = mark.step.and_then(|at| self.steps.get(at));
        match (mark.kind, step) {
            (MarkKind::Failed, Some(step)) => format!("{} failed", step.name),
            (kind, _) => kind.name().to_owned(),
        }
    }

    /// Whether the CPU is online when `step` is done.
    pub(super) fn reaches_top(&self, step: &Step) -> bool {
        is_done(step) && step.state == self.top
    }

    /// Whether the CPU is online still, since the first step of its way down refused.
    pub(super) fn refuses_at_top(&self, step: &Step) -> bool {
        step.dir == Direction::Down && step.err.is_some() && step.state == self.top
    }

    /// The section of a step: by the kernel's table, else by its name, else by who ran it.
    pub(super) fn section(&self, step: &Step) -> Section {
        match (self.table, step.name.rsplit(':').next()) {
            (Some(table), _) if step.state < table.kick => Section::Prepare,
            (Some(table), _) if step.state < table.ap_idle => Section::Starting,
            (Some(_), _) => Section::Online,
            (None, Some("prepare")) => Section::Prepare,
            (None, Some("starting")) => Section::Starting,
            (None, _) if step.on != step.cpu => Section::Prepare,
            (None, _) => Section::Online,
        }
    }

    /// The first and the last moment of the trace.
    pub(super) fn range(&self) -> (u64, u64) {
        let first = self.times().min().unwrap_or(0);
        (first, self.times().max().unwrap_or(first))
    }

    /// Every moment something happened at.
    pub(super) fn times(&self) -> impl Iterator<Item = u64> {
        let steps = self.steps.iter().flat_map(|step| [step.t0, step.t1]);
        let calls = self.calls.iter().flat_map(|call| [call.queue, call.exit]);
        let edges = self.edges.iter().map(|edge| edge.t);
        let marks = self.marks.iter().map(|mark| mark.t);
        steps.chain(calls).chain(edges).chain(marks)
    }
}

/// How a step went.
pub(super) fn manner(step: &Step) -> Manner {
    match (&step.err, step.rollback, step.dir) {
        (Some(_), ..) => Manner::Failed,
        (None, true, _) => Manner::Rollback,
        (None, false, Direction::Up) => Manner::Up,
        (None, false, Direction::Down) => Manner::Down,
    }
}

fn is_done(step: &Step) -> bool {
    step.dir == Direction::Up && step.err.is_none()
}

fn edge_mark(edge: &Edge) -> Option<Mark> {
    let kind = match (edge.from.as_str(), edge.to.as_str()) {
        ("KICKED", "ALIVE" | "GO") => MarkKind::Alive,
        ("KICKED", "CANCELLED" | "DEAD") => MarkKind::GaveUp,
        ("CANCELLED", "PARKED") => MarkKind::Late,
        (_, "PARKED") => MarkKind::Parked,
        (_, "DEAD") => MarkKind::Dead,
        _ => return None,
    };
    let (cpu, t, step) = (edge.cpu, edge.t, None);
    Some(Mark { cpu, t, kind, step })
}

impl MarkKind {
    /// What the legend and the trace file call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kick => "kick",
            Self::Alive => "alive",
            Self::Online => "online",
            Self::Dead => "dead",
            Self::Parked => "parked",
            Self::Late => "late",
            Self::GaveUp => "did not come",
            Self::Failed => "failed",
        }
    }
}

impl Section {
    /// As the specification spells it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Prepare => "PREPARE",
            Self::Starting => "STARTING",
            Self::Online => "ONLINE",
        }
    }
}
