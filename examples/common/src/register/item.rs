//! A step or an instance, registered and removed alike.

use cpuhp_core::{Calls, RegisterError, StateHandle, StateId};

use crate::machine::Machine;
use crate::registry::{Dynamic, Object};
use crate::result::Stage;
use crate::units::Unit;

/// What comes and goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    Step(Dynamic),
    Object(Object),
}

impl Item {
    /// Returns what is called; `None` for a state that only has instances.
    pub(super) fn unit(self) -> Option<Unit> {
        match self {
            Self::Step(what) => what.unit,
            Self::Object(object) => Some(object.unit),
        }
    }

    /// Whether several CPUs may be in it at once.
    pub(super) fn is_parallel(self) -> bool {
        match self {
            Self::Step(what) => what.step.is_parallel(),
            Self::Object(object) => object.unit.is_parallel_state(),
        }
    }

    /// Returns the state it is at, or would come to.
    pub(super) fn place<M: Machine>(self, stage: &Stage<'_, M>) -> StateId {
        let at = match self {
            Self::Step(what) => stage.find(what.name).or(stage.free_slot(what.range)),
            Self::Object(object) => stage.find(object.unit.name()),
        };
        at.unwrap_or_default()
    }

    /// Whether it is registered.
    pub(super) fn is_there<M: Machine>(self, stage: &Stage<'_, M>) -> bool {
        match self {
            Self::Step(what) => stage.find(what.name).is_some(),
            Self::Object(object) => object.is_linked(),
        }
    }

    /// Registers it; a step answers its handle.
    pub(super) fn up<M: Machine>(
        self,
        stage: &Stage<'_, M>,
        calls: Calls,
    ) -> Result<Option<StateHandle>, RegisterError> {
        match self {
            Self::Step(what) => stage.register(what, calls).map(Some),
            Self::Object(object) => stage.add(object, calls).map(|()| None),
        }
    }

    /// Removes it; answers how many errors were passed over.
    pub(super) fn down<M: Machine>(
        self,
        stage: &Stage<'_, M>,
        handle: Option<StateHandle>,
        calls: Calls,
    ) -> Result<u32, RegisterError> {
        match (self, handle) {
            (Self::Step(what), Some(handle)) => stage.unregister(what, handle, calls),
            // Its registration has failed, which was counted.
            (Self::Step(_), None) => Ok(u32::MAX),
            (Self::Object(object), _) => stage.remove(object, calls),
        }
    }
}
