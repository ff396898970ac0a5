//! The park region: reserved memory where a CPU rests off everything that belongs to a kernel.
//!
//! Shared pages ([`pages`]) with code (`code`) and tables of their own, then one slot per CPU
//! ([`slot`]). "Off" means standing here: a CPU says so by a word in its slot, written when nothing
//! else is left that it could touch.

#[cfg(target_arch = "x86_64")]
pub(crate) mod code;
#[cfg(target_arch = "x86_64")]
mod install;
pub(crate) mod pages;
pub(crate) mod slot;

#[cfg(target_arch = "x86_64")]
pub(crate) use install::{Region, Spec};
