//! Many CPUs at once: stages over a batch, each walked together or one CPU after the other.
//!
//! A stage has a goal. The batch is sent there and collected; CPUs that failed in the stage are then
//! driven back, one at a time; then comes the next stage. PREPARE of the whole batch is done before
//! its first kick. A CPU that never comes holds nobody up: those that have come go on through the stages
//! without it, whoever comes later follows in a round of its own, and all deadlines run at once.

mod plan;
mod stage;

use core::task::Poll;

use crate::cpu::CpuId;
use crate::decide::Meet;
use crate::error::{OpError, Refused, Why};
use crate::handshake::{Release, Tag};
use crate::hotplug::Cpuhp;
use crate::lock::{Leaving, WriteGuard};
use crate::mask::Kind;
use crate::phase::Until;
use crate::platform::Platform;
use crate::record::Record;
use crate::run::Mode;
use crate::step::{Direction, StateId};
use crate::sync::Ordering;
use crate::trace::Trace;

pub use plan::{BulkReport, Policy, Which};
pub(crate) use plan::{Plan, Suspend};

/// How many missing CPUs in a row the collector passes over before it goes back to the first.
const AHEAD: u32 = 8;
/// Nanoseconds of pause per CPU passed over, between two rounds.
const PAUSE_NS: u64 = 10_000;

/// What a poll is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pass {
    /// Sending the batch to the stage's goal.
    Issue,
    /// Collecting it there.
    Collect,
    /// Driving those back that failed, one at a time.
    Settle,
}

/// What a stage does about CPUs that were kicked and have not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Arrival {
    /// Waits for them, until somebody has come and nobody else does.
    Awaited,
    /// Goes on without them.
    PassedOver,
}

/// Whether an operation ends early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    Never,
    /// A CPU that was stuck before is inside a step that takes one CPU at a time, and stays there.
    AfterGathering,
    /// Somebody refused under [`Policy::AllOrNothing`]: the whole batch is on its way back.
    TurningBack,
}

/// A running bulk operation: poll it under the guard until it is ready.
///
/// Holds cursors only. Dropping it abandons its CPUs in their records, where
/// [`WriteGuard::resume`] finds them.
#[derive(Debug)]
#[must_use = "an operation does nothing unless polled"]
pub struct BulkOp {
    stamp: u32,
    /// Which machine it is of.
    home: usize,
    dir: Direction,
    limit: u32,
    policy: Policy,
    suspend: Suspend,
    pass: Pass,
    mode: Mode,
    goal: StateId,
    meet: Meet,
    until: Until,
    stop: Stop,
    arrival: Arrival,
    /// How many reached the goal of the stage so far.
    came: u32,
    cursor: u32,
    ahead: u32,
    missed: u32,
    collected: u32,
    /// When the stage began to collect.
    since: u64,
    pub(crate) report: BulkReport,
}

impl<P: Platform, T: Trace> WriteGuard<'_, '_, P, T> {
    /// Begins to bring many CPUs to `ONLINE`. Nothing runs before the first poll.
    ///
    /// Context: any available CPU.
    ///
    /// # Errors
    /// [`Why::NoSuchCpu`] if a CPU beyond the records is named, [`Why::Busy`] while another bulk
    /// operation runs under this guard; nothing changed.
    pub fn bring_up(&self, which: Which<'_>) -> Result<BulkOp, OpError> {
        self.begin_bulk(Plan::up(which, u32::MAX))
    }

    /// Begins to bring CPUs to `ONLINE` until `limit` CPUs are online, all others counted.
    ///
    /// A limit that is reached already kicks nobody. The place of a CPU that fails goes to the next.
    ///
    /// Context: any available CPU.
    ///
    /// # Errors
    /// As [`Self::bring_up`].
    pub fn bring_up_to(&self, which: Which<'_>, limit: u32) -> Result<BulkOp, OpError> {
        self.begin_bulk(Plan::up(which, limit))
    }

