//! Everything a data file leads to, as one JSON document: what `cargo xtask sim` reads.

use std::collections::BTreeSet;
use std::time::Instant;

use cpuhp_core::OpError;
use serde::Serialize;

use crate::critical::critical_path;
use crate::data::{Mode, Model, Published, Together, Way};
use crate::run::{Outcome, Plan, run};
use crate::trouble::{Kind, Trouble, Who};
use crate::watch::TIMEOUT_NS;

/// How one run of a model went.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// Which way all CPUs but the boot CPU went.
    pub way: Way,
    /// In which mode.
    pub mode: Mode,
    /// Virtual nanoseconds from the control CPU's first act until it knew of the last CPU.
    pub ns: u64,
    /// Virtual nanoseconds until the last AP was through its last step.
    pub last_ns: u64,
    /// Of the first, what the control CPU waited.
    pub wait_ns: u64,
    /// CPUs that came to their target.
    pub done: u32,
    /// CPUs that failed.
    pub failed: u32,
    /// How often the control CPU asked something of the machine, and APs looked at their records, per CPU.
    pub polls_per_cpu: f64,
    /// Seconds of the host's time.
    pub wall_s: f64,
}

/// A model and what it predicts.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// What the model is called.
    pub model: String,
    /// Which machine it is.
    pub title: String,
    /// How many CPUs.
    pub cpus: u32,
    /// What was published.
    pub published: Vec<Published>,
    /// The least time that each way can take, in nanoseconds.
    pub critical: Vec<(Way, u64)>,
    /// What was run.
    pub rows: Vec<Row>,
}

/// One size of a [`Sweep`].
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Point {
    /// How many CPUs.
    pub cpus: u32,
    /// The least time that bringup can take, in nanoseconds.
    pub critical_ns: u64,
    /// Bringup in every mode.
    pub rows: Vec<Row>,
}

/// A large machine whose CPUs do not all do as they should.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Case {
    /// What is wrong.
    pub what: String,
    /// How many CPUs there are.
    pub cpus: u32,
    /// With how many it is wrong.
    pub hit: u32,
    /// How many of them have to fail.
    pub must_fail: u32,
    /// What it may cost beyond the same bringup without them, in nanoseconds.
    pub may_cost_ns: u64,
    /// The same bringup without them, in nanoseconds.
    pub without_ns: u64,
    /// Until when the last CPU that comes at all has to be through its last step, in nanoseconds.
    pub last_by_ns: u64,
    /// How it went.
    pub row: Row,
}

/// One machine at many sizes.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Sweep {
    /// The model that is scaled.
    pub model: String,
    /// The sizes.
    pub points: Vec<Point>,
    /// The trouble.
    pub cases: Vec<Case>,
}

