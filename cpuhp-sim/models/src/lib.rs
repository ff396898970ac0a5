//! Latency models of machines, run through the core in virtual time.
//!
//! A model is a data file (`data/*.toml`): how long the steps of a machine's kernel take, with the source of
//! every number. One latency of it is chosen so that bringing the CPUs up or down one after the other takes as
//! long as somebody published; everything else is a prediction. [`run`] walks the real core through the
//! model; [`critical_path`] says how long it would take if the machinery cost nothing.

mod critical;
mod data;
mod machine;
mod report;
mod run;
mod trouble;
mod watch;
mod world;

pub use critical::critical_path;
pub use data::{
    BadModel, Counts, Latency, MOST_STEPS, Mode, Model, On, Published, Resource, Section,
    TimedStep, Together, Way,
};
pub use report::{Case, Point, Report, Row, Sweep};
pub use run::{Outcome, Plan, run};
pub use trouble::{Kind, Trouble, Who};
pub use watch::TIMEOUT_NS;
