//! What the bootable example kernels share: everything but first instructions, tables and devices.
//!
//! A kernel is one binary crate per architecture. It brings a [`Board`] and its start; from here come the
//! storage, the state machine, the way of every AP, sleeping, poisoning, the hand-over of the driver to
//! another CPU, the words of the command line, panics and the end of the machine. The scenarios are in
//! `cpuhp-example-common`, which knows a kernel only as a `Machine`: [`Kernel`] is that machine.
//!
//! # What a new kernel supplies, in this order
//!
//! The file names are the same on every architecture.
//!
//! 1. `link.ld`, `build.rs`, `boot.rs`: the image, and the way from the loader's entry to Rust: a stack,
//!    memory mapped and cached, before anything that uses atomics.
//! 2. `console.rs`: [`Board::print`], [`Board::print_last`], [`Board::exit`]. From here on it can say
//!    what goes wrong.
//! 3. `info.rs`, `memory.rs`: the command line and what firmware tells, as values; memory by its address.
//! 4. `interrupts.rs`: every vector has a handler. The wake interrupt's calls the backend's `on_wake`
//!    ([`Kernel::backend`]) and [`cpuhp_example_common::on_interrupt`]; the timer's has nothing to do but
//!    to end a sleep.
//! 5. `cpu.rs`: what each CPU has of its own, in [`PerCpu`] arrays: [`Board::this_cpu`], [`Board::give`],
//!    [`Board::take_back`], [`Board::memory_of`].
//! 6. `apic.rs`, `gic.rs` or what the interrupt controller is called: [`Board::sleep_ns`], opening and
//!    closing interrupts, [`Board::section`] with the backend's feature `critical-section`, [`Board::wake`],
//!    [`Board::disturb`]. `units.rs`: what is set up on each entry, [`Board::start`] and [`Board::stop`].
//! 7. `board.rs`: the static [`Kernel`] and the `impl Board`, which is names for all of the above.
//!    `options.rs`: the words of the command line that only this machine knows, if it has any.
//! 8. `kernel.rs`: the start, which is [`Settings::read`] of the command line, the backend's
//!    `unsafe fn new` with [`ap_entry`] as its `ap_main` and [`Settings::idle`] as its `idle`,
//!    [`Kernel::keep`], [`Kernel::run`].
//! 9. `main.rs`: calls the start and hands its result to [`end`]; the panic handler calls [`panic()`].
#![no_std]

mod board;
mod host;
mod kernel;
mod memory;
mod poison;
mod settings;
mod storage;

pub use board::Board;
pub use kernel::{Kernel, StartError, ap_entry, end, panic};
pub use memory::{CpuMemory, PerCpu};
pub use settings::Settings;
pub use storage::MAX_CPUS;
