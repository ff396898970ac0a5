//! Fault injection: make one half of one step of one CPU fail, once, without calling it.
//!
//! Free when unused: a walk looks at one word before it begins. Ignored while rolling back, so that an
//! injected fault always exercises a rollback and never a failed one.

use crate::cpu::CpuId;
use crate::error::{OpError, Refused, Why};
use crate::hotplug::Cpuhp;
use crate::lock::WriteGuard;
use crate::platform::Platform;
use crate::record::Record;
use crate::step::{Direction, Half, StateId};
use crate::trace::Trace;

/// Which half an armed fault is in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FaultAt {
    /// The `up` half.
    Up,
    /// The `down` half.
    Down,
    /// Whichever is reached first.
    Either,
}

const UP: u32 = 1 << 16;
const DOWN: u32 = 1 << 17;

impl FaultAt {
    const fn bits(self) -> u32 {
        match self {
            Self::Up => UP,
            Self::Down => DOWN,
            Self::Either => UP | DOWN,
        }
    }
}

/// Returns the state at which a walk in direction `dir` to `goal` meets the armed fault.
pub(crate) fn between(rec: &Record, dir: Direction, goal: StateId) -> Option<StateId> {
    let (word, state) = (rec.fail.get(), rec.state());
    let (bit, low, high) = match dir {
        Direction::Up => (UP, state, goal),
        Direction::Down => (DOWN, goal, state),
    };
    let at = rec.fail.state();
    (word & bit != 0 && low < at && at <= high).then_some(at)
}

/// Reads an armed word.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is a state number"
)]
const fn read(word: u32) -> Option<(StateId, FaultAt)> {
    let side = match word & (UP | DOWN) {
        UP => FaultAt::Up,
        DOWN => FaultAt::Down,
        0 => return None,
        _ => FaultAt::Either,
    };
    Some((StateId::new(word as u16), side))
}

impl Record {
    /// Returns the state a fault is armed at.
    pub(crate) fn armed_at(&self) -> Option<StateId> {
        read(self.fail.get()).map(|(at, _)| at)
    }
}

impl<P: Platform, T: Trace> WriteGuard<'_, '_, P, T> {
    /// Arms a fault: the next time `cpu` reaches this half of `at`, it fails with
    /// [`crate::StepError::INJECTED`] and is not called. Replaces what was armed.
    ///
    /// Context: any available CPU.
    ///
    /// # Errors
    /// [`Why::BadTarget`] for a state of STARTING, a built-in one, one that nobody registered, and one
    /// that lacks the half; [`Why::NoSuchCpu`]. Nothing changed.
    pub fn arm_fault(&self, cpu: CpuId, at: StateId, side: FaultAt) -> Result<(), OpError> {
        let armed = self.hp.arm(cpu, at, side);
        armed.map_err(|why| self.hp.refuse_at(cpu, at, why))
    }

    /// Takes back what [`Self::arm_fault`] armed, if it was not hit yet.
    ///
    /// # Errors
    /// [`Why::NoSuchCpu`].
    pub fn disarm_fault(&self, cpu: CpuId) -> Result<(), OpError> {
        let rec = self.hp.record(cpu);
        let disarmed = rec.map(|rec| rec.fail.set(0));
        Ok(disarmed.ok_or(Refused(cpu, Why::NoSuchCpu))?)
    }
}

impl<P: Platform, T: Trace> Cpuhp<'_, P, T> {
    fn arm(&self, cpu: CpuId, at: StateId, side: FaultAt) -> Result<(), Why> {
        let rec = self.record(cpu).ok_or(Why::NoSuchCpu)?;
        let meta = self.step(at).ok_or(Why::BadTarget)?.meta();
        let does = |dir, bit| if meta.does(dir) { bit } else { 0 };
        let armed = side.bits() & (does(Direction::Up, UP) | does(Direction::Down, DOWN));
        if armed == 0 {
            return Err(Why::BadTarget);
        }
        rec.fail.set(u32::from(at.get()) | armed);
        Ok(())
    }

    /// Returns what is armed for `cpu`.
    pub fn armed_fault(&self, cpu: CpuId) -> Option<(StateId, FaultAt)> {
        read(self.record(cpu)?.fail.get())
    }
}
