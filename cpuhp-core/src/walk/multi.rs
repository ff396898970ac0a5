//! The instances of one step: `up` in order of addition, `down` in reverse, undo in exact reverse.
//!
//! How far they are is kept in the record, so that a step which asks to be called again goes on at the
//! same instance, and an operation which was given up in the middle can be undone by the next one.

use super::Walk;
use crate::error::StepError;
use crate::instance::{Member, Roster};
use crate::record::{DynSlot, Own};
use crate::step::{Ctx, Direction, Half, Meta, StateId, StepResult};
use crate::trace::Trace;

impl<T: Trace> Walk<'_, T> {
    /// Runs the instances of one state: `up` in order of addition, `down` in reverse.
    #[inline(never)]
    pub(super) fn multi(
        &self,
        list: &dyn Roster,
        meta: &Meta,
        dir: Direction,
        at: StateId,
    ) -> StepResult {
        let mut cursor = Cursor::read(&self.rec.cursor);
        // A forced walk that finds an undo goes down all the same.
        if !cursor.is_begun() || cursor.is_undoing() && self.ctx.is_forced() {
            cursor = Cursor::begin(dir);
        }
        if !cursor.is_undoing() {
            let mut one = nth(list, dir, cursor.done());
            loop {
                let Some(member) = one else {
                    self.rec.cursor.set(0);
                    return Ok(());
                };
                if let Err(error) = self.member(member, meta, dir, at, &self.ctx) {
                    cursor.write(&self.rec.cursor);
                    if error == StepError::WOULD_BLOCK {
                        return Err(error);
                    }
                    self.rec.cursor_err.set(StepError::to_word(Some(error)));
                    break;
                }
                cursor = cursor.further();
                one = member.following(dir);
            }
        }
        self.back(list, meta, at, cursor)?;
        Err(self.undo_cause())
    }

    /// Undoes the instances that are done, in exact reverse.
    fn back(&self, list: &dyn Roster, meta: &Meta, at: StateId, mut cursor: Cursor) -> StepResult {
        let (ctx, forth) = (self.ctx.rolling_back(), cursor.dir());
        while cursor.done() > 0
            && let Some(one) = nth(list, forth, cursor.done() - 1)
        {
            if let Err(error) = self.member(one, meta, forth.opposite(), at, &ctx) {
                if error == StepError::WOULD_BLOCK {
                    cursor.undoing().write(&self.rec.cursor);
                    return Err(error);
                }
                self.rec.cursor.set(0);
                // It counts as up: the teardown that mends it has to pass it.
                self.store(at);
                self.rec.set_torn(at);
                self.undo.set(Some(error));
                return Err(self.undo_cause());
            }
            cursor = cursor.back();
        }
        self.rec.cursor.set(0);
        Ok(())
    }

    /// Undoes what an operation that stopped in the middle of a step's instances left of it, before a
    /// walk in the other direction: it would take them for nothing, or for all.
    pub(super) fn give_up(&self, cursor: Cursor) -> StepResult {
        let at = cursor.state(self.at()).unwrap_or_default();
        let slot = self.table.slot_of(at).and_then(|slot| self.slots.get(slot));
        let step = self.table.step(at);
        let step = step.or_else(|| slot.and_then(DynSlot::get));
        let Some((meta, list)) = step.and_then(|step| Some((step.meta(), step.roster()?))) else {
            self.rec.cursor.set(0);
            return Ok(());
        };
        if !cursor.is_undoing() {
            self.rec.cursor_err.set(0);
        }
        self.back(list, meta, at, cursor)
    }

    /// Calls one instance; a forced walk passes over its error.
    #[inline(never)]
    fn member(
        &self,
        one: &dyn Member,
        meta: &Meta,
        dir: Direction,
        at: StateId,
        ctx: &Ctx<'_>,
    ) -> StepResult {
        let called = self.traced(meta, dir, at, ctx, || one.call(dir, ctx));
        called.or_else(|error| self.judge(error))
    }

    /// Returns what made the instances go back.
    fn undo_cause(&self) -> StepError {
        StepError::from_word(self.rec.cursor_err.get()).unwrap_or(StepError::TORN)
    }
}

/// Returns the instance that `dir` calls after `passed` others.
fn nth(list: &dyn Roster, dir: Direction, passed: u32) -> Option<&'static dyn Member> {
    (0..passed).try_fold(list.first(dir)?, |one, _| one.following(dir))
}

/// How far the instances of a step are, as the record keeps it: how many are done in bits 0..29. Zero: no step
/// is in the middle of its instances.
#[derive(Clone, Copy)]
pub(crate) struct Cursor(u32);

const UNDOING: u32 = 1 << 31;
/// There is a step whose instances are under way.
const BEGUN: u32 = 1 << 30;
const DOWN: u32 = 1 << 29;

impl Cursor {
    const fn begin(dir: Direction) -> Self {
        Self(match dir {
            Direction::Up => BEGUN,
            Direction::Down => BEGUN | DOWN,
        })
    }

    pub(crate) fn read(word: &Own) -> Self {
        Self(word.get())
    }

    fn write(self, word: &Own) {
        word.set(self.0);
    }

    /// Whether a step is in the middle of its instances.
    pub(super) const fn is_begun(self) -> bool {
        self.0 != 0
    }

    const fn is_undoing(self) -> bool {
        self.0 & UNDOING != 0
    }

    const fn done(self) -> u32 {
        self.0 & (DOWN - 1)
    }

    /// Which way the walk was going.
    pub(super) const fn dir(self) -> Direction {
        if self.0 & DOWN == 0 {
            Direction::Up
        } else {
            Direction::Down
        }
    }

    /// One more is done. More instances than 2^29 do not fit into any memory.
    const fn further(self) -> Self {
        Self(self.0 + 1)
    }

    /// One less is done; only where one was.
    const fn back(self) -> Self {
        Self(self.0 - 1)
    }

    const fn undoing(self) -> Self {
        Self(self.0 | UNDOING)
    }

    /// Returns the state it is about, of a CPU whose last completed state is `last`; none if there is no
    /// such step.
    pub(crate) fn state(self, last: StateId) -> Option<StateId> {
        let at = match self.dir() {
            Direction::Up => last.above(),
            Direction::Down => last,
        };
        self.is_begun().then_some(at)
    }
}
