//! Every error of the crate: small, `Copy`, naming the CPU, the step and where the CPU was left.

use core::fmt;
use core::num::NonZeroI32;

use crate::cpu::CpuId;
use crate::step::StateId;

/// Why a step did not do its work: one non-zero number.
///
/// The crate's own codes are `i32::MIN ..= i32::MIN + 255`; every other value but 0 is the step
/// author's, made by [`StepError::user`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct StepError(NonZeroI32);

/// First code that is not the crate's own.
const FIRST_USER: i32 = i32::MIN + 256;

/// Built-in index of refused kicks; the kind is added.
const KICK: i32 = 16;

impl StepError {
    /// "Call me again": not a failure. The step is called again by the next poll.
    pub const WOULD_BLOCK: Self = Self::built_in(0);
    /// The CPU did not report alive before the deadline.
    pub const TIMEOUT: Self = Self::built_in(1);
    /// The CPU is in flight past its deadline; nothing was undone, the operation can be resumed.
    pub const STUCK: Self = Self::built_in(2);
    /// The platform cannot stop this CPU, so it cannot go below `AP_IDLE`.
    pub const NOT_SUPPORTED: Self = Self::built_in(3);

    /// An armed fault was hit; the step was not called.
    pub const INJECTED: Self = Self::built_in(4);
    /// The undo inside a multi-instance step failed as well: the step is half up.
    pub const TORN: Self = Self::built_in(5);

    /// The kick was refused for this cause; [`Failure::kick`] has the raw code too.
    pub const fn kick(kind: KickErrorKind) -> Self {
        Self::built_in(KICK + kind as i32)
    }

    /// Returns the cause if this is a refused kick.
    pub(crate) const fn as_kick(self) -> Option<KickErrorKind> {
        match self.code().wrapping_sub(i32::MIN + KICK) {
            1 => Some(KickErrorKind::NotSupported),
            2 => Some(KickErrorKind::NotPresent),
            3 => Some(KickErrorKind::Denied),
            4 => Some(KickErrorKind::AlreadyOn),
            5 => Some(KickErrorKind::Busy),
            6 => Some(KickErrorKind::BadAddress),
            7 => Some(KickErrorKind::Firmware),
            _ => None,
        }
    }

    const fn built_in(index: i32) -> Self {
        match NonZeroI32::new(i32::MIN + index) {
            Some(code) => Self(code),
            None => panic!("a built-in code is never zero"),
        }
    }

    /// Makes a step author's error from `code`, or `None` for 0 and for the crate's own range.
    ///
    /// ```
    /// use cpuhp_core::StepError;
    /// assert_eq!(StepError::user(-12).map(StepError::code), Some(-12));
    /// assert_eq!(StepError::user(0), None);
    /// assert_eq!(StepError::user(i32::MIN), None);
    /// ```
    pub const fn user(code: i32) -> Option<Self> {
        match NonZeroI32::new(code) {
            Some(code) if code.get() >= FIRST_USER => Some(Self(code)),
            _ => None,
        }
    }

    /// Returns the number.
    pub const fn code(self) -> i32 {
        self.0.get()
    }

    /// Packs the error into a record word; 0 stands for no error.
    pub(crate) const fn to_word(error: Option<Self>) -> u32 {
        match error {
            Some(error) => error.code().cast_unsigned(),
            None => 0,
        }
    }

    /// Reads a record word back.
    pub(crate) const fn from_word(word: u32) -> Option<Self> {
        match NonZeroI32::new(word.cast_signed()) {
            Some(code) => Some(Self(code)),
            None => None,
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WOULD_BLOCK => f.write_str("would block"),
            Self::TIMEOUT => f.write_str("not alive before the deadline"),
            Self::STUCK => f.write_str("stuck past the deadline"),
            Self::NOT_SUPPORTED => f.write_str("the platform cannot stop this cpu"),
            Self::INJECTED => f.write_str("injected fault"),
            Self::TORN => f.write_str("left half up"),
            other if other.as_kick().is_some() => f.write_str("kick refused"),
            Self(code) => write!(f, "error {code}"),
        }
    }
}

impl fmt::Debug for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StepError({} = {self})", self.code())
    }
}

impl core::error::Error for StepError {}

/// What kind of refusal a kick met.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
#[repr(u8)]
pub enum KickErrorKind {
    /// This CPU cannot be started by any method the platform has.
    NotSupported = 1,
    /// There is no such CPU, or it is not there.
    NotPresent = 2,
    /// Firmware or the platform's own rule forbids it.
    Denied = 3,
    /// It runs already.
    AlreadyOn = 4,
    /// The hardware was busy past its bound; nothing was sent.
    Busy = 5,
    /// The entry address or the start record does not serve.
    BadAddress = 6,
    /// Any other firmware answer; see the code.
    Firmware = 7,
}

/// A kick that certainly started nothing, with the raw answer of the firmware or hardware.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KickError {
    /// The cause, as far as it is known.
    pub kind: KickErrorKind,
    /// The raw firmware or hardware value, never translated; 0 if there is none.
    pub code: i64,
}

impl KickError {
    /// Makes an error without a raw code.
    pub const fn new(kind: KickErrorKind) -> Self {
        Self { kind, code: 0 }
    }

    /// Makes an error that carries the raw firmware or hardware value.
    pub const fn with_code(kind: KickErrorKind, code: i64) -> Self {
        Self { kind, code }
    }
}

