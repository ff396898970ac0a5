//! One registration as a poll: call on every CPU that is past the state, undo if one fails.

use core::task::Poll;

use super::{Calls, RegisterError, Registered, StateHandle};
use crate::cpu::CpuId;
use crate::error::{OpError, StepError, StepFailure, Why};
use crate::handshake::Request;
use crate::hotplug::Cpuhp;
use crate::instance::{Instance, Instances, MultiStart, MultiStep};
use crate::lock::Registering;
use crate::lock::{Leaving, WriteGuard};
use crate::mask::Kind;
use crate::platform::Platform;
use crate::record::{Leftover, Record};
use crate::run::Mode;
use crate::step::{Direction, Half, StateId, Step, StepFlags};
use crate::trace::Trace;
use crate::walk::{Invoke, Stop};

/// What is being registered or removed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    Add(&'static Step),
    Remove,
    Link(
        &'static Instances<dyn MultiStep>,
        &'static Instance<dyn MultiStep>,
    ),
    Unlink(
        &'static Instances<dyn MultiStep>,
        &'static Instance<dyn MultiStep>,
    ),
    LinkStart(
        &'static Instances<dyn MultiStart>,
        &'static Instance<dyn MultiStart>,
    ),
    UnlinkStart(
        &'static Instances<dyn MultiStart>,
        &'static Instance<dyn MultiStart>,
    ),
}

impl Job {
    const fn dir(self) -> Direction {
        match self {
            Self::Add(_) | Self::Link(..) | Self::LinkStart(..) => Direction::Up,
            Self::Remove | Self::Unlink(..) | Self::UnlinkStart(..) => Direction::Down,
        }
    }

    const fn invoke(self) -> Invoke {
        match self {
            Self::Add(_) | Self::Remove => Invoke::Step,
            Self::Link(..) | Self::Unlink(..) => Invoke::Candidate,
            Self::LinkStart(..) | Self::UnlinkStart(..) => Invoke::Candidate,
        }
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
/// Dropping it with a CPU unanswered leaves the state or instance taken; it is free once that CPU has
/// answered.
#[derive(Debug)]
#[must_use = "a registration does nothing unless polled"]
pub struct RegisterOp {
    job: Job,
    at: StateId,
    stamp: u32,
    handle: Option<StateHandle>,
    mode: Mode,
    pass: Pass,
    /// The CPU whose answer is awaited.
    asked: Option<CpuId>,
    deadline: u64,
    first: Option<(CpuId, StateId, StepError)>,
    undo: Option<(CpuId, StateId, StepError)>,
    ignored: u32,
    left: Leftover,
}

impl<P: Platform, T: Trace> WriteGuard<'_, '_, P, T> {
    /// Begins a registration that has been checked.
    pub(super) fn begin_register(
        &self,
        stamp: u32,
        job: Job,
        at: StateId,
        calls: Calls,
        mode: Mode,
    ) -> RegisterOp {
        let hp = self.hp;
        let mut handle = None;
        if let (Job::Add(step), Some(slot)) = (job, hp.slot(at)) {
            handle = Some(StateHandle {
                at,
                generation: slot.reserve(step),
            });
        }
        // What a bulk operation that was dropped left behind is not about these CPUs.
        hp.storage.lock.set_leaving(Leaving::No);
        // Pending: still to be called. Batch: called, so to be undone if another one fails.
        for kind in [Kind::Batch, Kind::Pending] {
            hp.storage
                .each(kind)
                .for_each(|cpu| hp.storage.take(kind, cpu));
        }
        let past = |cpu: &CpuId| hp.record(*cpu).is_some_and(|rec| rec.state() >= at);
        if calls == Calls::Run {
            hp.all_cpus()
                .filter(past)
                .for_each(|cpu| hp.storage.add(Kind::Pending, cpu));
        }
        RegisterOp {
            job,
            at,
            stamp,
            handle,
            mode,
            pass: Pass::Issue,
            asked: None,
            deadline: 0,
            first: None,
            undo: None,
            ignored: 0,
            left: Leftover::None,
        }
    }
}

impl RegisterOp {
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
            let stale = OpError::refused(hp.platform().this_cpu(), Why::Stale);
            return Poll::Ready(Err(stale.into()));
        }
        loop {
            let passed = match self.pass {
                Pass::Issue => self.issue(hp),
                Pass::Collect => self.collect(hp),
                Pass::Undo => self.undo(hp),
            };
            if passed.is_pending() {
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

    /// Asks every CPU at once, if the step is parallel.
    fn issue<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) -> Poll<()> {
        if let (Job::Remove, Some(slot)) = (self.job, hp.slot(self.at)) {
            // From the first call on it is gone, whatever becomes of this operation.
            slot.retire();
        }
        if self.mode == Mode::Together {
            for cpu in hp.storage.each(Kind::Pending) {
                if !self.runs_here(hp, cpu) {
                    self.ask(hp, cpu, self.job.dir());
                }
            }
        }
        Poll::Ready(())
    }

    /// Calls on one CPU after the other, or collects from those that were asked. Up in ascending
    /// order, down in descending order. The first failure of an addition ends it.
    fn collect<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) -> Poll<()> {
        let dir = self.job.dir();
        while let Some(cpu) = next_in(hp, Kind::Pending, dir) {
            let failed = self.first.is_some() && self.mode == Mode::OneByOne;
            if failed {
                break;
            }
            let Poll::Ready(result) = self.call(hp, cpu, dir) else {
                return Poll::Pending;
            };
            hp.storage.take(Kind::Pending, cpu);
            match result {
                Ok(()) => hp.storage.add(Kind::Batch, cpu),
                Err((at, err)) if dir == Direction::Up => {
                    self.first = self.first.or(Some((cpu, at, err)));
                }
                Err(_) => self.ignored += 1,
            }
        }
        Poll::Ready(())
    }

    /// Undoes it on exactly the CPUs that did it, in reverse.
    fn undo<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) -> Poll<()> {
        while let Some(cpu) = next_in(hp, Kind::Batch, Direction::Down) {
            let called = self.call(hp, cpu, Direction::Down);
            let Poll::Ready(result) = called else {
                return Poll::Pending;
            };
            hp.storage.take(Kind::Batch, cpu);
            if let Err((at, err)) = result {
                self.undo = self.undo.or(Some((cpu, at, err)));
            }
        }
        Poll::Ready(())
    }

