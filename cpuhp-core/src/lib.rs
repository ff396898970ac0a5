//! CPU hotplug for any kernel: one symmetric table of steps, walked up to bring a CPU online and
//! down to take it offline, by the CPU itself wherever it can.
//!
//! # The life of a CPU
//!
//! The other documents refer to these numbers. *Control CPU*: the one that runs the operation. *AP*:
//! the one that is moved.
//!
//! ```text
//!   control CPU                                          AP
//!  1 off          nothing of the CPU is set up
//!  2 PREPARE up   steps below KICK run here              off
//!  3 kicked       DEAD -> KICKED, Platform::kick ------> entry code of the backend, ap_run
//!  4 alive                       KICKED -> ALIVE ------- arrived, on the stack PREPARE made
//!  5 released     ALIVE -> GO -------------------------> (or at once, if authorised before the kick)
//!  6 STARTING up                                         interrupts off, cannot fail
//!  7 up                              GO -> UP ---------- `available`: its mailbox works
//!  8 ONLINE up    request -----------------------------> may fail: goes back by itself
//!  9 online                       answer <-------------- `online`: general work may be placed
//! 10 ONLINE down  request -----------------------------> `dying`; may refuse: goes back up
//! 11 commit       last request ------------------------> STARTING down; GONE is its last store
//! 12 confirmed    Platform::confirm: off or parked
//! 13 PREPARE down what PREPARE made is given back, and the CPU is at 1 again
//! ```
//!
//! A CPU that does not come between 3 and 4 before its deadline is *quarantined*: nothing PREPARE
//! made is given back, since it may still come and stand on it. If it comes late it parks itself; the
//! next operation that wants it takes it back without a second kick.
//!
//! # What a kernel writes
//!
//! A table ([`states!`]), storage ([`Store`]), a [`Platform`] (or one of the backends, which are
//! platforms), and one call of [`Cpuhp::ap_run`] on the path by which its APs enter. Everything here
//! is `no_std`, allocates nothing, owns no statics and never blocks but through [`Platform::wait`].
//!
//! # What the CPU does then
//!
//! [`Cpuhp::ap_run`] keeps the CPU: it does hotplug and nothing else, which is right for a first boot. A
//! kernel that wants its CPU for other work enters once and polls from its idle loop or its hotplug thread:
//!
//! ```
//! use cpuhp_core::{ApExit, ApNext, CpuId, Cpuhp, Platform, Who};
//!
//! fn ap_main<P: Platform>(hp: &Cpuhp<'_, P>, cpu: CpuId, run_a_task: impl Fn() -> bool) -> ApExit {
//!     let mut next = hp.ap_enter(cpu, hp.platform().entry_hint(cpu));
//!     loop {
//!         match next {
//!             ApNext::Off => return ApExit::Off,
//!             ApNext::Park => return ApExit::Park,
//!             ApNext::Refused(_) => return ApExit::Stale,
//!             // Inside STARTING, interrupts are off and stay off.
//!             ApNext::Spin => hp.platform().relax(),
//!             // Not released yet, or a step asked to be called again: a short wait.
//!             ApNext::Wait => hp.platform().wait(Who::Ap(cpu), hp.platform().now() + 1_000_000),
//!             // Up, with nothing to do for hotplug: the CPU is the kernel's.
//!             ApNext::Idle => {
//!                 let is_free = || !hp.has_work(cpu) && !hp.has_calls(cpu);
//!                 while is_free() && run_a_task() {}
//!                 if is_free() {
//!                     hp.platform().wait(Who::Ap(cpu), u64::MAX);
//!                 }
//!             }
//!         }
//!         // After each wait: the interrupt that ended it may have come before the call.
//!         hp.poll_calls(cpu);
//!         next = hp.poll_ap(cpu);
//!     }
//! }
//! ```
//!
//! # Size
//!
//! What a kernel does not call is not linked. The crate is generic over the platform, so most of it is compiled
//! with the kernel and in the kernel's profile: `opt-level = "z"` and `lto = "fat"` there save a sixth of it, and
//! bring a kernel that moves one CPU at a time to about 12 KiB on x86-64, arm64 and riscv64.
//!
//! # Where things are
//!
//! `everyday` and `machine` are the blocking forms. `op` moves one CPU, `bulk` many; `ap` is the moved
//! CPU's side. Both sides meet in `handshake` and nowhere else. `decide` says what comes next, `walk` runs
//! steps, `table` knows the order. `call` has functions run on other CPUs.
#![no_std]
#![warn(missing_docs)]

mod adopt;
mod ap;
mod aref;
mod bulk;
mod call;
mod control;
mod cpu;
mod decide;
mod drive;
mod error;
mod everyday;
mod fault;
mod handshake;
mod hotplug;
mod instance;
mod lock;
mod machine;
mod mask;
mod op;
mod owner;
mod phase;
mod platform;
mod record;
mod register;
mod ring;
mod run;
mod step;
mod storage;
mod sync;
mod table;
mod trace;
mod walk;

pub use adopt::BootSteps;
pub use ap::{ApExit, ApNext, Misuse};
pub use bulk::{BulkOp, BulkReport, Policy, Which};
pub use call::{Call, CallError, CallFn, CallQueue, CallReport};
pub use control::{ControlError, ControlRequest};
pub use cpu::{CpuId, HwId};
pub use error::{
    Failure, KickError, KickErrorKind, Left, OpError, Refusal, StepError, StepFailure, Why,
};
pub use fault::FaultAt;
pub use handshake::Tag;
pub use hotplug::Cpuhp;
pub use instance::{Instance, Instances, MultiStart, MultiStep};
pub use lock::{Disabled, LockWord, ReadGuard, ReaderCell, Stable, WriteGuard, Writing};
pub use mask::{CpuMask, CpuMaskMut, Iter, MaskStore, MaskWord, words};
pub use op::{CpuOp, OpFlags};
pub use owner::OwnerLock;
pub use platform::{Confirm, KickOutcome, Platform, Who};
pub use record::{DynSlot, Record};
pub use register::{Calls, RegisterError, RegisterOp, Registered, StateHandle};
pub use ring::{Called, Event, Recorder, Ring, RingCursor, What};
pub use step::{
    Ctx, Direction, Entry, StartFn, StartStep, StateId, Step, StepFlags, StepFn, StepResult,
};
pub use storage::{Storage, Store};
pub use table::{DynRange, Table};
pub use trace::{CallEvent, CallStage, Ipi, StepEvent, Trace};

#[doc(hidden)]
pub use table::Sections;
