//! The walk: from one state towards another, step by step, storing each state it completes.
//!
//! Pure: it knows the table, the dynamic slots, a few words of the record and what to tell the
//! callbacks; no time, no protocol, no decision about what a failure means. Rows of static steps are
//! iterated as slices; what a step is beyond a function is asked only where it has none.

mod multi;

use core::cell::Cell;
use core::ops::Range;

use crate::cpu::CpuId;
use crate::error::StepError;
use crate::fault;
use crate::instance::Roster;
use crate::record::{DynSlot, Record};
use crate::step::{Ctx, Direction, Half, Meta, Section, StateId, Step, StepResult};
use crate::sync::{AtomicU32, Ordering};
use crate::table::{DynRange, Part, Row, Table};
use crate::trace::{StepEvent, Trace};

pub(crate) use multi::Cursor;

/// How a walk ended, towards a goal that its caller knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stop {
    /// [`StepError::WOULD_BLOCK`]: the step wants to be called again; nothing is stored but how far its
    /// instances are. Any other error: it failed, and the state is the one before the call.
    pub(crate) result: StepResult,
    /// The undo inside this multi-instance step failed as well, with this; it is noted as torn.
    pub(crate) undo: Option<StepError>,
}

impl Stop {
    /// Returns the state a failed walk towards `goal` stopped at.
    pub(crate) fn at(self, rec: &Record, goal: StateId) -> StateId {
        if self.undo.is_some() {
            rec.state()
        } else {
            next_towards(rec.state(), goal)
        }
    }
}

/// Returns the state whose step comes next on the way from `state` to `goal`.
pub(crate) fn next_towards(state: StateId, goal: StateId) -> StateId {
    if goal < state { state } else { state.above() }
}

/// Everything one walk needs.
#[derive(Debug)]
pub(crate) struct Walk<'w, T: Trace> {
    pub(crate) table: &'w Table,
    pub(crate) slots: &'w [DynSlot],
    /// Its `state` is written by whoever owns it at that time; the walk words are its own.
    pub(crate) rec: &'w Record,
    pub(crate) ctx: Ctx<'w>,
    /// The CPU that executes the callbacks.
    pub(crate) on: CpuId,
    pub(crate) trace: &'w T,
    pub(crate) undo: Cell<Option<StepError>>,
}

