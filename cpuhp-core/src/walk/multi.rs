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
        // A forced walk that finds an undo goes down all the same.
        let kept =
            Cursor::read(&self.rec.cursor).filter(|kept| !(kept.undoing && self.ctx.is_forced()));
        let mut cursor = kept.unwrap_or(Cursor::begin(dir));
        if !cursor.undoing {
            let mut one = nth(list, dir, cursor.done);
            loop {
                let Some(member) = one else {
                    self.rec.cursor.set(0);
                    return Ok(());
                };
                let called = self.member(member, meta, dir, at, &self.ctx);
                if let Err(error) = called.or_else(|error| self.judge(error)) {
                    cursor.write(&self.rec.cursor);
                    if error == StepError::WOULD_BLOCK {
                        return Err(error);
                    }
                    self.rec.cursor_err.set(StepError::to_word(Some(error)));
                    cursor.undoing = true;
                    break;
                }
                cursor.done += 1;
                one = member.following(dir);
            }
        }
        self.back(list, meta, at, cursor)?;
        Err(self.undo_cause())
    }

    /// Undoes the instances that are done, in exact reverse.
    fn back(&self, list: &dyn Roster, meta: &Meta, at: StateId, mut cursor: Cursor) -> StepResult {
        let (ctx, dir) = (self.ctx.rolling_back(), cursor.dir.opposite());
        while cursor.done > 0
            && let Some(one) = nth(list, cursor.dir, cursor.done - 1)
        {
            let called = self.member(one, meta, dir, at, &ctx);
            if let Err(error) = called.or_else(|error| self.judge(error)) {
                if error == StepError::WOULD_BLOCK {
                    cursor.write(&self.rec.cursor);
                    return Err(error);
                }
                self.rec.cursor.set(0);
                // It counts as up: the teardown that mends it has to pass it.
                self.store(at);
                self.rec.set_torn(at);
                self.undo.set(Some(error));
                return Err(self.undo_cause());
            }
            cursor.done -= 1;
        }
        self.rec.cursor.set(0);
        Ok(())
    }

    /// Undoes what an operation that stopped in the middle of a step's instances left of it, before a
    /// walk in the other direction: it would take them for nothing, or for all.
    pub(super) fn give_up(&self, mut cursor: Cursor) -> StepResult {
        let at = cursor.state(self.at());
        let slot = self.table.slot_of(at).and_then(|slot| self.slots.get(slot));
        let step = self.table.step(at);
        let step = step.or_else(|| slot.and_then(DynSlot::get));
        let Some((meta, list)) = step.and_then(|step| Some((step.meta(), step.roster()?))) else {
            self.rec.cursor.set(0);
            return Ok(());
        };
        if !cursor.undoing {
            self.rec.cursor_err.set(0);
            cursor.undoing = true;
        }
        self.back(list, meta, at, cursor)
    }

    /// Calls one instance.
    #[inline]
    pub(super) fn member(
        &self,
        one: &dyn Member,
        meta: &Meta,
        dir: Direction,
        at: StateId,
        ctx: &Ctx<'_>,
    ) -> StepResult {
        self.traced(meta, dir, at, ctx, || one.call(dir, ctx))
    }

    /// Returns what made the instances go back.
    fn undo_cause(&self) -> StepError {
        StepError::from_word(self.rec.cursor_err.get()).unwrap_or(StepError::TORN)
    }
}

/// Returns the instance that `dir` calls after `passed` others.
fn nth(list: &dyn Roster, dir: Direction, passed: usize) -> Option<&'static dyn Member> {
    (0..passed).try_fold(list.first(dir)?, |one, _| one.following(dir))
}

/// How far the instances of a step are.
#[derive(Clone, Copy)]
pub(crate) struct Cursor {
    done: usize,
    /// Which way the walk was going.
    pub(super) dir: Direction,
    undoing: bool,
}

const UNDOING: u32 = 1 << 31;
/// There is a step whose instances are under way.
const BEGUN: u32 = 1 << 30;
const DOWN: u32 = 1 << 29;

impl Cursor {
    const fn begin(dir: Direction) -> Self {
        Self {
            done: 0,
            dir,
            undoing: false,
        }
    }

    /// Reads it; `None` if no step is in the middle of its instances.
    pub(crate) fn read(word: &Own) -> Option<Self> {
        let word = word.get();
        let dir = if word & DOWN == 0 {
            Direction::Up
        } else {
            Direction::Down
        };
        (word & BEGUN != 0).then_some(Self {
            done: (word & (DOWN - 1)) as usize,
            dir,
            undoing: word & UNDOING != 0,
        })
    }

    fn write(self, word: &Own) {
        // More instances than 2^29 do not fit into any memory.
        let done = u32::try_from(self.done).unwrap_or(0) & (DOWN - 1);
        let down = match self.dir {
            Direction::Up => 0,
            Direction::Down => DOWN,
        };
        word.set(done | down | BEGUN | if self.undoing { UNDOING } else { 0 });
    }

    /// Returns the state it is about, of a CPU whose last completed state is `last`.
    pub(crate) const fn state(self, last: StateId) -> StateId {
        match self.dir {
            Direction::Up => last.above(),
            Direction::Down => last,
        }
    }
}
