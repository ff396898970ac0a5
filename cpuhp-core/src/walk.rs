//! The walk: from one state towards another, step by step, storing each state it completes.
//!
//! Pure: it knows the table, one progress word and what to tell the callbacks; no time, no protocol,
//! no decision about what a failure means. Rows of static steps are iterated as slices; the states
//! between rows have no callbacks and are passed over.

use crate::cpu::CpuId;
use crate::error::StepError;
use crate::step::{Ctx, Direction, Half, StateId};
use crate::sync::{AtomicU32, Ordering};
use crate::table::{Row, Table};
use crate::trace::{StepEvent, Trace};

/// How a walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// It reached its goal.
    Done,
    /// The step wants to be called again; nothing of it is stored.
    Pending,
    /// This step failed; the state is the one before the call.
    Failed(StateId, StepError),
}

/// Everything one walk needs.
#[derive(Debug)]
pub(crate) struct Walk<'w, T: Trace> {
    pub(crate) table: &'w Table,
    /// Last completed state: written by whoever owns the record's state at that time.
    pub(crate) progress: &'w AtomicU32,
    pub(crate) ctx: Ctx<'w>,
    /// The CPU that executes the callbacks.
    pub(crate) on: CpuId,
    pub(crate) trace: &'w T,
}

/// Whether to go on with the next row.
type Walked = Result<(), Stop>;

impl<T: Trace> Walk<'_, T> {
    /// Walks towards `goal`, which lies in the same section as the present state or at its edge.
    pub(crate) fn run(&self, goal: StateId) -> Stop {
        let ended = if goal < self.at() {
            self.run_down(goal)
        } else {
            self.run_up(goal)
        };
        match ended {
            Ok(()) => Stop::Done,
            Err(stop) => stop,
        }
    }

    fn run_up(&self, goal: StateId) -> Walked {
        self.up(&self.table.prepare, goal)?;
        self.up(&self.table.starting, goal)?;
        self.up(&self.table.online, goal)?;
        self.up(&self.table.late, goal)?;
        if self.at() < goal {
            self.store(goal);
        }
        Ok(())
    }

    fn run_down(&self, goal: StateId) -> Walked {
        self.down(&self.table.late, goal)?;
        self.down(&self.table.online, goal)?;
        self.down(&self.table.starting, goal)?;
        self.down(&self.table.prepare, goal)?;
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
            if let Some(half) = step.half(Direction::Up) {
                self.call(step, half, Direction::Up, at)?;
            }
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
            if let Some(half) = step.half(Direction::Down) {
                self.call(step, half, Direction::Down, at)?;
            }
            self.store(at.below());
        }
        Ok(())
    }

    fn call<S: Half>(&self, step: &S, half: S::Call, dir: Direction, at: StateId) -> Walked {
        let result = if T::ON {
            let event = StepEvent {
                cpu: self.ctx.cpu,
                on: self.on,
                state: at,
                name: step.name(),
                dir,
                rollback: self.ctx.is_rollback(),
            };
            self.trace.enter(&event);
            let result = S::call(half, &self.ctx);
            self.trace.exit(&event, result);
            result
        } else {
            S::call(half, &self.ctx)
        };
        match result {
            Ok(()) => Ok(()),
            Err(StepError::WOULD_BLOCK) => Err(Stop::Pending),
            Err(error) => Err(Stop::Failed(at, error)),
        }
    }

    // Relaxed: one side owns the state at a time, and the handshake carries it to the other.
    fn at(&self) -> StateId {
        state_of(self.progress)
    }

    fn store(&self, at: StateId) {
        self.progress.store(u32::from(at.get()), Ordering::Relaxed);
    }
}

/// The steps of `row` numbered `first .. end`, or `None` if there are none.
#[inline]
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
