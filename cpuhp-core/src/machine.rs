//! The whole machine at once: bring it up to a number of CPUs, freeze and thaw it, shut it down.

use crate::bulk::{BulkReport, Plan, Policy, Which};
use crate::cpu::CpuId;
use crate::error::{OpError, Why};
use crate::hotplug::Cpuhp;
use crate::lock::Frozen;
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
    /// If one refuses, or [`Platform::should_abort`] says so, all come back and nothing is frozen.
    /// Otherwise hotplug stays disabled until [`Self::thaw`]. CPUs that were not online stay so.
    ///
    /// Context: as [`Self::cpu_up`].
    ///
    /// # Errors
    /// As [`Self::take_down`]; [`Why::Disabled`] if the machine is frozen already. A refusal by a step
    /// is in the report: then nothing is frozen.
    pub fn freeze(&self) -> Result<BulkReport, OpError> {
        let plan = Plan::down(Which::All, Policy::AllOrNothing).suspend();
        let report = self.move_many(plan)?;
        if report.is_complete() {
            self.storage.lock.disable();
            self.storage.lock.set_frozen(Frozen::Yes);
        }
        Ok(report)
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
        let caller = self.platform().this_cpu();
        if !self.storage.lock.is_frozen() {
            return Err(OpError::refused(caller, Why::NotFrozen));
        }
        self.storage.lock.enable();
        let plan = Plan::up(Which::Only(self.frozen()), u32::MAX).suspend();
        let thawed = self.move_many(plan);
        match thawed {
            Ok(_) => {
                self.storage
                    .each(Kind::Frozen)
                    .for_each(|cpu| self.storage.take(Kind::Frozen, cpu));
                self.storage.lock.set_frozen(Frozen::No);
            }
            Err(_) => {
                self.storage.lock.disable();
            }
        }
        thawed
    }

    /// Takes every CPU but the calling one down for good, whatever its steps answer; hotplug stays
    /// disabled.
    ///
    /// Never gives up on the first failure and never waits without a deadline. What did not go is in
    /// the report, and [`Self::survivors`] names it.
    ///
    /// Context: as [`Self::cpu_up`], on any online CPU.
    ///
    /// # Errors
    /// [`OpError::Refused`] if another operation is in flight: nothing ran.
    pub fn shutdown_nonboot(&self) -> Result<BulkReport, OpError> {
        let report = self.move_many(Plan::down(Which::All, Policy::Force))?;
        self.storage.lock.disable();
        Ok(report)
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
