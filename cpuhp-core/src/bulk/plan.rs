//! What a bulk operation is to do, and what became of it.

use core::fmt;

use crate::mask::CpuMask;
use crate::step::Direction;

/// Which CPUs a bulk operation is about.
#[derive(Clone, Copy, Debug)]
pub enum Which<'m> {
    /// Up: every present CPU. Down: every online CPU. Never the calling one.
    All,
    /// These.
    Only(CpuMask<'m>),
}

/// What became of the CPUs of a bulk operation; details by [`Cpuhp::last_error`](crate::Cpuhp::last_error).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
#[must_use = "CPUs that failed are only here"]
pub struct BulkReport {
    /// At the target.
    pub done: u32,
    /// Failed, and driven back as far as possible.
    pub failed: u32,
    /// In flight past their deadline; can be resumed.
    pub stuck: u32,
    /// Named, but not present, the calling one, held by another operation, or half up.
    pub skipped: u32,
    /// Left where they were because a stuck CPU occupies a step that takes one at a time.
    pub not_tried: u32,
    /// Brought back because another CPU refused, under [`Policy::AllOrNothing`].
    pub rolled_back: u32,
    /// Not needed: as many CPUs are online as were asked for.
    pub beyond_limit: u32,
}

/// How far a teardown insists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Policy {
    /// A CPU that refuses stays, the others go.
    BestEffort,
    /// If one refuses, or [`Platform::should_abort`](crate::Platform::should_abort) says so, before the last point of return, every
    /// CPU of the batch comes back.
    AllOrNothing,
    /// Errors are counted and passed over, nobody comes back. `Which::All` is every CPU but the
    /// calling one that is not off, wherever it is.
    Force,
}

/// Whether the batch is a suspend or a resume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Suspend {
    No,
    Yes,
}

/// What a bulk operation is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'m> {
    pub(crate) dir: Direction,
    pub(crate) which: Which<'m>,
    /// Upwards: how many CPUs may be online.
    pub(crate) limit: u32,
    /// Downwards.
    pub(crate) policy: Policy,
    pub(crate) suspend: Suspend,
}

impl<'m> Plan<'m> {
    pub(crate) const fn up(which: Which<'m>, limit: u32) -> Self {
        let (dir, policy) = (Direction::Up, Policy::BestEffort);
        Self {
            dir,
            which,
            limit,
            policy,
            suspend: Suspend::No,
        }
    }

    pub(crate) const fn down(which: Which<'m>, policy: Policy) -> Self {
        Self {
            dir: Direction::Down,
            which,
            limit: u32::MAX,
            policy,
            suspend: Suspend::No,
        }
    }

    pub(crate) const fn suspend(self) -> Self {
        Self {
            suspend: Suspend::Yes,
            ..self
        }
    }
}

impl BulkReport {
    /// Whether every CPU that was named is at the target.
    pub const fn is_complete(&self) -> bool {
        let missing = self.failed + self.stuck + self.skipped + self.not_tried;
        missing == 0 && self.rolled_back == 0
    }
}

impl fmt::Display for BulkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} done", self.done)?;
        let rest = [
            (self.failed, "failed"),
            (self.stuck, "stuck"),
            (self.skipped, "skipped"),
            (self.not_tried, "not tried"),
            (self.rolled_back, "rolled back"),
            (self.beyond_limit, "beyond the limit"),
        ];
        for (count, what) in rest.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        Ok(())
    }
}
