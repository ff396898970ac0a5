//! The console of a kernel on this terminal, or on whatever standard input is: scenario `shell`.
//!
//! Everything typed goes to the kernel, but for one key that ends it whatever state it is in. Without a
//! terminal standard input is handed over as it is, and its end is told like a person would: by control-D.

use std::io::IsTerminal;

mod screen;
#[cfg(unix)]
mod unix;

#[cfg(unix)]
pub(crate) use unix::run_connected;

/// Whether a person types.
pub(crate) fn is_there() -> bool {
    std::io::stdin().is_terminal()
}

/// There is no way yet to read single keys of other systems' terminals.
///
/// # Errors
/// Always: says what can be done instead.
#[cfg(not(unix))]
pub(crate) fn run_connected(
    _command: &mut std::process::Command,
    _limit: std::time::Duration,
) -> anyhow::Result<crate::process::Finished> {
    Err(crate::exit::usage(
        "scenario shell needs a terminal of a Unix-like system; every other scenario runs here",
    ))
}
