//! What becomes of a kick, as a test decides it per CPU.

use cpuhp_core::KickError;

/// What the next kicks of one CPU lead to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fate {
    /// The CPU comes after the machine's usual time.
    #[default]
    Prompt,
    /// It comes this many nanoseconds later than usual.
    Late(u64),
    /// It comes once the test lets it go.
    Held,
    /// It never comes, and the machine cannot tell: it stays "may still run".
    Absent,
    /// The kick is refused; the CPU is certainly not started.
    Refused(KickError),
}

/// Whether a CPU executes, as the machine knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Power {
    /// Never started, or ended.
    Off,
    /// Kicked and to come after the extra nanoseconds.
    Starting(u64),
    /// Kicked, and held back or never to come.
    Missing,
    /// Executes kernel code.
    Running,
    /// Rests off everything PREPARE made.
    Parked,
}
