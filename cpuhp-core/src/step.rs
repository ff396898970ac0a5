//! Steps: what a kernel declares per state, and what a callback is told.
//!
//! The two types of step are the two kinds of section. [`Step`] is for PREPARE and ONLINE, where a
//! callback may fail or ask to be called again; [`StartStep`] is for STARTING, where it cannot fail
//! because its function type has no error to return.

mod half;

use core::fmt;
use core::task::Poll;

use bitflags::bitflags;

use crate::cpu::CpuId;
use crate::error::StepError;
use crate::instance::{Instances, MultiStart};
use crate::lock::Stable;
use crate::mask::Kind;
use crate::run::Mode;
use crate::storage::Storage;

pub(crate) use half::{Half, Meta};

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
        Self(self.0.wrapping_add(1))
    }

    /// Returns the state `count` above.
    pub(crate) fn plus(self, count: usize) -> Self {
        Self(
            self.0
                .saturating_add(u16::try_from(count).unwrap_or(u16::MAX)),
        )
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

impl Direction {
    /// Returns the other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
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
    pub(crate) how: How,
    pub(crate) storage: &'a Storage<'a>,
}

/// Whether a walk goes where it was asked to, or back after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rollback {
    No,
    Yes,
}

/// How a walk goes: its section, and the flags of a [`Request`](crate::handshake::Request) in their places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct How(u32);

impl How {
    /// Back after a failure: a second one ends it.
    pub(crate) const ROLLBACK: u32 = 1 << 23;
    /// Errors on the way down are counted and passed over.
    pub(crate) const FORCED: u32 = 1 << 21;
    /// Part of a suspend or a resume.
    pub(crate) const SUSPEND: u32 = 1 << 19;
    /// All of them.
    pub(crate) const FLAGS: u32 = Self::ROLLBACK | Self::FORCED | Self::SUSPEND;

    /// In this section, with these flags.
    #[inline]
    pub(crate) const fn new(section: Section, flags: u32) -> Self {
        Self(section as u32 | flags & Self::FLAGS)
    }

    /// To where it was asked.
    #[inline]
    pub(crate) const fn forward(section: Section) -> Self {
        Self::new(section, 0)
    }

    /// Returns the flags alone.
    #[inline]
    pub(crate) const fn flags(self) -> u32 {
        self.0 & Self::FLAGS
    }

    /// Returns the number of the section, as [`Section`] has it.
    #[inline]
    pub(crate) const fn section_bit(self) -> u32 {
        self.0 & 3
    }

    #[inline]
    pub(crate) const fn section(self) -> Section {
        match self.0 & 3 {
            0 => Section::Prepare,
            1 => Section::Starting,
            _ => Section::Online,
        }
    }
}

/// The parts of the table, each run in its own way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Section {
    /// Control CPU, the AP does not run.
    Prepare = 0,
    /// AP, interrupts off.
    Starting = 1,
    /// AP, interrupts open.
    Online = 2,
}

impl<'a> Ctx<'a> {
    /// Returns the proof that no other CPU changes state.
    pub const fn stable(&self) -> &'a Stable<'a> {
        &Stable::PROOF
    }

    /// Returns the CPU that is moved. In PREPARE this is not the CPU that executes the callback.
    #[inline]
    pub const fn cpu(&self) -> CpuId {
        self.cpu
    }

    /// Whether the walk goes back because of a failure.
    #[inline]
    pub const fn is_rollback(&self) -> bool {
        self.how.0 & How::ROLLBACK != 0
    }

    /// The same, for going back inside one step.
    pub(crate) const fn rolling_back(&self) -> Self {
        let how = How(self.how.0 | How::ROLLBACK);
        Self { how, ..*self }
    }

    /// Whether the walk is part of a suspend or a resume of the whole machine.
    pub const fn is_suspend(&self) -> bool {
        self.how.0 & How::SUSPEND != 0
    }

    /// Whether work may be placed on `cpu`: it is online and not on its way down.
    pub fn may_take_work(&self, cpu: CpuId) -> bool {
        let leaves = self.storage.lock.is_leaving() && self.storage.has(Kind::Batch, cpu);
        self.storage.has(Kind::Online, cpu) && !self.storage.has(Kind::Dying, cpu) && !leaves
    }

