//! Many CPUs at once: stages over a batch, each walked together or one CPU after the other.
//!
//! A stage has a goal. The batch is sent there and collected; CPUs that failed in the stage are then
//! driven back, one at a time; then comes the next stage. PREPARE of the whole batch is done before
//! its first kick. A CPU that never comes holds nobody up: the collector passes over it, and all
//! deadlines run at once.

mod stage;

use core::fmt;
use core::task::Poll;

use crate::cpu::CpuId;
use crate::decide::Meet;
use crate::error::{OpError, Why};
use crate::handshake::{Release, Tag};
use crate::hotplug::Cpuhp;
use crate::lock::WriteGuard;
use crate::mask::{CpuMask, Kind};
use crate::phase::Until;
use crate::platform::Platform;
use crate::record::Record;
use crate::step::{Direction, StateId};
use crate::sync::Ordering;
use crate::table::Mode;
use crate::trace::Trace;

/// Which CPUs a bulk operation is about.
#[derive(Clone, Copy, Debug)]
pub enum Which<'m> {
    /// Up: every present CPU. Down: every online CPU. Never the calling one.
    All,
    /// These.
    Only(CpuMask<'m>),
}

/// What became of the CPUs of a bulk operation; details by [`Cpuhp::last_error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct BulkReport {
    /// At the target.
    pub done: u32,
    /// Failed, and driven back as far as possible.
    pub failed: u32,
    /// In flight past their deadline; can be resumed.
    pub stuck: u32,
    /// Named, but not present, the calling one, or held by another operation.
    pub skipped: u32,
    /// Left where they were because a stuck CPU occupies a step that takes one at a time.
    pub not_tried: u32,
}

impl BulkReport {
    /// Whether every CPU that was named is at the target.
    pub const fn is_complete(&self) -> bool {
        self.failed == 0 && self.stuck == 0 && self.skipped == 0 && self.not_tried == 0
    }
}

impl fmt::Display for BulkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} done", self.done)?;
        let rest = [
            (self.failed, "failed"),
            (self.stuck, "stuck"),
            (self.skipped, "skipped"),
            (self.not_tried, "not tried"),
        ];
        for (count, what) in rest.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        Ok(())
    }
}

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

/// Whether an operation ends early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    Never,
    /// A CPU that was stuck before is inside a step that takes one CPU at a time, and stays there.
    AfterGathering,
}

/// A running bulk operation: poll it under the guard until it is ready.
///
/// Holds cursors only. Dropping it abandons its CPUs in their records, where
/// [`WriteGuard::resume`] finds them.
#[derive(Debug)]
#[must_use = "an operation does nothing unless polled"]
pub struct BulkOp {
    stamp: u32,
    dir: Direction,
    pass: Pass,
    mode: Mode,
    goal: StateId,
    meet: Meet,
    until: Until,
    stop: Stop,
    cursor: u32,
    ahead: u32,
    missed: u32,
    collected: u32,
    report: BulkReport,
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
        self.begin_bulk(Direction::Up, which)
    }

    /// Begins to take many CPUs down to `OFFLINE`, best effort. Nothing runs before the first poll.
    ///
    /// Context: any available CPU.
    ///
    /// # Errors
    /// [`Why::LastCpu`], [`Why::OnSelf`], [`Why::NotSupported`], naming the CPU; [`Why::NoSuchCpu`] and
    /// [`Why::Busy`] as in [`Self::bring_up`]. Nothing changed.
    pub fn take_down(&self, which: Which<'_>) -> Result<BulkOp, OpError> {
        self.begin_bulk(Direction::Down, which)
    }

    #[inline(never)]
    pub(crate) fn begin_bulk(&self, dir: Direction, which: Which<'_>) -> Result<BulkOp, OpError> {
        let hp = self.hp;
        let caller = hp.platform().this_cpu();
        if let Some((cpu, why)) = hp.refusal_of_bulk(dir, which, caller) {
            return Err(OpError::refused(cpu, why));
        }
        let stamp = hp.storage.lock.next_stamp();
        if !hp.storage.lock.claim_bulk(stamp) {
            return Err(OpError::refused(caller, Why::Busy));
        }
        for kind in [Kind::Batch, Kind::Pending] {
            hp.storage
                .each(kind)
                .for_each(|cpu| hp.storage.take(kind, cpu));
        }
        let mut op = BulkOp {
            stamp,
            dir,
            pass: Pass::Issue,
            mode: Mode::Together,
            goal: match dir {
                Direction::Up => StateId::OFFLINE,
                Direction::Down => StateId::new(u16::MAX),
            },
            meet: Meet::No,
            until: Until::Rest,
            stop: Stop::Never,
            cursor: 0,
            ahead: AHEAD,
            missed: 0,
            collected: 0,
            report: BulkReport::default(),
        };
        for cpu in hp.all_cpus().filter(|cpu| hp.names(dir, which, *cpu)) {
            let able = cpu != caller && (dir == Direction::Down || hp.refresh_present(cpu));
            op.admit(hp, cpu, hp.record(cpu).filter(|_| able));
        }
        op.begin_gathering(hp);
        Ok(op)
    }
}

