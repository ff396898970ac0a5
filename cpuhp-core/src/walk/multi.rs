//! The instances of one step: `up` in order of addition, `down` in reverse, undo in exact reverse.
//!
//! How far they are is kept in the record, so that a step which asks to be called again goes on at the
//! same instance, and an operation which was given up in the middle can be undone by the next one.

use super::{Stop, Walk, Walked};
use crate::error::StepError;
use crate::instance::{Instances, Object};
use crate::record::{DynSlot, Own};
use crate::step::{Direction, Half, StateId};
use crate::trace::Trace;

impl<T: Trace> Walk<'_, T> {
    /// Runs the instances of one state: `up` in order of addition, `down` in reverse.
    pub(super) fn multi<O: Object + ?Sized>(
        &self,
        list: &'static Instances<O>,
        name: &'static str,
        dir: Direction,
        at: StateId,
    ) -> Walked {
        // A forced walk that finds an undo goes down all the same.
        let kept =
            Cursor::read(&self.rec.cursor).filter(|kept| !(kept.undoing && self.ctx.is_forced()));
        let mut cursor = kept.unwrap_or(Cursor::begin(dir));
        if !cursor.undoing {
            match self.forth(list, name, at, &mut cursor) {
                Err(Stop::Failed(_, error)) => {
                    self.rec.cursor_err.set(StepError::to_word(Some(error)));
                    cursor.undoing = true;
                }
                walked => return walked,
            }
        }
        self.back(list, name, at, &mut cursor)?;
        Err(Stop::Failed(at, self.undo_cause()))
    }

    /// Calls the instances that are still to come.
    fn forth<O: Object + ?Sized>(
        &self,
        list: &'static Instances<O>,
        name: &'static str,
        at: StateId,
        cursor: &mut Cursor,
    ) -> Walked {
        for one in list.in_order(cursor.dir).skip(cursor.done) {
            let call = || one.object().call(cursor.dir, &self.ctx);
            match self.judge(at, self.traced(name, cursor.dir, at, &self.ctx, call)) {
                Ok(()) => cursor.done += 1,
                Err(stop) => {
                    cursor.write(&self.rec.cursor);
                    return Err(stop);
                }
            }
        }
        self.rec.cursor.set(0);
        Ok(())
    }

    /// Undoes the instances that are done, in exact reverse.
    fn back<O: Object + ?Sized>(
        &self,
        list: &'static Instances<O>,
        name: &'static str,
        at: StateId,
        cursor: &mut Cursor,
    ) -> Walked {
        let (ctx, dir) = (self.ctx.rolling_back(), cursor.dir.opposite());
        while cursor.done > 0 {
            let Some(one) = list.in_order(cursor.dir).nth(cursor.done - 1) else {
                break;
            };
            let call = || one.object().call(dir, &ctx);
            match self.judge(at, self.traced(name, dir, at, &ctx, call)) {
                Ok(()) => cursor.done -= 1,
                Err(Stop::Failed(_, second)) => {
                    self.rec.cursor.set(0);
                    // It counts as up: the teardown that mends it has to pass it.
                    self.store(at);
                    return Err(Stop::Torn(at, self.undo_cause(), second));
                }
                Err(stop) => {
                    cursor.write(&self.rec.cursor);
                    return Err(stop);
                }
            }
        }
        self.rec.cursor.set(0);
        Ok(())
    }

    /// Undoes what an operation that stopped in the middle of a step's instances left of it, before a
    /// walk in the other direction: it would take them for nothing, or for all.
    #[inline(never)]
    pub(super) fn give_up(&self, mut cursor: Cursor) -> Walked {
        let at = cursor.state(self.at());
        let slot = self.table.slot_of(at).and_then(|slot| self.slots.get(slot));
        let step = self.table.step(at);
        let step = step.or_else(|| slot.and_then(DynSlot::get));
        let Some((step, list)) = step.and_then(|step| Some((step, step.instances()?))) else {
            self.rec.cursor.set(0);
            return Ok(());
        };
        if !cursor.undoing {
            self.rec.cursor_err.set(0);
            cursor.undoing = true;
        }
        self.back(list, Half::name(step), at, &mut cursor)
    }

    /// Returns what made the instances go back.
    fn undo_cause(&self) -> StepError {
        StepError::from_word(self.rec.cursor_err.get()).unwrap_or(StepError::TORN)
    }
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
