//! The stages of a bulk operation: where each one ends, and its three passes.
//!
//! Issue sends the batch on its way, collect gathers it at the stage's goal, settle drives back, one
//! at a time, the CPUs that failed in it.

use core::task::Poll;

use super::{AHEAD, Arrival, BulkOp, Pass, Policy, Stop};
use crate::cpu::CpuId;
use crate::decide::Meet;
use crate::drive::Advance;
use crate::handshake::Tag;
use crate::hotplug::Cpuhp;
use crate::mask::Kind;
use crate::phase::{Bounds, Phase, Until};
use crate::platform::Platform;
use crate::record::Record;
use crate::run::Mode;
use crate::step::{Direction, StateId};
use crate::sync::Ordering;
use crate::trace::Trace;

impl BulkOp {
    /// Sends every CPU of the batch that is not there yet to `goal`.
    #[inline(never)]
    fn begin_stage<P: Platform, T: Trace>(
        &mut self,
        hp: &Cpuhp<'_, P, T>,
        goal: StateId,
        mode: Mode,
    ) {
        let from = self.goal;
        (self.goal, self.mode) = (goal, mode);
        (self.pass, self.cursor, self.ahead) = (Pass::Issue, 0, AHEAD);
        for cpu in hp.storage.each(Kind::Batch) {
            let Some(rec) = hp.record(cpu) else { continue };
            let is_short = match self.dir {
                Direction::Up if self.meet == Meet::Yes => rec.state() <= goal,
                Direction::Up => rec.state() < goal,
                Direction::Down if self.meet == Meet::Yes => rec.state() > goal || is_given_up(rec),
                Direction::Down => rec.state() > goal,
            };
            // Whoever came since the last stage began has missed it, and waits for a round of its own.
            let in_round = !is_silent(rec) && rec.state() >= from;
            if is_short && (self.arrival == Arrival::Awaited || in_round) {
                hp.storage.add(Kind::Pending, cpu);
            } else if !is_short && rec.state() < hp.table().online() {
                // It came while the last round went on without it: it need not wait for the silent either.
                self.came += 1;
            }
        }
    }

