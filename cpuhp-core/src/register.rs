//! Registering while CPUs are up: dynamic states and instances of multi-instance states.
//!
//! Whoever registers holds the write lock, so no CPU moves. What is new runs on every CPU that is
//! already past it, where it belongs: PREPARE on the calling CPU, the rest on each CPU itself. If one
//! fails, exactly those that did it undo it, in reverse.

mod begin;
mod invoke;
mod job;

use core::fmt;
use core::task::Poll;

use crate::cpu::CpuId;
use crate::error::{OpError, Refused, StepFailure};
use crate::hotplug::Cpuhp;
use crate::instance::{Instance, MultiStart};
use crate::lock::WriteGuard;
use crate::platform::Platform;
use crate::step::{Direction, StateId, Step};
use crate::table::DynRange;
use crate::trace::Trace;

use begin::Ask;
pub use job::RegisterOp;

/// Whether the CPUs that are already past a state are made to do, or undo, what is new or goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Calls {
    /// Run it on each of them.
    Run,
    /// Only store it; whoever asks for this has done the work by other means.
    Skip,
}

/// A registered dynamic state. Stale once it is unregistered, whatever takes its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StateHandle {
    pub(crate) at: StateId,
    pub(crate) generation: u32,
}

impl StateHandle {
    /// Returns the state it is registered at.
    pub const fn state(self) -> StateId {
        self.at
    }
}

