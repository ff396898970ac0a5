//! The words of the command line that only this machine knows.

use cpuhp_example_common::{ParamError, Params, Scenario, Toggle};
use cpuhp_x86::Resting;

/// Their keys.
pub(crate) const KEYS: &[&str] = &[
    "init_delay_us",
    "spin_polls",
    "idle",
    "x2apic",
    "rest",
    "poison",
    "noise",
    "flip",
];

/// Their values, with the defaults for what is not said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// From INIT to SIPI; else as the backend has it.
    pub(crate) init_us: Option<u32>,
    /// Polls of a waiting CPU before it sleeps; else as the backend has it.
    pub(crate) spin_polls: Option<u32>,
    /// Whether the control CPU sleeps (1).
    pub(crate) idle: Toggle,
    /// Whether the system runs in x2APIC mode even if no id needs it (0).
    pub(crate) x2apic: Toggle,
    /// How CPUs rest that are off: `ipi`, but `hlt` in `boot`, so that each of its rounds starts them by
    /// INIT.
    pub(crate) resting: Resting,
    /// Whether all that a CPU leaves is poisoned (1, but 0 in `boot`, where it would take most of the
    /// time that is measured).
    pub(crate) poison: Toggle,
    /// Whether wake interrupts that mean nothing are sent all the time (0).
    pub(crate) noise: Toggle,
    /// Whether an AP changes its APIC's mode before it rests, where the processor has two (0).
    pub(crate) flip: Toggle,
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    /// The first wrong value, and what would be right.
    pub(crate) fn read(params: &Params) -> Result<Self, ParamError> {
        let number = |key| {
            let right = "a number from 0 to 4294967295";
            params.own(key, right, |value| value.parse().ok())
        };
        let toggle = |key, default| {
            let value = params.own(key, "0 or 1", |value| match value {
                "0" => Some(Toggle::Off),
                "1" => Some(Toggle::On),
                _ => None,
            })?;
            Ok(value.unwrap_or(default))
        };
        let resting = params.own("rest", "ipi or hlt", |value| match value {
            "ipi" => Some(Resting::Ipi),
            "hlt" => Some(Resting::Hlt),
            _ => None,
        })?;
        let is_boot = params.scenario == Scenario::Boot;
        let (boots, others) = if is_boot {
            (Resting::Hlt, Toggle::Off)
        } else {
            (Resting::Ipi, Toggle::On)
        };
        Ok(Self {
            init_us: number("init_delay_us")?,
            spin_polls: number("spin_polls")?,
            idle: toggle("idle", Toggle::On)?,
            x2apic: toggle("x2apic", Toggle::Off)?,
            resting: resting.unwrap_or(boots),
            poison: toggle("poison", others)?,
            noise: toggle("noise", Toggle::Off)?,
            flip: toggle("flip", Toggle::Off)?,
        })
    }
}
