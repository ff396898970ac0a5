//! The boots of the arm64 kernel.

use super::{ALL_MODES, Case, TRACED, X86};
use crate::arch::Arch;
use crate::boot::Kernel;
use crate::plan::Scenario;

/// What the kernel takes by default.
pub(super) const BASE: Case = Case {
    kernel: Kernel::Scenarios(Arch::Aarch64),
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

/// A first boot of so many CPUs.
const fn boot(smp: u32, machine: &'static [&'static str]) -> Case {
    Case {
        smp: Some(smp),
        machine,
        ..BASE
    }
}

/// A board of four CPUs.
const fn raspi(scenario: Scenario, params: &'static [&'static str]) -> Case {
    Case {
        machine: &["board=raspi3b"],
        scenario,
        params,
        ..BASE
    }
}

/// CPUs that are powered off, unless `rest` says that they sleep in the park region.
pub(super) const ROWS: &[Case] = &[
    boot(1, &[]),
    boot(2, &[]),
    boot(8, &["el=2"]),
    boot(64, &[]),
    boot(64, &["el=2"]),
    boot(256, &[]),
    boot(512, &[]),
    boot(8, &["thread=single"]),
    // Firmware refuses: ids that it does not know, CPUs that run already.
    boot(8, &["absent=2"]),
    boot(8, &["taken=2"]),
    boot(4, &["el=2", "absent=1", "taken=1"]),
    boot(8, &["topology=cores=4,threads=2"]),
    scenario(
        Scenario::Boot,
        &["mode=raw,serial,split,parallel", "rounds=3"],
    ),
    scenario(Scenario::Boot, TRACED),
    Case {
        machine: &["topology=cores=4,threads=4"],
        params: ALL_MODES,
        ..BASE
    },
    scenario(Scenario::Cycle, &["rounds=50"]),
    scenario(Scenario::Cycle, &["rounds=50", "from=last"]),
    scenario(Scenario::Cycle, &["rest=wfi"]),
    scenario(Scenario::Cycle, &["rest=wfi", "from=last"]),
    Case {
        machine: &["el=2"],
        ..scenario(Scenario::Cycle, &["rest=wfe", "rounds=5"])
    },
    scenario(Scenario::Bulk, &[]),
    Case {
        smp: Some(64),
        ..scenario(Scenario::Bulk, &["rest=wfi"])
    },
    scenario(Scenario::Partial, &[]),
    scenario(Scenario::Dead, &["timeout_ms=300"]),
    scenario(Scenario::Dead, &["timeout_ms=300", "rest=wfi"]),
    Case {
        smp: Some(64),
        ..scenario(Scenario::Ipi, &[])
    },
    scenario(Scenario::Critical, &["noise=1"]),
    // QEMU's own spin-table, and no firmware: CPUs that are down rest in the kernel's text.
    raspi(Scenario::Boot, ALL_MODES),
    raspi(Scenario::Cycle, &["rounds=5"]),
    raspi(Scenario::Partial, &[]),
    raspi(Scenario::Dead, &["timeout_ms=300"]),
];
