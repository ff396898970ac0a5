//! Faults for one operation: armed before it, counted and taken back after it.

use core::sync::atomic::Ordering;

use cpuhp_core::{CpuId, Direction, FaultAt};

use super::Storm;
use crate::machine::Machine;
use crate::units::Unit;

/// What is armed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Armed {
    /// The CPU on which the core was told to fail.
    core: Option<CpuId>,
    /// Faults that callbacks had met before.
    before: u32,
}

impl<M: Machine> Storm<'_, '_, M> {
    /// Arms faults for the coming operation, one time in three: of a callback, or of the core, sometimes
    /// both, so that a rollback fails as well. Mostly on `cpu`, which is about to move.
    pub(super) fn arm(&mut self, cpu: Option<CpuId>) {
        if self.random.below(3) > 0 {
            return;
        }
        let moved = cpu.filter(|_| self.random.below(4) > 0);
        let cpu = moved.unwrap_or_else(|| self.other());
        match self.random.below(3) {
            0 => self.arm_callback(cpu, 0),
            1 => self.arm_core(cpu),
            _ => {
                self.arm_core(cpu);
                self.arm_callback(cpu, 0);
            }
        }
    }

    /// Arms a fault of a callback, one time in three: for a forced teardown, which passes over a state that
    /// the core was told to fail without calling it, so that it really stays up.
    pub(super) fn arm_callback_only(&mut self) {
        if self.random.below(3) == 0 {
            let cpu = self.other();
            self.arm_callback(cpu, 0);
        }
    }

    /// Arms a fault of a half of `unit` on any CPU, one time in three.
    pub(super) fn arm_unit(&mut self, unit: Unit, dir: Direction) {
        if self.random.below(3) > 0 || !unit.can_fail() {
            return;
        }
        let (first, second) = (self.any(), self.any());
        if let Some(log) = self.stage.scene.cpu(first) {
            log.arm(0, unit, dir);
        }
        // The undo of an addition fails as well, now and then.
        if self.random.below(4) == 0
            && let Some(log) = self.stage.scene.cpu(second)
        {
            log.arm(1, unit, Direction::Down);
        }
    }

    fn arm_callback(&mut self, cpu: CpuId, which: usize) {
        let order = &self.stage.scene.order;
        let place = 1 + self.random.below(order.top());
        let dir = self.direction();
        let unit = order.at(place).filter(|unit| unit.can_fail());
        if let (Some(unit), Some(log)) = (unit, self.stage.scene.cpu(cpu)) {
            log.arm(which, unit, dir);
        }
    }

    fn arm_core(&mut self, cpu: CpuId) {
        let (at, side) = (self.state(), self.random.below(3));
        let side = match side {
            0 => FaultAt::Up,
            1 => FaultAt::Down,
            _ => FaultAt::Either,
        };
        let armed = self.stage.hp().try_write();
        // States that cannot fail refuse it: then none is armed.
        if armed
            .and_then(|guard| guard.arm_fault(cpu, at, side))
            .is_ok()
        {
            self.armed.core = Some(cpu);
        }
    }

    fn direction(&mut self) -> Direction {
        match self.random.below(2) {
            0 => Direction::Up,
            _ => Direction::Down,
        }
    }

    /// Returns how many faults were met since the last operation.
    pub(super) fn met(&self) -> u32 {
        let hits = self.stage.scene.hits.load(Ordering::Relaxed);
        let is_gone = |cpu| self.stage.hp().armed_fault(cpu).is_none();
        hits - self.armed.before + u32::from(self.armed.core.is_some_and(is_gone))
    }

    /// Takes back what was not met; returns how many were.
    pub(super) fn disarm(&mut self) -> u32 {
        let met = self.met();
        for (_, log) in self.stage.scene.cpus() {
            log.disarm();
        }
        if let Some(cpu) = self.armed.core.take() {
            let guard = self.stage.hp().try_write();
            let disarmed = guard.and_then(|guard| guard.disarm_fault(cpu));
            self.stage.expect_done(cpu, disarmed);
        }
        self.armed.before = self.stage.scene.hits.load(Ordering::Relaxed);
        met
    }
}
