//! Results: one line each, whose `pass` is whether nothing was found wrong.

use core::fmt;
use core::sync::atomic::Ordering;

use cpuhp_core::{CpuId, OpError, Platform};

use crate::json::{self, Object};
use crate::machine::{Existence, Hp, Machine, Unable};
use crate::scene::Scene;
use crate::violation::Violation;

/// What one scenario needs all the time: the machine and the scene it plays in.
#[derive(Debug)]
pub(crate) struct Stage<'m, M> {
    pub(crate) machine: &'m M,
    pub(crate) scene: &'static Scene,
}

impl<M: Machine> Stage<'_, M> {
    pub(crate) fn hp(&self) -> &Hp<M::Backend> {
        self.machine.hp()
    }

    pub(crate) fn now(&self) -> u64 {
        self.machine.now()
    }

    /// Prints a result; it passes if `violations` is 0.
    pub(crate) fn result(&self, violations: u32, fields: impl Fn(&mut Object<'_>) -> fmt::Result) {
        let pass = violations == 0;
        let verdict = if pass { 1 } else { 2 };
        self.scene.verdict.fetch_max(verdict, Ordering::Relaxed);
        let name = self.scene.params.scenario.name();
        json::line(self.machine, "result", |line| {
            line.text("scenario", &name)?;
            line.truth("pass", pass)?;
            fields(line)?;
            line.number("violations", violations)
        });
    }

    /// Prints the one result of a scenario, with everything that was found wrong.
    pub(crate) fn only_result(&self, fields: impl Fn(&mut Object<'_>) -> fmt::Result) {
        let violations = self.scene.violations.count();
        self.scene.violations.print_and_clear(self.machine);
        self.result(violations, fields);
    }

    /// Prints why the scenario cannot run here: never a pass.
    pub(crate) fn refuse(&self, why: Unable) {
        let name = self.scene.params.scenario.name();
        self.machine.print(format_args!(
            "error: this machine cannot run `{name}`: {why}"
        ));
        self.result(1, |line| line.text("error", &why));
    }

    /// Returns the CPU that drives.
    pub(crate) fn this_cpu(&self) -> CpuId {
        CpuId::new(self.scene.control.load(Ordering::Relaxed))
    }

    // ---- CPUs

    /// Returns every CPU that is present, but for the driving one.
    pub(crate) fn others(&self) -> impl Iterator<Item = CpuId> {
        let control = self.scene.control.load(Ordering::Relaxed);
        let is_other = move |cpu: &CpuId| cpu.get() != control && self.is_present(*cpu);
        self.all().filter(is_other)
    }

    /// Returns every listed CPU that is not present.
    pub(crate) fn not_present(&self) -> impl Iterator<Item = CpuId> {
        self.all().filter(|cpu| !self.is_present(*cpu))
    }

    fn all(&self) -> impl Iterator<Item = CpuId> + use<M> {
        let cpus = u32::try_from(self.hp().cpus()).unwrap_or(u32::MAX);
        (0..cpus).map(CpuId::new)
    }

    fn is_present(&self, cpu: CpuId) -> bool {
        self.hp().platform().present(cpu)
    }

    /// Returns those of them that are online.
    pub(crate) fn online_others(&self) -> impl Iterator<Item = CpuId> {
        self.others()
            .filter(|cpu| self.hp().online().contains(*cpu))
    }

    /// Returns the `number`-th of the online others, going round.
    pub(crate) fn pick(&self, number: u32) -> Option<CpuId> {
        let count = self.online_others().count();
        self.online_others().nth(number as usize % count.max(1))
    }

    /// Whether the machine knows that `cpu` never comes.
    pub(crate) fn is_absent(&self, cpu: CpuId) -> bool {
        self.machine.exists(cpu) == Some(Existence::Absent)
    }

    /// Whether `cpu` is none of those that came: it is absent and was given up on.
    pub(crate) fn is_given_up(&self, cpu: CpuId) -> bool {
        let error = self.hp().last_error(cpu).map(|failure| failure.first.err);
        error == Some(cpuhp_core::StepError::TIMEOUT)
    }

    /// Whether every other CPU that is online can be stopped.
    pub(crate) fn can_stop(&self) -> Result<(), Unable> {
        let platform = self.hp().platform();
        match self.online_others().all(|cpu| platform.can_off(cpu)) {
            true => Ok(()),
            false => Err("its CPUs cannot be stopped"),
        }
    }

    /// Whether every CPU comes that is listed and present.
    pub(crate) fn all_come(&self) -> Result<(), Unable> {
        match self.scene.params.absent {
            0 => Ok(()),
            _ => Err("it has CPUs that never come"),
        }
    }

    // ---- operations

    /// Counts an operation that failed though it should not.
    pub(crate) fn expect_done(&self, cpu: CpuId, result: Result<(), OpError>) {
        if let Err(error) = result {
            self.scene
                .wrong(Violation::OperationFailed, cpu, code(&error), 0u32);
        }
    }

    /// Brings every CPU up that exists, untimed, and checks that exactly these came.
    pub(crate) fn bring_all_up(&self) {
        let report = self.hp().bring_up(cpuhp_core::Which::All);
        let failed = report.map_or(u32::MAX, |report| report.failed + report.stuck);
        if failed != self.scene.params.absent {
            let first = self.others().next().unwrap_or_default();
            let right = self.scene.params.absent;
            self.scene.wrong(Violation::Existence, first, failed, right);
        }
    }
}

/// A number that helps to understand an operation's error: the state, or the cause of a refusal.
fn code(error: &OpError) -> u64 {
    match error {
        OpError::Failed(failure) => u64::from(failure.first.at.get()),
        OpError::Refused(refusal) => 1000 + refusal.why as u64,
        _ => 2000,
    }
}
