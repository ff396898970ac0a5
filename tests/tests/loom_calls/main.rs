//! Calls to other CPUs under loom: every interleaving, and every order of memory accesses the language
//! allows, of the real core source built with `--cfg loom`.
//!
//! CPUs come up before the threads begin, so that a model is about calls only. What a function reads and
//! writes lives in loom cells: a missing edge is a race. Every model is exhaustive unless its name
//! ends in `_bounded`.
//!
//! loom looks for another order of two accesses only where nothing but them lies between, so a thread that
//! reads a word before it changes it hides what others did with it. *Ticks* make up for that: at each stage
//! of a call every thread changes one more word, which orders no memory.
#![cfg(loom)]

mod bench;
mod models;
