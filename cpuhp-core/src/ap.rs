//! The moved CPU's own side: what it does next, as a poll.
//!
//! Called on the AP from its entry path, its idle loop or its hotplug thread. Never blocks, never
//! loops for another CPU, touches only its own record and its bits in the masks. Cannot be misused
//! into undefined behaviour: a wrong caller is refused and nothing is touched.

mod answer;

use crate::cpu::CpuId;
use crate::drive::pause;
use crate::error::StepError;
use crate::handshake::{Order, Request, Tag, Word};
use crate::hotplug::Cpuhp;
use crate::mask::Kind;
use crate::platform::{Platform, Who};
use crate::record::Record;
use crate::step::{Direction, How, Rollback, Section, StateId};
use crate::trace::Trace;

pub use answer::{ApExit, ApNext, Misuse};

/// What one look at the record came to.
enum Flow {
    Again,
    /// Return this; the AP's side of the record is given back.
    Return(ApNext),
    /// The AP has left its record for good.
    Gone,
}

/// Whether a start has been compared with the last kick.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judged {
    No,
    Yes,
}

/// How long a step of this CPU has been asking to be called again.
struct Waiting {
    state: StateId,
    since: Option<u64>,
}

// The `mode` word of the record.
const IDLE: u32 = 0;
const FORWARD: u32 = 1;
const BACK: u32 = 2;
const STARTING: u32 = 3;
const LEAVING: u32 = 4;