impl fmt::Display for KickError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            KickErrorKind::NotSupported => "no way to start this cpu",
            KickErrorKind::NotPresent => "cpu not there",
            KickErrorKind::Denied => "start denied",
            KickErrorKind::AlreadyOn => "cpu runs already",
            KickErrorKind::Busy => "hardware busy",
            KickErrorKind::BadAddress => "bad entry address or start record",
            KickErrorKind::Firmware => "firmware error",
        })?;
        if self.code == 0 {
            Ok(())
        } else {
            write!(f, " (raw code {})", self.code)
        }
    }
}

impl core::error::Error for KickError {}

/// Why an operation was refused before anything ran.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Why {
    /// The number is not below the number of records.
    NoSuchCpu,
    /// Firmware does not list the CPU as usable now.
    NotPresent,
    /// The platform can never stop this CPU.
    NotSupported,
    /// It is the last CPU online.
    LastCpu,
    /// The calling CPU cannot move itself.
    OnSelf,
    /// No CPU can rest there: inside STARTING, or above `ONLINE`.
    BadTarget,
    /// Another operation is in flight.
    Busy,
    /// A multi-instance step of it is half up: only a forced teardown may pass.
    Torn,
    /// Hotplug is disabled for now.
    Disabled,
    /// The machine is not frozen.
    NotFrozen,
    /// A suspend was given up because the platform has a wake-up pending; every CPU is back.
    Aborted,
    /// The handle is of an operation that another one has taken over, or that has ended.
    Stale,
    /// Called from inside a step: waiting for it would wait for itself.
    WouldDeadlock,
    /// The calling CPU is not available; [`crate::Cpuhp::adopt_boot_cpu`] comes first.
    CallerOffline,
    /// The boot CPU has been adopted already.
    AlreadyAdopted,
    /// There is no operation to resume.
    NothingToResume,
    /// The storage has fewer dynamic slots than the table has dynamic states.
    StorageTooSmall,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchCpu => "no such cpu",
            Self::NotPresent => "not present",
            Self::NotSupported => "the platform cannot stop it",
            Self::LastCpu => "it is the last cpu online",
            Self::OnSelf => "the calling cpu cannot move itself",
            Self::BadTarget => "no cpu can rest at that state",
            Self::Busy => "another operation is in flight",
            Self::Torn => "a step of it is half up; only a forced teardown may pass",
            Self::NotFrozen => "the machine is not frozen",
            Self::Disabled => "hotplug is disabled",
            Self::Aborted => "a wake-up is pending",
            Self::Stale => "the handle is stale",
            Self::WouldDeadlock => "called from inside a step",
            Self::CallerOffline => "the calling cpu is not available",
            Self::AlreadyAdopted => "the boot cpu is adopted already",
            Self::NothingToResume => "there is no operation to resume",
            Self::StorageTooSmall => "the storage has too few dynamic slots",
        })
    }
}

/// An operation that was refused: nothing ran, nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Refusal {
    /// The CPU it was about.
    pub cpu: CpuId,
    /// The name of the state it was about; empty if none.
    pub name: &'static str,
    /// The cause.
    pub why: Why,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refused", self.cpu)?;
        if !self.name.is_empty() {
            write!(f, " for {}", self.name)?;
        }
        write!(f, ": {}", self.why)
    }
}

/// The step that failed, and how.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StepFailure {
    /// Number of the state.
    pub at: StateId,
    /// Name of its step.
    pub name: &'static str,
    /// What it answered.
    pub err: StepError,
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state {} ({}): {}", self.at, self.name, self.err)
    }
}

/// Where an operation left its CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Left {
    /// At rest in this state.
    At(StateId),
    /// In flight, last seen in this state; it may still move by itself. Resume later.
    InFlight(StateId),
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(state) => write!(f, "left at state {state}"),
            Self::InFlight(state) => write!(f, "left in flight near state {state}"),
        }
    }
}

/// An operation that ran and failed: the first failure, and what the rollback met.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Failure {
    /// The CPU that was moved.
    pub cpu: CpuId,
    /// What failed first. A later failure never replaces it.
    pub first: StepFailure,
    /// What stopped the rollback, if it did not get back to the origin.
    pub rollback: Option<StepFailure>,
    /// The refusal of the kick, if that is what failed.
    pub kick: Option<KickError>,
    /// Where the CPU is now.
    pub left: Left,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed at {}", self.cpu, self.first)?;
        if let Some(kick) = self.kick {
            write!(f, " ({kick})")?;
        }
        if let Some(rollback) = self.rollback {
            write!(f, "; rollback stopped at {rollback}")?;
        }
        write!(f, "; {}", self.left)
    }
}

/// What an operation on a CPU can answer instead of success.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum OpError {
    /// Refused before anything ran.
    Refused(Refusal),
    /// Ran and failed.
    Failed(Failure),
}

/// A refusal on its way through the core: small enough for a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused(pub(crate) CpuId, pub(crate) Why);

impl From<Refused> for OpError {
    #[inline(never)]
    fn from(Refused(cpu, why): Refused) -> Self {
        Self::refused(cpu, why)
    }
}

impl OpError {
    pub(crate) const fn refused(cpu: CpuId, why: Why) -> Self {
        Self::Refused(Refusal { cpu, name: "", why })
    }

    /// Returns the CPU the error is about.
    pub const fn cpu(&self) -> CpuId {
        match self {
            Self::Refused(refusal) => refusal.cpu,
            Self::Failed(failure) => failure.cpu,
        }
    }

    /// Returns the cause of a refusal, or `None` if the operation ran.
    pub const fn why(&self) -> Option<Why> {
        match self {
            Self::Refused(refusal) => Some(refusal.why),
            Self::Failed(_) => None,
        }
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl core::error::Error for Refusal {}
impl core::error::Error for Failure {}
impl core::error::Error for OpError {}
