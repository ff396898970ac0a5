//! Many CPUs at once, and the whole machine.

use cpuhp_core::{BulkReport, CpuId, MaskStore, OpError, Policy, StateId, Which, Why};
use cpuhp_tests::world::with;

use super::{BOOT, CPUS, Script, cpu};

impl Script {
    /// Any of the CPUs that do not drive.
    fn some(&mut self) -> MaskStore<1> {
        let mask = MaskStore::<1>::new();
        for n in (0..CPUS).filter(|n| *n != BOOT) {
            if self.r.one_in(2) {
                mask.get_mut().insert(cpu(n));
            }
        }
        mask
    }

    /// Refused as disabled, or a report that adds up: nobody outside the mask is counted.
    fn judge_many(&self, result: Result<BulkReport, OpError>, most: usize) {
        let report = match result {
            Ok(report) => report,
            Err(error) => {
                let blocked = self.frozen || self.held.is_some();
                let fits = blocked && error.why() == Some(Why::Disabled);
                assert!(fits, "{error}");
                return;
            }
        };
        let counted = report.done + report.failed + report.stuck + report.skipped;
        let counted = counted + report.not_tried + report.rolled_back + report.beyond_limit;
        assert!(counted as usize <= most, "{report} of {most}");
    }

    pub(super) fn up_to_a_limit(&mut self) {
        let limit = u32::try_from(self.r.below(7)).expect("small");
        let before = self.hp.online().count();
        let result = self.hp.bring_up_to(Which::All, limit);
        if result.is_ok() {
            let online = self.hp.online().count();
            let most = before.max(limit as usize);
            assert!(online <= most, "limit {limit}: {online}");
        }
        self.judge_many(result, CPUS as usize - 1);
    }

    pub(super) fn down_by_a_policy(&mut self) {
        let policy = self.r.one_of(&[Policy::AllOrNothing, Policy::BestEffort]);
        let result = self.hp.take_down_with(Which::All, policy);
        self.judge_many(result, CPUS as usize - 1);
    }

    pub(super) fn some_up(&mut self) {
        let mask = self.some();
        let result = self.hp.bring_up(Which::Only(mask.get()));
        self.judge_many(result, mask.get().count());
    }

    pub(super) fn some_down(&mut self) {
        let mask = self.some();
        let result = self.hp.take_down(Which::Only(mask.get()));
        self.judge_many(result, mask.get().count());
    }

    /// Vetoes are passed over, disablements too; what does not go is named.
    pub(super) fn force_all(&mut self) {
        let guard = self.hp.try_write().expect("nobody else is here");
        for n in 0..CPUS {
            assert_eq!(guard.disarm_fault(cpu(n)), Ok(()));
        }
        drop(guard);
        let report = self.hp.take_down_with(Which::All, Policy::Force);
        let report = report.unwrap_or_else(|error| panic!("forced: {error}"));
        let gone = |n: &u32| self.hp.state(cpu(*n)) == Some(StateId::OFFLINE);
        let off = (0..CPUS).filter(gone).count();
        assert!(report.done as usize <= off, "{report}, but {off} are off");
        assert!(report.stuck + report.done + report.failed + report.skipped < CPUS);
    }

    pub(super) fn freeze_or_thaw(&mut self) {
        if self.frozen {
            let held = self.held.is_some();
            let result = self.hp.thaw();
            assert_eq!(result.is_err(), held, "{result:?}");
            self.frozen = held;
            return;
        }
        if self.r.one_in(3) {
            let point = u32::try_from(self.r.below(6)).expect("small");
            with(|w| w.aborts.set(Some(point)));
        }
        let before: Vec<CpuId> = self.hp.online().iter().collect();
        let result = self.hp.freeze();
        with(|w| w.aborts.set(None));
        self.frozen = result.is_ok();
        if result.is_ok() {
            let mut expected = before;
            expected.retain(|id| *id != cpu(BOOT));
            assert!(self.hp.frozen().iter().eq(expected));
        } else {
            assert!(self.hp.frozen().is_empty());
        }
    }
}
