//! Steps and instances that come and go.

use cpuhp_core::{Calls, CpuId, Direction, RegisterError};

use super::{Storm, Told};
use crate::machine::Machine;
use crate::registry::{DYNAMICS, OBJECTS, dynamics, objects};
use crate::violation::Violation;

impl<M: Machine> Storm<'_, '_, M> {
    /// Registers a step that is not registered, or removes it.
    pub(super) fn register(&mut self) -> Told {
        let number = self.random.below(DYNAMICS);
        let what = dynamics(self.stage.scene)[number as usize];
        let handle = self.handles[number as usize];
        let dir = if handle.is_some() {
            Direction::Down
        } else {
            Direction::Up
        };
        if let Some(unit) = what.unit {
            self.arm_unit(unit, dir);
        }
        let left = objects()
            .into_iter()
            .filter(|one| one.unit.name() == what.name && one.is_linked());
        let left = if what.unit.is_none() { left.count() } else { 0 };
        let met = |storm: &Self| storm.met();
        match handle {
            None => match self.stage.register(what, Calls::Run) {
                Ok(handle) => {
                    self.handles[number as usize] = Some(handle);
                    self.check_met(met(self), 0);
                }
                Err(error) => self.judge_failure(error, met(self)),
            },
            Some(handle) => match self.stage.unregister(what, handle, Calls::Run) {
                Ok(ignored) => {
                    self.handles[number as usize] = None;
                    self.check_met(met(self), ignored);
                }
                Err(error) => {
                    if left == 0 || error != RegisterError::InstancesLeft(handle.state(), left) {
                        self.wrong(Violation::WrongError, self.stage.this_cpu(), 0, number);
                    }
                }
            },
        }
        let what = if handle.is_some() {
            "unregister"
        } else {
            "register"
        };
        told(what, number)
    }

    /// Adds an instance that is in no list, or removes it.
    pub(super) fn instance(&mut self) -> Told {
        let number = self.random.below(OBJECTS);
        let object = objects()[number as usize];
        let was_linked = object.is_linked();
        let is_there = self.stage.find(object.unit.name()).is_some();
        let dir = if was_linked {
            Direction::Down
        } else {
            Direction::Up
        };
        if is_there {
            self.arm_unit(object.unit, dir);
        }
        if was_linked {
            match self.stage.remove(object, Calls::Run) {
                Ok(ignored) => self.check_met(self.met(), ignored),
                Err(_) => self.wrong(Violation::WrongError, self.stage.this_cpu(), 1, number),
            }
        } else {
            match self.stage.add(object, Calls::Run) {
                Ok(()) => self.check_met(self.met(), 0),
                // Its state is not registered.
                Err(RegisterError::NotMulti(_)) if !is_there => self.nobody_else(|_| false),
                Err(error) => self.judge_failure(error, self.met()),
            }
        }
        if object.is_linked() != was_linked && self.met() > 0 && !was_linked {
            self.wrong(Violation::WrongState, self.stage.this_cpu(), 1, 0);
        }
        let what = if was_linked {
            "remove_instance"
        } else {
            "add_instance"
        };
        told(what, number)
    }

    /// Removes everything that is registered.
    pub(super) fn forget_all(&mut self) {
        let stage = self.stage;
        let mut failed = 0u32;
        for object in objects().into_iter().filter(|object| object.is_linked()) {
            failed += u32::from(stage.remove(object, Calls::Run) != Ok(0));
        }
        for (what, handle) in dynamics(stage.scene).into_iter().zip(&mut self.handles) {
            if let Some(handle) = handle.take() {
                failed += u32::from(stage.unregister(what, handle, Calls::Run) != Ok(0));
            }
        }
        if failed > 0 {
            self.wrong(Violation::OperationFailed, stage.this_cpu(), failed, 0);
        }
    }

    /// An addition fails only because a fault was met, and names a second one only if two were.
    fn judge_failure(&self, error: RegisterError, met: u32) {
        // No refusal is possible: there is room, and what is added is nowhere yet.
        let is_right = if let RegisterError::Failed { undo, .. } = error {
            met == 1 + u32::from(undo.is_some())
        } else {
            false
        };
        if !is_right {
            self.wrong(Violation::WrongError, self.stage.this_cpu(), met, 1);
        }
    }

    fn check_met(&self, met: u32, right: u32) {
        if met != right {
            self.wrong(Violation::WrongError, self.stage.this_cpu(), met, right);
        }
    }
}

fn told(what: &'static str, number: u32) -> Told {
    Told {
        what,
        cpu: CpuId::new(0),
        number,
    }
}
