//! The words of one operation in the record: its phase, its deadline and its failures.
//!
//! Owned by whoever holds the record's owner stamp. An operation lives here and not in its handle,
//! so that anybody can take an abandoned one over.

use crate::bulk::Suspend;
use crate::decide::Meet;
use crate::error::StepError;
use crate::handshake::{Release, Tag};
use crate::record::{Fault, Record};
use crate::step::{How, Rollback, Section, StateId};

/// Which way an operation goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// There is none.
    Idle,
    /// To its target.
    Forward,
    /// Back to its origin, after a failure.
    Back,
}

/// What an armed deadline bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Awaited {
    /// From kick to alive.
    Arrival = 1,
    /// One step, or one answer: armed anew whenever the state moves.
    Step = 2,
    /// From the order to die until it is confirmed.
    Death = 3,
}

/// How far an operation may go for now: the stage of a bulk operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    pub(crate) floor: StateId,
    pub(crate) ceiling: StateId,
    pub(crate) meet: Meet,
    pub(crate) until: Until,
}

/// When an operation counts as done for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    /// The CPU is where it is to go.
    Goal,
    /// The CPU, which was in flight, has come to rest; nothing new is begun.
    Rest,
}

impl Bounds {
    /// As far as the target.
    pub(crate) const NONE: Self = Self {
        floor: StateId::OFFLINE,
        ceiling: StateId::new(u16::MAX),
        meet: Meet::No,
        until: Until::Goal,
    };
}

const FORWARD: u32 = 1;
const BACK: u32 = 2;
const PHASE: u32 = 0xf;
const AWAITED: u32 = 0xf0;
const AUTO: u32 = 1 << 8;
/// The unanswered, or just answered, request is of this operation.
const POSTED: u32 = 1 << 9;
/// This operation gave the CPU up because it was asked to, not because it was late.
const CALLED_OFF: u32 = 1 << 10;
/// Part of a teardown of many CPUs: going down to `AP_IDLE` already means leaving.
const LEAVING: u32 = 1 << 15;
/// The CPU was in flight when the operation began: its origin is where it comes to rest.
const UNSETTLED: u32 = 1 << 12;
/// An earlier operation stopped as STUCK in PREPARE: one of its steps waits to be called again.
const HALF: u32 = 1 << 14;
/// From these two flags to those of [`How`].
const HOW_SHIFT: u32 = 8;
/// Errors on the way down are counted and passed over.
const FORCE: u32 = How::FORCED >> HOW_SHIFT;
/// Part of a suspend or a resume.
const SUSPEND: u32 = How::SUSPEND >> HOW_SHIFT;
const SEEN_SHIFT: u32 = 16;

/// Bit of the `kicked` word: the outcome of the kick has not been told yet.
const KICK_OPEN: u32 = 1 << 16;

impl Record {
    /// Begins an operation from the present state.
    #[inline(never)]
    pub(crate) fn begin(&self, target: StateId, release: Release) {
        let auto = if release == Release::Auto { AUTO } else { 0 };
        let half = self.phase() != Phase::Idle && self.edges.peek().tag().is_resting();
        let unsettled = if self.is_in_flight() { UNSETTLED } else { 0 };
        self.phase
            .set(FORWARD | auto | unsettled | if half { HALF } else { 0 });
        self.target.set_state(target);
        self.origin.set_state(self.state());
        self.clear_failures();
    }

    /// Whether the AP moves by itself, or has a request it has not answered.
    ///
    /// Acquire: a CPU that is found at rest is at rest in the state read after it.
    pub(crate) fn is_in_flight(&self) -> bool {
        let tag = self.edges.look().tag();
        tag.is_moving() || (tag == Tag::Up && !self.edges.answered())
    }

    /// Whether a step of PREPARE waits to be called again, from before this operation.
    #[inline]
    pub(crate) fn is_half_prepared(&self) -> bool {
        self.phase.get() & HALF != 0
    }

    /// A walk of PREPARE got through.
    #[inline]
    pub(crate) fn set_prepared(&self) {
        self.phase.set(self.phase.get() & !(AWAITED | HALF));
    }

    /// Takes the state of a CPU that has come to rest as the origin, if it was in flight before; says
    /// whether it was.
    #[inline(never)]
    pub(crate) fn settle_origin(&self) -> bool {
        let unsettled = self.phase.get() & UNSETTLED != 0;
        if unsettled {
            self.phase.set(self.phase.get() & !UNSETTLED);
            self.origin.set_state(self.state());
        }
        unsettled
    }

    /// Ends it: the target is where the CPU is.
    #[inline(never)]
    pub(crate) fn end(&self) {
        self.phase.set(0);
        self.target.set_state(self.state());
    }

    /// Prepares an operation that stopped as STUCK, or was abandoned, for going on.
    #[inline(never)]
    pub(crate) fn rearm(&self) {
        self.disarm();
        for fault in [&self.first, &self.second] {
            if StepError::from_word(fault.err.get()) == Some(StepError::STUCK) {
                fault.clear();
            }
        }
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.get() & PHASE {
            FORWARD => Phase::Forward,
            BACK => Phase::Back,
            _ => Phase::Idle,
        }
    }