    /// Begins to take many CPUs down to `OFFLINE`, best effort. Nothing runs before the first poll.
    ///
    /// Context: any available CPU.
    ///
    /// # Errors
    /// [`Why::LastCpu`], [`Why::OnSelf`], [`Why::NotSupported`], naming the CPU; [`Why::NoSuchCpu`] and
    /// [`Why::Busy`] as in [`Self::bring_up`]. Nothing changed.
    pub fn take_down(&self, which: Which<'_>) -> Result<BulkOp, OpError> {
        self.take_down_with(which, Policy::BestEffort)
    }

    /// Begins to take many CPUs down; `policy` says what a refusal means for the others.
    ///
    /// Context: any available CPU.
    ///
    /// # Errors
    /// As [`Self::take_down`].
    pub fn take_down_with(&self, which: Which<'_>, policy: Policy) -> Result<BulkOp, OpError> {
        self.begin_bulk(Plan::down(which, policy))
    }

    #[inline(never)]
    fn begin_bulk(&self, plan: Plan<'_>) -> Result<BulkOp, OpError> {
        Ok(self.begin_bulk_of(plan)?)
    }

    /// Carries a bulk operation out, waiting for it.
    #[inline(never)]
    pub(crate) fn run_bulk(&self, plan: Plan<'_>) -> Result<BulkOp, Refused> {
        let mut op = self.begin_bulk_of(plan)?;
        op.run(self);
        Ok(op)
    }

    #[inline(never)]
    pub(crate) fn begin_bulk_of(&self, plan: Plan<'_>) -> Result<BulkOp, Refused> {
        let hp = self.hp;
        let caller = hp.platform().this_cpu();
        if let Some(refused) = hp.refusal_of_bulk(plan, caller) {
            return Err(refused);
        }
        let stamp = hp.storage.lock.next_stamp();
        if !hp.storage.lock.claim_bulk(stamp) {
            return Err(Refused(caller, Why::Busy));
        }
        for kind in [Kind::Batch, Kind::Pending, Kind::Waiting] {
            hp.storage.clear(kind);
        }
        for cpu in hp.all_cpus().filter(|cpu| hp.names(plan, *cpu)) {
            hp.storage.add(Kind::Waiting, cpu);
        }
        let mut op = BulkOp {
            stamp,
            home: hp.storage.home(),
            dir: plan.dir,
            limit: plan.limit,
            policy: plan.policy,
            suspend: plan.suspend,
            pass: Pass::Issue,
            mode: Mode::Together,
            goal: StateId::OFFLINE,
            meet: Meet::No,
            until: Until::Rest,
            stop: Stop::Never,
            arrival: Arrival::Awaited,
            came: 0,
            cursor: 0,
            ahead: AHEAD,
            missed: 0,
            collected: 0,
            since: 0,
            report: BulkReport::default(),
        };
        let leaving = if plan.dir == Direction::Down {
            Leaving::Yes
        } else {
            Leaving::No
        };
        hp.storage.lock.set_leaving(leaving);
        op.admit_more(hp);
        Ok(op)
    }
}

