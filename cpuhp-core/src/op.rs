//! One CPU to one target: the control CPU's side of an operation, as a poll.
//!
//! [`CpuOp`] is a stamp; the operation itself lives in the record, where `drive` carries it on.

use core::task::Poll;

use bitflags::bitflags;

use crate::cpu::CpuId;
use crate::drive::Advance;
use crate::error::{Failure, KickError, Left, OpError, Refusal, Refused, StepFailure, Why};
use crate::handshake::{Release, Tag};
use crate::hotplug::Cpuhp;
use crate::lock::WriteGuard;
use crate::mask::Kind;
use crate::phase::{Bounds, Phase};
use crate::platform::Platform;
use crate::record::Record;
use crate::step::StateId;
use crate::sync::{Ordering, fence};
use crate::trace::Trace;

bitflags! {
    /// How an operation is carried out.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct OpFlags: u8 {
        /// The AP is authorised before the kick to walk the parallel run after `KICK` by itself.
        const AUTO = 1;
        /// Downwards: errors are counted and passed over ([`Cpuhp::ignored`]), and a step that is half
        /// up is passed.
        const FORCE = 2;
    }
}

/// A running operation on one CPU: poll it under the guard until it is ready.
///
/// Dropping it abandons the operation in its record; [`WriteGuard::resume`] takes it over.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "an operation does nothing unless polled"]
pub struct CpuOp {
    cpu: CpuId,
    stamp: u32,
    /// Which machine it is of.
    home: usize,
}

impl<P: Platform, T: Trace> WriteGuard<'_, '_, P, T> {
    /// Begins to move `cpu` to `target`. Nothing runs before the first poll.
    ///
    /// Context: any available CPU.
    ///
    /// # Errors
    /// [`OpError::Refused`]: no such CPU, no such resting place, not present, the last CPU online,
    /// the calling CPU, a CPU the platform cannot stop, or one that another operation holds.
    /// Nothing changed.
    pub fn op(&self, cpu: CpuId, target: StateId, flags: OpFlags) -> Result<CpuOp, OpError> {
        let begun = self.begin_op(cpu, target, flags);
        begun.map_err(|why| self.hp.refuse_at(cpu, target, why))
    }

    #[inline(never)]
    pub(crate) fn begin_op(
        &self,
        cpu: CpuId,
        target: StateId,
        flags: OpFlags,
    ) -> Result<CpuOp, Why> {
        let hp = self.hp;
        let rec = hp.record(cpu).ok_or(Why::NoSuchCpu)?;
        if hp.storage.lock.is_disabled() {
            return Err(Why::Disabled);
        }
        if hp.storage.lock.is_registering() {
            return Err(Why::Busy);
        }
        let forced = flags.contains(OpFlags::FORCE) && target < rec.state();
        if rec
            .torn()
            .is_some_and(|torn| target != rec.state() && !(forced && target < torn))
        {
            return Err(Why::Torn);
        }
        let stamp = hp.storage.lock.next_stamp();
        // Acquire: what the last operation on this CPU left in the record; pairs with `close`.
        let claimed = rec
            .owner
            .compare_exchange(0, stamp, Ordering::Acquire, Ordering::Relaxed);
        claimed.map_err(|_| Why::Busy)?;
        // Checked with the claim in place: of two CPUs that share the guard, none can take the other's
        // last one away unseen.
        let before = rec.target.state();
        rec.target.set_state(target);
        // Either this one sees what the other is about to do, or the other sees this.
        fence(Ordering::SeqCst);
        if let Err(why) = hp.check_move(cpu, rec, target) {
            rec.target.set_state(before);
            // Release: the target is back before the next claim; pairs with it, as `close` does.
            rec.owner.store(0, Ordering::Release);
            return Err(why);
        }
        let auto = flags.contains(OpFlags::AUTO);
        rec.begin(
            target,
            if auto {
                Release::Auto
            } else {
                Release::ByControl
            },
        );
        if forced {
            rec.set_forced();
        }
        Ok(CpuOp {
            cpu,
            stamp,
            home: hp.storage.home(),
        })
    }

