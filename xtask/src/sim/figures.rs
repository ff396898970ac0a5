//! The simulator's answer.

use serde::Deserialize;

/// Everything.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    pub(super) reports: Vec<Report>,
    pub(super) sweep: Option<Sweep>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Way {
    Up,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    Serial,
    Split,
    Parallel,
}

/// What a published figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Counts {
    Time,
    Wait,
}

/// One run of a model.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Row {
    pub(super) way: Way,
    pub(super) mode: Mode,
    pub(super) ns: u64,
    pub(super) last_ns: u64,
    pub(super) wait_ns: u64,
    pub(super) done: u32,
    pub(super) failed: u32,
    pub(super) polls_per_cpu: f64,
    pub(super) wall_s: f64,
}

/// What somebody published.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Published {
    pub(super) way: Way,
    pub(super) mode: Mode,
    pub(super) counts: Counts,
    pub(super) ns: u64,
    pub(super) fitted: Option<String>,
    pub(super) explained: Option<String>,
}

/// One model.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    pub(super) model: String,
    pub(super) title: String,
    pub(super) cpus: u32,
    pub(super) published: Vec<Published>,
    critical: Vec<(Way, u64)>,
    pub(super) rows: Vec<Row>,
}

/// One size of a model.
#[derive(Debug, Deserialize)]
pub(super) struct Point {
    pub(super) cpus: u32,
    pub(super) critical_ns: u64,
    pub(super) rows: Vec<Row>,
}

/// A bringup with CPUs that do not do as they should.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Case {
    pub(super) what: String,
    pub(super) cpus: u32,
    pub(super) hit: u32,
    pub(super) must_fail: u32,
    pub(super) may_cost_ns: u64,
    pub(super) without_ns: u64,
    pub(super) last_by_ns: u64,
    pub(super) row: Row,
}

/// One model at many sizes.
#[derive(Debug, Deserialize)]
pub(super) struct Sweep {
    pub(super) model: String,
    pub(super) points: Vec<Point>,
    pub(super) cases: Vec<Case>,
}

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Split => "split",
            Self::Parallel => "parallel",
        }
    }
}

impl Report {
    /// The figure that was published for what `row` ran.
    pub(super) fn published_of(&self, row: &Row) -> Option<&Published> {
        let is_of = |figure: &&Published| figure.way == row.way && figure.mode == row.mode;
        self.published.iter().find(is_of)
    }

    /// The least time that one way can take.
    pub(super) fn critical_of(&self, way: Way) -> u64 {
        let found = self.critical.iter().find(|(its, _)| *its == way);
        found.map_or(0, |(_, ns)| *ns)
    }
}

impl Point {
    pub(super) fn row(&self, mode: Mode) -> Option<&Row> {
        self.rows.iter().find(|row| row.mode == mode)
    }
}

impl Published {
    /// The figure of a run that is to be compared.
    pub(super) fn of(&self, row: &Row) -> u64 {
        match self.counts {
            Counts::Time => row.ns,
            Counts::Wait => row.wait_ns,
        }
    }
}

impl Case {
    /// What the trouble cost beyond the same bringup without it.
    pub(super) fn costs(&self) -> u64 {
        self.row.ns.saturating_sub(self.without_ns)
    }
}