    /// Whether errors are counted and passed over: the CPU goes down whatever is answered.
    pub const fn is_forced(&self) -> bool {
        self.how.0 & How::FORCED != 0
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
    meta: Meta,
    up: Option<StepFn>,
    down: Option<StepFn>,
    multi: Option<&'static Instances>,
}

impl Step {
    pub(crate) const fn name(&self) -> &'static str {
        self.meta.name
    }

    /// Names a step; by convention `subsystem:section`. Without halves it does nothing.
    #[inline]
    pub const fn new(name: &'static str) -> Self {
        Self {
            meta: Meta::new(name),
            up: None,
            down: None,
            multi: None,
        }
    }

    /// Sets what bringup calls.
    #[must_use]
    pub const fn up(mut self, call: StepFn) -> Self {
        self.up = Some(call);
        self.meta.add(Direction::Up);
        self
    }

    /// Sets what teardown calls.
    #[must_use]
    pub const fn down(mut self, call: StepFn) -> Self {
        self.down = Some(call);
        self.meta.add(Direction::Down);
        self
    }

    /// Promises that both halves may run on, or for, several CPUs at once.
    #[must_use]
    pub const fn parallel(mut self) -> Self {
        self.meta.parallel();
        self
    }

    /// Makes it a multi-instance state: the instances' halves are called instead of its own.
    #[must_use]
    pub const fn multi(mut self, instances: &'static Instances) -> Self {
        self.multi = Some(instances);
        self.up = None;
        self.down = None;
        self.meta.add(Direction::Up);
        self.meta.add(Direction::Down);
        self
    }

    /// Whether it was promised to be parallel.
    pub const fn is_parallel(&self) -> bool {
        self.meta.is_parallel()
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
    meta: Meta,
    up: Option<StartFn>,
    down: Option<StartFn>,
    multi: Option<&'static Instances<dyn MultiStart>>,
}

impl StartStep {
    pub(crate) const fn name(&self) -> &'static str {
        self.meta.name
    }

    /// Names a step; by convention `subsystem:starting`. Without halves it does nothing.
    #[inline]
    pub const fn new(name: &'static str) -> Self {
        Self {
            meta: Meta::new(name),
            up: None,
            down: None,
            multi: None,
        }
    }

    /// Sets what bringup calls.
    #[must_use]
    pub const fn up(mut self, call: StartFn) -> Self {
        self.up = Some(call);
        self.meta.add(Direction::Up);
        self
    }

    /// Sets what teardown calls.
    #[must_use]
    pub const fn down(mut self, call: StartFn) -> Self {
        self.down = Some(call);
        self.meta.add(Direction::Down);
        self
    }

    /// Promises that both halves may run on several CPUs at once.
    #[must_use]
    pub const fn parallel(mut self) -> Self {
        self.meta.parallel();
        self
    }

    /// Makes it a multi-instance state: the instances' halves are called instead of its own.
    #[must_use]
    pub const fn multi(mut self, instances: &'static Instances<dyn MultiStart>) -> Self {
        self.multi = Some(instances);
        self.up = None;
        self.down = None;
        self.meta.add(Direction::Up);
        self.meta.add(Direction::Down);
        self
    }

    /// Whether it was promised to be parallel.
    pub const fn is_parallel(&self) -> bool {
        self.meta.is_parallel()
    }
}

impl Step {
    /// Returns what is called in this direction, if anything.
    #[inline]
    pub const fn callback(&self, dir: Direction) -> Option<StepFn> {
        match dir {
            Direction::Up => self.up,
            Direction::Down => self.down,
        }
    }

    pub(crate) const fn list(&self) -> Option<&'static Instances> {
        self.multi
    }
}

impl StartStep {
    /// How CPUs walk it.
    pub(crate) const fn mode(&self) -> Mode {
        self.meta.mode()
    }

    pub(crate) const fn list(&self) -> Option<&'static Instances<dyn MultiStart>> {
        self.multi
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Step").field(&self.meta.name).finish()
    }
}

impl fmt::Debug for StartStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StartStep").field(&self.meta.name).finish()
    }
}
