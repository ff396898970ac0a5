//! Operations on many CPUs.

use cpuhp_core::{CpuId, CpuMask, Policy, StateId, Which};

use super::{Storm, Told};
use crate::machine::Machine;
use crate::violation::Violation;

/// Which CPUs an operation is about.
#[derive(Clone, Copy, Debug)]
struct Named {
    /// `None`: all.
    only: Option<CpuMask<'static>>,
    count: u32,
}

impl Named {
    fn has(self, cpu: CpuId) -> bool {
        self.only.is_none_or(|mask| mask.contains(cpu))
    }

    const fn is_all(self) -> bool {
        self.only.is_none()
    }

    fn which(self) -> Which<'static> {
        self.only.map_or(Which::All, Which::Only)
    }
}

impl<M: Machine> Storm<'_, '_, M> {
    /// Draws all CPUs, or some.
    fn named(&mut self) -> Named {
        let count = self.some();
        let mask = self.stage.scene.mask();
        let only = (self.random.below(2) == 0).then_some(mask);
        Named { only, count }
    }

    /// All CPUs or some, without a limit or up to one.
    pub(super) fn bring_up(&mut self) -> Told {
        let named = self.named();
        let cpus = u32::try_from(self.stage.hp().cpus()).unwrap_or(u32::MAX);
        let limit = match self.random.below(3) {
            0 => self.random.below(cpus + 2),
            _ => u32::MAX,
        };
        self.arm(None);
        let before = self.online();
        let wanted = self.stage.others().filter(|cpu| named.has(*cpu));
        let able = wanted.filter(|cpu| !self.stage.hp().online().contains(*cpu));
        let able = u32::try_from(able.count()).unwrap_or(u32::MAX);
        let report = self.stage.hp().bring_up_to(named.which(), limit);
        let report = report.unwrap_or_default();
        let right = before.max(limit.min(before + able));
        let online = self.online();
        let met = self.met();
        // A failed CPU's place goes to the next, so fewer only if there was none.
        let missing = right.saturating_sub(online);
        if online > right || missing > met || (met == 0) != (report.failed == 0) {
            self.wrong(Violation::Count, self.stage.this_cpu(), online, right);
        }
        if report.stuck + report.not_tried > 0 || report.failed > met {
            self.wrong(Violation::Count, self.stage.this_cpu(), report.failed, met);
        }
        self.nobody_else(|cpu| named.has(cpu));
        told("bring_up", named, limit)
    }

    /// All CPUs or some, by any policy.
    pub(super) fn take_down(&mut self) -> Told {
        let named = self.named();
        let policy = match self.random.below(3) {
            0 => Policy::BestEffort,
            1 => Policy::AllOrNothing,
            _ => Policy::Force,
        };
        if policy == Policy::Force {
            self.arm_callback_only();
        } else {
            self.arm(None);
        }
        let is_online = |cpu: CpuId| self.stage.hp().online().contains(cpu);
        // What is to go: all that are online, or that are not off where nobody is asked.
        let goes = |cpu: CpuId| {
            named.has(cpu) && (!named.is_all() || is_online(cpu) || policy == Policy::Force)
        };
        let going = self
            .stage
            .others()
            .filter(|cpu| goes(*cpu) && self.state_of(*cpu) != StateId::OFFLINE);
        let going = u32::try_from(going.count()).unwrap_or(u32::MAX);
        let report = self.stage.hp().take_down_with(named.which(), policy);
        let is_refused = report.is_err();
        let report = report.unwrap_or_default();
        let met = self.met();
        let left = self.stage.others().filter(|cpu| {
            let is_off = self.state_of(*cpu) == StateId::OFFLINE;
            !is_off
                && named.has(*cpu)
                && (!named.is_all() || policy == Policy::Force || is_online(*cpu))
        });
        let left = u32::try_from(left.count()).unwrap_or(u32::MAX);
        let may_stay = match policy {
            Policy::BestEffort => met,
            Policy::AllOrNothing => going * met.min(1),
            Policy::Force | _ => 0,
        };
        let this = self.stage.this_cpu();
        if is_refused || left > may_stay || report.stuck + report.not_tried > 0 {
            self.wrong(Violation::Count, this, left, may_stay);
        }
        if met == 0 && report.failed + report.rolled_back > 0 {
            self.wrong(Violation::Count, this, report.failed, 0);
        }
        self.nobody_else(|cpu| named.has(cpu));
        let number = policy as u32;
        told("take_down", named, number)
    }

    /// How many CPUs are online, the driving one counted.
    pub(super) fn online(&self) -> u32 {
        u32::try_from(self.stage.hp().online().iter().count()).unwrap_or(u32::MAX)
    }
}

fn told(what: &'static str, named: Named, number: u32) -> Told {
    Told {
        what,
        cpu: CpuId::new(named.count),
        number,
    }
}