    /// Returns where the operation wants the CPU now: its target within `bounds`, or its origin.
    #[inline]
    pub(crate) fn goal(&self, bounds: Bounds) -> StateId {
        match self.phase() {
            Phase::Back => self.origin.state(),
            Phase::Forward | Phase::Idle => {
                self.target.state().max(bounds.floor).min(bounds.ceiling)
            }
        }
    }

    /// Turns the operation round.
    #[inline]
    pub(crate) fn turn_back(&self) {
        self.phase
            .set(self.phase.get() & !(PHASE | AWAITED | AUTO | LEAVING | FORCE) | BACK);
    }

    /// Returns how this operation walks.
    pub(crate) fn how(&self, section: Section) -> How {
        let word = self.phase.get();
        let back = if word & PHASE == BACK {
            How::ROLLBACK
        } else {
            0
        };
        How::new(section, (word & (FORCE | SUSPEND)) << HOW_SHIFT | back)
    }

    /// Returns what the callbacks of this operation are told.
    #[inline]
    pub(crate) fn rollback(&self) -> Rollback {
        if self.phase() == Phase::Back {
            Rollback::Yes
        } else {
            Rollback::No
        }
    }

    #[inline]
    pub(crate) fn release_mode(&self) -> Release {
        if self.phase.get() & AUTO != 0 {
            Release::Auto
        } else {
            Release::ByControl
        }
    }

    #[inline]
    pub(crate) fn is_posted(&self) -> bool {
        self.phase.get() & POSTED != 0
    }

    #[inline]
    pub(crate) fn set_posted(&self) {
        self.phase.set(self.phase.get() & !AWAITED | POSTED);
    }

    #[inline]
    pub(crate) fn clear_posted(&self) {
        self.phase.set(self.phase.get() & !(AWAITED | POSTED));
    }

    #[inline]
    pub(crate) fn suspend(&self) -> Suspend {
        if self.phase.get() & SUSPEND != 0 {
            Suspend::Yes
        } else {
            Suspend::No
        }
    }

    #[inline]
    pub(crate) fn set_suspend(&self) {
        self.phase.set(self.phase.get() | SUSPEND);
    }

    #[inline]
    pub(crate) fn is_forced(&self) -> bool {
        self.phase.get() & FORCE != 0
    }

    #[inline]
    pub(crate) fn set_forced(&self) {
        self.phase.set(self.phase.get() | FORCE);
        self.ignored.set(0);
    }

    #[inline]
    pub(crate) fn is_leaving(&self) -> bool {
        self.phase.get() & LEAVING != 0
    }

    #[inline]
    pub(crate) fn set_leaving(&self) {
        self.phase.set(self.phase.get() | LEAVING);
    }

    #[inline]
    pub(crate) fn is_called_off(&self) -> bool {
        self.phase.get() & CALLED_OFF != 0
    }

    #[inline]
    pub(crate) fn set_called_off(&self) {
        self.phase.set(self.phase.get() & !AWAITED | CALLED_OFF);
    }

    // ---- deadline

    /// Forgets the deadline: something happened.
    #[inline]
    pub(crate) fn disarm(&self) {
        self.phase.set(self.phase.get() & !AWAITED);
    }

    /// Whether the deadline runs for this, with nothing having moved since it was armed.
    #[inline(never)]
    pub(crate) fn is_armed(&self, what: Awaited) -> bool {
        let word = self.phase.get();
        let same = word & AWAITED == (what as u32) << 4;
        same && (what != Awaited::Step || word >> SEEN_SHIFT == u32::from(self.state().get()))
    }

    /// Arms the deadline.
    #[inline(never)]
    pub(crate) fn arm(&self, what: Awaited, deadline: u64) {
        let word = self.phase.get() & !AWAITED & ((1 << SEEN_SHIFT) - 1);
        let seen = u32::from(self.state().get()) << SEEN_SHIFT;
        self.phase.set(word | (what as u32) << 4 | seen);
        self.deadline.set(deadline);
    }

    // ---- failures

    #[inline]
    pub(crate) fn clear_failures(&self) {
        self.first.clear();
        self.second.clear();
        self.kick_code.set(0);
    }

    // ---- kick accounting

    /// Notes a hardware kick of this epoch; its outcome is open.
    #[inline]
    pub(crate) fn open_kick(&self, epoch: u16) {
        self.kicked.set(u32::from(epoch) | KICK_OPEN);
    }

    /// Takes the open outcome: `true` once per kick.
    #[inline]
    pub(crate) fn take_open_kick(&self) -> bool {
        let word = self.kicked.get();
        if word & KICK_OPEN != 0 {
            self.kicked.set(word & !KICK_OPEN);
        }
        word & KICK_OPEN != 0
    }

    /// Returns the epoch of the last hardware kick.
    #[inline]
    pub(crate) fn kicked_epoch(&self) -> u32 {
        self.kicked.get() & 0xffff
    }
}

impl Fault {
    #[inline]
    pub(crate) fn set(&self, at: StateId, err: StepError) {
        self.at.set_state(at);
        self.err.set(StepError::to_word(Some(err)));
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<(StateId, StepError)> {
        StepError::from_word(self.err.get()).map(|err| (self.at.state(), err))
    }
}
