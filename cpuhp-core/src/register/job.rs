//! One registration as a poll: call on every CPU that is past the state, undo if one fails.

use core::fmt;
use core::task::Poll;

use super::{RegisterError, Registered, StateHandle};
use crate::cpu::CpuId;
use crate::error::{Refused, StepError, StepFailure, Why};
use crate::handshake::Request;
use crate::hotplug::Cpuhp;
use crate::instance::Register;
use crate::lock::{Registering, WriteGuard};
use crate::mask::Kind;
use crate::platform::Platform;
use crate::record::{Leftover, Record};
use crate::run::Mode;
use crate::step::{Direction, Meta, StateId, StepResult};
use crate::trace::Trace;
use crate::walk::Invoke;

/// What is being registered or removed.
#[derive(Clone, Copy)]
pub(super) struct Job {
    pub(super) at: StateId,
    pub(super) name: &'static str,
    pub(super) mode: Mode,
    /// `Up` adds, `Down` removes.
    pub(super) dir: Direction,
    /// The list whose candidate it is about; none = about the state itself.
    pub(super) list: Option<&'static dyn Register>,
    /// Of a state that is added.
    pub(super) handle: Option<StateHandle>,
}

impl Job {
    pub(super) const fn new(at: StateId, dir: Direction, meta: &Meta) -> Self {
        let (list, handle) = (None, None);
        Self {
            at,
            name: meta.name,
            mode: meta.asked_mode(),
            dir,
            list,
            handle,
        }
    }

    const fn invoke(&self) -> Invoke {
        match self.list {
            None => Invoke::Step,
            Some(_) => Invoke::Candidate,
        }
    }
}

impl fmt::Debug for Job {
    // Without the list: to be able to print any list is what every list would have to carry code for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job")
            .field(&self.name)
            .field(&self.dir)
            .finish()
    }
}

/// What a poll is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pass {
    /// Asking CPUs: all at once if the step is parallel, else up to the first that has to be awaited.
    Issue,
    /// Collecting the answers.
    Collect,
    /// Undoing it where it was done, one CPU at a time.
    Undo,
}

/// A running registration: poll it under the guard until it is ready.
///
/// Dropping it undoes nothing: CPUs that have done it keep it. The state or instance is taken until every CPU that
/// was asked has answered.
#[derive(Debug)]
#[must_use = "a registration does nothing unless polled"]
pub struct RegisterOp {
    job: Job,
    stamp: u32,
    pass: Pass,
    /// The CPU whose answer is awaited.
    asked: Option<CpuId>,
    deadline: u64,
    first: Option<(CpuId, StepError)>,
    undo: Option<(CpuId, StepError)>,
    ignored: u32,
    left: Leftover,
}

impl RegisterOp {
    /// Makes the operation of a registration that has been checked.
    pub(super) const fn new(job: Job, stamp: u32) -> Self {
        Self {
            job,
            stamp,
            pass: Pass::Issue,
            asked: None,
            deadline: 0,
            first: None,
            undo: None,
            ignored: 0,
            left: Leftover::None,
        }
    }

    /// Goes as far as it can without waiting.
    ///
    /// Context: any available CPU, holding the guard; steps of PREPARE, and the calling CPU's own, run
    /// here.
    ///
    /// # Errors
    /// [`RegisterError::Failed`]; [`RegisterError::Refused`] with [`Why::Stale`] once it has ended.
    pub fn poll<P: Platform, T: Trace>(
        &mut self,
        guard: &WriteGuard<'_, '_, P, T>,
    ) -> Poll<Result<Registered, RegisterError>> {
        let hp = guard.hp;
        if !hp.storage.lock.is_bulk(self.stamp) {
            let stale = Refused(hp.platform().this_cpu(), Why::Stale);
            return Poll::Ready(Err(stale.into()));
        }
        loop {
            if !self.go_through(hp) {
                return Poll::Pending;
            }
            self.pass = match self.pass {
                Pass::Issue => Pass::Collect,
                Pass::Collect if self.first.is_some() => Pass::Undo,
                Pass::Collect | Pass::Undo => return Poll::Ready(self.finish(hp)),
            };
        }
    }

    /// Returns for which CPU, and until when at most, a pending poll waits.
    pub fn awaited(&self) -> (CpuId, u64) {
        (self.asked.unwrap_or_default(), self.deadline)
    }

