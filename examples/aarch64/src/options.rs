//! The words of the command line that only this machine knows.

use cpuhp_arm64::Resting;
use cpuhp_example_common::{ParamError, Params};

/// Their keys.
pub(crate) const KEYS: &[&str] = &["rest", "taken"];

/// Their values, with the defaults for what is not said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// How CPUs rest that are down: `off`, or in the park region in `wfi` or `wfe`.
    pub(crate) resting: Option<Resting>,
    /// How many of the absent CPUs are there and run already, in foreign hands (0).
    pub(crate) taken: u32,
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
        let right = "a number of CPUs";
        let taken = params.own("taken", right, |value| value.parse().ok())?;
        Ok(Self {
            taken: taken.unwrap_or(0),
            resting: resting.flatten(),
        })
    }
}
