//! Steps: what a kernel declares per state, and what a callback is told.
//!
//! The two types of step are the two kinds of section. [`Step`] is for PREPARE and ONLINE, where a
//! callback may fail or ask to be called again; [`StartStep`] is for STARTING, where it cannot fail
//! because its function type has no error to return.

use core::fmt;
use core::task::Poll;

use bitflags::bitflags;

use crate::cpu::CpuId;
use crate::error::StepError;

/// Number of a state: position in the one order that bringup walks up and teardown walks down.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct StateId(u16);

impl StateId {
    /// The CPU is off and nothing of it is set up.
    pub const OFFLINE: Self = Self(0);

    /// Names the state with this number; [`states!`](crate::states) makes the constants to use.
    #[inline]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Returns the state above. Numbers stay below 0x7fff (checked by `states!`).
    #[inline]
    pub(crate) const fn above(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the state below.
    #[inline]
    pub(crate) const fn below(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The two directions of every walk, and the two halves of every step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// Bringup.
    Up,
    /// Teardown.
    Down,
}

bitflags! {
    /// What a step's author promises.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct StepFlags: u16 {
        /// May run on, or for, several CPUs at once.
        const PARALLEL = 1;
    }
}

/// What a fallible callback answers: done, [`StepError::WOULD_BLOCK`], or a failure.
pub type StepResult = Result<(), StepError>;

/// A callback of PREPARE or ONLINE.
///
/// Context in PREPARE: the control CPU, write lock held, interrupts as the caller had them. In
/// ONLINE: the AP itself, interrupts open. It may block the way its kernel blocks, or answer
/// [`StepError::WOULD_BLOCK`] and be called again. An `up` that fails leaves nothing behind; a
/// `down` that fails leaves everything as it was. It must not start an operation on a CPU: that is
/// refused.
pub type StepFn = fn(&Ctx<'_>) -> StepResult;

/// A callback of STARTING, both ways. `Pending` means: call me again.
///
/// Context: the AP itself, interrupts off. It cannot fail.
pub type StartFn = fn(&Ctx<'_>) -> Poll<()>;

/// Whether a CPU has ever completed this section of the table before.
///
/// Firmware restarts a CPU gladly; an initialisation written for "once per CPU" often does not
/// survive it. A callback that must know asks [`Ctx::entry`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Entry {
    /// No walk has completed the section upwards on this CPU yet.
    First,
    /// Some walk has.
    Again,
}

/// What a callback is told about the walk that calls it.
#[derive(Debug)]
pub struct Ctx<'a> {
    pub(crate) cpu: CpuId,
    pub(crate) entry: Entry,
    pub(crate) rollback: Rollback,
    pub(crate) stable: core::marker::PhantomData<&'a ()>,
}

/// Whether a walk goes where it was asked to, or back after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rollback {
    No,
    Yes,
}

impl Ctx<'_> {
    /// Returns the CPU that is moved. In PREPARE this is not the CPU that executes the callback.
    #[inline]
    pub const fn cpu(&self) -> CpuId {
        self.cpu
    }

    /// Whether the walk goes back because of a failure.
    #[inline]
    pub const fn is_rollback(&self) -> bool {
        matches!(self.rollback, Rollback::Yes)
    }

    /// Whether this CPU has completed the running section before.
    #[inline]
    pub const fn entry(&self) -> Entry {
        self.entry
    }
}

/// One state of PREPARE or ONLINE: a name and two halves, each of which may be missing.
#[derive(Clone, Copy)]
pub struct Step {
    name: &'static str,
    up: Option<StepFn>,
    down: Option<StepFn>,
    flags: StepFlags,
}