    /// Takes over the operation on `cpu` that was abandoned or that stopped as STUCK.
    ///
    /// Context: any available CPU. Nothing runs before the first poll.
    ///
    /// # Errors
    /// [`Why::NoSuchCpu`], [`Why::NothingToResume`], and [`Why::Busy`] for a CPU of a bulk operation that
    /// still runs; nothing changed.
    pub fn resume(&self, cpu: CpuId) -> Result<CpuOp, OpError> {
        Ok(self.take_over(cpu).map_err(|why| Refused(cpu, why))?)
    }

    fn take_over(&self, cpu: CpuId) -> Result<CpuOp, Why> {
        let hp = self.hp;
        let rec = hp.record(cpu).ok_or(Why::NoSuchCpu)?;
        if rec.phase() == Phase::Idle {
            return Err(Why::NothingToResume);
        }
        let owner = rec.owner.load(Ordering::Relaxed);
        let of_batch = owner != 0 && hp.storage.lock.is_bulk(owner);
        if of_batch || hp.storage.lock.is_registering() {
            return Err(Why::Busy);
        }
        let stamp = hp.storage.lock.next_stamp();
        // Acquire: as in `op`; the stamp replaced may be of a CPU that stopped in the middle.
        rec.owner.swap(stamp, Ordering::Acquire);
        rec.rearm();
        Ok(CpuOp {
            cpu,
            stamp,
            home: hp.storage.home(),
        })
    }
}

impl CpuOp {
    /// Returns the CPU it moves.
    pub const fn cpu(&self) -> CpuId {
        self.cpu
    }