impl<P: Platform, T: Trace> Cpuhp<'_, P, T> {
    pub(crate) fn all_cpus(&self) -> impl Iterator<Item = CpuId> + use<P, T> {
        // The number of records fits: `Storage` checks it.
        (0..u32::try_from(self.cpus()).unwrap_or(u32::MAX)).map(CpuId::new)
    }

    /// Whether a plan names `cpu`.
    #[inline(never)]
    fn names(&self, plan: Plan<'_>, cpu: CpuId) -> bool {
        match (plan.which, plan.dir) {
            (Which::Only(mask), _) => mask.contains(cpu),
            (Which::All, _) if cpu == self.platform().this_cpu() => false,
            (Which::All, Direction::Up) => self.refresh_present(cpu),
            (Which::All, Direction::Down) if plan.policy == Policy::Force => {
                self.state(cpu) != Some(StateId::OFFLINE)
            }
            (Which::All, Direction::Down) => self.storage.has(Kind::Online, cpu),
        }
    }

    /// Whether `cpu` counts as online: a CPU in flight towards ONLINE may come there by itself.
    #[inline(never)]
    fn has_place(&self, cpu: CpuId) -> bool {
        let coming = |rec: &Record| {
            rec.is_in_flight() && rec.edges.last_request().goal() == self.table().online()
        };
        self.storage.has(Kind::Online, cpu) || self.record(cpu).is_some_and(coming)
    }

    /// Evaluates every guard before anything moves: of teardown, on the CPUs that stay online
    /// without the whole batch.
    fn refusal_of_bulk(&self, plan: Plan<'_>, caller: CpuId) -> Option<Refused> {
        if self.storage.lock.is_disabled() && plan.policy != Policy::Force {
            return Some(Refused(caller, Why::Disabled));
        }
        if let Which::Only(mask) = plan.which
            && let Some(beyond) = mask.each().find(|cpu| cpu.index() >= self.cpus())
        {
            return Some(Refused(beyond, Why::NoSuchCpu));
        }
        if plan.dir == Direction::Up {
            return None;
        }
        let (mut last, mut stays, mut fixed) = (None, false, None);
        for cpu in self.all_cpus() {
            let named = self.names(plan, cpu);
            let online = self.stays_online(cpu);
            stays |= online && !named;
            if online && named {
                last = last.or(Some(cpu));
            }
            let tag = self.tag(cpu);
            let runs = matches!(tag, Some(Tag::Alive | Tag::Go | Tag::Up));
            if named && runs && plan.policy != Policy::Force && !self.platform().can_off(cpu) {
                fixed = fixed.or(Some(Refused(cpu, Why::NotSupported)));
            }
        }
        match last {
            Some(last) if !stays => Some(Refused(last, Why::LastCpu)),
            _ if self.names(plan, caller) => Some(Refused(caller, Why::OnSelf)),
            _ => fixed,
        }
    }
}

impl BulkOp {
    /// Goes as far as it can without waiting.
    ///
    /// Context: any available CPU, holding the guard; steps of PREPARE run here.
    ///
    /// # Errors
    /// [`Why::Stale`] once the operation has ended, or its guard was dropped.
    pub fn poll<P: Platform, T: Trace>(
        &mut self,
        guard: &WriteGuard<'_, '_, P, T>,
    ) -> Poll<Result<BulkReport, OpError>> {
        let hp = guard.hp;
        if !hp.storage.lock.is_bulk(self.stamp) || hp.storage.home() != self.home {
            let stale = Refused(hp.platform().this_cpu(), Why::Stale);
            Poll::Ready(Err(stale.into()))
        } else {
            self.go_on(hp).map(|()| Ok(self.report))
        }
    }

    /// Polls under the guard until it has ended.
    pub(crate) fn run<P: Platform, T: Trace>(&mut self, guard: &WriteGuard<'_, '_, P, T>) {
        while self.go_on(guard.hp).is_pending() {
            let (cpu, deadline) = self.awaited(guard);
            guard.hp.wait_served(cpu, deadline);
        }
    }

