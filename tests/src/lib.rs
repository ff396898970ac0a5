//! What the behaviour tests share: one cooperative fake machine per test thread, the tables they
//! walk, and a reference model written from the semantics of the walk, not from its code.
//!
//! Everything of a test lives in its thread: the [`world`] is a thread local, so tests run side by
//! side without seeing each other. Under loom the crate is empty; the models have their own fakes.
#![cfg(not(loom))]

pub mod batch;
mod book;
pub mod fake;
pub mod full;
pub mod model;
pub mod points;
pub mod random;
pub mod refusal;
pub mod scatter;
pub mod shape;
pub mod tables;
pub mod verdict;
pub mod world;
