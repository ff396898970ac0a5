//! The words of the command line that only this machine knows.

use cpuhp_arm64::Resting;
use cpuhp_example_common::{ParamError, Params};

/// Their keys.
pub(crate) const KEYS: &[&str] = &["rest"];

/// Their values, with the defaults for what is not said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// How CPUs rest that are down: `off`, or in the park region in `wfi` or `wfe`.
    pub(crate) resting: Option<Resting>,
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    /// The first wrong value, and what would be right.
    pub(crate) fn read(params: &Params) -> Result<Self, ParamError> {
        let resting = params.own("rest", "off, wfi or wfe", |value| match value {
            "off" => Some(None),
            "wfi" => Some(Some(Resting::Ipi)),
            "wfe" => Some(Some(Resting::Event)),
            _ => None,
        })?;
        Ok(Self {
            resting: resting.flatten(),
        })
    }
}