    /// Carries one pass out; `false` while it has to wait.
    fn go_through<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) -> bool {
        match self.pass {
            Pass::Issue => {
                self.issue(hp);
                true
            }
            Pass::Collect => self.call_all(hp, Kind::Pending, self.job.dir),
            Pass::Undo => self.call_all(hp, Kind::Batch, Direction::Down),
        }
    }

    /// Asks every CPU at once, if the step is parallel.
    fn issue<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) {
        if let (Direction::Down, None, Some(slot)) =
            (self.job.dir, self.job.list, hp.slot(self.job.at))
        {
            // From the first call on it is gone, whatever becomes of this operation.
            slot.retire();
        }
        if self.job.mode == Mode::Together {
            for cpu in hp.storage.each(Kind::Pending) {
                if !self.runs_here(hp, cpu) {
                    self.ask(hp, cpu, self.job.dir);
                }
            }
        }
    }

    /// Calls on one CPU of a mask after the other, or collects from those that were asked. Up in
    /// ascending order, down in descending order. The first failure of an addition ends it; then it is
    /// undone on exactly the CPUs that did it.
    fn call_all<P: Platform, T: Trace>(
        &mut self,
        hp: &Cpuhp<'_, P, T>,
        kind: Kind,
        dir: Direction,
    ) -> bool {
        while let Some(cpu) = next_in(hp, kind, dir) {
            let undoing = self.pass == Pass::Undo;
            if self.first.is_some() && !undoing && self.job.mode == Mode::OneByOne {
                break;
            }
            let result = self.call(hp, cpu, dir);
            if result == Err(StepError::WOULD_BLOCK) {
                return false;
            }
            self.asked = None;
            hp.storage.take(kind, cpu);
            let failed = result.err().map(|err| (cpu, err));
            match (self.job.dir, failed) {
                _ if undoing => self.undo = self.undo.or(failed),
                (_, None) => hp.storage.add(Kind::Batch, cpu),
                (Direction::Up, _) => self.first = self.first.or(failed),
                (Direction::Down, _) => self.ignored += 1,
            }
        }
        true
    }

    /// Whether the half runs on the calling CPU.
    fn runs_here<P: Platform, T: Trace>(&self, hp: &Cpuhp<'_, P, T>, cpu: CpuId) -> bool {
        self.job.at < hp.table().kick() || cpu == hp.platform().this_cpu()
    }

    fn ask<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>, cpu: CpuId, dir: Direction) {
        let Some(rec) = hp.record(cpu) else { return };
        rec.edges
            .post(Request::invoke(dir, self.job.at, self.job.invoke()));
        hp.platform().notify_ap(cpu);
        self.arm(hp);
    }

    fn arm<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) {
        self.deadline = hp
            .platform()
            .now()
            .saturating_add(hp.platform().step_timeout());
    }

    /// Calls one half on one CPU: its result, which is STUCK at the deadline and WOULD_BLOCK before.
    fn call<P: Platform, T: Trace>(
        &mut self,
        hp: &Cpuhp<'_, P, T>,
        cpu: CpuId,
        dir: Direction,
    ) -> StepResult {
        let Some(rec) = hp.record(cpu) else {
            return Ok(());
        };
        let is_new = self.asked != Some(cpu);
        self.asked = Some(cpu);
        let here = self.runs_here(hp, cpu);
        let result = if here {
            if is_new {
                self.arm(hp);
            }
            let on = hp.platform().this_cpu();
            hp.invoke(cpu, rec, on, self.job.at, dir, self.job.invoke())
        } else {
            if is_new && (self.job.mode == Mode::OneByOne || self.pass == Pass::Undo) {
                self.ask(hp, cpu, dir);
            }
            if rec.edges.answered() {
                rec.walk_first.get().map_or(Ok(()), |(_, err)| Err(err))
            } else {
                Err(StepError::WOULD_BLOCK)
            }
        };
        if result != Err(StepError::WOULD_BLOCK) || hp.platform().now() < self.deadline {
            return result;
        }
        if !here {
            if !rec.edges.give_up() {
                // It has done it: what remains is one store, for which there is time.
                self.arm(hp);
                return result;
            }
            // Whatever it is in the middle of may still run: what it uses stays taken.
            self.left = Leftover::Inside;
        }
        Err(StepError::STUCK)
    }

    /// Links, frees or keeps what was registered, and says how it went.
    fn finish<P: Platform, T: Trace>(
        &mut self,
        hp: &Cpuhp<'_, P, T>,
    ) -> Result<Registered, RegisterError> {
        let Job { at, name, dir, .. } = self.job;
        let succeeded = self.first.is_none();
        match (self.job.list, hp.slot(at)) {
            (Some(list), _) => {
                let changes = succeeded || dir == Direction::Down;
                list.finish(changes.then_some(dir), self.left);
            }
            (None, Some(slot)) if succeeded && dir == Direction::Up => slot.register(),
            (None, Some(slot)) => {
                let armed = |rec: &&Record| rec.armed_at() == Some(at);
                let recs = hp.storage.records.iter();
                recs.filter(armed).for_each(|rec| rec.fail.set(0));
                slot.retire();
                if self.left == Leftover::None {
                    slot.lay();
                }
            }
            (None, None) => {}
        }
        hp.storage.lock.set_registering(Registering::No);
        hp.storage.lock.free_bulk();
        let step = |(cpu, err)| (cpu, StepFailure { at, name, err });
        match self.first.map(step) {
            Some((cpu, first)) => Err(RegisterError::Failed {
                cpu,
                first,
                undo: self.undo.map(step),
            }),
            None => Ok(Registered {
                handle: self.job.handle,
                ignored: self.ignored,
            }),
        }
    }
}

/// Returns the first CPU of a mask, or its last.
fn next_in<P: Platform, T: Trace>(
    hp: &Cpuhp<'_, P, T>,
    kind: Kind,
    dir: Direction,
) -> Option<CpuId> {
    match dir {
        Direction::Up => hp.storage.next(kind, 0),
        Direction::Down => hp.storage.each(kind).last(),
    }
}