    /// Whether the half runs on the calling CPU.
    fn runs_here<P: Platform, T: Trace>(&self, hp: &Cpuhp<'_, P, T>, cpu: CpuId) -> bool {
        self.at < hp.table().kick() || cpu == hp.platform().this_cpu()
    }

    fn ask<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>, cpu: CpuId, dir: Direction) {
        let Some(rec) = hp.record(cpu) else { return };
        rec.edges
            .post(Request::invoke(dir, self.at, self.job.invoke()));
        hp.platform().notify_ap(cpu);
        self.arm(hp);
    }

    fn arm<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) {
        self.deadline = hp
            .platform()
            .now()
            .saturating_add(hp.platform().step_timeout());
    }

    /// Calls one half on one CPU; ready with its result, or with STUCK at the deadline.
    fn call<P: Platform, T: Trace>(
        &mut self,
        hp: &Cpuhp<'_, P, T>,
        cpu: CpuId,
        dir: Direction,
    ) -> Poll<Result<(), (StateId, StepError)>> {
        let Some(rec) = hp.record(cpu) else {
            return Poll::Ready(Ok(()));
        };
        let is_new = self.asked != Some(cpu);
        self.asked = Some(cpu);
        let called = if self.runs_here(hp, cpu) {
            if is_new {
                self.arm(hp);
            }
            let on = hp.platform().this_cpu();
            hp.invoke(cpu, rec, on, self.at, dir, self.job.invoke())
        } else {
            if is_new && (self.mode == Mode::OneByOne || self.pass == Pass::Undo) {
                self.ask(hp, cpu, dir);
            }
            match (rec.edges.answered(), rec.walk_first.get()) {
                (false, _) => Stop::Pending,
                (true, None) => Stop::Done,
                (true, Some((at, err))) => Stop::Failed(at, err),
            }
        };
        match called {
            Stop::Done => self.settled(Ok(())),
            Stop::Failed(at, err) | Stop::Torn(at, err, _) => self.settled(Err((at, err))),
            Stop::Pending if hp.platform().now() < self.deadline => Poll::Pending,
            Stop::Pending => {
                // Whatever it is in the middle of may still run: what it uses stays taken.
                if !self.runs_here(hp, cpu) {
                    self.left = Leftover::Inside;
                }
                self.settled(Err((self.at, StepError::STUCK)))
            }
        }
    }

    fn settled(
        &mut self,
        result: Result<(), (StateId, StepError)>,
    ) -> Poll<Result<(), (StateId, StepError)>> {
        self.asked = None;
        Poll::Ready(result)
    }

    /// Links, frees or keeps what was registered, and says how it went.
    fn finish<P: Platform, T: Trace>(
        &mut self,
        hp: &Cpuhp<'_, P, T>,
    ) -> Result<Registered, RegisterError> {
        let failed = self.first.is_some();
        let name = match self.job {
            Job::Add(step) => Half::name(step),
            Job::Remove | Job::Link(..) | Job::Unlink(..) => hp.name(self.at),
            Job::LinkStart(..) | Job::UnlinkStart(..) => hp.name(self.at),
        };
        match self.job {
            Job::Add(_) if !failed => {
                if let Some(slot) = hp.slot(self.at) {
                    slot.register();
                }
            }
            Job::Add(_) | Job::Remove => {
                let armed = |rec: &&Record| rec.armed_at() == Some(self.at);
                let recs = hp.all_cpus().filter_map(|cpu| hp.record(cpu));
                recs.filter(armed).for_each(|rec| rec.fail.set(0));
                if let Some(slot) = hp.slot(self.at) {
                    slot.retire();
                    if self.left == Leftover::None {
                        slot.lay();
                    }
                }
            }
            Job::Link(list, one) if !failed => list.finish_link(one),
            Job::Link(list, _) => list.finish_candidate(self.left),
            Job::Unlink(list, one) => {
                list.unlink(one);
                list.finish_candidate(self.left);
            }
            Job::LinkStart(list, one) if !failed => list.finish_link(one),
            Job::LinkStart(list, _) => list.finish_candidate(self.left),
            Job::UnlinkStart(list, one) => {
                list.unlink(one);
                list.finish_candidate(self.left);
            }
        }
        hp.storage.lock.set_registering(Registering::No);
        hp.storage.lock.free_bulk();
        let step = |(cpu, at, err)| (cpu, StepFailure { at, name, err });
        match self.first.map(step) {
            Some((cpu, first)) => Err(RegisterError::Failed {
                cpu,
                first,
                undo: self.undo.map(step),
            }),
            None => Ok(Registered {
                handle: self.handle,
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

/// How CPUs that do this step are asked.
pub(super) fn mode_of<S: Half>(step: &S) -> Mode {
    if step.flags().contains(StepFlags::PARALLEL) {
        Mode::Together
    } else {
        Mode::OneByOne
    }
}
