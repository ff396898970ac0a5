//! The boots of the riscv64 kernel.

use super::{ALL_MODES, Case, RISCV64, TRACED};
use crate::plan::Scenario;

/// The riscv64 kernel; 160 harts are 32 more than the firmware serves.
pub(super) const ROWS: &[Case] = &[
    Case {
        smp: Some(1),
        ..RISCV64
    },
    Case {
        smp: Some(2),
        ..RISCV64
    },
    Case {
        params: &["mode=raw,serial,split,parallel", "rounds=3"],
        ..RISCV64
    },
    Case {
        smp: Some(64),
        ..RISCV64
    },
    Case {
        smp: Some(128),
        ..RISCV64
    },
    Case {
        smp: Some(160),
        ..RISCV64
    },
    Case {
        params: TRACED,
        ..RISCV64
    },
    Case {
        machine: &["thread=single"],
        params: ALL_MODES,
        ..RISCV64
    },
    Case {
        scenario: Scenario::Cycle,
        params: &["rounds=50"],
        ..RISCV64
    },
    Case {
        scenario: Scenario::Cycle,
        params: &["rounds=50", "from=last"],
        ..RISCV64
    },
    Case {
        scenario: Scenario::Bulk,
        ..RISCV64
    },
    Case {
        scenario: Scenario::Bulk,
        smp: Some(64),
        ..RISCV64
    },
    Case {
        scenario: Scenario::Critical,
        params: &["noise=1"],
        ..RISCV64
    },
    Case {
        scenario: Scenario::Partial,
        ..RISCV64
    },
    Case {
        scenario: Scenario::Dead,
        params: &["timeout_ms=300"],
        ..RISCV64
    },
];
