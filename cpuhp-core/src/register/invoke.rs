//! One half of one state, called on a CPU for a registration: the state does not move.

use crate::cpu::CpuId;
use crate::error::Why;
use crate::handshake::Tag;
use crate::hotplug::{Cpuhp, Task};
use crate::platform::Platform;
use crate::record::Record;
use crate::step::{Direction, How, Section, StateId, StepResult};
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

    /// Why a CPU that rests has some instances of this state behind it and some before it: an operation that
    /// can be resumed stands between two of them, or the step is half up.
    pub(super) fn among(&self, cpu: CpuId, at: StateId) -> Option<Why> {
        let rec = self.record(cpu)?;
        if Cursor::read(&rec.cursor).state(rec.state()) == Some(at) {
            Some(Why::Busy)
        } else {
            (rec.torn() == Some(at)).then_some(Why::Torn)
        }
    }

    /// Whether a CPU is in flight, or held by an operation.
    pub(crate) fn is_moving(&self, cpu: CpuId) -> bool {
        self.record(cpu).is_some_and(|rec| {
            let tag = rec.edges.look().tag();
            let asked = tag == Tag::Up && !rec.edges.answered();
            tag.is_moving() || asked || rec.owner.load(Ordering::Relaxed) != 0
        })
    }
}