impl<P: Platform, T: Trace> Cpuhp<'_, P, T> {
    /// Runs the AP's side until the CPU has to rest: arrival, STARTING, then every request.
    ///
    /// It serves its calls as well, and nothing else: the crate's documentation shows a loop of a kernel's own.
    ///
    /// Context: the AP, from its entry code, interrupts off, on the stack PREPARE made. Waits through
    /// [`Platform::wait`] and [`Platform::relax`]; returns when the CPU leaves.
    pub fn ap_run(&self, cpu: CpuId) -> ApExit {
        let hint = self.platform().entry_hint(cpu);
        let (mut next, mut judged) = self.enter(cpu, hint);
        let mut waiting = Waiting {
            state: StateId::OFFLINE,
            since: None,
        };
        loop {
            match next {
                ApNext::Off => return ApExit::Off,
                ApNext::Park => return ApExit::Park,
                ApNext::Spin => self.platform().relax(),
                ApNext::Wait | ApNext::Idle | ApNext::Refused(Misuse::Reentered) => {
                    let until = self.ap_deadline(cpu, next, &mut waiting);
                    self.platform().wait(Who::Ap(cpu), until);
                    self.serve_calls(cpu);
                }
                ApNext::Refused(_) => return ApExit::Stale,
            }
            if judged == Judged::Yes {
                next = self.poll_ap(cpu);
            } else {
                (next, judged) = self.enter(cpu, hint);
            }
        }
    }

    /// Reports the arrival of a started AP, and polls once.
    ///
    /// `epoch_hint` is what firmware handed to this entry, if it can: a start of an earlier kick is
    /// refused. While the answer is [`ApNext::Wait`] and the tag reads DEAD, call it again.
    ///
    /// Context: as [`Self::ap_run`]; the first call into the core of whoever polls for himself.
    pub fn ap_enter(&self, cpu: CpuId, epoch_hint: Option<u8>) -> ApNext {
        self.enter(cpu, epoch_hint).0
    }

    fn enter(&self, cpu: CpuId, epoch_hint: Option<u8>) -> (ApNext, Judged) {
        let rec = match self.own_record(cpu) {
            Ok(rec) => rec,
            Err(misuse) => return (ApNext::Refused(misuse), Judged::Yes),
        };
        match rec.edges.look().tag() {
            // A record that still reads DEAD may have an old epoch as well. Touch nothing, look again.
            Tag::Dead if self.ap_lost_patience(rec) => return (ApNext::Off, Judged::Yes),
            Tag::Dead => return (ApNext::Wait, Judged::No),
            Tag::Kicked | Tag::Cancelled | Tag::Parked => {}
            Tag::Alive | Tag::Go | Tag::Up | Tag::Die | Tag::Gone => {
                return (ApNext::Refused(Misuse::NotStarted), Judged::Yes);
            }
        }
        let differs = |hint: u8| rec.kicked_epoch() & 0x7f != u32::from(hint & 0x7f);
        if epoch_hint.is_some_and(differs) {
            return (ApNext::Refused(Misuse::Stale), Judged::Yes);
        }
        (self.poll_ap(cpu), Judged::Yes)
    }

    /// Goes as far as this CPU can without waiting, and says what it does next.
    ///
    /// Context: `cpu` itself, one context at a time; interrupts off until `AP_IDLE`. STARTING steps
    /// run with them off, ONLINE steps as the caller has them.
    pub fn poll_ap(&self, cpu: CpuId) -> ApNext {
        let rec = match self.own_record(cpu) {
            Ok(rec) => rec,
            Err(misuse) => return ApNext::Refused(misuse),
        };
        if !rec.busy.claim() {
            return ApNext::Refused(Misuse::Reentered);
        }
        loop {
            match self.ap_look(cpu, rec) {
                Flow::Again => {}
                Flow::Return(next) => {
                    rec.busy.free();
                    return next;
                }
                Flow::Gone => return ApNext::Off,
            }
        }
    }

    /// Whether polling `cpu` would find something to do. For idle loops; a hint.
    ///
    /// Context: any CPU, interrupts on or off; loads of one line.
    pub fn has_work(&self, cpu: CpuId) -> bool {
        let Some(rec) = self.record(cpu) else {
            return false;
        };
        match rec.edges.peek().tag() {
            Tag::Up => rec.edges.has_request(),
            Tag::Kicked | Tag::Go | Tag::Die | Tag::Cancelled => true,
            Tag::Dead | Tag::Alive | Tag::Gone | Tag::Parked => false,
        }
    }

    /// Whether a CPU that rests after [`ApNext::Park`] is wanted again. One load, needs no stack; once
    /// it says yes, the CPU sees what PREPARE made anew and may go back onto it.
    ///
    /// Context: the resting CPU, interrupts on or off.
    pub fn parked_poll(&self, cpu: CpuId) -> bool {
        self.record(cpu)
            .is_some_and(|rec| rec.edges.look().tag() != Tag::Parked)
    }

    /// Returns the record of the calling CPU.
    fn own_record(&self, cpu: CpuId) -> Result<&Record, Misuse> {
        let rec = self.record(cpu).ok_or(Misuse::NoSuchCpu)?;
        if self.platform().this_cpu() == cpu {
            Ok(rec)
        } else {
            Err(Misuse::WrongCpu)
        }
    }

    fn ap_look(&self, cpu: CpuId, rec: &Record) -> Flow {
        let word = rec.edges.look();
        match word.tag() {
            // A kick that was not ordered after KICKED: the word will come. Touch nothing.
            Tag::Dead if self.ap_lost_patience(rec) => Flow::Return(ApNext::Off),
            Tag::Dead => Flow::Return(ApNext::Wait),
            Tag::Kicked => {
                if let Some(next) = rec.edges.ap_arrive(word) {
                    rec.since.set(0);
                    self.edge(cpu, word.tag(), next.tag());
                    self.platform().notify_ctl(cpu);
                }
                Flow::Again
            }
            Tag::Alive if self.ap_lost_patience(rec) => self.ap_park(cpu, rec, word),
            Tag::Alive => Flow::Return(ApNext::Wait),
            Tag::Cancelled => self.ap_park(cpu, rec, word),
            Tag::Parked => Flow::Return(ApNext::Park),
            Tag::Go => self.ap_start(cpu, rec, word),
            Tag::Up => self.ap_serve(cpu, rec, word),
            Tag::Die => self.ap_leave(cpu, rec, word),
            Tag::Gone => Flow::Return(ApNext::Off),
        }
    }

    fn ap_lost_patience(&self, rec: &Record) -> bool {
        let patience = self.platform().ap_patience();
        if patience == u64::MAX {
            return false;
        }
        let now = self.platform().now().max(1);
        if rec.since.get() == 0 {
            rec.since.set(now);
        }
        now.saturating_sub(rec.since.get()) >= patience
    }

    /// Returns until when the AP waits at most: the end of its patience, or a pause while a step of its
    /// own asked to be called again, since nobody notifies for that.
    fn ap_deadline(&self, cpu: CpuId, next: ApNext, waiting: &mut Waiting) -> u64 {
        let Some(rec) = self.record(cpu) else {
            return 0;
        };
        if next == ApNext::Wait && rec.edges.peek().tag() == Tag::Up {
            let (now, limit) = (self.platform().now(), self.platform().step_timeout());
            if waiting.since.is_none() || waiting.state != rec.state() {
                *waiting = Waiting {
                    state: rec.state(),
                    since: Some(now),
                };
            }
            let taken = now.saturating_sub(waiting.since.unwrap_or(now));
            return now.saturating_add(pause(taken, limit));
        }
        waiting.since = None;
        match rec.since.get() {
            0 => u64::MAX,
            since => since.saturating_add(self.platform().ap_patience()),
        }
    }

    fn ap_park(&self, cpu: CpuId, rec: &Record, word: Word) -> Flow {
        if let Some(next) = rec.edges.ap_park(word) {
            rec.since.set(0);
            self.edge(cpu, word.tag(), next.tag());
            self.platform().notify_ctl(cpu);
        }
        Flow::Again
    }

    /// GO: walks STARTING up.
    fn ap_start(&self, cpu: CpuId, rec: &Record, word: Word) -> Flow {
        if rec.mode.get() != STARTING {
            rec.mode.set(STARTING);
            self.platform().enter_atomic();
        }
        let idle = self.table().ap_idle();
        let how = word.how();
        if self.walk(cpu, rec, cpu, how, idle).result.is_err() {
            return Flow::Return(ApNext::Spin);
        }
        Self::mark_entered(rec, Section::Starting);
        rec.mode.set(IDLE);
        rec.since.set(0);
        self.open_calls(cpu);
        self.storage.add(Kind::Available, cpu);
        let next = rec.edges.ap_up(word);
        self.edge(cpu, word.tag(), next.tag());
        self.platform().leave_atomic();
        self.platform().notify_ctl(cpu);
        Flow::Again
    }

    /// UP: carries the posted request out.
    fn ap_serve(&self, cpu: CpuId, rec: &Record, word: Word) -> Flow {
        let Some(request) = rec.edges.ap_request() else {
            return Flow::Return(ApNext::Idle);
        };
        if request.is(Order::Die) {
            return self.ap_leave(cpu, rec, word);
        }
        if let Some(dir) = request.invocation() {
            return self.ap_invoke(cpu, rec, request, dir);
        }
        if rec.mode.get() == IDLE {
            self.ap_begin(cpu, rec, request);
        }
        let back = rec.mode.get() == BACK;
        let goal = if back {
            rec.walk_origin.state()
        } else {
            request.goal()
        };
        let how = request.how(
            Section::Online,
            if back { Rollback::Yes } else { Rollback::No },
        );
        let stop = self.walk(cpu, rec, cpu, how, goal);
        match stop.result {
            Ok(()) => rec.mend(),
            Err(StepError::WOULD_BLOCK) => return Flow::Return(ApNext::Wait),
            Err(err) => {
                let at = stop.at(rec, goal);
                let met = if back {
                    &rec.walk_second
                } else {
                    &rec.walk_first
                };
                met.set(at, err);
                match stop.undo {
                    Some(second) if !back => rec.walk_second.set(at, second),
                    None if !back && !request.is_rollback() => {
                        rec.mode.set(BACK);
                        return Flow::Again;
                    }
                    Some(_) | None => {}
                }
            }
        }
        self.ap_answer(cpu, rec, request);
        Flow::Again
    }

    /// Calls one half of one state for a registration; the state does not move.
    ///
    /// A registration that was given up in the meantime has nobody who would call `down`: it is called
    /// here, before the answer.
    fn ap_invoke(&self, cpu: CpuId, rec: &Record, request: Request, dir: Direction) -> Flow {
        let (at, what) = (request.goal(), request.invoked());
        if rec.mode.get() == IDLE {
            rec.mode.set(FORWARD);
            rec.walk_first.clear();
        }
        let undoing = rec.mode.get() == BACK;
        let dir = if undoing { dir.opposite() } else { dir };
        match self.invoke(cpu, rec, cpu, at, dir, what) {
            Ok(()) if !undoing && dir == Direction::Up && !rec.edges.ap_settle() => {
                rec.mode.set(BACK);
                return Flow::Again;
            }
            Ok(()) => {}
            Err(StepError::WOULD_BLOCK) => return Flow::Return(ApNext::Wait),
            Err(err) => rec.walk_first.set(at, err),
        }
        rec.mode.set(IDLE);
        rec.edges.ap_answer(request, rec.state());
        self.platform().notify_ctl(cpu);
        Flow::Again
    }

    fn ap_begin(&self, cpu: CpuId, rec: &Record, request: Request) {
        rec.mode.set(FORWARD);
        rec.walk_origin.set_state(rec.state());
        rec.walk_first.clear();
        rec.walk_second.clear();
        if request.is_leaving() {
            self.storage.add(Kind::Dying, cpu);
        } else {
            self.storage.take(Kind::Dying, cpu);
        }
        if request.goal() < rec.state() {
            self.storage.take(Kind::Online, cpu);
        }
    }

    fn ap_answer(&self, cpu: CpuId, rec: &Record, request: Request) {
        // It turned back, or stopped on the way: either way it is not on its way out any more.
        if rec.walk_first.get().is_some() {
            self.storage.take(Kind::Dying, cpu);
        }
        rec.mode.set(IDLE);
        let at: StateId = rec.state();
        if at == self.table().online() {
            Self::mark_entered(rec, Section::Online);
            self.storage.add(Kind::Online, cpu);
        }
        rec.edges.ap_answer(request, at);
        self.platform().notify_ctl(cpu);
    }

    /// DIE, from UP or from ALIVE: walks down what is up, and says the last word.
    fn ap_leave(&self, cpu: CpuId, rec: &Record, word: Word) -> Flow {
        if word.tag() == Tag::Up {
            if rec.mode.get() != LEAVING {
                self.platform().enter_atomic();
                if !self.close_calls(cpu) {
                    return Flow::Return(ApNext::Wait);
                }
                rec.mode.set(LEAVING);
                self.storage.take(Kind::Available, cpu);
            }
            let kick = self.table().kick();
            let how = match rec.edges.ap_request() {
                Some(request) => request.how(Section::Starting, Rollback::No),
                None => How::forward(Section::Starting),
            };
            if self.walk(cpu, rec, cpu, how, kick).result.is_err() {
                return Flow::Return(ApNext::Spin);
            }
            rec.mode.set(IDLE);
            self.storage.take(Kind::Dying, cpu);
        }
        rec.since.set(0);
        rec.busy.free();
        let next = rec.edges.ap_gone(word);
        self.edge(cpu, word.tag(), next.tag());
        self.platform().notify_ctl(cpu);
        Flow::Gone
    }
}
