//! `cargo xtask size`: to come.
use crate::exit::Exit;
use anyhow::Result;
pub(crate) fn run() -> Result<Exit> {
    anyhow::bail!("not there yet")
}
