//! The words of the command line that only this machine knows.

use cpuhp_example_common::{ParamError, Params, Toggle};

/// Their keys.
pub(crate) const KEYS: &[&str] = &["stale", "refusals"];

/// Their values, with the defaults for what is not said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Whether, after the scenario, every hart is started with values that are not of its last kick (0).
    pub(crate) stale: Toggle,
    /// Whether, after the scenario, the firmware is made to refuse starts (0).
    pub(crate) refusals: Toggle,
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
        Ok(Self {
            stale: toggle("stale")?,
            refusals: toggle("refusals")?,
        })
    }
}
