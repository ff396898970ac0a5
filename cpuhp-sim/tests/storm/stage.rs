//! What all contexts share: the machine, and how one of them moves a CPU on it.

use std::sync::atomic::AtomicU32;
use std::task::Poll;

use cpuhp_core::{CpuId, Cpuhp, OpError, OpFlags, Platform, StateId, Who, Why, WriteGuard};
use cpuhp_sim::Threads;

pub(crate) type Hotplug = Cpuhp<'static, &'static Threads>;
type Guard<'g> = WriteGuard<'g, 'static, &'static Threads, ()>;

/// What all contexts share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) machine: &'static Threads,
    pub(crate) hotplug: &'static Hotplug,
    /// Operations that were dropped and not taken up yet: CPUs may move under a reader.
    pub(crate) loose: AtomicU32,
}

impl Stage {
    pub(crate) fn new(machine: &'static Threads, hotplug: &'static Hotplug) -> Self {
        Self {
            machine,
            hotplug,
            loose: AtomicU32::new(0),
        }
    }

    /// Takes the write lock, however long the others have it.
    pub(crate) fn write(&self) -> Guard<'static> {
        loop {
            match self.hotplug.try_write() {
                Ok(guard) => return guard,
                Err(error) => assert_eq!(error.why(), Some(Why::Busy), "{error}"),
            }
            std::thread::yield_now();
        }
    }

    /// Drives one CPU under a guard; what it answers is judged by the caller.
    pub(crate) fn drive(
        &self,
        guard: &Guard<'_>,
        cpu: CpuId,
        to: StateId,
        flags: OpFlags,
    ) -> Result<(), OpError> {
        let mut op = guard.op(cpu, to, flags)?;
        loop {
            if let Poll::Ready(result) = op.poll(guard) {
                return result;
            }
            let until = op.deadline(guard);
            self.machine.wait(Who::Control(cpu), until);
        }
    }

    /// Takes up what was dropped in the middle.
    pub(crate) fn take_up(&self, cpu: CpuId) -> Result<(), OpError> {
        let guard = self.write();
        let mut op = guard.resume(cpu)?;
        loop {
            if let Poll::Ready(result) = op.poll(&guard) {
                return result;
            }
            let until = op.deadline(&guard);
            self.machine.wait(Who::Control(cpu), until);
        }
    }

    /// Forced to OFFLINE: what is half up, stuck or armed is passed.
    pub(crate) fn force(&self, cpu: CpuId) -> Result<(), OpError> {
        let guard = self.write();
        guard.disarm_fault(cpu)?;
        self.drive(&guard, cpu, StateId::OFFLINE, OpFlags::FORCE)
    }
}
