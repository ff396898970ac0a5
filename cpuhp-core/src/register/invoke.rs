//! One half of one state, called on a CPU for a registration: the state does not move.

use crate::cpu::CpuId;
use crate::handshake::Tag;
use crate::hotplug::Cpuhp;
use crate::instance::Instances;
use crate::platform::Platform;
use crate::record::{DynSlot, Record};
use crate::step::{Direction, Half, How, StateId};
use crate::sync::Ordering;
use crate::trace::Trace;
use crate::walk::{Cursor, Invoke, Stop};

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
    ) -> Stop {
        if let Some(step) = self.table().starting.get(at) {
            // STARTING sees interrupts off on every path.
            self.platform().enter_atomic();
            let stop = self.invoke_step(cpu, rec, on, step, (at, dir, what));
            self.platform().leave_atomic();
            return stop;
        }
        let reserved = || self.slot(at).and_then(DynSlot::haunting);
        let Some(step) = self.step(at).or_else(reserved) else {
            return Stop::Done;
        };
        self.invoke_step(cpu, rec, on, step, (at, dir, what))
    }

    fn invoke_step<S: Half>(
        &self,
        cpu: CpuId,
        rec: &Record,
        on: CpuId,
        step: &S,
        (at, dir, what): (StateId, Direction, Invoke),
    ) -> Stop {
        let section = self.section(at);
        let how = How::forward(section);
        self.with_walk(cpu, rec, on, how, |walk| walk.invoke(step, dir, at, what))
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
            Invoke::Candidate => match self.table().starting.get(at) {
                Some(step) => step.instances().is_some_and(Instances::is_haunted),
                None => {
                    let list = self.step(at).and_then(Half::instances);
                    list.is_some_and(Instances::is_haunted)
                }
            },
        }
    }
}