    #[inline(never)]
    fn go_on<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) -> Poll<()> {
        loop {
            let settled = self.pass == Pass::Settle;
            let passed = match self.pass {
                Pass::Issue => self.issue(hp),
                Pass::Collect => self.collect(hp),
                Pass::Settle => self.settle(hp),
            };
            if passed.is_pending() {
                return Poll::Pending;
            }
            if settled && !self.begin_next(hp) && !self.end_round(hp) {
                return Poll::Ready(());
            }
        }
    }

    /// Returns for which CPU, and until when at most, a pending poll waits.
    #[inline(never)]
    pub fn awaited<P: Platform, T: Trace>(&self, guard: &WriteGuard<'_, '_, P, T>) -> (CpuId, u64) {
        let hp = guard.hp;
        let first = match self.pass {
            // Everything below the cursor is settled.
            Pass::Settle => hp.storage.next(Kind::Batch, self.cursor),
            Pass::Issue | Pass::Collect => hp.storage.next(Kind::Pending, 0),
        };
        let first = first.unwrap_or_default();
        let deadline = hp.record(first).map_or(0, |rec| rec.deadline.get());
        let (limit, now) = (hp.platform().alive_timeout(), hp.platform().now());
        // Whoever notifies ends the pause. So it may follow the time already waited: CPUs that come one after
        // the other, and slowly, would else be looked at again and again between two of them.
        let begun = if self.pass == Pass::Collect && self.mode == Mode::Together {
            self.since
        } else {
            deadline.saturating_sub(limit)
        };
        let taken = now.saturating_sub(begun);
        let pause = u64::from(self.ahead) * PAUSE_NS;
        let pause = pause.max(taken / 16).min(limit / 16);
        (first, deadline.min(now.saturating_add(pause)))
    }

    /// Whether somebody refused, or the platform gave it up, and the batch came back.
    pub(crate) fn is_turned_back(&self) -> bool {
        self.stop == Stop::TurningBack
    }

    /// Ends a round: `true` if CPUs that failed left places to others, who go now.
    fn end_round<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) -> bool {
        self.report.done += self.end_all(hp, Kind::Batch);
        self.admit_more(hp);
        if hp.storage.next(Kind::Batch, 0).is_some() {
            return true;
        }
        for cpu in hp.storage.each(Kind::Waiting) {
            self.report.beyond_limit += 1;
            hp.storage.take(Kind::Waiting, cpu);
        }
        hp.storage.lock.set_leaving(Leaving::No);
        hp.storage.lock.free_bulk();
        false
    }

    /// Takes CPUs that wait into the batch, as many as the limit has room for, and begins with them.
    fn admit_more<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) {
        let mut room = self.limit;
        for cpu in hp.all_cpus() {
            room = room.saturating_sub(u32::from(hp.has_place(cpu)));
        }
        for cpu in hp.storage.each(Kind::Waiting) {
            let needs_room = self.dir == Direction::Up && !hp.has_place(cpu);
            if needs_room && room == 0 {
                continue;
            }
            hp.storage.take(Kind::Waiting, cpu);
            let able = cpu != hp.platform().this_cpu()
                && (self.dir == Direction::Down || hp.refresh_present(cpu));
            let forced = self.dir == Direction::Down && self.policy == Policy::Force;
            // What is half up is for a forced teardown only.
            let may_go = |rec: &&Record| able && (forced || rec.torn().is_none());
            if self.admit(hp, cpu, hp.record(cpu).filter(may_go)) && needs_room {
                room -= 1;
            }
        }
        (self.pass, self.mode, self.until) = (Pass::Issue, Mode::Together, Until::Rest);
        self.goal = match self.dir {
            Direction::Up => StateId::OFFLINE,
            Direction::Down => StateId::new(u16::MAX),
        };
        self.begin_gathering(hp);
    }

    /// Takes `cpu` into the batch if it is able to go and its record can be claimed; says whether.
    #[inline(never)]
    fn admit<P: Platform, T: Trace>(
        &mut self,
        hp: &Cpuhp<'_, P, T>,
        cpu: CpuId,
        rec: Option<&Record>,
    ) -> bool {
        // Acquire: pairs with the end of the last operation on this CPU.
        let claim = |rec: &&Record| {
            let swap =
                rec.owner
                    .compare_exchange(0, self.stamp, Ordering::Acquire, Ordering::Relaxed);
            swap.is_ok()
        };
        let Some(rec) = rec.filter(claim) else {
            self.report.skipped += 1;
            return false;
        };
        match self.dir {
            Direction::Up => rec.begin(hp.table().online(), Release::Auto),
            Direction::Down => {
                rec.begin(StateId::OFFLINE, Release::ByControl);
                rec.set_leaving();
                if self.policy == Policy::Force {
                    rec.set_forced();
                }
            }
        }
        if self.suspend == Suspend::Yes {
            rec.set_suspend();
        }
        hp.storage.add(Kind::Batch, cpu);
        true
    }
}
