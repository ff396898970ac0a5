//! Trace hooks: a parameter of [`crate::Cpuhp`], so that no tracer means no instruction.
//!
//! The core reads no clock for tracing; a duration is the difference of the tracer's own stamps.
//! With `()` every call is statically dead.

use core::panic::Location;

use crate::call::CallError;
use crate::cpu::CpuId;
use crate::handshake::Tag;
use crate::step::{Direction, StateId, StepResult};

/// One call of one half of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepEvent {
    /// The CPU that is moved.
    pub cpu: CpuId,
    /// The CPU that executes the callback.
    pub on: CpuId,
    /// Number of the state.
    pub state: StateId,
    /// Name of its step.
    pub name: &'static str,
    /// Which half.
    pub dir: Direction,
    /// Whether the walk goes back because of a failure.
    pub rollback: bool,
}

/// What became of a call to another CPU.
///
/// An accepted call has exactly one `Queued`, one `Pushed`, one `Entry` and one `Exit`. `Queued` comes
/// before the target can see the call, so never after `Entry`; `Pushed` comes after that, so it may be later
/// than both. A call that is not accepted has one `Refused`, and a `Queued` before it only if the target
/// left at that very moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallStage {
    /// About to be queued. On the caller.
    Queued,
    /// In the queue of its target. On the caller.
    Pushed(Ipi),
    /// Its function is about to run. On the target.
    Entry,
    /// Its function has returned. On the target.
    Exit,
    /// Not accepted, and never run. On the caller.
    Refused(CallError),
}

/// How the target of a call learns of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ipi {
    /// [`crate::Platform::ipi`] is asked for one.
    Sent,
    /// The one of an earlier call, which still waits in the queue, does for both.
    Coalesced,
    /// The caller is the target.
    Own,
}

/// One event of a call to another CPU.
#[derive(Clone, Copy, Debug)]
pub struct CallEvent {
    /// What happened.
    pub stage: CallStage,
    /// The address of the node: with `turn` it names the call.
    pub node: usize,
    /// How often the node had been used before; 0 in a `Refused` that used it not at all.
    pub turn: u32,
    /// The CPU that calls.
    pub from: CpuId,
    /// The CPU that is called.
    pub cpu: CpuId,
    /// What the function is given.
    pub arg: usize,
    /// Where in the source the call is made.
    pub site: &'static Location<'static>,
}

/// Receives what happens, on the CPU where it happens. Every method may be called on all CPUs at
/// once, with interrupts off, and must neither block nor call the core.
pub trait Trace: Sync {
    /// Whether this tracer looks at anything.
    const ON: bool;

    /// Whether [`Self::enter`], [`Self::exit`] and [`Self::fault`] are wanted now; asked once per walk. A
    /// tracer that can be switched off costs the steps nothing while it is. Default: always.
    fn wants_steps(&self) -> bool {
        true
    }

    /// A half is about to be called.
    fn enter(&self, _event: &StepEvent) {}

    /// It returned; "call me again" reads [`crate::StepError::WOULD_BLOCK`].
    fn exit(&self, _event: &StepEvent, _result: StepResult) {}

    /// An armed fault was hit: the half is not called.
    fn fault(&self, _event: &StepEvent) {}

    /// The sync word of `cpu` moved.
    fn edge(&self, _cpu: CpuId, _from: Tag, _to: Tag) {}

    /// `cpu` was kicked for the `epoch`-th time (modulo 2^16).
    fn kick(&self, _cpu: CpuId, _epoch: u16) {}

    /// A call to another CPU went on.
    fn call(&self, _event: &CallEvent) {}
}

impl Trace for () {
    const ON: bool = false;
}

impl<T: Trace> Trace for &T {
    const ON: bool = T::ON;

    fn wants_steps(&self) -> bool {
        (**self).wants_steps()
    }
    fn enter(&self, event: &StepEvent) {
        (**self).enter(event);
    }
    fn exit(&self, event: &StepEvent, result: StepResult) {
        (**self).exit(event, result);
    }
    fn fault(&self, event: &StepEvent) {
        (**self).fault(event);
    }
    fn edge(&self, cpu: CpuId, from: Tag, to: Tag) {
        (**self).edge(cpu, from, to);
    }
    fn kick(&self, cpu: CpuId, epoch: u16) {
        (**self).kick(cpu, epoch);
    }
    fn call(&self, event: &CallEvent) {
        (**self).call(event);
    }
}
