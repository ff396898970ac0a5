//! What the core needs of either type of step, so that one walk serves both.

use core::task::Poll;

use super::{Ctx, Direction, StartFn, StartStep, Step, StepFlags, StepFn, StepResult};
use crate::error::StepError;
use crate::instance::Roster;
use crate::run::Mode;

/// What both types of step have in common: all that is asked of a step but to call it.
#[derive(Clone, Copy)]
pub(crate) struct Meta {
    pub(crate) name: &'static str,
    /// The author's promises, and which halves are there.
    flags: u16,
}

const HAS_UP: u16 = 1 << 8;
const HAS_DOWN: u16 = 1 << 9;

impl Meta {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, flags: 0 }
    }

    pub(super) const fn parallel(&mut self) {
        self.flags |= StepFlags::PARALLEL.bits();
    }

    /// Notes that there is something to call in this direction, on any day.
    pub(super) const fn add(&mut self, dir: Direction) {
        self.flags |= half_bit(dir);
    }

    /// Whether this half has anything to call, on any day.
    pub(crate) const fn does(&self, dir: Direction) -> bool {
        self.flags & half_bit(dir) != 0
    }

    pub(crate) const fn is_parallel(&self) -> bool {
        self.flags & StepFlags::PARALLEL.bits() != 0
    }

    /// How CPUs walk it. A missing half does not help: the way back calls the other.
    pub(crate) const fn mode(&self) -> Mode {
        if self.flags & (HAS_UP | HAS_DOWN) != 0 {
            self.asked_mode()
        } else {
            Mode::Together
        }
    }

    /// How CPUs are asked to do it.
    pub(crate) const fn asked_mode(&self) -> Mode {
        if self.is_parallel() {
            Mode::Together
        } else {
            Mode::OneByOne
        }
    }
}

const fn half_bit(dir: Direction) -> u16 {
    match dir {
        Direction::Up => HAS_UP,
        Direction::Down => HAS_DOWN,
    }
}

/// What the walk needs of either type of step.
pub(crate) trait Half: 'static {
    /// The callback type of its section.
    type Call: Copy;

    fn half(&self, dir: Direction) -> Option<Self::Call>;
    fn call(call: Self::Call, ctx: &Ctx<'_>) -> StepResult;
    fn roster(&self) -> Option<&'static dyn Roster>;
    fn meta(&self) -> &Meta;
}

macro_rules! impl_half {
    ($step:ty, $call:ty, |$half:ident, $ctx:ident| $answer:expr) => {
        impl Half for $step {
            type Call = $call;

            #[inline]
            fn half(&self, dir: Direction) -> Option<$call> {
                match dir {
                    Direction::Up => self.up,
                    Direction::Down => self.down,
                }
            }
            #[inline]
            fn call($half: $call, $ctx: &Ctx<'_>) -> StepResult {
                $answer
            }
            fn roster(&self) -> Option<&'static dyn Roster> {
                self.multi.map(|list| list as &dyn Roster)
            }
            #[inline]
            fn meta(&self) -> &Meta {
                &self.meta
            }
        }
    };
}

impl_half!(Step, StepFn, |half, ctx| half(ctx));
impl_half!(StartStep, StartFn, |half, ctx| match half(ctx) {
    Poll::Ready(()) => Ok(()),
    Poll::Pending => Err(StepError::WOULD_BLOCK),
});