    /// Goes as far as it can without waiting.
    ///
    /// Context: any available CPU, holding the guard; steps of PREPARE run here.
    ///
    /// # Errors
    /// [`OpError::Failed`]: the step, what the rollback met, and where the CPU is left.
    /// [`OpError::Refused`] with [`Why::Stale`]: the operation has ended, was taken over, or is of
    /// another machine; nothing ran.
    pub fn poll<P: Platform, T: Trace>(
        &mut self,
        guard: &WriteGuard<'_, '_, P, T>,
    ) -> Poll<Result<(), OpError>> {
        match self.go_on(guard) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(guard.hp.outcome(self.cpu)),
            Poll::Ready(Err(stale)) => Poll::Ready(Err(stale.into())),
        }
    }

    /// Carries the operation on, and closes it at its end.
    #[inline(never)]
    pub(crate) fn go_on<P: Platform, T: Trace>(
        &self,
        guard: &WriteGuard<'_, '_, P, T>,
    ) -> Poll<Result<(), Refused>> {
        let hp = guard.hp;
        let ours = |rec: &&Record| rec.owner.load(Ordering::Relaxed) == self.stamp;
        let rec = hp.record(self.cpu).filter(ours);
        let Some(rec) = rec.filter(|_| hp.storage.home() == self.home) else {
            return Poll::Ready(Err(Refused(self.cpu, Why::Stale)));
        };
        loop {
            match hp.advance(self.cpu, rec, Bounds::NONE) {
                Advance::Turned => {}
                Advance::Pending => return Poll::Pending,
                ended @ (Advance::Reached | Advance::Ended | Advance::Stuck) => {
                    hp.close(rec, ended);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Returns until when to wait at most before the next poll, in the platform's time.
    ///
    /// Sooner than the operation's own deadline where a step of PREPARE asked to be called again: nobody
    /// notifies for it.
    pub fn deadline<P: Platform, T: Trace>(&self, guard: &WriteGuard<'_, '_, P, T>) -> u64 {
        guard
            .hp
            .record(self.cpu)
            .map_or(0, |rec| guard.hp.wait_until(rec))
    }
}

impl<P: Platform, T: Trace> Cpuhp<'_, P, T> {
    /// Makes the refusal of something about one state of one CPU.
    #[inline(never)]
    pub(crate) fn refuse_at(&self, cpu: CpuId, at: StateId, why: Why) -> OpError {
        let name = self.name(at);
        OpError::Refused(Refusal { cpu, name, why })
    }

    /// Whether `cpu` may be driven to `target` now.
    fn check_move(&self, cpu: CpuId, rec: &Record, target: StateId) -> Result<(), Why> {
        let (state, tag) = (rec.state(), rec.edges.peek().tag());
        if !self.table().is_target(target) {
            return Err(Why::BadTarget);
        }
        if target == state {
            return Ok(());
        }
        if target > state && !self.refresh_present(cpu) {
            return Err(Why::NotPresent);
        }
        let leaves = target < self.table().online() && self.storage.has(Kind::Online, cpu);
        let stays = |other: CpuId| other != cpu && self.stays_online(other);
        if leaves && !self.storage.each(Kind::Online).any(stays) {
            return Err(Why::LastCpu);
        }
        if cpu == self.platform().this_cpu() {
            return Err(Why::OnSelf);
        }
        let runs = matches!(tag, Tag::Alive | Tag::Go | Tag::Up);
        if runs && target < self.leave_below(tag) && !self.platform().can_off(cpu) {
            return Err(Why::NotSupported);
        }
        Ok(())
    }

    /// Whether `cpu` is online and no operation is taking it away.
    #[inline(never)]
    pub(crate) fn stays_online(&self, cpu: CpuId) -> bool {
        let leaves = |rec: &Record| {
            rec.owner.load(Ordering::Relaxed) != 0 && rec.target.state() < self.table().online()
        };
        self.storage.has(Kind::Online, cpu) && !self.record(cpu).is_some_and(leaves)
    }

    /// Returns the state below which a running CPU has to be stopped.
    fn leave_below(&self, tag: Tag) -> StateId {
        if tag == Tag::Alive {
            self.table().kick()
        } else {
            self.table().ap_idle()
        }
    }

    /// Copies the platform's word on whether `cpu` is there into the mask, and returns it.
    #[inline(never)]
    pub(crate) fn refresh_present(&self, cpu: CpuId) -> bool {
        let there = self.platform().present(cpu);
        if there {
            self.storage.add(Kind::Present, cpu);
        } else {
            self.storage.take(Kind::Present, cpu);
        }
        there
    }

    /// Gives the record back at the end of an operation. A stuck one can be resumed.
    #[inline(never)]
    pub(crate) fn close(&self, rec: &Record, ended: Advance) {
        if ended != Advance::Stuck {
            rec.end();
        }
        // Release: pairs with the next claim.
        rec.owner.store(0, Ordering::Release);
    }

    /// Says how the last operation on `cpu` ended.
    #[inline(never)]
    pub(crate) fn outcome(&self, cpu: CpuId) -> Result<(), OpError> {
        match self.last_error(cpu) {
            None => Ok(()),
            Some(failure) => Err(OpError::Failed(failure)),
        }
    }

    /// Returns the failure of the last operation on `cpu`, if it failed.
    #[inline(never)]
    pub fn last_error(&self, cpu: CpuId) -> Option<Failure> {
        let rec = self.record(cpu)?;
        let step = |(at, err)| StepFailure {
            at,
            name: self.name(at),
            err,
        };
        let first = rec.first.get().map(step)?;
        let code = rec.kick_code.get().cast_signed();
        // In this order: a CPU that is found at rest is at rest in the state read after it.
        let in_flight = rec.is_in_flight();
        let state = rec.state();
        Some(Failure {
            cpu,
            first,
            rollback: rec.second.get().map(step),
            kick: first
                .err
                .as_kick()
                .map(|kind| KickError::with_code(kind, code)),
            left: if in_flight {
                Left::InFlight(state)
            } else {
                Left::At(state)
            },
        })
    }
}