impl Step {
    pub(crate) const fn const_name(&self) -> &'static str {
        self.name
    }

    /// Names a step; by convention `subsystem:section`. Without halves it does nothing.
    #[inline]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            up: None,
            down: None,
            flags: StepFlags::empty(),
        }
    }

    /// Sets what bringup calls.
    #[must_use]
    pub const fn up(mut self, call: StepFn) -> Self {
        self.up = Some(call);
        self
    }

    /// Sets what teardown calls.
    #[must_use]
    pub const fn down(mut self, call: StepFn) -> Self {
        self.down = Some(call);
        self
    }

    /// Promises that both halves may run on, or for, several CPUs at once.
    #[must_use]
    pub const fn parallel(mut self) -> Self {
        self.flags = self.flags.union(StepFlags::PARALLEL);
        self
    }
}

/// One state of STARTING: as [`Step`], with halves that cannot fail.
///
/// A fallible function does not fit:
/// ```compile_fail,E0308
/// use cpuhp_core::{Ctx, StartStep, StepResult};
/// fn may_fail(_: &Ctx<'_>) -> StepResult { Ok(()) }
/// let step = StartStep::new("timer:starting").up(may_fail);
/// ```
#[derive(Clone, Copy)]
pub struct StartStep {
    name: &'static str,
    up: Option<StartFn>,
    down: Option<StartFn>,
    flags: StepFlags,
}

impl StartStep {
    pub(crate) const fn const_name(&self) -> &'static str {
        self.name
    }

    /// Names a step; by convention `subsystem:starting`. Without halves it does nothing.
    #[inline]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            up: None,
            down: None,
            flags: StepFlags::empty(),
        }
    }

    /// Sets what bringup calls.
    #[must_use]
    pub const fn up(mut self, call: StartFn) -> Self {
        self.up = Some(call);
        self
    }

    /// Sets what teardown calls.
    #[must_use]
    pub const fn down(mut self, call: StartFn) -> Self {
        self.down = Some(call);
        self
    }

    /// Promises that both halves may run on several CPUs at once.
    #[must_use]
    pub const fn parallel(mut self) -> Self {
        self.flags = self.flags.union(StepFlags::PARALLEL);
        self
    }
}

/// What the walk needs of either type of step.
pub(crate) trait Half {
    /// The callback type of its section.
    type Call: Copy;

    fn name(&self) -> &'static str;
    fn half(&self, dir: Direction) -> Option<Self::Call>;
    fn flags(&self) -> StepFlags;
    fn call(call: Self::Call, ctx: &Ctx<'_>) -> StepResult;

    /// Whether it takes one CPU at a time. A missing half does not help: the way back calls the other.
    fn breaks_run(&self) -> bool {
        let does = self.half(Direction::Up).is_some() || self.half(Direction::Down).is_some();
        does && !self.flags().contains(StepFlags::PARALLEL)
    }
}

impl Half for Step {
    type Call = StepFn;

    #[inline]
    fn name(&self) -> &'static str {
        self.name
    }
    #[inline]
    fn half(&self, dir: Direction) -> Option<StepFn> {
        match dir {
            Direction::Up => self.up,
            Direction::Down => self.down,
        }
    }
    #[inline]
    fn flags(&self) -> StepFlags {
        self.flags
    }
    #[inline]
    fn call(call: StepFn, ctx: &Ctx<'_>) -> StepResult {
        call(ctx)
    }
}

impl Half for StartStep {
    type Call = StartFn;

    #[inline]
    fn name(&self) -> &'static str {
        self.name
    }
    #[inline]
    fn half(&self, dir: Direction) -> Option<StartFn> {
        match dir {
            Direction::Up => self.up,
            Direction::Down => self.down,
        }
    }
    #[inline]
    fn flags(&self) -> StepFlags {
        self.flags
    }
    #[inline]
    fn call(call: StartFn, ctx: &Ctx<'_>) -> StepResult {
        match call(ctx) {
            Poll::Ready(()) => Ok(()),
            Poll::Pending => Err(StepError::WOULD_BLOCK),
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Step").field(&self.name).finish()
    }
}

impl fmt::Debug for StartStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StartStep").field(&self.name).finish()
    }
}
