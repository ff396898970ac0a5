//! `cargo xtask ci`: to come.
use crate::exit::Exit;
use anyhow::Result;
use clap::ValueEnum;
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Part {
    Fmt,
}
pub(crate) fn run(_parts: &[Part]) -> Result<Exit> {
    anyhow::bail!("not there yet")
}
