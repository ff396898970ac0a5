//! The boots that `cargo xtask test` expects to pass: one table.

use std::time::Duration;

use anyhow::Result;

use crate::arch::Arch;
use crate::boot::Kernel;
use crate::machine::Machine;
use crate::plan::{Plan, Scenario, parse_params};

mod aarch64;
mod hosted;
mod riscv64;

/// One boot of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) kernel: Kernel,
    smp: Option<u32>,
    scenario: Scenario,
    machine: &'static [&'static str],
    params: &'static [&'static str],
}

const X86: Case = Case {
    kernel: Kernel::Scenarios(Arch::X86_64),
    smp: None,
    scenario: Scenario::Boot,
    machine: &[],
    params: &[],
};

const HOSTED: Case = Case {
    kernel: Kernel::Scenarios(Arch::Hosted),
    ..X86
};

/// Its events are also drawn, and the timeline is compared with them.
const TRACED: &[&str] = &["trace=1", "mode=serial,parallel"];

const ALL_MODES: &[&str] = &["mode=serial,split,parallel", "rounds=3"];

/// Kernels in QEMU.
const EMULATED: &[Case] = &[
    Case {
        kernel: Kernel::Minimal,
        smp: Some(1),
        ..X86
    },
    Case {
        kernel: Kernel::Minimal,
        smp: Some(4),
        ..X86
    },
    Case {
        smp: Some(1),
        ..X86
    },
    Case {
        smp: Some(2),
        ..X86
    },
    Case {
        smp: Some(4),
        ..X86
    },
    Case {
        smp: Some(8),
        ..X86
    },
    Case {
        smp: Some(64),
        ..X86
    },
    Case {
        smp: Some(255),
        ..X86
    },
    Case {
        params: &["mode=raw,serial,split,parallel", "rounds=3"],
        ..X86
    },
    Case {
        params: TRACED,
        ..X86
    },
    Case {
        smp: Some(64),
        params: TRACED,
        ..X86
    },
    Case {
        machine: &["thread=single"],
        ..X86
    },
    Case {
        machine: &["topology=sockets=3,cores=3,threads=3"],
        ..X86
    },
    Case {
        machine: &["topology=sockets=2,cores=5,threads=1"],
        params: ALL_MODES,
        ..X86
    },
    Case {
        machine: &["topology=cores=4,threads=2"],
        params: ALL_MODES,
        ..X86
    },
    Case {
        machine: &["topology=cores=4,threads=4", "absent=3"],
        params: &["timeout_ms=300"],
        ..X86
    },
    Case {
        machine: &["topology=cores=4,threads=2", "cpuid-0xb=off"],
        ..X86
    },
    Case {
        machine: &["cpu=qemu64"],
        ..X86
    },
    Case {
        machine: &["absent=4"],
        params: &["timeout_ms=300"],
        ..X86
    },
    Case {
        scenario: Scenario::Ipi,
        smp: Some(64),
        ..X86
    },
    Case {
        scenario: Scenario::Ipi,
        params: &["trace=1", "rounds=2"],
        ..X86
    },
    Case {
        scenario: Scenario::Cycle,
        params: &["rounds=150"],
        ..X86
    },
    Case {
        scenario: Scenario::Cycle,
        params: &["from=last"],
        ..X86
    },
    Case {
        scenario: Scenario::Cycle,
        smp: Some(2),
        machine: &["cpu=qemu64"],
        ..X86
    },
    Case {
        scenario: Scenario::Bulk,
        ..X86
    },
    Case {
        scenario: Scenario::Bulk,
        smp: Some(64),
        params: &["rounds=50"],
        ..X86
    },
    Case {
        scenario: Scenario::Bulk,
        machine: &["topology=sockets=3,cores=3,threads=3"],
        ..X86
    },
    Case {
        scenario: Scenario::Partial,
        ..X86
    },
    Case {
        scenario: Scenario::Critical,
        params: &["noise=1"],
        ..X86
    },
    Case {
        scenario: Scenario::Dead,
        params: &["timeout_ms=300"],
        ..X86
    },
    Case {
        scenario: Scenario::Dead,
        machine: &["absent=4"],
        params: &["withhold=2", "timeout_ms=1000"],
        ..X86
    },
];

/// CPUs that come while the kernel runs, where the machine can have them.
const PLUGGED: &[Case] = &[
    Case {
        scenario: Scenario::Hotadd,
        machine: &["hotadd=2"],
        ..HOSTED
    },
    Case {
        scenario: Scenario::Hotadd,
        machine: &["hotadd=2", "time=virtual"],
        ..HOSTED
    },
    Case {
        scenario: Scenario::Hotadd,
        smp: Some(4),
        machine: &["hotadd=3"],
        ..X86
    },
];

const VIRTUAL: &[&str] = &["time=virtual"];

/// Scenarios that every machine runs in the same way.
const PORTABLE: &[(Scenario, &[&str])] = &[
    (Scenario::Fault, &[]),
    (Scenario::Register, &[]),
    (Scenario::Suspend, &[]),
    (Scenario::Ipi, &[]),
    (Scenario::Storm, &["ops=5000"]),
    (Scenario::Limit, &[]),
    (Scenario::Disable, &[]),
    (Scenario::Control, &["steps=2"]),
    (Scenario::Critical, &[]),
];

/// These scenarios on the machine of `base`.
fn portable(base: Case) -> impl Iterator<Item = Case> {
    PORTABLE.iter().map(move |(scenario, params)| Case {
        scenario: *scenario,
        params,
        ..base
    })
}

/// All boots of the table, in the order they run.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    let virtual_time = Case {
        machine: VIRTUAL,
        ..HOSTED
    };
    let both = portable(HOSTED).chain(portable(virtual_time));
    let on_host = hosted::ROWS.iter().copied().chain(both);
    let x86 = EMULATED.iter().copied().chain(portable(X86));
    let aarch64 = aarch64::ROWS.iter().copied();
    let aarch64 = aarch64.chain(portable(aarch64::BASE));
    let riscv64 = riscv64::ROWS.iter().copied();
    let riscv64 = riscv64.chain(portable(riscv64::BASE));
    let plugged = PLUGGED.iter().copied();
    let emulated = x86.chain(aarch64).chain(riscv64);
    on_host.chain(emulated).chain(plugged)
}

impl Case {
    /// Turns the row into a plan, through the same checks as arguments that a person types.
    ///
    /// # Errors
    /// The row is wrong.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let words = |list: &[&str]| {
            list.iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let mut plan = Plan::new(self.arch());
        plan.scenario = self.scenario;
        plan.machine = Machine::parse(&words(self.machine), plan.arch)?;
        plan.params = parse_params(&words(self.params))?;
        plan.set_smp(self.smp)?;
        // Generous: a machine that does other work at the same time must not turn a pass into a failure.
        plan.limit = Duration::from_secs(120);
        Ok(plan)
    }

    /// One line for the person who watches.
    pub(crate) fn title(&self, plan: &Plan) -> String {
        match self.kernel {
            Kernel::Scenarios(_) => plan.title(),
            Kernel::Minimal => format!("minimal {}", plan.title()),
        }
    }

    /// Where the kernel runs.
    pub(crate) fn arch(&self) -> Arch {
        self.kernel.arch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu;

    #[test]
    fn every_row_is_a_plan_that_qemu_takes() {
        for case in all() {
            qemu::check_limits(&case.plan().unwrap()).unwrap();
        }
    }
}
