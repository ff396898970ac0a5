//! Registering while CPUs are up: dynamic states and instances of multi-instance states.
//!
//! Whoever registers holds the write lock, so no CPU moves. What is new runs on every CPU that is
//! already past it, where it belongs: PREPARE on the calling CPU, the rest on each CPU itself. If one
//! fails, exactly those that did it undo it, in reverse.

mod invoke;
mod job;

use core::fmt;
use core::task::Poll;

use crate::cpu::CpuId;
use crate::error::{OpError, StepFailure, Why};
use crate::hotplug::Cpuhp;
use crate::instance::{Instance, Instances, MultiStart, MultiStep};
use crate::lock::{Registering, WriteGuard};
use crate::platform::{Platform, Who};
use crate::record::DynSlot;
use crate::run::Mode;
use crate::step::{Half, StateId, Step};
use crate::table::{DynRange, is_name};
use crate::trace::Trace;

pub use job::RegisterOp;
use job::{Job, mode_of};

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
    /// [`RegisterError::Full`], [`RegisterError::NotParallel`], [`RegisterError::Refused`].
    pub fn register(
        &self,
        range: DynRange,
        step: &'static Step,
        calls: Calls,
    ) -> Result<RegisterOp, RegisterError> {
        self.settled(|stamp| {
            let hp = self.hp;
            let name = Half::name(step);
            if !is_name(name) {
                return Err(RegisterError::BadName(name));
            }
            if hp.table().is_parallel(range) && !step.is_parallel() {
                return Err(RegisterError::NotParallel(name));
            }
            let row = hp.storage.slots.get(range.slots()).unwrap_or_default();
            // Every CPU has answered since: nobody can still run what was left there.
            row.iter().for_each(DynSlot::lay);
            let free = row.iter().position(|slot| slot.get().is_none());
            let free = free.ok_or(RegisterError::Full(range.capacity()))?;
            let at = range.first().plus(free);
            Ok(self.begin_register(stamp, Job::Add(step), at, calls, mode_of(step)))
        })
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
        self.settled(|stamp| {
            let hp = self.hp;
            let stale = RegisterError::Stale(handle);
            let slot = hp.slot(handle.at).ok_or(stale)?;
            let step = slot.get().ok_or(stale)?;
            if slot.generation.get() != handle.generation {
                return Err(stale);
            }
            let left = step.instances().map_or(0, Instances::count);
            if left > 0 {
                return Err(RegisterError::InstancesLeft(handle.at, left));
            }
            let mode = mode_of(step);
            Ok(self.begin_register(stamp, Job::Remove, handle.at, calls, mode))
        })
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
        self.settled(|stamp| {
            let (list, mode) = self.list(at)?;
            if !instance.take() {
                return Err(RegisterError::AlreadyLinked(at));
            }
            list.set_candidate(Some(instance));
            let job = Job::Link(list, instance);
            Ok(self.begin_register(stamp, job, at, calls, mode))
        })
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
        self.settled(|stamp| {
            let (list, mode) = self.list(at)?;
            if !list.holds(instance) {
                return Err(RegisterError::NotLinked(at));
            }
            list.set_candidate(Some(instance));
            let job = Job::Unlink(list, instance);
            Ok(self.begin_register(stamp, job, at, calls, mode))
        })
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
        self.settled(|stamp| {
            let (list, mode) = self.start_list(at)?;
            if !instance.take() {
                return Err(RegisterError::AlreadyLinked(at));
            }
            list.set_candidate(Some(instance));
            let job = Job::LinkStart(list, instance);
            Ok(self.begin_register(stamp, job, at, calls, mode))
        })
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
        self.settled(|stamp| {
            let (list, mode) = self.start_list(at)?;
            if !list.holds(instance) {
                return Err(RegisterError::NotLinked(at));
            }
            list.set_candidate(Some(instance));
            let job = Job::UnlinkStart(list, instance);
            Ok(self.begin_register(stamp, job, at, calls, mode))
        })
    }

    /// Returns the list of a state of PREPARE or ONLINE, with no forgotten candidate in it.
    fn list(
        &self,
        at: StateId,
    ) -> Result<(&'static Instances<dyn MultiStep>, Mode), RegisterError> {
        let step = self.hp.step(at).ok_or(RegisterError::NotMulti(at))?;
        let list = step.instances().ok_or(RegisterError::NotMulti(at))?;
        if let Some(cpu) = self.hp.all_cpus().find(|cpu| self.hp.is_among(*cpu, at)) {
            // An operation that can be resumed stands between two of them.
            return Err(OpError::refused(cpu, Why::Busy).into());
        }
        list.forget_candidate();
        Ok((list, mode_of(step)))
    }

    fn start_list(
        &self,
        at: StateId,
    ) -> Result<(&'static Instances<dyn MultiStart>, Mode), RegisterError> {
        let step = self
            .hp
            .table()
            .starting
            .get(at)
            .ok_or(RegisterError::NotMulti(at))?;
        let list = step.instances().ok_or(RegisterError::NotMulti(at))?;
        list.forget_candidate();
        Ok((list, mode_of(step)))
    }

    /// Begins a registration while nothing else runs under the guard and no CPU is in flight: it may be
    /// inside the very state.
    fn settled(
        &self,
        begin: impl FnOnce(u32) -> Result<RegisterOp, RegisterError>,
    ) -> Result<RegisterOp, RegisterError> {
        let hp = self.hp;
        let busy = |cpu| Err(OpError::refused(cpu, Why::Busy).into());
        let stamp = hp.storage.lock.next_stamp();
        if !hp.storage.lock.claim_bulk(stamp) {
            return busy(hp.platform().this_cpu());
        }
        hp.storage.lock.set_registering(Registering::Yes);
        let began = match hp.all_cpus().find(|cpu| hp.is_moving(*cpu)) {
            Some(cpu) => busy(cpu),
            None => begin(stamp),
        };
        if began.is_err() {
            hp.storage.lock.set_registering(Registering::No);
            hp.storage.lock.free_bulk();
        }
        began
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
        let done = self.run_register(|guard| guard.register(range, step, calls))?;
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
        Ok(self
            .run_register(|guard| guard.unregister(handle, calls))?
            .ignored)
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
        self.run_register(|guard| guard.add_instance(at, instance, calls))
            .map(|_| ())
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
        Ok(self
            .run_register(|guard| guard.remove_instance(at, instance, calls))?
            .ignored)
    }

    fn run_register(
        &self,
        begin: impl FnOnce(&WriteGuard<'_, '_, P, T>) -> Result<RegisterOp, RegisterError>,
    ) -> Result<Registered, RegisterError> {
        let guard = self.write()?;
        let mut op = begin(&guard)?;
        loop {
            if let Poll::Ready(result) = op.poll(&guard) {
                return result;
            }
            let (cpu, deadline) = op.awaited();
            self.platform().wait(Who::Control(cpu), deadline);
        }
    }
}
