//! The words of the command line that only this machine knows.

use cpuhp_example_common::{ParamError, Params, Scenario, Toggle};
use cpuhp_x86::Resting;

/// Their keys.
pub(crate) const KEYS: &[&str] = &["init_delay_us", "x2apic", "rest", "flip"];

/// Their values, with the defaults for what is not said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// From INIT to SIPI; else as the backend has it.
    pub(crate) init_us: Option<u32>,
    /// Whether the system runs in x2APIC mode even if no id needs it (0).
    pub(crate) x2apic: Toggle,
    /// How CPUs rest that are off: `ipi`, but `hlt` in `boot`, so that each of its rounds starts them by
    /// INIT.
    pub(crate) resting: Resting,
    /// Whether a CPU changes its APIC's mode before it rests, where the processor has two (0).
    pub(crate) flip: Toggle,
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    /// The first wrong value, and what would be right.
    pub(crate) fn read(params: &Params) -> Result<Self, ParamError> {
        let toggle = |key| {
            let value = params.own(key, "0 or 1", Toggle::read)?;
            Ok(value.unwrap_or(Toggle::Off))
        };
        let right = "a number from 0 to 4294967295";
        let resting = params.own("rest", "ipi or hlt", |value| match value {
            "ipi" => Some(Resting::Ipi),
            "hlt" => Some(Resting::Hlt),
            _ => None,
        })?;
        let default = if params.scenario == Scenario::Boot {
            Resting::Hlt
        } else {
            Resting::Ipi
        };
        Ok(Self {
            init_us: params.own("init_delay_us", right, |value| value.parse().ok())?,
            x2apic: toggle("x2apic")?,
            resting: resting.unwrap_or(default),
            flip: toggle("flip")?,
        })
    }
}
