//! The protocol under loom: every interleaving, and every order of memory accesses the language
//! allows, of the real core source built with `--cfg loom`.
//!
//! Two families. *Spinning*: a wait yields, and a thread that waits too often gives the execution
//! up; this finds missing orderings and hides hangs. *Blocking*: a wait parks and every notification
//! unparks; a lost wake-up is a deadlock, but waking orders memory, so missing orderings hide. Data
//! that the protocol hands over lives in loom cells: a missing edge is a race.
//!
//! No model is bounded unless its name ends in `_bounded`. `CPUHP_LOOM_LONG=1` runs those one
//! preemption higher.
#![cfg(loom)]

mod ap;
mod blocking;
mod board;
mod bulk;
mod cancel;
mod check;
mod contexts;
mod control;
mod cycle;
mod drivers;
mod lists;
mod lock;
mod owner;
mod phases;
mod register;
mod ring;
mod steps;
mod stuck;
mod world;
