//! The boots on threads and in virtual time.

use super::{ALL_MODES, Case, HOSTED, TRACED, VIRTUAL};
use crate::plan::Scenario;

/// The same driver on threads and in virtual time.
pub(super) const ROWS: &[Case] = &[
    Case {
        smp: Some(1),
        ..HOSTED
    },
    Case { ..HOSTED },
    Case {
        params: ALL_MODES,
        ..HOSTED
    },
    Case {
        machine: &["absent=4"],
        params: &["timeout_ms=300"],
        ..HOSTED
    },
    Case {
        scenario: Scenario::Cycle,
        ..HOSTED
    },
    Case {
        scenario: Scenario::Bulk,
        ..HOSTED
    },
    Case {
        scenario: Scenario::Partial,
        ..HOSTED
    },
    Case {
        scenario: Scenario::Dead,
        params: &["timeout_ms=300"],
        ..HOSTED
    },
    Case {
        smp: Some(1),
        machine: VIRTUAL,
        ..HOSTED
    },
    Case {
        smp: Some(255),
        machine: VIRTUAL,
        params: TRACED,
        ..HOSTED
    },
    Case {
        machine: VIRTUAL,
        params: ALL_MODES,
        ..HOSTED
    },
    Case {
        machine: &["time=virtual", "absent=4"],
        params: &["timeout_ms=300"],
        ..HOSTED
    },
    Case {
        scenario: Scenario::Cycle,
        machine: VIRTUAL,
        params: &["from=last"],
        ..HOSTED
    },
    Case {
        scenario: Scenario::Bulk,
        machine: VIRTUAL,
        ..HOSTED
    },
    Case {
        scenario: Scenario::Partial,
        machine: VIRTUAL,
        ..HOSTED
    },
    Case {
        scenario: Scenario::Suspend,
        machine: VIRTUAL,
        params: &["trace=1"],
        ..HOSTED
    },
    Case {
        scenario: Scenario::Dead,
        machine: VIRTUAL,
        params: &["timeout_ms=300", "trace=1"],
        ..HOSTED
    },
];
