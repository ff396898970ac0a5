//! The park region: reserved memory where a CPU rests off everything that belongs to a kernel.
//!
//! One page that says what the region is, one page of code, then one slot per CPU ([`slot`]). A CPU
//! that rests has its MMU and caches off, uses no stack, and writes two words of its own slot.

#[cfg(target_arch = "aarch64")]
pub(crate) mod code;
#[cfg(target_arch = "aarch64")]
mod install;
pub(crate) mod pages;
pub(crate) mod slot;

#[cfg(target_arch = "aarch64")]
pub(crate) use install::Region;