impl Row {
    /// Runs a model.
    ///
    /// # Errors
    /// As [`run`].
    pub fn measure(model: &Model, plan: Plan) -> Result<Self, OpError> {
        let started = Instant::now();
        let outcome = run(model, plan)?;
        Ok(Self {
            way: plan.way,
            mode: plan.mode,
            ns: outcome.ns,
            last_ns: outcome.last_ns,
            wait_ns: outcome.wait_ns,
            done: outcome.done,
            failed: outcome.failed,
            polls_per_cpu: per_cpu(outcome, model.cpus),
            wall_s: started.elapsed().as_secs_f64(),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer polls than 2^53")]
fn per_cpu(outcome: Outcome, cpus: u32) -> f64 {
    (outcome.asked + outcome.ap_polls) as f64 / f64::from(cpus)
}

const MODES: [Mode; 3] = [Mode::Serial, Mode::Split, Mode::Parallel];

impl Report {
    /// Runs a model every way that it has figures for, upwards at least.
    ///
    /// # Errors
    /// As [`run`].
    pub fn of(model: &Model) -> Result<Self, OpError> {
        let mut ways: BTreeSet<Way> = model.published.iter().map(|figure| figure.way).collect();
        if ways.is_empty() {
            ways.insert(Way::Up);
        }
        let mut rows = Vec::new();
        for way in &ways {
            // There is nothing to split on the way down: nobody has to be waited for before he can go.
            let sensible = |mode: &&Mode| **mode != Mode::Split || *way == Way::Up;
            for mode in MODES.iter().filter(sensible) {
                rows.push(Row::measure(model, Plan::new(*way, *mode))?);
            }
        }
        Ok(Self {
            model: model.name.clone(),
            title: model.title.clone(),
            cpus: model.cpus,
            published: model.published.clone(),
            critical: ways
                .into_iter()
                .map(|way| (way, critical_path(model, way)))
                .collect(),
            rows,
        })
    }
}

impl Plan {
    /// Everybody does as he should.
    pub const fn new(way: Way, mode: Mode) -> Self {
        Self {
            way,
            mode,
            trouble: None,
        }
    }
}

impl Sweep {
    /// Runs a model at every size, and with every trouble at the last one.
    ///
    /// # Errors
    /// As [`run`].
    pub fn of(model: &Model) -> Result<Self, OpError> {
        let sizes = &model.sweep;
        let mut points = Vec::new();
        for cpus in sizes {
            let model = model.with_cpus(*cpus);
            let rows = MODES
                .iter()
                .map(|mode| Row::measure(&model, Plan::new(Way::Up, *mode)));
            points.push(Point {
                cpus: *cpus,
                critical_ns: critical_path(&model, Way::Up),
                rows: rows.collect::<Result<_, _>>()?,
            });
        }
        let mut cases = Vec::new();
        for cpus in sizes.iter().filter(|cpus| **cpus >= LARGE) {
            cases.extend(Case::all(&model.with_cpus(*cpus))?);
        }
        Ok(Self {
            model: model.name.clone(),
            points,
            cases,
        })
    }
}

/// Sizes from which on polls have to be flat.
const LARGE: u32 = 1024;

/// What may be wrong with one CPU in a hundred.
fn troubles(model: &Model) -> Vec<(String, Trouble)> {
    let hundredth = (model.cpus / 100).max(1);
    let last = model.steps.len().saturating_sub(1);
    let step = model.steps.last().map_or("", |step| step.name.as_str());
    let every = |kind| Trouble {
        kind,
        who: Who::Every(100),
    };
    let block = Trouble {
        kind: Kind::Dead,
        who: Who::First(hundredth),
    };
    vec![
        ("every 100th never comes".to_owned(), every(Kind::Dead)),
        ("the first 1 % never come".to_owned(), block),
        (
            "every 100th is 1 s late".to_owned(),
            every(Kind::Late(LATE_NS)),
        ),
        (
            "every 100th is 10 times as slow".to_owned(),
            every(Kind::Slow(SLOW)),
        ),
        (
            format!("{step} fails on every 100th"),
            every(Kind::Failing(last)),
        ),
    ]
}

const LATE_NS: u64 = 1_000_000_000;
const SLOW: u64 = 10;

impl Case {
    fn all(model: &Model) -> Result<Vec<Self>, OpError> {
        let without = |model| Row::measure(model, Plan::new(Way::Up, Mode::Parallel));
        let mut cases = Vec::new();
        let without_ns = without(model)?.ns;
        for (what, trouble) in troubles(model) {
            cases.push(Self::of(model, what, trouble, without_ns)?);
        }
        // The living go on to a step that takes one at a time: the batch has to lead them there.
        let mut one_by_one = model.clone();
        if let Some(step) = one_by_one.steps.last_mut() {
            step.walked = Together::OneByOne;
            let what = format!("every 100th never comes, {} one by one", step.name);
            let trouble = Trouble {
                kind: Kind::Dead,
                who: Who::Every(100),
            };
            let without_ns = without(&one_by_one)?.ns;
            cases.push(Self::of(&one_by_one, what, trouble, without_ns)?);
        }
        Ok(cases)
    }

    fn of(model: &Model, what: String, trouble: Trouble, without_ns: u64) -> Result<Self, OpError> {
        let plan = Plan {
            trouble: Some(trouble),
            ..Plan::new(Way::Up, Mode::Parallel)
        };
        let hit = trouble.count(model.cpus);
        let own: u64 = model
            .steps
            .iter()
            .map(|step| step.up_ns + step.down_ns)
            .sum();
        let slowest = (0..model.cpus)
            .map(|cpu| model.arrival_of(cpu))
            .fold(0, u64::max)
            + own;
        // Those who never come hold nobody up; those who come late are the last.
        let last_by_ns = match trouble.kind {
            Kind::Dead => without_ns + without_ns / 10,
            Kind::Late(_) | Kind::Slow(_) | Kind::Failing(_) => u64::MAX,
        };
        let (must_fail, may_cost_ns) = match trouble.kind {
            Kind::Dead => (hit, TIMEOUT_NS + TIMEOUT_NS / 20),
            Kind::Late(extra) => (0, extra + extra / 20),
            Kind::Slow(times) => (0, slowest * times),
            // Those that fail go back one at a time.
            Kind::Failing(_) => (hit, slowest * u64::from(hit)),
        };
        Ok(Self {
            what,
            cpus: model.cpus,
            hit,
            must_fail,
            may_cost_ns,
            without_ns,
            last_by_ns,
            row: Row::measure(model, plan)?,
        })
    }
}
