//! The machine lines of a kernel, `@cpuhp {json}`, as typed records.
//!
//! A line that starts like a machine line and is none is an error, never skipped.

use serde::Deserialize;
use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

/// What a machine line starts with.
const WORD: &str = "@cpuhp";

/// One machine line.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "ev", rename_all = "snake_case")]
pub(crate) enum Record {
    Start(Start),
    Result(Outcome),
    Step(Step),
    Edge(Edge),
    Kick(Kick),
    Fault(Fault),
    Call(Call),
    Table(Table),
    Window(Window),
    TraceLost(TraceLost),
    Panic(Panic),
    Done(Done),
}

/// The first line: what the kernel takes itself for.
#[derive(Clone, Debug, Deserialize)]
#[expect(dead_code, reason = "read to be checked for presence and type")]
pub(crate) struct Start {
    pub(crate) arch: String,
    pub(crate) smp: u64,
    pub(crate) scenario: String,
    pub(crate) params: Map<String, Value>,
    pub(crate) version: String,
}

/// The verdict of a scenario, or of one of its modes; the scenario's own fields are kept as they are.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) pass: bool,
    pub(crate) violations: u64,
    #[serde(flatten)]
    pub(crate) fields: Map<String, Value>,
}

/// The fields of scenario `boot`, one result per mode. `raw` has the alive fields only.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct BootResult {
    pub(crate) mode: String,
    pub(crate) cpus: u64,
    /// CPUs online at the end, the boot CPU included.
    pub(crate) online: Option<u64>,
    pub(crate) failed: Option<Vec<u64>>,
    /// CPUs that are listed and that nobody tried, since the firmware does not serve them.
    #[serde(default)]
    pub(crate) not_present: Vec<u64>,
    pub(crate) ap_polls_max: Option<u64>,
    pub(crate) kick_to_alive_ns: u64,
    pub(crate) kick_to_alive_ns_median: u64,
    pub(crate) kick_to_online_ns: Option<u64>,
    pub(crate) kick_to_online_ns_median: Option<u64>,
    pub(crate) control_ns_per_cpu: Option<u64>,
    pub(crate) per_cpu: Vec<PerCpu>,
}

/// When one CPU came, from the first kick on.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PerCpu {
    pub(crate) cpu: u64,
    /// The wave it was kicked in: 0 for the first thread of its core, 1 for the others.
    pub(crate) wave: u64,
    pub(crate) alive_ns: u64,
    pub(crate) online_ns: Option<u64>,
}

/// One callback that ran.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Step {
    pub(crate) cpu: u64,
    pub(crate) state: u64,
    pub(crate) name: String,
    pub(crate) dir: Direction,
    pub(crate) rollback: bool,
    pub(crate) on: u64,
    pub(crate) t0: u64,
    pub(crate) t1: u64,
    pub(crate) err: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    Up,
    Down,
}

/// One move of the sync word.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Edge {
    pub(crate) cpu: u64,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) t: u64,
}

/// One kick of a CPU.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Kick {
    pub(crate) cpu: u64,
    pub(crate) t: u64,
}

/// One fault that was injected.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Fault {
    pub(crate) cpu: Option<u64>,
    pub(crate) t: Option<u64>,
}

/// One cross-CPU call.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) from: u64,
    pub(crate) cpu: u64,
    pub(crate) site: String,
    pub(crate) queue: u64,
    pub(crate) ipi: String,
    pub(crate) entry: u64,
    pub(crate) exit: u64,
}

/// Where the sections of the kernel's table of steps begin.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Table {
    pub(crate) kick: u64,
    pub(crate) ap_idle: u64,
    pub(crate) online: u64,
}

/// One timed window of scenario `boot`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Window {
    pub(crate) mode: String,
    pub(crate) t0: u64,
    pub(crate) t1: u64,
}

/// Events that the trace buffer had no room for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TraceLost {
    pub(crate) n: u64,
}

/// The kernel gave up.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Panic {
    pub(crate) msg: String,
}

/// The last line.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Done {
    pub(crate) pass: bool,
}

/// What stands before a line that a person types at the monitor.
pub(crate) const PROMPT: &str = "cpuhp> ";

/// All machine lines of one serial log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) records: Vec<Record>,
    /// The JSON objects as they were printed, also those of a type nobody knows.
    pub(crate) raw: Vec<Value>,
    /// Lines that are no good machine lines, each with the reason.
    pub(crate) errors: Vec<String>,
}

impl Log {
    /// Reads the machine lines out of everything a kernel printed.
    pub(crate) fn parse(serial: &str) -> Self {
        let mut log = Self::default();
        for (number, line) in (1..).zip(serial.lines()) {
            match line.find(WORD) {
                None => {}
                // Typed by a person, not printed by the kernel.
                Some(at) if line[..at].contains(PROMPT) => {}
                Some(0) => log.take(number, &line[WORD.len()..]),
                Some(_) => log.errors.push(format!(
                    "line {number}: a machine line does not begin its line: {}",
                    shorten(line)
                )),
            }
        }
        log
    }

    fn take(&mut self, number: usize, rest: &str) {
        let Some(json) = rest.strip_prefix(' ') else {
            self.errors.push(format!(
                "line {number}: no space after {WORD}: {}",
                shorten(rest)
            ));
            return;
        };
        let value: Value = match serde_json::from_str(json) {
            Ok(value) => value,
            Err(error) => {
                self.errors.push(format!(
                    "line {number}: not JSON ({error}): {}",
                    shorten(json)
                ));
                return;
            }
        };
        self.raw.push(value.clone());
        match serde_json::from_value(value) {
            Ok(record) => self.records.push(record),
            Err(error) => {
                self.errors
                    .push(format!("line {number}: {error}: {}", shorten(json)));
            }
        }
    }

    /// The results, in order.
    pub(crate) fn results(&self) -> impl Iterator<Item = &Outcome> {
        self.records.iter().filter_map(|record| match record {
            Record::Result(outcome) => Some(outcome),
            Record::Start(_)
            | Record::Step(_)
            | Record::Edge(_)
            | Record::Kick(_)
            | Record::Fault(_)
            | Record::Call(_)
            | Record::Table(_)
            | Record::Window(_)
            | Record::TraceLost(_)
            | Record::Panic(_)
            | Record::Done(_) => None,
        })
    }
}

impl BootResult {
    /// Whether this is the mode without a state machine.
    pub(crate) fn is_raw(&self) -> bool {
        self.mode == "raw"
    }
}

impl Outcome {
    /// Reads the fields of scenario `boot`.
    ///
    /// # Errors
    /// A field is missing or of a wrong type.
    pub(crate) fn boot(&self) -> Result<BootResult, serde_json::Error> {
        serde_json::from_value(Value::Object(self.fields.clone()))
    }
}

/// The first 120 characters.
fn shorten(line: &str) -> String {
    line.trim_end().chars().take(120).collect()
}
