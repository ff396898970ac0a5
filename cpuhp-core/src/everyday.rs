//! The everyday forms: one operation each, waiting through [`Platform::wait`] until it is done.
//!
//! Every one takes the write lock, polls an operation and waits between two polls. Whoever has a loop of
//! his own polls [`CpuOp`](crate::CpuOp) and [`BulkOp`](crate::BulkOp) instead.

use core::task::Poll;

use crate::bulk::{BulkReport, Plan, Policy, Which};
use crate::cpu::CpuId;
use crate::error::OpError;
use crate::hotplug::Cpuhp;
use crate::op::OpFlags;
use crate::platform::Platform;
use crate::step::StateId;
use crate::trace::Trace;

impl<P: Platform, T: Trace> Cpuhp<'_, P, T> {
    /// Brings `cpu` to `ONLINE` and returns when it is there.
    ///
    /// Context: any available CPU, interrupts on, not inside a step. Waits through
    /// [`Platform::wait`], each wait with its deadline.
    ///
    /// # Errors
    /// [`OpError::Refused`]: nothing ran. [`OpError::Failed`]: the CPU went back to where it was, or
    /// the error says where it is.
    pub fn cpu_up(&self, cpu: CpuId) -> Result<(), OpError> {
        self.move_to(cpu, self.table().online())
    }

    /// Takes `cpu` down to `OFFLINE` and returns when it is confirmed off and undone.
    ///
    /// Context: as [`Self::cpu_up`], on another CPU than `cpu`.
    ///
    /// # Errors
    /// As [`Self::cpu_up`]; also refused for the last CPU online, for the calling CPU, and for a
    /// CPU the platform cannot stop.
    pub fn cpu_down(&self, cpu: CpuId) -> Result<(), OpError> {
        self.move_to(cpu, StateId::OFFLINE)
    }

    /// Drives `cpu` to `target`, up or down. A target that is the present state runs nothing.
    ///
    /// Context: as [`Self::cpu_up`].
    ///
    /// # Errors
    /// As [`Self::cpu_up`] and [`Self::cpu_down`]; [`Why::BadTarget`](crate::Why::BadTarget) where no CPU can rest.
    pub fn drive(&self, cpu: CpuId, target: StateId) -> Result<(), OpError> {
        self.move_to(cpu, target)
    }

    #[inline(never)]
    fn move_to(&self, cpu: CpuId, target: StateId) -> Result<(), OpError> {
        let guard = self.write()?;
        let op = match guard.begin_op(cpu, target, OpFlags::AUTO) {
            Ok(op) => op,
            Err(why) => return Err(self.refuse_at(cpu, target, why)),
        };
        loop {
            if let Poll::Ready(ended) = op.go_on(&guard) {
                ended?;
                return self.outcome(cpu);
            }
            self.wait_served(cpu, op.deadline(&guard));
        }
    }

    /// Brings many CPUs to `ONLINE`, in parallel as far as their steps allow.
    ///
    /// A CPU that fails goes back by itself and is in the report; the others go on. k CPUs that never
    /// come cost one time-out, not k.
    ///
    /// Context: as [`Self::cpu_up`].
    ///
    /// # Errors
    /// [`OpError::Refused`]: nothing ran.
    pub fn bring_up(&self, which: Which<'_>) -> Result<BulkReport, OpError> {
        self.move_many(Plan::up(which, u32::MAX))
    }

    /// Takes many CPUs down to `OFFLINE`, in parallel as far as their steps allow.
    ///
    /// Best effort: a CPU that refuses stays `ONLINE` and is in the report, the others go on.
    /// `Which::All` is every online CPU but the calling one.
    ///
    /// Context: as [`Self::cpu_up`].
    ///
    /// # Errors
    /// [`OpError::Refused`], nothing ran: the batch would leave no CPU online, it has the calling
    /// CPU in it, or one that the platform cannot stop.
    pub fn take_down(&self, which: Which<'_>) -> Result<BulkReport, OpError> {
        self.take_down_with(which, Policy::BestEffort)
    }

    /// Takes many CPUs down; `policy` says what a refusal means for the others.
    ///
    /// Context: as [`Self::cpu_up`].
    ///
    /// # Errors
    /// As [`Self::take_down`].
    pub fn take_down_with(&self, which: Which<'_>, policy: Policy) -> Result<BulkReport, OpError> {
        self.move_many(Plan::down(which, policy))
    }

    #[inline(never)]
    pub(crate) fn move_many(&self, plan: Plan<'_>) -> Result<BulkReport, OpError> {
        let moved = self.write().and_then(|guard| guard.run_bulk(plan));
        Ok(moved?.report)
    }
}