impl<T: Trace> Walk<'_, T> {
    /// Walks towards `goal`, which lies in the same section as the present state or at its edge.
    #[inline(never)]
    pub(crate) fn run(&self, goal: StateId) -> StepResult {
        // What is rare is asked once, not at every step.
        if self.rec.fail.get() | self.rec.cursor.get() == 0 && !self.ctx.is_forced() {
            self.go(goal)
        } else {
            self.go_watched(goal)
        }
    }

    /// Walks where a fault is armed, where a step is in the middle of its instances, or by force.
    #[cold]
    #[inline(never)]
    fn go_watched(&self, goal: StateId) -> StepResult {
        loop {
            let cut = self.watch(goal)?;
            let error = match self.go(cut) {
                Ok(()) if cut == goal => return Ok(()),
                Ok(()) => self.hit(goal),
                Err(error) => error,
            };
            self.judge(error)?;
            // Passed over.
            let state = self.at();
            self.store(if goal < state {
                state.below()
            } else {
                state.above()
            });
        }
    }

    /// Returns where to stop first on the way to `goal`: in front of an armed fault. What was left in the
    /// middle of its instances by a walk in the other direction is undone before.
    fn watch(&self, goal: StateId) -> Result<StateId, StepError> {
        let dir = self.direction(goal);
        let kept = Cursor::read(&self.rec.cursor);
        if kept.is_begun() && kept.dir() != dir {
            self.give_up(kept)?;
        }
        // A step that has begun is met the next time.
        let begun = Cursor::read(&self.rec.cursor).state(self.at());
        let armed = fault::between(self.rec, dir, goal);
        Ok(match armed {
            Some(at) if !self.ctx.is_rollback() && begun != armed => match dir {
                Direction::Up => at.below(),
                Direction::Down => at,
            },
            Some(_) | None => goal,
        })
    }

    /// An armed fault is reached: the step is not called.
    fn hit(&self, goal: StateId) -> StepError {
        self.rec.fail.set(0);
        if T::ON {
            let at = next_towards(self.at(), goal);
            let event = self.event(self.name(at), self.direction(goal), at, &self.ctx);
            self.trace.fault(&event);
        }
        StepError::INJECTED
    }

    #[inline(never)]
    fn go(&self, goal: StateId) -> StepResult {
        let (state, to) = (u32::from(self.at().get()), u32::from(goal.get()));
        let way = Way {
            dir: if to < state {
                Direction::Down
            } else {
                Direction::Up
            },
            first: state.min(to) + 1,
            end: state.max(to) + 1,
        };
        let part = match self.ctx.how.section() {
            Section::Prepare => Some(&self.table.prepare),
            Section::Starting => None,
            Section::Online => Some(&self.table.online),
        };
        match part {
            None => self.row(&self.table.starting, way)?,
            Some(part) => self.part(part, way)?,
        }
        // A built-in state has no step.
        self.come(u32::from(goal.get()));
        Ok(())
    }

    #[inline]
    fn part(&self, part: &Part, way: Way) -> StepResult {
        let (near, far) = match way.dir {
            Direction::Up => (&part.low, &part.high),
            Direction::Down => (&part.high, &part.low),
        };
        if way.meets(near.first, near.end()) {
            self.row(near, way)?;
        }
        if part.dynamic.capacity() > 0 {
            self.slots(part.dynamic, way)?;
        }
        if way.meets(far.first, far.end()) {
            self.row(far, way)?;
        }
        Ok(())
    }

    /// Walks what there is of `row` on the way.
    #[inline(never)]
    fn row<S: Half>(&self, row: &Row<S>, way: Way) -> StepResult {
        let way = way.within(row.first, row.end());
        match row.steps.get(way.above(row.first)) {
            Some(steps) => self.each(steps.iter().map(Some), way),
            None => Ok(()),
        }
    }

    /// Walks what there is of the registered states of a dynamic range.
    #[inline(never)]
    fn slots(&self, range: DynRange, way: Way) -> StepResult {
        let first = range.first().get();
        let way = way.within(first, first + range.capacity());
        let slots = self.slots.get(range.slots()).unwrap_or_default();
        match slots.get(way.above(first)) {
            Some(slots) => self.each(slots.iter().map(DynSlot::get), way),
            None => Ok(()),
        }
    }

    /// Walks the steps of a way; what is not there counts as walked.
    #[expect(
        clippy::explicit_counter_loop,
        reason = "one counter and one slice: anything else costs an instruction per step"
    )]
    #[inline]
    fn each<'s, S: Half>(
        &self,
        steps: impl DoubleEndedIterator<Item = Option<&'s S>>,
        way: Way,
    ) -> StepResult {
        let state = &self.rec.state;
        match way.dir {
            Direction::Up => {
                let mut at = way.first;
                self.come(at - 1);
                for step in steps {
                    self.step(step, Direction::Up, at)?;
                    state.store(at, Ordering::Relaxed);
                    at += 1;
                }
            }
            Direction::Down => {
                let mut at = way.end - 1;
                self.come(at);
                for step in steps.rev() {
                    self.step(step, Direction::Down, at)?;
                    at -= 1;
                    state.store(at, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    /// Calls one half of one step; a state that nobody registered has none.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a number of the table, as it is stored in the record"
    )]
    #[inline]
    fn step<S: Half>(&self, step: Option<&S>, dir: Direction, number: u32) -> StepResult {
        let Some(step) = step else { return Ok(()) };
        let at = StateId::new(number as u16);
        if let Some(half) = step.half(dir) {
            let call = || S::call(half, &self.ctx);
            self.traced(step.meta(), dir, at, &self.ctx, call)
        } else if let Some(list) = step.roster() {
            self.multi(list, step.meta(), dir, at)
        } else {
            Ok(())
        }
    }

    /// Calls one half of one state, or one candidate instance of it, without moving the state.
    pub(crate) fn invoke(&self, at: StateId, dir: Direction, what: Invoke) -> StepResult {
        if let Some(step) = self.table.starting.get(at) {
            return self.invoke_step(step, dir, at, what);
        }
        let slot = self.table.slot_of(at).and_then(|slot| self.slots.get(slot));
        let reserved = || slot.and_then(DynSlot::haunting);
        match self.table.step(at).or_else(reserved) {
            Some(step) => self.invoke_step(step, dir, at, what),
            None => Ok(()),
        }
    }

    fn invoke_step<S: Half>(
        &self,
        step: &S,
        dir: Direction,
        at: StateId,
        what: Invoke,
    ) -> StepResult {
        let candidate = || step.roster().and_then(Roster::candidate);
        if what == Invoke::Candidate {
            candidate().map_or(Ok(()), |one| {
                let call = || one.call(dir, &self.ctx);
                self.traced(step.meta(), dir, at, &self.ctx, call)
            })
        } else if let Some(half) = step.half(dir) {
            let call = || S::call(half, &self.ctx);
            self.traced(step.meta(), dir, at, &self.ctx, call)
        } else {
            Ok(())
        }
    }

    #[inline]
    fn traced(
        &self,
        meta: &Meta,
        dir: Direction,
        at: StateId,
        ctx: &Ctx<'_>,
        call: impl FnOnce() -> StepResult,
    ) -> StepResult {
        if !T::ON {
            return call();
        }
        let event = self.event(meta.name, dir, at, ctx);
        self.trace.enter(&event);
        let result = call();
        self.trace.exit(&event, result);
        result
    }

    fn event(
        &self,
        name: &'static str,
        dir: Direction,
        state: StateId,
        ctx: &Ctx<'_>,
    ) -> StepEvent {
        StepEvent {
            cpu: ctx.cpu,
            on: self.on,
            state,
            name,
            dir,
            rollback: ctx.is_rollback(),
        }
    }

    /// What an error means: a forced walk passes over it and counts it.
    #[cold]
    #[inline(never)]
    fn judge(&self, error: StepError) -> StepResult {
        if error == StepError::WOULD_BLOCK || !self.ctx.is_forced() {
            return Err(error);
        }
        let ignored = &self.rec.ignored;
        ignored.set(ignored.get().saturating_add(1));
        Ok(())
    }

    fn name(&self, at: StateId) -> &'static str {
        let slot = self.table.slot_of(at).and_then(|slot| self.slots.get(slot));
        slot.and_then(DynSlot::get)
            .map_or_else(|| self.table.name(at), Step::name)
    }

    // Relaxed: one side owns the state at a time, and the handshake carries it to the other.
    #[inline]
    fn at(&self) -> StateId {
        self.rec.state()
    }

    /// Stores where the walk is, unless it is there: whoever looks at a CPU in flight may see every store.
    #[inline]
    fn come(&self, at: u32) {
        if self.rec.state.load(Ordering::Relaxed) != at {
            self.rec.state.store(at, Ordering::Relaxed);
        }
    }

    #[inline]
    fn store(&self, at: StateId) {
        self.rec.set_state(at);
    }

    fn direction(&self, goal: StateId) -> Direction {
        if goal < self.at() {
            Direction::Down
        } else {
            Direction::Up
        }
    }
}

/// Which states a walk passes: those numbered `first .. end`, in this direction.
#[derive(Clone, Copy)]
struct Way {
    dir: Direction,
    first: u32,
    end: u32,
}

impl Way {
    /// Whether it passes any state of a row.
    #[inline]
    fn meets(self, first: u16, end: u16) -> bool {
        self.first < u32::from(end) && u32::from(first) < self.end
    }

    /// The part of it that is in a row of states; its end may be below its beginning.
    #[inline]
    fn within(self, first: u16, end: u16) -> Self {
        Self {
            dir: self.dir,
            first: self.first.max(u32::from(first)),
            end: self.end.min(u32::from(end)),
        }
    }

    /// Its states as indices of a row that begins with `first`.
    #[inline]
    fn above(self, first: u16) -> Range<usize> {
        let index = |number: u32| number.wrapping_sub(u32::from(first)) as usize;
        index(self.first)..index(self.end)
    }
}

/// What an invocation calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Invoke {
    /// The step's own half.
    Step,
    /// The instance that is being added or removed.
    Candidate,
}

/// Reads a progress word.
#[expect(
    clippy::cast_possible_truncation,
    reason = "only state numbers are ever stored"
)]
#[inline]
pub(crate) fn state_of(progress: &AtomicU32) -> StateId {
    StateId::new(progress.load(Ordering::Relaxed) as u16)
}
