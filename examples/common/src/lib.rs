//! The scenarios that every example kernel runs: one portable driver, on bare metal, on threads and
//! in virtual time.
//!
//! Owns the example state table, the command line, the machine lines, the scenarios and every check
//! that leads to `pass`. A kernel brings a [`Machine`] and calls [`run`]. `no_std`, allocates nothing.
//!
//! `pass` is computed, never assumed: callbacks check order, CPU and interrupt state while they run
//! (`steps`), the forwarding platform counts kicks and their outcomes (`forward`), and at rest all of it
//! is compared with what the core says (`check`).
#![no_std]

mod boot;
mod calls;
mod check;
mod control;
mod critical;
mod cycle;
mod dead;
mod disable;
mod fault;
mod forward;
mod hotadd;
mod ipi;
mod json;
mod limit;
mod log;
mod machine;
mod order;
mod params;
mod partial;
mod register;
mod registry;
mod result;
mod run;
mod samples;
mod scenario;
mod scene;
mod shell;
mod steps;
mod storm;
mod suspend;
mod tables;
mod text;
mod trace;
mod units;
mod violation;

pub use calls::{CALLS, CallRecord, NODES, call_node};
pub use forward::Forward;
pub use log::CpuLog;
pub use machine::{END_OF_INPUT, Existence, Host, Hp, Machine, Plugged, Slept, Unable};
pub use params::{ParamError, Params};
pub use run::{Rest, Verdict, ap_main, on_interrupt, print_bad_params, print_panic, run, verdict};
pub use samples::Samples;
pub use scenario::{From, Mode, Scenario, Toggle};
pub use scene::{SETS, Scene, SceneParts, SceneStore};
pub use trace::{Event, Tracer};
