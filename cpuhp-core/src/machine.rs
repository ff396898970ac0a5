//! The whole machine at once: bring it up to a number of CPUs, freeze and thaw it, shut it down.

use crate::bulk::{BulkReport, Plan, Policy, Which};
use crate::cpu::CpuId;
use crate::error::{OpError, Refused, Why};
use crate::hotplug::Cpuhp;
use crate::lock::{Frozen, WriteGuard};
use crate::mask::{CpuMask, Kind};
use crate::platform::Platform;
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
        let mut op = guard.begin_bulk_of(plan)?;
        for cpu in self.storage.each(Kind::Batch) {
            self.storage.add(Kind::Frozen, cpu);
        }
        op.run(&guard);
        if op.report.is_complete() && !op.is_turned_back() {
            self.storage.lock.disable();
            self.storage.lock.set_frozen(Frozen::Yes);
            return Ok(op.report);
        }
        let mut batch = self.storage.each(Kind::Frozen);
        let failure = batch.find_map(|cpu| self.last_error(cpu));
        // Those that are back stay as they are, with what they have to say; after the last point of
        // return some may be off.
        for cpu in self.storage.each(Kind::Online) {
            self.storage.take(Kind::Frozen, cpu);
        }
        // Whoever does not come back says so by `last_error`; the refusal is what is reported.
        let _back = guard.bring_back()?;
        if let Some(failure) = failure {
            return Err(OpError::Failed(failure));
        }
        let why = if op.report.skipped > 0 {
            Why::Busy
        } else {
            Why::Aborted
        };
        Err(Refused(self.platform().this_cpu(), why).into())
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
        if !self.storage.lock.is_frozen() {
            return Err(Refused(self.platform().this_cpu(), Why::NotFrozen).into());
        }
        self.storage.lock.enable();
        let thawed = guard.bring_back();
        if thawed.is_ok() {
            self.storage.lock.set_frozen(Frozen::No);
        } else {
            self.storage.lock.disable();
        }
        Ok(thawed?)
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
        let op = guard.run_bulk(Plan::down(Which::All, Policy::Force))?;
        self.storage.lock.disable();
        Ok(op.report)
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

impl<P: Platform, T: Trace> WriteGuard<'_, '_, P, T> {
    /// Brings the frozen CPUs up, if there are any, and forgets that they were frozen.
    #[inline(never)]
    fn bring_back(&self) -> Result<BulkReport, Refused> {
        let storage = &self.hp.storage;
        let which = Which::Only(storage.mask(Kind::Frozen));
        let op = self.run_bulk(Plan::up(which, u32::MAX).suspend())?;
        storage.clear(Kind::Frozen);
        Ok(op.report)
    }
}
