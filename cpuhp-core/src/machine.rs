//! The whole machine at once: bring it up to a number of CPUs, freeze and thaw it, shut it down.

use core::task::Poll;

use crate::bulk::{BulkOp, BulkReport, Plan, Policy, Which};
use crate::cpu::CpuId;
use crate::error::{OpError, Why};
use crate::hotplug::Cpuhp;
use crate::lock::{Frozen, WriteGuard};
use crate::mask::{CpuMask, Kind};
use crate::platform::{Platform, Who};
use crate::trace::Trace;

impl<'a, P: Platform, T: Trace> Cpuhp<'a, P, T> {
    /// Brings CPUs up until `limit` CPUs are online, the boot CPU and all others counted.
    ///
    /// A limit that is reached already, 0 among them, kicks nobody. The place of a CPU that fails goes
    /// to the next one: in the end `min(limit, CPUs that can be online)` are.
    ///
    /// Context: as [`Self::cpu_up`].
    ///
    /// # Errors
    /// As [`Self::bring_up`].
    pub fn bring_up_to(&self, which: Which<'_>, limit: u32) -> Result<BulkReport, OpError> {
        self.move_many(Plan::up(which, limit))
    }

    /// Takes every online CPU but the calling one down for a suspend, all or none.
    ///
    /// If one refuses, or [`Platform::should_abort`] says so, all come back and nothing is frozen: that
    /// is an error, never a report to be looked through. Otherwise hotplug stays disabled until
    /// [`Self::thaw`]. CPUs that were not online stay so.
    ///
    /// Context: as [`Self::cpu_up`].
    ///
    /// # Errors
    /// As [`Self::take_down`]; [`Why::Disabled`] if the machine is frozen already; [`Why::Aborted`];
    /// [`Why::Busy`] for a CPU that an abandoned operation holds; [`OpError::Failed`] of the CPU that
    /// refused.
    pub fn freeze(&self) -> Result<BulkReport, OpError> {
        let guard = self.write()?;
        let plan = Plan::down(Which::All, Policy::AllOrNothing).suspend();
        let mut op = guard.begin_bulk(plan)?;
        for cpu in self.storage.each(Kind::Batch) {
            self.storage.add(Kind::Frozen, cpu);
        }
        let report = self.finish(&guard, &mut op)?;
        if report.is_complete() && !op.is_turned_back() {
            self.storage.lock.disable();
            self.storage.lock.set_frozen(Frozen::Yes);
            return Ok(report);
        }
        let caller = self.platform().this_cpu();
        let why = if report.skipped > 0 {
            Why::Busy
        } else {
            Why::Aborted
        };
        let mut batch = self.storage.each(Kind::Frozen);
        let failure = batch.find_map(|cpu| self.last_error(cpu));
        let error = failure.map_or(OpError::refused(caller, why), OpError::Failed);
        // Those that are back stay as they are, with what they have to say; after the last point of
        // return some may be off.
        self.storage
            .each(Kind::Online)
            .for_each(|cpu| self.storage.take(Kind::Frozen, cpu));
        if !self.frozen().is_empty() {
            let plan = Plan::up(Which::Only(self.frozen()), u32::MAX).suspend();
            let mut op = guard.begin_bulk(plan)?;
            // Whoever does not come back says so by `last_error`; the refusal is what is reported.
            let _back = self.finish(&guard, &mut op)?;
            self.forget_frozen();
        }
        Err(error)
    }

    /// Brings exactly the CPUs up that [`Self::freeze`] took, and enables hotplug again.
    ///
    /// A CPU that fails is in the report and is skipped.
    ///
    /// Context: as [`Self::cpu_up`].
    ///
    /// # Errors
    /// [`Why::NotFrozen`] if there was no freeze, or all the reasons of [`Self::bring_up`]: then the
    /// machine stays frozen.
    pub fn thaw(&self) -> Result<BulkReport, OpError> {
        let guard = self.write()?;
        let caller = self.platform().this_cpu();
        if !self.storage.lock.is_frozen() {
            return Err(OpError::refused(caller, Why::NotFrozen));
        }
        self.storage.lock.enable();
        let plan = Plan::up(Which::Only(self.frozen()), u32::MAX).suspend();
        let thawed = guard
            .begin_bulk(plan)
            .and_then(|mut op| self.finish(&guard, &mut op));
        if thawed.is_ok() {
            self.forget_frozen();
            self.storage.lock.set_frozen(Frozen::No);
        } else {
            self.storage.lock.disable();
        }
        thawed
    }

    /// Takes every CPU but the calling one down for good, whatever its steps answer; hotplug stays
    /// disabled.
    ///
    /// Never gives up on the first failure, not on disablements that are in force either, and never waits
    /// without a deadline. What did not go is in the report, and [`Self::survivors`] names it.
    ///
    /// Context: as [`Self::cpu_up`], on any online CPU.
    ///
    /// # Errors
    /// [`OpError::Refused`] if another operation is in flight: nothing ran.
    pub fn shutdown_nonboot(&self) -> Result<BulkReport, OpError> {
        let guard = self.write()?;
        let mut op = guard.begin_bulk(Plan::down(Which::All, Policy::Force))?;
        let report = self.finish(&guard, &mut op)?;
        self.storage.lock.disable();
        Ok(report)
    }

    /// Polls a bulk operation under the guard until it has ended.
    pub(crate) fn finish(
        &self,
        guard: &WriteGuard<'_, '_, P, T>,
        op: &mut BulkOp,
    ) -> Result<BulkReport, OpError> {
        loop {
            if let Poll::Ready(report) = op.poll(guard) {
                return report;
            }
            let (cpu, deadline) = op.awaited(guard);
            self.platform().wait(Who::Control(cpu), deadline);
        }
    }

    fn forget_frozen(&self) {
        self.storage
            .each(Kind::Frozen)
            .for_each(|cpu| self.storage.take(Kind::Frozen, cpu));
    }

    /// Iterates over the CPUs other than the calling one that are not off.
    pub fn survivors(&self) -> impl Iterator<Item = CpuId> {
        let caller = self.platform().this_cpu();
        let runs = move |cpu: &CpuId| *cpu != caller && !self.is_off(*cpu);
        self.all_cpus().filter(runs)
    }

    /// CPUs that a freeze took.
    pub fn frozen(&self) -> CpuMask<'a> {
        self.storage.mask(Kind::Frozen)
    }

    fn is_off(&self, cpu: CpuId) -> bool {
        self.record(cpu)
            .is_none_or(|rec| rec.edges.peek().tag().is_resting())
    }
}
