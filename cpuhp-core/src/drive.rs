//! Carrying one operation on: look, decide, act, and look again until there is something to wait for.
//!
//! Called by `op` for one CPU and by `bulk` for each of many, on the control CPU, by whoever holds the
//! record's owner stamp. Every wait has a deadline; a failure turns the operation round once.

use crate::cpu::CpuId;
use crate::decide::{Action, Mailbox, Seen, decide};
use crate::error::StepError;
use crate::handshake::{Order, Release, Request, Tag, Word};
use crate::hotplug::Cpuhp;
use crate::phase::{Awaited, Bounds, Phase, Until};
use crate::platform::{Confirm, KickOutcome, Platform, Who};
use crate::record::Record;
use crate::step::{Section, StateId};
use crate::trace::Trace;
use crate::walk::next_towards;

/// What one advance of an operation came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Advance {
    /// It waits for the CPU.
    Pending,
    /// It is at its target.
    Reached,
    /// It failed and has turned back; going on leads to the origin.
    Turned,
    /// It is over: back at its origin, or wherever its rollback stopped.
    Ended,
    /// It is over for now: the CPU is in flight past its deadline.
    Stuck,
}

/// Whether one advance goes on.
enum Next {
    Again,
    Stop(Advance),
}

impl<P: Platform, T: Trace> Cpuhp<'_, P, T> {
    /// Looks, decides and acts, until there is something to wait for or an end.
    pub(crate) fn advance(&self, cpu: CpuId, rec: &Record, bounds: Bounds) -> Advance {
        loop {
            if let Next::Stop(advance) = self.advance_once(cpu, rec, bounds) {
                return advance;
            }
        }
    }

    fn advance_once(&self, cpu: CpuId, rec: &Record, bounds: Bounds) -> Next {
        // The word first, the state second: a CPU in flight owns its state.
        let word = rec.edges.look();
        self.tell_arrival(cpu, rec, word.tag());
        let asked = word.tag() == Tag::Up && !rec.edges.answered();
        if word.tag() == Tag::Up && !asked && rec.is_posted() {
            return self.take_answer(rec);
        }
        let mailbox = if asked {
            Mailbox::Asked
        } else {
            Mailbox::Empty
        };
        if mailbox == Mailbox::Empty && !word.tag().is_moving() {
            if rec.settle_origin() && self.is_torn(rec, bounds) {
                // It became half up behind this operation's back.
                rec.first
                    .set(rec.torn().unwrap_or_default(), StepError::TORN);
                return Next::Stop(Advance::Ended);
            }
            let gathers = bounds.until == Until::Rest && rec.phase() == Phase::Forward;
            if gathers && !rec.is_half_prepared() {
                return Next::Stop(Advance::Reached);
            }
        }
        let (state, goal) = (rec.state(), rec.goal(bounds));
        let seen = Seen {
            tag: word.tag(),
            state,
            goal,
            mailbox,
            meet: bounds.meet,
        };
        match decide(self.table(), seen) {
            Action::Finish if rec.phase() == Phase::Back => Next::Stop(Advance::Ended),
            Action::Finish => Next::Stop(Advance::Reached),
            Action::Prepare => self.prepare(cpu, rec, word, seen.prepare_goal(self.table())),
            Action::Start => self.start(cpu, rec, word, goal),
            Action::Cancel => {
                if self.cancel(cpu, rec, word) {
                    rec.set_called_off();
                }
                Next::Again
            }
            Action::AskOff => self.ask_off(cpu, rec, word),
            Action::Release => {
                if let Some(next) = rec.edges.release(word, rec.rollback()) {
                    rec.disarm();
                    self.edge(cpu, word.tag(), next.tag());
                    self.platform().notify_ap(cpu);
                }
                Next::Again
            }
            Action::TurnAway => self.turn_away(cpu, rec, word),
            Action::Post => self.post(cpu, rec, seen.request(self.table())),
            Action::AwaitArrival => self.await_arrival(cpu, rec, word),
            Action::AwaitStep if rec.edges.last_request().is(Order::Die) => {
                self.await_or_stuck(rec, Awaited::Death)
            }
            Action::AwaitStep => self.await_or_stuck(rec, Awaited::Step),
            Action::AwaitGone => self.await_or_stuck(rec, Awaited::Death),
            Action::Confirm => self.confirm_gone(cpu, rec, word),
        }
    }

    /// Whether a step is half up that this operation may not pass.
    fn is_torn(&self, rec: &Record, bounds: Bounds) -> bool {
        let passes = |at| rec.is_forced() && rec.goal(bounds) < at;
        rec.torn().is_some_and(|at| !passes(at))
    }

    // ---- the control CPU's own steps

    fn prepare(&self, cpu: CpuId, rec: &Record, word: Word, goal: StateId) -> Next {
        if word.tag() == Tag::Parked && goal < rec.state() {
            match self.platform().confirm(cpu) {
                // It may still stand on what PREPARE made.
                Confirm::Running => return self.await_or_stuck(rec, Awaited::Death),
                Confirm::Off => return self.bury(cpu, rec, word),
                Confirm::Parked => {}
            }
        }
        let how = rec.how(Section::Prepare);
        let on = self.platform().this_cpu();
        let stop = self.walk(cpu, rec, on, how, goal);
        let Err(err) = stop.result else {
            rec.set_prepared();
            rec.mend();
            if rec.state().above() == self.table().kick() {
                Self::mark_entered(rec, Section::Prepare);
            }
            return Next::Again;
        };
        if err == StepError::WOULD_BLOCK {
            return self.await_or_stuck(rec, Awaited::Step);
        }
        let at = stop.at(rec, goal);
        let next = self.fail(rec, at, err);
        match stop.undo {
            Some(second) => Self::end_rollback(rec, at, second, next),
            None => next,
        }
    }

    /// Kicks a dead CPU, wakes a parked one, takes a cancelled one back.
    fn start(&self, cpu: CpuId, rec: &Record, word: Word, goal: StateId) -> Next {
        if cpu == self.platform().this_cpu() {
            // The boot CPU at its adoption: it runs already.
            rec.set_state(self.table().kick());
            if let Some(next) = rec.edges.adopt(word, Tag::Go) {
                self.edge(cpu, word.tag(), next.tag());
            }
            return Next::Again;
        }
        let rests = word.tag() != Tag::Dead;
        if rests && self.platform().confirm(cpu) == Confirm::Off {
            return self.bury(cpu, rec, word);
        }
        let (idle, limit) = (self.table().ap_idle(), self.par_limit().min(goal));
        let auto = rec.release_mode() == Release::Auto && limit >= idle;
        if auto && limit > idle {
            let how = rec.how(Section::Online);
            rec.edges.post(Request::up(limit).with(how));
            rec.set_posted();
        }
        rec.set_state(self.table().kick());
        if !rests {
            rec.open_kick(word.epoch().wrapping_add(1));
        }
        let release = if auto {
            Release::Auto
        } else {
            Release::ByControl
        };
        let Some(kicked) = rec.edges.kick(word, release, rec.suspend()) else {
            return Next::Again;
        };
        rec.disarm();
        self.edge(cpu, word.tag(), kicked.tag());
        if word.tag() == Tag::Parked {
            self.platform().unpark(cpu);
        } else if !rests {
            return self.kick(cpu, rec, kicked);
        }
        Next::Again
    }

    fn kick(&self, cpu: CpuId, rec: &Record, kicked: Word) -> Next {
        if T::ON {
            self.tracer().kick(cpu, kicked.epoch());
        }
        let Err(error) = self.platform().kick(cpu, kicked.epoch()) else {
            return Next::Again;
        };
        // An error promises that the CPU was not started, so nobody competes for the word; a
        // platform that lied has a CPU that is simply there.
        let Some(dead) = rec.edges.refuse_kick(kicked) else {
            return Next::Again;
        };
        rec.take_open_kick();
        rec.clear_posted();
        rec.set_state(self.table().kick().below());
        self.edge(cpu, kicked.tag(), dead.tag());
        if rec.phase() == Phase::Forward {
            rec.kick_code.set(error.code.cast_unsigned());
        }
        self.fail(rec, self.table().kick(), StepError::kick(error.kind))
    }

    fn await_arrival(&self, cpu: CpuId, rec: &Record, word: Word) -> Next {
        if !self.is_overdue(rec, Awaited::Arrival) {
            return Next::Stop(Advance::Pending);
        }
        if !self.cancel(cpu, rec, word) {
            return Next::Again;
        }
        // A CPU that did not come is nowhere to go back to from below.
        rec.origin.set_state(rec.origin.state().min(rec.state()));
        self.fail(rec, self.table().kick(), StepError::TIMEOUT)
    }

    /// Gives up on a CPU: what PREPARE made stays, since it may still come and use it.
    #[inline(never)]
    fn cancel(&self, cpu: CpuId, rec: &Record, word: Word) -> bool {
        let Some(next) = rec.edges.cancel(word) else {
            return false;
        };
        rec.clear_posted();
        rec.set_state(self.table().kick().below());
        self.edge(cpu, word.tag(), next.tag());
        true
    }

    /// A CPU that was given up on is quarantined until the hardware says it is off.
    fn ask_off(&self, cpu: CpuId, rec: &Record, word: Word) -> Next {
        if self.platform().confirm(cpu) == Confirm::Off {
            return self.bury(cpu, rec, word);
        }
        let timed_out = matches!(rec.first.get(), Some((_, StepError::TIMEOUT)));
        if rec.is_called_off() {
            self.await_or_stuck(rec, Awaited::Death)
        } else if rec.phase() == Phase::Back && timed_out {
            Next::Stop(Advance::Ended)
        } else {
            self.stuck(rec)
        }
    }

    fn turn_away(&self, cpu: CpuId, rec: &Record, word: Word) -> Next {
        if !self.platform().can_off(cpu) {
            return self.fail(rec, self.table().kick(), StepError::NOT_SUPPORTED);
        }
        if let Some(next) = rec.edges.turn_away(word) {
            rec.disarm();
            self.edge(cpu, word.tag(), next.tag());
            self.platform().notify_ap(cpu);
        }
        Next::Again
    }

    fn post(&self, cpu: CpuId, rec: &Record, request: Request) -> Next {
        let leaves = rec.is_leaving() && request.is(Order::Down);
        let request = if leaves { request.leaving() } else { request };
        let stops = request.is(Order::Die) || request.is_leaving();
        let can_stop = cpu != self.platform().this_cpu() && self.platform().can_off(cpu);
        let request = if !stops || can_stop {
            request
        } else if request.is_leaving() {
            Request::down(request.goal())
        } else {
            return self.fail(rec, self.table().ap_idle(), StepError::NOT_SUPPORTED);
        };
        rec.edges.post(request.with(rec.how(Section::Online)));
        rec.set_posted();
        self.platform().notify_ap(cpu);
        Next::Again
    }

    /// Takes the result of this operation's own request.
    fn take_answer(&self, rec: &Record) -> Next {
        rec.clear_posted();
        let Some((at, err)) = rec.walk_first.get() else {
            return Next::Again;
        };
        let next = self.fail(rec, at, err);
        match rec.walk_second.get() {
            Some((at, err)) => Self::end_rollback(rec, at, err, next),
            None => next,
        }
    }

    /// The rollback failed where the failure was met: it ends there.
    fn end_rollback(rec: &Record, at: StateId, err: StepError, next: Next) -> Next {
        if rec.second.get().is_some() {
            return next;
        }
        rec.second.set(at, err);
        Next::Stop(Advance::Ended)
    }

    fn confirm_gone(&self, cpu: CpuId, rec: &Record, word: Word) -> Next {
        if self.platform().confirm(cpu) == Confirm::Running {
            return self.await_or_stuck(rec, Awaited::Death);
        }
        self.bury(cpu, rec, word)
    }

    /// Records the confirmed end of a CPU's life.
    #[inline(never)]
    fn bury(&self, cpu: CpuId, rec: &Record, word: Word) -> Next {
        let Some(dead) = rec.edges.bury(word) else {
            return Next::Again;
        };
        rec.busy.clear();
        rec.mode.set(0);
        rec.since.set(0);
        rec.clear_posted();
        if rec.state() >= self.table().kick() {
            rec.set_state(self.table().kick().below());
        }
        self.edge(cpu, word.tag(), dead.tag());
        if rec.take_open_kick() {
            self.platform().kick_done(cpu, KickOutcome::Lost);
        }
        Next::Again
    }

    /// Tells the platform, once per kick, that the CPU came.
    #[inline]
    fn tell_arrival(&self, cpu: CpuId, rec: &Record, tag: Tag) {
        let absent = matches!(tag, Tag::Dead | Tag::Kicked | Tag::Cancelled);
        if !absent && rec.take_open_kick() {
            self.platform().kick_done(cpu, KickOutcome::Arrived);
        }
    }

    // ---- deadlines and failures

    #[inline(never)]
    fn is_overdue(&self, rec: &Record, what: Awaited) -> bool {
        let now = self.platform().now();
        if !rec.is_armed(what) {
            let limit = match what {
                Awaited::Arrival => self.platform().alive_timeout(),
                Awaited::Step => self.platform().step_timeout(),
                Awaited::Death => self.platform().die_timeout(),
            };
            rec.arm(what, now.saturating_add(limit));
        }
        now >= rec.deadline.get()
    }

    /// Returns until when to wait for `rec` at most. A step that asked to be called again notifies
    /// nobody: it is called after a pause, a fraction of the time it has taken so far.
    #[inline(never)]
    pub(crate) fn wait_until(&self, rec: &Record) -> u64 {
        let deadline = rec.deadline.get();
        let walks_here = rec.edges.peek().tag().is_resting();
        if !walks_here || !rec.is_armed(Awaited::Step) {
            return deadline;
        }
        let limit = self.platform().step_timeout();
        let now = self.platform().now();
        let taken = now.saturating_sub(deadline.saturating_sub(limit));
        deadline.min(now.saturating_add(pause(taken, limit)))
    }

    #[inline(never)]
    fn await_or_stuck(&self, rec: &Record, what: Awaited) -> Next {
        if self.is_overdue(rec, what) {
            self.stuck(rec)
        } else {
            Next::Stop(Advance::Pending)
        }
    }

    /// Stops without undoing anything: whoever comes next goes on from here.
    #[inline(never)]
    fn stuck(&self, rec: &Record) -> Next {
        let at = next_towards(rec.state(), rec.goal(Bounds::NONE));
        let fault = if rec.first.get().is_none() {
            &rec.first
        } else {
            &rec.second
        };
        fault.set(at, StepError::STUCK);
        Next::Stop(Advance::Stuck)
    }

    /// Notes a failure: the first turns the operation round, the second ends it.
    #[inline(never)]
    fn fail(&self, rec: &Record, at: StateId, err: StepError) -> Next {
        if rec.phase() == Phase::Back {
            rec.second.set(at, err);
            return Next::Stop(Advance::Ended);
        }
        rec.first.set(at, err);
        if rec.is_forced() {
            return Next::Stop(Advance::Ended);
        }
        rec.turn_back();
        Next::Stop(Advance::Turned)
    }

    /// Waits as the control CPU, and runs the calls to it: the interrupt that tells of one may end a wait
    /// without a handler, or be saved while an earlier one ends it.
    #[inline(never)]
    pub(crate) fn wait_served(&self, cpu: CpuId, deadline: u64) {
        self.platform().wait(Who::Control(cpu), deadline);
        self.serve_calls(self.platform().this_cpu());
    }
}

/// Returns how long to pause before a step is called again that has taken `taken` ns of at most `limit`:
/// geometric, so that neither a short step nor a long one is polled often.
pub(crate) fn pause(taken: u64, limit: u64) -> u64 {
    (taken / 8).max(SHORTEST_PAUSE_NS).min(limit / 16)
}

/// Nanoseconds before the first repeated call of a step.
const SHORTEST_PAUSE_NS: u64 = 20_000;
