//! The words of the command line that every bootable kernel knows and the driver does not.

use cpuhp_example_common::{ParamError, Params, Scenario, Toggle};

use crate::board::Board;
use crate::kernel;

/// Their keys.
const KEYS: [&str; 4] = ["idle", "spin_polls", "poison", "noise"];

/// How many keys a machine of its own has at most.
const OWN: usize = 12;

/// Everything the command line says, with the defaults for what is not said.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What the driver reads.
    pub params: Params,
    /// Whether the control CPU sleeps (1).
    pub idle: Toggle,
    /// Polls of a waiting CPU before it sleeps; else as the backend has it.
    pub spin_polls: Option<u32>,
    /// Whether all that a CPU leaves is poisoned (1, but 0 in `boot`, where it would take most of the
    /// time that is measured).
    pub poison: Toggle,
    /// Whether wake interrupts that mean nothing are sent all the time (0).
    pub noise: Toggle,
}

impl Settings {
    /// Reads the command line. Keys in `own` are legal too, and left to [`Params::own`].
    ///
    /// # Errors
    /// The first wrong word, and what would be right.
    pub fn read(command_line: &'static str, own: &[&'static str]) -> Result<Self, ParamError> {
        let mut keys = [""; KEYS.len() + OWN];
        for (slot, key) in keys.iter_mut().zip(KEYS.iter().chain(own)) {
            *slot = key;
        }
        let params = Params::parse(command_line, &keys)?;
        let poison = if params.scenario == Scenario::Boot {
            Toggle::Off
        } else {
            Toggle::On
        };
        Ok(Self {
            idle: toggle(&params, "idle", Toggle::On)?,
            spin_polls: number(&params, "spin_polls")?,
            poison: toggle(&params, "poison", poison)?,
            noise: toggle(&params, "noise", Toggle::Off)?,
            params,
        })
    }

    /// Returns how the control CPU sleeps, for the backend: until an interrupt or the time.
    pub fn idle<B: Board>(&self) -> Option<fn(u64)> {
        (self.idle == Toggle::On).then_some(kernel::idle::<B>)
    }
}

/// Reads a key whose values are 0 and 1.
fn toggle(params: &Params, key: &str, default: Toggle) -> Result<Toggle, ParamError> {
    let value = params.own(key, "0 or 1", Toggle::read)?;
    Ok(value.unwrap_or(default))
}

/// Reads a key whose value is a number.
fn number(params: &Params, key: &str) -> Result<Option<u32>, ParamError> {
    let right = "a number from 0 to 4294967295";
    params.own(key, right, |value| value.parse().ok())
}