    /// The stage before the first: CPUs that an earlier operation left in flight, or inside PREPARE,
    /// come to rest, so that none of them is inside a step that another one is about to enter.
    pub(super) fn begin_gathering<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) {
        for cpu in hp.storage.each(Kind::Batch) {
            let unsettled = |rec: &Record| rec.is_in_flight() || rec.is_half_prepared();
            if hp.record(cpu).is_some_and(unsettled) {
                hp.storage.add(Kind::Pending, cpu);
            }
        }
    }

    /// Begins the stage after the present one; `false` if it was the last.
    pub(super) fn begin_next<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) -> bool {
        if self.stop == Stop::AfterGathering {
            self.report.not_tried += self.end_all(hp, Kind::Batch);
            return false;
        }
        if self.stop == Stop::TurningBack {
            return false;
        }
        if self.has_to_turn_back(hp) {
            self.stop = Stop::TurningBack;
            (self.pass, self.cursor) = (Pass::Settle, 0);
            hp.storage
                .each(Kind::Batch)
                .filter_map(|cpu| hp.record(cpu))
                .for_each(Record::turn_back);
            return true;
        }
        let table = hp.table();
        let (from, off) = (self.goal, table.kick().below());
        let (goal, mode) = match self.dir {
            Direction::Up if from == table.online() && self.left_behind(hp) => {
                (hp.par_limit(), Mode::Together)
            }
            Direction::Up if from == table.online() => return false,
            Direction::Up if from < off => (off, Mode::OneByOne),
            // All are kicked at once; where STARTING takes one at a time, they only arrive.
            Direction::Up if from == off => (hp.par_limit(), Mode::Together),
            Direction::Up if from < table.ap_idle() => (table.ap_idle(), table.starting_mode()),
            Direction::Up => hp.run_up(from),
            Direction::Down if from == StateId::OFFLINE => return false,
            Direction::Down if from > table.ap_idle() => hp.run_down(from.min(table.online())),
            Direction::Down if from > off => (off, table.starting_mode()),
            Direction::Down => (StateId::OFFLINE, Mode::OneByOne),
        };
        let up = self.dir == Direction::Up;
        let meets = if up {
            goal == table.kick()
        } else {
            goal == off
        };
        self.meet = if meets { Meet::Yes } else { Meet::No };
        let arrives = up && (from == off || from == table.online());
        self.arrival = if arrives || !up {
            Arrival::Awaited
        } else {
            Arrival::PassedOver
        };
        self.came = 0;
        self.until = Until::Goal;
        self.begin_stage(hp, goal, mode);
        true
    }

    /// Whether CPUs that came late, or have not come yet, were passed over.
    fn left_behind<P: Platform, T: Trace>(&self, hp: &Cpuhp<'_, P, T>) -> bool {
        let short = |rec: &Record| rec.state() < self.goal;
        hp.storage
            .each(Kind::Batch)
            .filter_map(|cpu| hp.record(cpu))
            .any(short)
    }

    /// Whether those that have come go on, and the silent ones are left to a later round: nobody waits
    /// for a CPU that may never come.
    fn goes_on<P: Platform, T: Trace>(&self, hp: &Cpuhp<'_, P, T>) -> bool {
        let arriving = self.dir == Direction::Up && self.arrival == Arrival::Awaited;
        let rest_is_silent = || {
            hp.storage
                .each(Kind::Pending)
                .filter_map(|cpu| hp.record(cpu))
                .all(is_silent)
        };
        arriving
            && self.until == Until::Goal
            && self.goal >= hp.table().kick()
            && self.goal < hp.table().online()
            && self.came > 0
            && rest_is_silent()
    }

    /// Whether somebody refused who must not, before the last point of return.
    fn has_to_turn_back<P: Platform, T: Trace>(&self, hp: &Cpuhp<'_, P, T>) -> bool {
        let can = self.dir == Direction::Down && self.goal >= hp.table().ap_idle();
        let is_complete = self.report.is_complete();
        can && self.policy == Policy::AllOrNothing && (!is_complete || hp.platform().should_abort())
    }

    // ---- passes

    /// Advances every CPU once, lower waves first, so that all of them are on their way.
    #[inline(never)]
    pub(super) fn issue<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) -> Poll<()> {
        let mut next = (self.mode == Mode::Together).then_some(0);
        while let Some(wave) = next.take() {
            self.cursor = 0;
            while let Some(cpu) = hp.storage.next(Kind::Pending, self.cursor) {
                self.cursor = cpu.get() + 1;
                let its = hp.platform().wave(cpu);
                if its == wave {
                    self.advance(hp, cpu);
                } else if its > wave {
                    next = Some(next.map_or(its, |next: u8| next.min(its)));
                }
            }
        }
        (self.pass, self.cursor) = (Pass::Collect, 0);
        (self.missed, self.collected) = (0, 0);
        self.since = hp.platform().now();
        Poll::Ready(())
    }

    /// Collects in index order, past those that have not come.
    #[inline(never)]
    pub(super) fn collect<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) -> Poll<()> {
        let ahead = if self.mode == Mode::Together {
            self.ahead
        } else {
            1
        };
        while let Some(cpu) = hp.storage.next(Kind::Pending, self.cursor) {
            self.cursor = cpu.get() + 1;
            if self.advance(hp, cpu) {
                self.collected += 1;
                self.missed = 0;
                continue;
            }
            self.missed += 1;
            if self.missed >= ahead {
                break;
            }
        }
        let is_through = self.missed < ahead;
        if is_through && self.goes_on(hp) {
            hp.storage
                .each(Kind::Pending)
                .for_each(|cpu| hp.storage.take(Kind::Pending, cpu));
        }
        if hp.storage.next(Kind::Pending, 0).is_none() {
            (self.pass, self.cursor) = (Pass::Settle, 0);
            return Poll::Ready(());
        }
        self.ahead = if self.collected > 0 {
            AHEAD
        } else {
            self.ahead.saturating_mul(2)
        };
        (self.cursor, self.missed, self.collected) = (0, 0, 0);
        Poll::Pending
    }

    /// Drives the CPUs back that failed in this stage, one at a time.
    #[inline(never)]
    pub(super) fn settle<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>) -> Poll<()> {
        while let Some(cpu) = hp.storage.next(Kind::Batch, self.cursor) {
            if is_back(hp, cpu) && !self.advance(hp, cpu) {
                return Poll::Pending;
            }
            if !is_back(hp, cpu) {
                self.cursor = cpu.get() + 1;
            }
        }
        Poll::Ready(())
    }

    /// Advances one CPU; `false` while it has to be waited for.
    #[inline(never)]
    fn advance<P: Platform, T: Trace>(&mut self, hp: &Cpuhp<'_, P, T>, cpu: CpuId) -> bool {
        let Some(rec) = hp.record(cpu) else {
            return true;
        };
        if rec.owner.load(Ordering::Relaxed) != self.stamp {
            // Somebody took the operation on this CPU over.
            self.report.skipped += 1;
            hp.storage.take(Kind::Batch, cpu);
            hp.storage.take(Kind::Pending, cpu);
            return true;
        }
        let advanced = hp.advance(cpu, rec, self.bounds(hp, rec));
        match advanced {
            Advance::Pending => return false,
            Advance::Reached => self.came += 1,
            Advance::Turned => {
                // After the commit nothing comes up again: it stays where PREPARE refused.
                if self.dir == Direction::Down && rec.state() < hp.table().kick() {
                    rec.origin.set_state(rec.state());
                }
            }
            Advance::Ended => self.drop_out(hp, cpu, rec, advanced),
            Advance::Stuck => {
                let occupies = self.policy != Policy::Force && self.is_occupied_by(hp, rec);
                self.drop_out(hp, cpu, rec, advanced);
                if occupies && self.until == Until::Rest {
                    self.stop = Stop::AfterGathering;
                } else if occupies {
                    // The step takes one CPU at a time and has one: the others stay here.
                    self.report.not_tried += self.end_all(hp, Kind::Pending);
                }
            }
        }
        hp.storage.take(Kind::Pending, cpu);
        true
    }

    /// Whether a stuck CPU is inside a step that takes one CPU at a time.
    fn is_occupied_by<P: Platform, T: Trace>(&self, hp: &Cpuhp<'_, P, T>, rec: &Record) -> bool {
        let inside = match rec.edges.peek().tag() {
            Tag::Go | Tag::Up | Tag::Dead => true,
            Tag::Kicked | Tag::Alive | Tag::Die => false,
            Tag::Gone | Tag::Cancelled | Tag::Parked => false,
        };
        let state = rec.state();
        inside
            && match self.until {
                Until::Goal => self.mode == Mode::OneByOne,
                // Which way it went is not known: the step above it, or its own.
                Until::Rest => hp.breaks_run(state.above()) || hp.breaks_run(state),
            }
    }

    fn bounds<P: Platform, T: Trace>(&self, hp: &Cpuhp<'_, P, T>, rec: &Record) -> Bounds {
        let bounds = Bounds {
            meet: self.meet,
            until: self.until,
            ..Bounds::NONE
        };
        let (off, state) = (hp.table().kick().below(), rec.state());
        match (self.until, self.dir) {
            // No further than the one step that waits to be called again.
            (Until::Rest, Direction::Up) => Bounds {
                ceiling: off.min(state.above()),
                ..bounds
            },
            (Until::Rest, Direction::Down) => Bounds {
                floor: state.below(),
                ..bounds
            },
            (Until::Goal, Direction::Up) => Bounds {
                ceiling: self.goal,
                ..bounds
            },
            (Until::Goal, Direction::Down) => Bounds {
                floor: self.goal,
                ..bounds
            },
        }
    }

    fn drop_out<P: Platform, T: Trace>(
        &mut self,
        hp: &Cpuhp<'_, P, T>,
        cpu: CpuId,
        rec: &Record,
        ended: Advance,
    ) {
        match ended {
            Advance::Stuck => self.report.stuck += 1,
            Advance::Ended if rec.first.get().is_none() => self.report.rolled_back += 1,
            Advance::Pending | Advance::Reached | Advance::Turned | Advance::Ended => {
                self.report.failed += 1;
            }
        }
        hp.storage.take(Kind::Batch, cpu);
        hp.close(rec, ended);
    }

    /// Ends the operation of every CPU of this mask that is not on its way back; returns how many.
    #[inline(never)]
    pub(super) fn end_all<P: Platform, T: Trace>(&self, hp: &Cpuhp<'_, P, T>, kind: Kind) -> u32 {
        let mut ended = 0;
        for cpu in hp.storage.each(kind) {
            let Some(rec) = hp.record(cpu) else { continue };
            let ours = rec.owner.load(Ordering::Relaxed) == self.stamp;
            if ours && hp.storage.has(Kind::Batch, cpu) && rec.phase() == Phase::Forward {
                ended += 1;
                hp.storage.take(Kind::Batch, cpu);
                hp.close(rec, Advance::Reached);
            }
            hp.storage.take(Kind::Pending, cpu);
        }
        ended
    }
}

/// Whether a CPU was given up on and may still come.
fn is_given_up(rec: &Record) -> bool {
    rec.edges.peek().tag() == Tag::Cancelled
}

/// Whether a CPU was kicked and has not been heard of.
fn is_silent(rec: &Record) -> bool {
    rec.edges.peek().tag() == Tag::Kicked
}

#[inline(never)]
fn is_back<P: Platform, T: Trace>(hp: &Cpuhp<'_, P, T>, cpu: CpuId) -> bool {
    hp.storage.has(Kind::Batch, cpu) && hp.record(cpu).is_some_and(|rec| rec.phase() == Phase::Back)
}
