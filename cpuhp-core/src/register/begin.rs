//! Beginning a registration: what is refused before anything runs.

use super::job::Job;
use super::{Calls, RegisterError, RegisterOp, StateHandle};
use crate::cpu::CpuId;
use crate::error::{Refused, Why};
use crate::hotplug::Cpuhp;
use crate::instance::{Instance, Instances, MultiStart, Object, Register};
use crate::lock::{Leaving, Registering, WriteGuard};
use crate::mask::Kind;
use crate::platform::Platform;
use crate::record::DynSlot;
use crate::step::{Direction, Half, Meta, StateId, Step};
use crate::table::{DynRange, is_name};
use crate::trace::Trace;

/// What a caller asks for.
#[derive(Clone, Copy)]
pub(super) enum Ask {
    Register(DynRange, &'static Step),
    Unregister(StateHandle),
    /// `Up` adds, `Down` removes.
    Instance(Direction, StateId, &'static Instance),
    StartInstance(Direction, StateId, &'static Instance<dyn MultiStart>),
}

impl<P: Platform, T: Trace> WriteGuard<'_, '_, P, T> {
    /// Begins a registration while nothing else runs under the guard and no CPU is in flight: it may be
    /// inside the very state.
    #[inline(never)]
    pub(super) fn begin_register(
        &self,
        ask: Ask,
        calls: Calls,
    ) -> Result<RegisterOp, RegisterError> {
        let hp = self.hp;
        let lock = hp.storage.lock;
        let stamp = lock.next_stamp();
        if !lock.claim_bulk(stamp) {
            return Err(busy(hp.platform().this_cpu()));
        }
        lock.set_registering(Registering::Yes);
        let job = match hp.first_moving() {
            Some(cpu) => Err(busy(cpu)),
            None => hp.job_of(ask),
        };
        if let Ok(job) = &job {
            hp.name_cpus(job.at, calls);
        } else {
            lock.set_registering(Registering::No);
            lock.free_bulk();
        }
        Ok(RegisterOp::new(job?, stamp))
    }
}

impl<P: Platform, T: Trace> Cpuhp<'_, P, T> {
    fn job_of(&self, ask: Ask) -> Result<Job, RegisterError> {
        match ask {
            Ask::Register(range, step) => self.job_of_register(range, step),
            Ask::Unregister(handle) => self.job_of_unregister(handle),
            Ask::Instance(dir, at, instance) => {
                let blocked = |cpu| self.among(cpu, at).map(|why| Refused(cpu, why));
                if let Some(refused) = self.all_cpus().find_map(blocked) {
                    return Err(refused.into());
                }
                let step = self.step(at);
                let list = step.and_then(|step| Some((step.meta(), step.list()?)));
                job_of_instance(list, dir, at, instance)
            }
            Ask::StartInstance(dir, at, instance) => {
                let step = self.table().starting.get(at);
                let list = step.and_then(|step| Some((step.meta(), step.list()?)));
                job_of_instance(list, dir, at, instance)
            }
        }
    }

    #[inline(never)]
    fn job_of_register(&self, range: DynRange, step: &'static Step) -> Result<Job, RegisterError> {
        let name = step.name();
        if !is_name(name) {
            return Err(RegisterError::BadName(name));
        }
        if self.table().is_parallel(range) && !step.is_parallel() {
            return Err(RegisterError::NotParallel(name));
        }
        let row = self.storage.slots.get(range.slots()).unwrap_or_default();
        // Every CPU has answered since: nobody can still run what was left there.
        row.iter().for_each(DynSlot::lay);
        let mut free = row.iter().enumerate();
        let free = free.find(|(_, slot)| slot.get().is_none());
        let (free, slot) = free.ok_or(RegisterError::Full(range.capacity()))?;
        let at = range.first().plus(free);
        let generation = slot.reserve(step);
        let handle = Some(StateHandle { at, generation });
        let job = Job::new(at, Direction::Up, step.meta());
        Ok(Job { handle, ..job })
    }

    #[inline(never)]
    fn job_of_unregister(&self, handle: StateHandle) -> Result<Job, RegisterError> {
        let stale = RegisterError::Stale(handle);
        let slot = self.slot(handle.at).ok_or(stale)?;
        let step = slot.get().ok_or(stale)?;
        if slot.generation.get() != handle.generation {
            return Err(stale);
        }
        let left = step.list().map_or(0, Instances::count);
        if left > 0 {
            return Err(RegisterError::InstancesLeft(handle.at, left));
        }
        Ok(Job::new(handle.at, Direction::Down, step.meta()))
    }

    #[inline(never)]
    fn first_moving(&self) -> Option<CpuId> {
        self.all_cpus().find(|cpu| self.is_moving(*cpu))
    }

    /// Names the CPUs that are past the state. Pending: still to be called. Batch: called, so to be
    /// undone if another one fails.
    #[inline(never)]
    fn name_cpus(&self, at: StateId, calls: Calls) {
        // What a bulk operation that was dropped left behind is not about these CPUs.
        self.storage.lock.set_leaving(Leaving::No);
        self.storage.clear(Kind::Batch);
        self.storage.clear(Kind::Pending);
        if calls == Calls::Run {
            let past = |cpu: &CpuId| self.state(*cpu).is_some_and(|state| state >= at);
            let past = self.all_cpus().filter(past);
            past.for_each(|cpu| self.storage.add(Kind::Pending, cpu));
        }
    }
}

fn busy(cpu: CpuId) -> RegisterError {
    Refused(cpu, Why::Busy).into()
}

/// Checks an instance against the list of its state, and makes it the list's candidate.
#[inline(never)]
fn job_of_instance<O: Object + ?Sized>(
    list: Option<(&'static Meta, &'static Instances<O>)>,
    dir: Direction,
    at: StateId,
    instance: &'static Instance<O>,
) -> Result<Job, RegisterError> {
    let (meta, list) = list.ok_or(RegisterError::NotMulti(at))?;
    if !list.propose(instance, dir) {
        return Err(match dir {
            Direction::Up => RegisterError::AlreadyLinked(at),
            Direction::Down => RegisterError::NotLinked(at),
        });
    }
    let list: Option<&'static dyn Register> = Some(list);
    let job = Job::new(at, dir, meta);
    Ok(Job { list, ..job })
}
