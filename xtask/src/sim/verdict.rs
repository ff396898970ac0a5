//! What the figures are held against.

use super::figures::{Case, Counts, Mode, Published, Report, Row, Sweep};
use crate::show;

/// How near a figure has to be that the model was fitted on.
pub(super) const FIT: f64 = 0.02;

/// How near a prediction has to be, or its file says why it is not.
pub(super) const NEAR: f64 = 0.25;

/// What parallel may take, in critical paths.
pub(super) const RATIO: f64 = 1.15;

/// How far polls per CPU may be from the middle between the least and the most.
pub(super) const FLAT: f64 = 0.20;

/// Polls per CPU, at most, where one in a hundred does not do as it should.
pub(super) const POLLS: f64 = 32.0;

/// Sizes from which on polls per CPU have to be flat.
const LARGE: u32 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is asked of it.
    Free,
    Fitted,
    Pass,
    /// Missed, and the data file says why.
    Explained,
    Missed,
}

impl Verdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Free => "-",
            Self::Fitted => "fitted",
            Self::Pass => "pass",
            Self::Explained => "explained",
            Self::Missed => "MISSED",
        }
    }

    /// Passes if every one of these holds.
    fn all(held: &[bool]) -> Self {
        if held.contains(&false) {
            Self::Missed
        } else {
            Self::Pass
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "times are far below 2^53 nanoseconds"
)]
pub(super) fn ratio(upper: u64, lower: u64) -> f64 {
    upper as f64 / lower.max(1) as f64
}

impl Report {
    /// How many critical paths a parallel run took; the others are not meant to follow it.
    pub(super) fn ratio(&self, row: &Row) -> Option<f64> {
        (row.mode == Mode::Parallel).then(|| ratio(row.ns, self.critical_of(row.way)))
    }
}

impl Published {
    /// How far a run is off, as a part of the published figure.
    pub(super) fn deviation(&self, row: &Row) -> f64 {
        ratio(self.of(row), self.ns) - 1.0
    }

    /// The figure of a run that is compared.
    pub(super) fn shown(&self, row: &Row) -> String {
        let time = show::time(self.of(row));
        match self.counts {
            Counts::Time => time,
            Counts::Wait => format!("{time} (wait)"),
        }
    }

    /// What there is to say about a run beside its row in the table.
    pub(super) fn note(&self, report: &Report, row: &Row) -> Option<String> {
        let model = &report.model;
        let (mode, said) = (row.mode.name(), show::time(self.ns));
        let off = self.deviation(row) * 100.0;
        let why = self.explained.as_ref()?;
        Some(format!(
            "{model} ({}), {mode}, {said} published, off by {off:+.0} %: {why}",
            report.title
        ))
    }
}

/// Judges one row of a model.
pub(super) fn of_row(
    published: Option<&Published>,
    deviation: Option<f64>,
    ratio: Option<f64>,
) -> Verdict {
    if ratio.is_some_and(|ratio| ratio > RATIO) {
        return Verdict::Missed;
    }
    let Some((figure, off)) = published.zip(deviation) else {
        return ratio.map_or(Verdict::Free, |_| Verdict::Pass);
    };
    if figure.fitted.is_some() {
        return if off.abs() <= FIT {
            Verdict::Fitted
        } else {
            Verdict::Missed
        };
    }
    match (off.abs() <= NEAR, figure.explained.is_some()) {
        (true, false) => Verdict::Pass,
        (false, true) => Verdict::Explained,
        // A miss without a reason, or a reason that has outlived its miss.
        (false, false) | (true, true) => Verdict::Missed,
    }
}

/// Judges one large machine with trouble.
pub(super) fn of_case(case: &Case) -> Verdict {
    Verdict::all(&[
        case.row.done + case.must_fail + 1 == case.cpus,
        case.row.failed == case.must_fail,
        case.costs() <= case.may_cost_ns,
        case.row.last_ns <= case.last_by_ns,
        case.row.polls_per_cpu <= POLLS,
    ])
}

/// How polls per CPU grow with the number of CPUs.
#[derive(Debug)]
pub(super) struct Spread {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    pub(super) fn of(sweep: &Sweep) -> Self {
        let mut spread = Self {
            from: u32::MAX,
            to: 0,
            least: f64::INFINITY,
            most: 0.0,
        };
        for point in sweep.points.iter().filter(|point| point.cpus >= LARGE) {
            let Some(row) = point.row(Mode::Parallel) else {
                continue;
            };
            spread.from = spread.from.min(point.cpus);
            spread.to = spread.to.max(point.cpus);
            spread.least = spread.least.min(row.polls_per_cpu);
            spread.most = spread.most.max(row.polls_per_cpu);
        }
        spread
    }

    /// Half of what lies between least and most, as a part of their middle.
    pub(super) fn half_width(&self) -> f64 {
        (self.most - self.least) / (self.most + self.least)
    }

    /// One size alone is flat whatever it takes, so there have to be two.
    pub(super) fn verdict(&self) -> Verdict {
        Verdict::all(&[self.from < self.to, self.half_width() <= FLAT])
    }
}

#[cfg(test)]
mod tests;
