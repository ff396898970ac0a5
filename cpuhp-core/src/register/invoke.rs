//! One half of one state, called on a CPU for a registration: the state does not move.

use crate::cpu::CpuId;
use crate::handshake::Tag;
use crate::hotplug::{Cpuhp, Task};
use crate::instance::Roster;
use crate::platform::Platform;
use crate::record::{DynSlot, Record};
use crate::step::{Direction, Half, How, Section, StateId, StepResult};
use crate::sync::Ordering;
use crate::trace::Trace;
use crate::walk::{Cursor, Invoke};

impl<P: Platform, T: Trace> Cpuhp<'_, P, T> {
    /// Calls one half of one state, or the candidate instance of it, on this CPU for `cpu`.
    pub(crate) fn invoke(
        &self,
        cpu: CpuId,
        rec: &Record,
        on: CpuId,
        at: StateId,
        dir: Direction,
        what: Invoke,
    ) -> StepResult {
        let section = self.section(at);
        // STARTING sees interrupts off on every path.
        let closed = section == Section::Starting;
        if closed {
            self.platform().enter_atomic();
        }
        let task = Task::Invoke(at, dir, what);
        let stop = self.execute(cpu, rec, on, How::forward(section), task);
        if closed {
            self.platform().leave_atomic();
        }
        stop.result
    }

    /// Whether a CPU that rests has some instances of this state behind it and some before it.
    pub(super) fn is_among(&self, cpu: CpuId, at: StateId) -> bool {
        self.record(cpu).is_some_and(|rec| {
            let kept = Cursor::read(&rec.cursor);
            kept.is_some_and(|kept| kept.state(rec.state()) == at)
        })
    }

    /// Whether a CPU is in flight, or held by an operation.
    pub(crate) fn is_moving(&self, cpu: CpuId) -> bool {
        self.record(cpu).is_some_and(|rec| {
            let tag = rec.edges.look().tag();
            let asked = tag == Tag::Up && !rec.edges.answered();
            tag.is_moving() || asked || rec.owner.load(Ordering::Relaxed) != 0
        })
    }

    /// Whether the registration of this state, or of its candidate instance, was given up while a CPU
    /// was inside it.
    pub(crate) fn is_given_up(&self, at: StateId, what: Invoke) -> bool {
        match what {
            Invoke::Step => self.slot(at).is_some_and(DynSlot::is_given_up),
            Invoke::Candidate => self.roster(at).is_some_and(Roster::is_haunted),
        }
    }

    /// Returns the instances of a multi-instance state.
    pub(super) fn roster(&self, at: StateId) -> Option<&'static dyn Roster> {
        match self.table().starting.get(at) {
            Some(step) => step.roster(),
            None => self.step(at).and_then(Half::roster),
        }
    }
}
