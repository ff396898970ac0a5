//! Operations on one CPU.

use cpuhp_core::{CpuId, Left, OpError, StateId, StepError, Why};

use super::{Storm, Told};
use crate::machine::Machine;
use crate::steps::FAULT;
use crate::violation::Violation;

impl<M: Machine> Storm<'_, '_, M> {
    /// Anywhere, also to where no CPU can rest.
    pub(super) fn drive(&mut self) -> Told {
        let (cpu, target) = (self.any(), self.state());
        self.arm(Some(cpu));
        let from = self.state_of(cpu);
        let result = self.stage.hp().drive(cpu, target);
        self.judge(cpu, from, target, result);
        told("drive", cpu, target)
    }

    pub(super) fn up(&mut self) -> Told {
        let (cpu, target) = (self.any(), self.stage.scene.table.online());
        self.arm(Some(cpu));
        let from = self.state_of(cpu);
        let result = self.stage.hp().cpu_up(cpu);
        self.judge(cpu, from, target, result);
        told("cpu_up", cpu, target)
    }

    pub(super) fn down(&mut self) -> Told {
        let (cpu, target) = (self.any(), StateId::OFFLINE);
        self.arm(Some(cpu));
        let from = self.state_of(cpu);
        let result = self.stage.hp().cpu_down(cpu);
        self.judge(cpu, from, target, result);
        told("cpu_down", cpu, target)
    }

    /// What the answer says is what has happened, and it happened to no other CPU.
    fn judge(&self, cpu: CpuId, from: StateId, target: StateId, result: Result<(), OpError>) {
        let at = self.state_of(cpu);
        let is_self = cpu == self.stage.this_cpu() && target < from;
        let refusal = if !self.stage.scene.table.is_target(target) {
            Some(Why::BadTarget)
        } else if is_self {
            Some(Why::OnSelf)
        } else {
            None
        };
        self.nobody_else(|other| other == cpu && refusal.is_none());
        let met = self.met();
        let is_right = match (result, refusal) {
            (Ok(()), None) => at == target && met == 0,
            (Err(OpError::Refused(refused)), Some(why)) => {
                // The driving CPU may be the last one as well.
                let is_last = is_self && self.online() == 1 && refused.why == Why::LastCpu;
                (refused.why == why || is_last) && at == from
            }
            (Err(OpError::Failed(failure)), None) => {
                let is_cause = [FAULT, StepError::INJECTED].contains(&failure.first.err);
                let is_back = match failure.rollback {
                    None => at == from && met == 1,
                    Some(second) => second.err == FAULT && met == 2,
                };
                is_cause && is_back && failure.left == Left::At(at) && failure.cpu == cpu
            }
            _ => false,
        };
        if !is_right {
            let why = result.err().and_then(|error| error.why());
            let code = why.map_or(met, |why| 1000 + why as u32);
            self.wrong(Violation::WrongError, cpu, code, u32::from(at.get()));
        }
    }
}

fn told(what: &'static str, cpu: CpuId, target: StateId) -> Told {
    Told {
        what,
        cpu,
        number: target.get().into(),
    }
}
