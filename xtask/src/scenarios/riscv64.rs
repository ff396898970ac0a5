//! The boots of the riscv64 kernel.

use super::{ALL_MODES, Case, TRACED, X86};
use crate::arch::Arch;
use crate::boot::Kernel;
use crate::plan::Scenario;

/// What the kernel takes by default.
pub(super) const BASE: Case = Case {
    kernel: Kernel::Scenarios(Arch::Riscv64),
    ..X86
};

/// Each scenario with everything else as it comes.
const fn scenario(scenario: Scenario, params: &'static [&'static str]) -> Case {
    Case {
        scenario,
        params,
        ..BASE
    }
}

/// A first boot of so many harts.
const fn boot(smp: u32, params: &'static [&'static str]) -> Case {
    Case {
        smp: Some(smp),
        params,
        ..BASE
    }
}

/// The firmware of the machine serves 128 harts and lists any number.
pub(super) const ROWS: &[Case] = &[
    boot(1, &[]),
    boot(2, &[]),
    boot(8, &["mode=raw,serial,split,parallel", "rounds=3"]),
    boot(64, &[]),
    boot(128, &[]),
    boot(160, &[]),
    boot(8, TRACED),
    boot(8, &["spin_polls=0", "noise=1"]),
    boot(8, &["idle=0"]),
    boot(4, &["stale=1", "poison=1"]),
    boot(130, &["refusals=1"]),
    Case {
        machine: &["thread=single"],
        params: ALL_MODES,
        ..BASE
    },
    scenario(Scenario::Cycle, &["rounds=50"]),
    scenario(Scenario::Cycle, &["rounds=50", "from=last"]),
    scenario(Scenario::Bulk, &[]),
    Case {
        smp: Some(64),
        ..scenario(Scenario::Bulk, &[])
    },
    Case {
        smp: Some(32),
        ..scenario(Scenario::Ipi, &[])
    },
    scenario(Scenario::Critical, &["noise=1"]),
    scenario(Scenario::Partial, &[]),
    scenario(Scenario::Dead, &["timeout_ms=300"]),
];