/// Why something was not registered or removed. Nothing stays half registered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum RegisterError {
    /// Refused before anything ran.
    Refused(OpError),
    /// Every slot of the range is taken; it has this many.
    Full(u16),
    /// A range that is prepared for all CPUs before the first kick takes parallel steps only.
    NotParallel(&'static str),
    /// The name is empty, or ends like a direction of the control interface.
    BadName(&'static str),
    /// The handle is of something that is no longer registered.
    Stale(StateHandle),
    /// The state has this many instances left.
    InstancesLeft(StateId, usize),
    /// The instance is in a list already, or a CPU that never answered may still use it.
    AlreadyLinked(StateId),
    /// The instance is not in this list.
    NotLinked(StateId),
    /// No multi-instance state of this kind is there.
    NotMulti(StateId),
    /// A CPU failed; it and all others are as before, unless the undo failed as well.
    Failed {
        /// The CPU that failed.
        cpu: CpuId,
        /// What failed there.
        first: StepFailure,
        /// The first failure of the undo, and where.
        undo: Option<(CpuId, StepFailure)>,
    },
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Full(slots) => write!(f, "all {slots} slots of the range are taken"),
            Self::NotParallel(name) => write!(f, "{name} is not parallel, its range is"),
            Self::BadName(name) => write!(f, "{name:?} cannot be the name of a state"),
            Self::Stale(handle) => write!(f, "the handle of state {} is stale", handle.at),
            Self::InstancesLeft(at, count) => write!(f, "state {at} has {count} instances left"),
            Self::AlreadyLinked(at) => write!(f, "state {at}: the instance is in a list already"),
            Self::NotLinked(at) => write!(f, "state {at}: the instance is not in its list"),
            Self::NotMulti(at) => write!(f, "state {at} takes no such instances"),
            Self::Failed { cpu, first, undo } => {
                write!(f, "{cpu} failed at {first}")?;
                match undo {
                    Some((cpu, second)) => write!(f, "; undo on {cpu} failed at {second}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl core::error::Error for RegisterError {}

impl From<Refused> for RegisterError {
    #[inline(never)]
    fn from(refused: Refused) -> Self {
        Self::Refused(refused.into())
    }
}

impl From<OpError> for RegisterError {
    fn from(refused: OpError) -> Self {
        Self::Refused(refused)
    }
}

/// What a finished registration answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registered {
    /// The handle of a state that was registered.
    pub handle: Option<StateHandle>,
    /// Errors that a removal met and passed over: a removal that began always succeeds.
    pub ignored: u32,
}

impl<P: Platform, T: Trace> WriteGuard<'_, '_, P, T> {
    /// Begins to register `step` in the first free slot of `range`.
    ///
    /// A multi-instance step is only stored: its instances are added one by one.
    ///
    /// Context: any available CPU. Nothing runs before the first poll.
    ///
    /// # Errors
    /// [`RegisterError::Full`], [`RegisterError::NotParallel`], [`RegisterError::BadName`],
    /// [`RegisterError::Refused`].
    pub fn register(
        &self,
        range: DynRange,
        step: &'static Step,
        calls: Calls,
    ) -> Result<RegisterOp, RegisterError> {
        self.begin_register(Ask::Register(range, step), calls)
    }

    /// Begins to remove a dynamic state.
    ///
    /// # Errors
    /// [`RegisterError::Stale`], [`RegisterError::InstancesLeft`], [`RegisterError::Refused`].
    pub fn unregister(
        &self,
        handle: StateHandle,
        calls: Calls,
    ) -> Result<RegisterOp, RegisterError> {
        self.begin_register(Ask::Unregister(handle), calls)
    }

    /// Begins to add `instance` to the multi-instance state `at` of PREPARE or ONLINE.
    ///
    /// It is linked once its `up` has succeeded on every CPU that is past the state.
    ///
    /// # Errors
    /// [`RegisterError::NotMulti`], [`RegisterError::AlreadyLinked`], [`RegisterError::Refused`].
    pub fn add_instance(
        &self,
        at: StateId,
        instance: &'static Instance,
        calls: Calls,
    ) -> Result<RegisterOp, RegisterError> {
        self.begin_register(Ask::Instance(Direction::Up, at, instance), calls)
    }

    /// Begins to remove an instance. Errors of its `down` are counted and passed over.
    ///
    /// # Errors
    /// [`RegisterError::NotMulti`], [`RegisterError::NotLinked`], [`RegisterError::Refused`].
    pub fn remove_instance(
        &self,
        at: StateId,
        instance: &'static Instance,
        calls: Calls,
    ) -> Result<RegisterOp, RegisterError> {
        self.begin_register(Ask::Instance(Direction::Down, at, instance), calls)
    }

    /// As [`Self::add_instance`], for a state of STARTING.
    ///
    /// # Errors
    /// As [`Self::add_instance`].
    pub fn add_start_instance(
        &self,
        at: StateId,
        instance: &'static Instance<dyn MultiStart>,
        calls: Calls,
    ) -> Result<RegisterOp, RegisterError> {
        self.begin_register(Ask::StartInstance(Direction::Up, at, instance), calls)
    }

    /// As [`Self::remove_instance`], for a state of STARTING.
    ///
    /// # Errors
    /// As [`Self::remove_instance`].
    pub fn remove_start_instance(
        &self,
        at: StateId,
        instance: &'static Instance<dyn MultiStart>,
        calls: Calls,
    ) -> Result<RegisterOp, RegisterError> {
        self.begin_register(Ask::StartInstance(Direction::Down, at, instance), calls)
    }
}

impl<P: Platform, T: Trace> Cpuhp<'_, P, T> {
    /// Registers `step` in the first free slot of `range` and runs it where it belongs.
    ///
    /// Context: as [`Cpuhp::cpu_up`].
    ///
    /// # Errors
    /// As [`WriteGuard::register`], and [`RegisterError::Failed`].
    pub fn register(
        &self,
        range: DynRange,
        step: &'static Step,
        calls: Calls,
    ) -> Result<StateHandle, RegisterError> {
        let done = self.run_register(Ask::Register(range, step), calls)?;
        // An addition that succeeded has a handle.
        done.handle.ok_or(RegisterError::Full(range.capacity()))
    }

    /// Removes a dynamic state; returns how many errors were passed over.
    ///
    /// Context: as [`Cpuhp::cpu_up`].
    ///
    /// # Errors
    /// As [`WriteGuard::unregister`].
    pub fn unregister(&self, handle: StateHandle, calls: Calls) -> Result<u32, RegisterError> {
        let done = self.run_register(Ask::Unregister(handle), calls)?;
        Ok(done.ignored)
    }

    /// Adds an instance to a multi-instance state of PREPARE or ONLINE.
    ///
    /// Context: as [`Cpuhp::cpu_up`].
    ///
    /// # Errors
    /// As [`WriteGuard::add_instance`], and [`RegisterError::Failed`].
    pub fn add_instance(
        &self,
        at: StateId,
        instance: &'static Instance,
        calls: Calls,
    ) -> Result<(), RegisterError> {
        let ask = Ask::Instance(Direction::Up, at, instance);
        self.run_register(ask, calls).map(drop)
    }

    /// Removes an instance; returns how many errors were passed over.
    ///
    /// Context: as [`Cpuhp::cpu_up`].
    ///
    /// # Errors
    /// As [`WriteGuard::remove_instance`].
    pub fn remove_instance(
        &self,
        at: StateId,
        instance: &'static Instance,
        calls: Calls,
    ) -> Result<u32, RegisterError> {
        let ask = Ask::Instance(Direction::Down, at, instance);
        Ok(self.run_register(ask, calls)?.ignored)
    }

    #[inline(never)]
    fn run_register(&self, ask: Ask, calls: Calls) -> Result<Registered, RegisterError> {
        let guard = self.write()?;
        let mut op = guard.begin_register(ask, calls)?;
        loop {
            if let Poll::Ready(result) = op.poll(&guard) {
                return result;
            }
            let (cpu, deadline) = op.awaited();
            self.wait_served(cpu, deadline);
        }
    }
}
