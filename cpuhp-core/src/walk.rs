//! The walk: from one state towards another, step by step, storing each state it completes.
//!
//! Pure: it knows the table, the dynamic slots, a few words of the record and what to tell the
//! callbacks; no time, no protocol, no decision about what a failure means. Rows of static steps are
//! iterated as slices; what a step is beyond a function is asked only where it has none.

mod multi;

use crate::cpu::CpuId;
use crate::error::StepError;
use crate::fault;
use crate::instance::{Instances, Object};
use crate::record::{DynSlot, Record};
use crate::step::{Ctx, Direction, Half, StateId, Step, StepResult};
use crate::sync::{AtomicU32, Ordering};
use crate::table::{DynRange, Row, Table};
use crate::trace::{StepEvent, Trace};

pub(crate) use multi::Cursor;

/// How a walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// It reached its goal.
    Done,
    /// The step wants to be called again; nothing is stored but how far its instances are.
    Pending,
    /// This step failed; the state is the one before the call.
    Failed(StateId, StepError),
    /// The undo inside this multi-instance step failed as well: what failed first, and then.
    Torn(StateId, StepError, StepError),
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
}

/// Whether to go on.
type Walked = Result<(), Stop>;

impl<T: Trace> Walk<'_, T> {
    /// Walks towards `goal`, which lies in the same section as the present state or at its edge.
    pub(crate) fn run(&self, goal: StateId) -> Stop {
        let dir = if goal < self.at() {
            Direction::Down
        } else {
            Direction::Up
        };
        let kept = Cursor::read(&self.rec.cursor);
        if let Some(kept) = kept.filter(|kept| kept.dir != dir)
            && let Err(stop) = self.give_up(kept)
        {
            return stop;
        }
        // The range is cut at an armed fault once, not asked at every step. A step that has begun is
        // met the next time.
        let begun = Cursor::read(&self.rec.cursor).map(|kept| kept.state(self.at()));
        let armed = fault::between(self.rec, dir, goal)
            .filter(|at| !self.ctx.is_rollback() && begun != Some(*at));
        let cut = match (dir, armed) {
            (_, None) => goal,
            (Direction::Up, Some(at)) => at.below(),
            (Direction::Down, Some(at)) => at,
        };
        let walked = match dir {
            Direction::Up => self.run_up(cut),
            Direction::Down => self.run_down(cut),
        };
        match (walked, armed) {
            (Err(stop), _) => stop,
            (Ok(()), None) => Stop::Done,
            (Ok(()), Some(at)) => self.hit(dir, at, goal),
        }
    }

    fn run_up(&self, goal: StateId) -> Walked {
        let table = self.table;
        self.up(&table.prepare, goal)?;
        self.slots(Direction::Up, table.prepare_dyn, goal)?;
        self.slots(Direction::Up, table.parallel_dyn, goal)?;
        self.up(&table.starting, goal)?;
        self.up(&table.online, goal)?;
        self.slots(Direction::Up, table.online_dyn, goal)?;
        self.up(&table.late, goal)?;
        if self.at() < goal {
            self.store(goal);
        }
        Ok(())
    }

    fn run_down(&self, goal: StateId) -> Walked {
        let table = self.table;
        self.down(&table.late, goal)?;
        self.slots(Direction::Down, table.online_dyn, goal)?;
        self.down(&table.online, goal)?;
        self.down(&table.starting, goal)?;
        self.slots(Direction::Down, table.parallel_dyn, goal)?;
        self.slots(Direction::Down, table.prepare_dyn, goal)?;
        self.down(&table.prepare, goal)?;
        if self.at() > goal {
            self.store(goal);
        }
        Ok(())
    }

    /// Walks up what lies in `row` above the present state, up to `goal`.
    #[inline(never)]
    fn up<S: Half>(&self, row: &Row<S>, goal: StateId) -> Walked {
        let from = self.at().get() + 1;
        let (first, end) = (from.max(row.first), row.end().min(goal.get() + 1));
        let Some(steps) = part(row, first, end) else {
            return Ok(());
        };
        self.store(StateId::new(first - 1));
        for (at, step) in (first..end).zip(steps) {
            let at = StateId::new(at);
            self.step(step, Direction::Up, at)?;
            self.store(at);
        }
        Ok(())
    }

    /// Walks down what lies in `row` at or below the present state, down to above `goal`.
    #[inline(never)]
    fn down<S: Half>(&self, row: &Row<S>, goal: StateId) -> Walked {
        let from = self.at().get() + 1;
        let (first, end) = (row.first.max(goal.get() + 1), row.end().min(from));
        let Some(steps) = part(row, first, end) else {
            return Ok(());
        };
        self.store(StateId::new(end - 1));
        for (at, step) in (first..end).zip(steps).rev() {
            let at = StateId::new(at);
            self.step(step, Direction::Down, at)?;
            self.store(at.below());
        }
        Ok(())
    }

    /// Walks the registered states of a dynamic range.
    fn slots(&self, dir: Direction, range: DynRange, goal: StateId) -> Walked {
        let (low, high) = match dir {
            Direction::Up => (self.at().get() + 1, goal.get()),
            Direction::Down => (goal.get() + 1, self.at().get()),
        };
        let row = self.slots.get(range.slots()).unwrap_or_default();
        let first = range.first().get();
        let (low, high) = (
            low.max(first),
            high.min(first.saturating_add(range.capacity()) - 1),
        );
        let count = usize::from((high + 1).saturating_sub(low));
        for passed in 0..count {
            let number = match dir {
                Direction::Up => usize::from(low) + passed,
                Direction::Down => usize::from(high) - passed,
            };
            let slot = row.get(number - usize::from(first));
            let Some(step) = slot.and_then(DynSlot::get) else {
                continue;
            };
            let at = range.first().plus(number - usize::from(first));
            let (before, after) = match dir {
                Direction::Up => (at.below(), at),
                Direction::Down => (at, at.below()),
            };
            self.store(before);
            self.step(step, dir, at)?;
            self.store(after);
        }
        Ok(())
    }

    fn step<S: Half>(&self, step: &S, dir: Direction, at: StateId) -> Walked {
        if let Some(half) = step.half(dir) {
            let result = self.traced(step.name(), dir, at, &self.ctx, || S::call(half, &self.ctx));
            self.judge(at, result)
        } else if let Some(list) = step.instances() {
            self.multi(list, step.name(), dir, at)
        } else {
            Ok(())
        }
    }

    /// Calls one half of one step, or one candidate instance of it, without moving the state.
    pub(crate) fn invoke<S: Half>(
        &self,
        step: &S,
        dir: Direction,
        at: StateId,
        what: Invoke,
    ) -> Stop {
        let result = match what {
            Invoke::Step => match step.half(dir) {
                Some(half) => {
                    self.traced(step.name(), dir, at, &self.ctx, || S::call(half, &self.ctx))
                }
                None => Ok(()),
            },
            Invoke::Candidate => match step.instances().and_then(Instances::candidate) {
                Some(one) => self.traced(step.name(), dir, at, &self.ctx, || {
                    one.object().call(dir, &self.ctx)
                }),
                None => Ok(()),
            },
        };
        match result {
            Ok(()) => Stop::Done,
            Err(StepError::WOULD_BLOCK) => Stop::Pending,
            Err(error) => Stop::Failed(at, error),
        }
    }

    fn traced(
        &self,
        name: &'static str,
        dir: Direction,
        state: StateId,
        ctx: &Ctx<'_>,
        call: impl FnOnce() -> StepResult,
    ) -> StepResult {
        if !T::ON {
            return call();
        }
        let rollback = ctx.is_rollback();
        let event = StepEvent {
            cpu: self.ctx.cpu,
            on: self.on,
            state,
            name,
            dir,
            rollback,
        };
        self.trace.enter(&event);
        let result = call();
        self.trace.exit(&event, result);
        result
    }

    /// What an answer means: a forced walk passes over errors and counts them.
    fn judge(&self, at: StateId, result: StepResult) -> Walked {
        match result {
            Ok(()) => Ok(()),
            Err(StepError::WOULD_BLOCK) => Err(Stop::Pending),
            Err(_) if self.ctx.is_forced() => {
                self.rec
                    .ignored
                    .set(self.rec.ignored.get().saturating_add(1));
                Ok(())
            }
            Err(error) => Err(Stop::Failed(at, error)),
        }
    }

    /// An armed fault is reached: the step is not called.
    fn hit(&self, dir: Direction, at: StateId, goal: StateId) -> Stop {
        self.rec.fail.set(0);
        if T::ON {
            let name = self.name(at);
            let rollback = self.ctx.is_rollback();
            let event = StepEvent {
                cpu: self.ctx.cpu,
                on: self.on,
                state: at,
                name,
                dir,
                rollback,
            };
            self.trace.fault(&event);
        }
        if let Err(stop) = self.judge(at, Err(StepError::INJECTED)) {
            return stop;
        }
        self.store(at.below());
        self.run(goal)
    }

    fn name(&self, at: StateId) -> &'static str {
        let slot = self.table.slot_of(at).and_then(|slot| self.slots.get(slot));
        slot.and_then(DynSlot::get)
            .map_or_else(|| self.table.name(at), Step::const_name)
    }

    // Relaxed: one side owns the state at a time, and the handshake carries it to the other.
    fn at(&self) -> StateId {
        self.rec.state()
    }

    fn store(&self, at: StateId) {
        self.rec.set_state(at);
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

/// The steps of `row` numbered `first .. end`, or `None` if there are none.
fn part<S>(row: &Row<S>, first: u16, end: u16) -> Option<&'static [S]> {
    if first >= end {
        return None;
    }
    row.steps
        .get(usize::from(first - row.first)..usize::from(end - row.first))
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
