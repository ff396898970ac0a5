//! The walk: from one state towards another, step by step, storing each state it completes.
//!
//! Pure: it knows the table, the dynamic slots, a few words of the record and what to tell the
//! callbacks; no time, no protocol, no decision about what a failure means. Rows of static steps are
//! iterated as slices; what a step is beyond a function is asked only where it has none.

mod multi;

use core::cell::Cell;

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
        if self.rec.fail.get() | self.rec.cursor.get() == 0 {
            return self.go(goal);
        }
        self.go_watched(goal)
    }

    /// Walks where a fault is armed, or a step is in the middle of its instances.
    #[cold]
    fn go_watched(&self, goal: StateId) -> StepResult {
        let dir = self.direction(goal);
        let begun = Cursor::read(&self.rec.cursor);
        if let Some(kept) = begun
            && kept.dir != dir
        {
            self.give_up(kept)?;
        }
        // The range is cut at an armed fault once, not asked at every step. A step that has begun is
        // met the next time.
        let begun = Cursor::read(&self.rec.cursor).map(|kept| kept.state(self.at()));
        let armed = fault::between(self.rec, dir, goal)
            .filter(|at| !self.ctx.is_rollback() && begun != Some(*at));
        let Some(at) = armed else {
            return self.go(goal);
        };
        self.go(match dir {
            Direction::Up => at.below(),
            Direction::Down => at,
        })?;
        // It is reached: the step is not called.
        self.rec.fail.set(0);
        if T::ON {
            self.trace
                .fault(&self.event(self.name(at), dir, at, &self.ctx));
        }
        self.judge(StepError::INJECTED)?;
        self.store(at.below());
        self.go(goal)
    }

    fn go(&self, goal: StateId) -> StepResult {
        let (table, dir) = (self.table, self.direction(goal));
        match self.ctx.how.section {
            Section::Prepare => self.part(&table.prepare, dir, goal)?,
            Section::Starting => self.row(&table.starting, dir, goal)?,
            Section::Online => self.part(&table.online, dir, goal)?,
        }
        // A built-in state has no step.
        self.store(goal);
        Ok(())
    }

    fn part(&self, part: &Part, dir: Direction, goal: StateId) -> StepResult {
        let (first, last) = match dir {
            Direction::Up => (&part.low, &part.high),
            Direction::Down => (&part.high, &part.low),
        };
        self.row(first, dir, goal)?;
        self.slots(part.dynamic, dir, goal)?;
        self.row(last, dir, goal)
    }

    /// Walks what is left of `row` on the way to `goal`.
    #[inline(never)]
    fn row<S: Half>(&self, row: &Row<S>, dir: Direction, goal: StateId) -> StepResult {
        let (first, end) = self.left(row.first, row.end(), goal);
        let offset = |number: u16| usize::from(number.wrapping_sub(row.first));
        let steps = row.steps.get(offset(first)..offset(end));
        let Some(steps) = steps.filter(|steps| !steps.is_empty()) else {
            return Ok(());
        };
        match dir {
            Direction::Up => {
                let mut at = StateId::new(first).below();
                self.store(at);
                for step in steps {
                    at = at.above();
                    self.step(step, Direction::Up, at)?;
                    self.store(at);
                }
            }
            Direction::Down => {
                let mut at = StateId::new(end).below();
                self.store(at);
                for step in steps.iter().rev() {
                    self.step(step, Direction::Down, at)?;
                    at = at.below();
                    self.store(at);
                }
            }
        }
        Ok(())
    }

    /// Walks what is left of the registered states of a dynamic range.
    #[inline(never)]
    fn slots(&self, range: DynRange, dir: Direction, goal: StateId) -> StepResult {
        let base = range.first().get();
        let (mut first, mut end) = self.left(base, base + range.capacity(), goal);
        let row = self.slots.get(range.slots()).unwrap_or_default();
        while first < end {
            let number = match dir {
                Direction::Up => first,
                Direction::Down => end - 1,
            };
            let (at, slot) = (StateId::new(number), row.get(usize::from(number - base)));
            let (before, after) = match dir {
                Direction::Up => (at.below(), at),
                Direction::Down => (at, at.below()),
            };
            if let Some(step) = slot.and_then(DynSlot::get) {
                self.store(before);
                self.step(step, dir, at)?;
                self.store(after);
            }
            match dir {
                Direction::Up => first += 1,
                Direction::Down => end -= 1,
            }
        }
        Ok(())
    }

    /// Returns which of the numbers `first .. end` are still to be walked; none if it ends where it begins
    /// or below.
    fn left(&self, first: u16, end: u16, goal: StateId) -> (u16, u16) {
        let (state, goal) = (self.at().get(), goal.get());
        (first.max(state.min(goal) + 1), end.min(state.max(goal) + 1))
    }

    #[inline]
    fn step<S: Half>(&self, step: &S, dir: Direction, at: StateId) -> StepResult {
        if let Some(half) = step.half(dir) {
            let call = || S::call(half, &self.ctx);
            match self.traced(step.meta(), dir, at, &self.ctx, call) {
                Ok(()) => Ok(()),
                Err(error) => self.judge(error),
            }
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
                self.member(one, step.meta(), dir, at, &self.ctx)
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
