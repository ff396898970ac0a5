//! Runs: the table parted into rows that all CPUs walk together and rows that take one at a time.
//!
//! Computed from the table and the registered dynamic states whenever a stage begins, so the parting
//! follows registration and removal.

use crate::hotplug::Cpuhp;
use crate::platform::Platform;
use crate::step::{Meta, StateId};
use crate::trace::Trace;

/// Whether a run of states may be walked by several CPUs at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// All at once.
    Together,
    /// One CPU after the other, in index order.
    OneByOne,
}

impl<P: Platform, T: Trace> Cpuhp<'_, P, T> {
    /// Whether this state takes one CPU at a time, in either direction.
    pub(crate) fn breaks_run(&self, at: StateId) -> bool {
        self.mode(at) == Mode::OneByOne
    }

    #[inline(never)]
    fn mode(&self, at: StateId) -> Mode {
        self.meta(at).map_or(Mode::Together, Meta::mode)
    }

    /// Returns the state up to which a kicked AP may walk by itself: the parallel run after `KICK`.
    #[inline(never)]
    pub(crate) fn par_limit(&self) -> StateId {
        let (kick, idle) = (self.table().kick(), self.table().ap_idle());
        match self.table().starting_mode() {
            Mode::OneByOne => kick,
            Mode::Together => match self.run_up(idle) {
                (end, Mode::Together) => end,
                (_, Mode::OneByOne) => idle,
            },
        }
    }

    /// Returns where the run that begins above `from` ends, and how it is walked upwards.
    ///
    /// `from` is at `AP_IDLE` or above and below `ONLINE`.
    #[inline(never)]
    pub(crate) fn run_up(&self, from: StateId) -> (StateId, Mode) {
        let (mut end, mode) = (from.above(), self.mode(from.above()));
        while end < self.table().online() && self.mode(end.above()) == mode {
            end = end.above();
        }
        (end, mode)
    }

    /// Returns where the run that begins at `from` ends, and how it is walked downwards.
    ///
    /// `from` is above `AP_IDLE`; so is every state of the run.
    pub(crate) fn run_down(&self, from: StateId) -> (StateId, Mode) {
        let (mut end, mode) = (from.below(), self.mode(from));
        while end > self.table().ap_idle() && self.mode(end) == mode {
            end = end.below();
        }
        (end, mode)
    }
}