impl<P: Platform, T: Trace> Cpuhp<'_, P, T> {
    pub(crate) fn all_cpus(&self) -> impl Iterator<Item = CpuId> + use<P, T> {
        // The number of records fits: `Storage` checks it.
        (0..u32::try_from(self.cpus()).unwrap_or(u32::MAX)).map(CpuId::new)
    }

    /// Whether `which` names `cpu`.
    #[inline(never)]
    fn names(&self, dir: Direction, which: Which<'_>, cpu: CpuId) -> bool {
        match (which, dir) {
            (Which::Only(mask), _) => mask.contains(cpu),
            (Which::All, _) if cpu == self.platform().this_cpu() => false,
            (Which::All, Direction::Up) => self.refresh_present(cpu),
            (Which::All, Direction::Down) => self.storage.has(Kind::Online, cpu),
        }
    }

    /// Evaluates every guard before anything moves: of teardown, on the CPUs that stay online
    /// without the whole batch.
    fn refusal_of_bulk(
        &self,
        dir: Direction,
        which: Which<'_>,
        caller: CpuId,
    ) -> Option<(CpuId, Why)> {
        if let Which::Only(mask) = which
            && let Some(beyond) = mask.each().find(|cpu| cpu.index() >= self.cpus())
        {
            return Some((beyond, Why::NoSuchCpu));
        }
        if dir == Direction::Up {
            return None;
        }
        let (mut last, mut stays, mut fixed) = (None, false, None);
        for cpu in self.all_cpus() {
            let named = self.names(dir, which, cpu);
            let online = self.stays_online(cpu);
            stays |= online && !named;
            if online && named {
                last = last.or(Some(cpu));
            }
            let tag = self.tag(cpu);
            let runs = matches!(tag, Some(Tag::Alive | Tag::Go | Tag::Up));
            if named && runs && !self.platform().can_off(cpu) {
                fixed = fixed.or(Some((cpu, Why::NotSupported)));
            }
        }
        match last {
            Some(last) if !stays => Some((last, Why::LastCpu)),
            _ if self.names(dir, which, caller) => Some((caller, Why::OnSelf)),
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
    #[inline(never)]
    pub fn poll<P: Platform, T: Trace>(
        &mut self,
        guard: &WriteGuard<'_, '_, P, T>,
    ) -> Poll<Result<BulkReport, OpError>> {
        let hp = guard.hp;
        if !hp.storage.lock.is_bulk(self.stamp) {
            return Poll::Ready(Err(OpError::refused(hp.platform().this_cpu(), Why::Stale)));
        }
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
            if settled && !self.begin_next(hp) {
                self.report.done += Self::end_all(hp, Kind::Batch);
                hp.storage.lock.free_bulk();
                return Poll::Ready(Ok(self.report));
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
        let most = hp.platform().alive_timeout() / 16;
        let pause = (u64::from(self.ahead) * PAUSE_NS).min(most);
        (
            first,
            deadline.min(hp.platform().now().saturating_add(pause)),
        )
    }

    /// Takes `cpu` into the batch if it is able to go and its record can be claimed.
    #[inline(never)]
    fn admit<P: Platform, T: Trace>(
        &mut self,
        hp: &Cpuhp<'_, P, T>,
        cpu: CpuId,
        rec: Option<&Record>,
    ) {
        // Acquire: pairs with the end of the last operation on this CPU.
        let claim = |rec: &&Record| {
            let swap =
                rec.owner
                    .compare_exchange(0, self.stamp, Ordering::Acquire, Ordering::Relaxed);
            swap.is_ok()
        };
        let Some(rec) = rec.filter(claim) else {
            self.report.skipped += 1;
            return;
        };
        match self.dir {
            Direction::Up => rec.begin(hp.table().online(), Release::Auto),
            Direction::Down => {
                rec.begin(StateId::OFFLINE, Release::ByControl);
                rec.set_leaving();
            }
        }
        hp.storage.add(Kind::Batch, cpu);
    }
}
