//! The control CPU of a model: one operation after the other, as far as it goes.

use core::task::Poll;

use cpuhp_core::{
    BootSteps, CpuId, Left, OpError, OpFlags, Platform, StateId, StepError, Table, Tag, Who,
};

use crate::board::{Hotplug, hotplug};
use crate::check;
use crate::world::{AP, BOOT, Event, World};

/// What came of an operation; `None`: the execution was given up.
pub(crate) type Ended = Option<Result<(), StepError>>;

/// The thread that is the control CPU.
#[derive(Debug)]
pub(crate) struct Control<'w> {
    pub(crate) world: &'w World,
    pub(crate) hp: Hotplug<'w>,
}

impl<'w> Control<'w> {
    /// Takes the boot CPU in.
    pub(crate) fn new(world: &'w World, table: &'static Table) -> Self {
        let hp = hotplug(world, table, BOOT);
        let adopted = hp.adopt_boot_cpu(BootSteps::AlreadyDone);
        adopted.expect("nothing else runs yet");
        Self { world, hp }
    }

    /// Drives the AP to `target`; gives up where the family spins.
    pub(crate) fn to(&self, target: StateId, flags: OpFlags) -> Ended {
        self.drive(AP, target, flags)
    }

    /// Drives the AP to `target`; `write` is done once the operation has begun, and before its first poll:
    /// so the fences of the lock and of the claim, which lie before it, cannot carry what it writes.
    pub(crate) fn write_and_go(&self, target: StateId, write: impl FnOnce()) -> Ended {
        self.drive_after(AP, target, OpFlags::empty(), write)
    }

    /// Drives `cpu` to `target`.
    pub(crate) fn drive(&self, cpu: CpuId, target: StateId, flags: OpFlags) -> Ended {
        self.drive_after(cpu, target, flags, || {})
    }

    fn drive_after(
        &self,
        cpu: CpuId,
        target: StateId,
        flags: OpFlags,
        write: impl FnOnce(),
    ) -> Ended {
        if self.world.cut.get() {
            return None;
        }
        let guard = self.hp.try_write().expect("nobody else takes the lock");
        let mut op = guard.op(cpu, target, flags).expect("a legal operation");
        write();
        self.world.note(Event::Begin(cpu, target));
        self.world.on(BOOT).waits.set(0);
        loop {
            if let Poll::Ready(result) = op.poll(&guard) {
                return Some(self.end(cpu, target, result));
            }
            if self.world.cut.get() {
                return None;
            }
            let deadline = op.deadline(&guard);
            self.hp.platform().wait(Who::Control(cpu), deadline);
        }
    }

    /// Checks that the result says the truth.
    fn end(
        &self,
        cpu: CpuId,
        target: StateId,
        result: Result<(), OpError>,
    ) -> Result<(), StepError> {
        let failed = match result {
            Ok(()) => None,
            Err(OpError::Failed(failure)) => Some(failure),
            Err(other) => panic!("refused: {other}"),
        };
        let state = self.hp.state(cpu).expect("a modelled cpu");
        match failed {
            None => assert_eq!(state, target, "done, but not there"),
            Some(failure) => {
                if let Left::At(at) = failure.left {
                    assert_eq!(state, at, "left where the failure does not say");
                }
            }
        }
        let err = failed.map(|failure| failure.first.err);
        self.world.note(Event::End(cpu, err));
        err.map_or(Ok(()), Err)
    }

    /// Returns the tag of the AP.
    pub(crate) fn tag(&self) -> Tag {
        self.hp.tag(AP).expect("a modelled cpu")
    }

    /// Ends the model's control side.
    pub(crate) fn finish(self) {
        let table = self.hp.table();
        self.world.on(BOOT).ends_here();
        self.world.finish();
        check::leave(self.world, table);
    }
}
