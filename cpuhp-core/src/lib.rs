//! CPU hotplug for any kernel.
#![no_std]
mod cpu;
mod error;
mod mask;
mod platform;
mod step;
mod sync;
pub use cpu::{CpuId, HwId};
pub use error::{
    Failure, KickError, KickErrorKind, Left, OpError, Refusal, StepError, StepFailure, Why,
};
pub use mask::{CpuMask, MaskStore, words};
pub use platform::{Confirm, KickOutcome, Platform, Who};
pub use step::{
    Ctx, Direction, Entry, StartFn, StartStep, StateId, Step, StepFlags, StepFn, StepResult,
};
pub use sync::MaskWord;
