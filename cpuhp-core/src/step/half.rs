//! What the walk needs of either type of step, so that one walk serves both.

use core::task::Poll;

use super::{Ctx, Direction, StartFn, StartStep, Step, StepFlags, StepFn, StepResult};
use crate::error::StepError;
use crate::instance::{Instances, MultiStart, MultiStep, Object};

/// What the walk needs of either type of step.
pub(crate) trait Half: 'static {
    /// The callback type of its section.
    type Call: Copy;
    /// The objects its instances have.
    type Obj: Object + ?Sized;

    fn name(&self) -> &'static str;
    fn half(&self, dir: Direction) -> Option<Self::Call>;
    fn instances(&self) -> Option<&'static Instances<Self::Obj>>;
    fn flags(&self) -> StepFlags;
    fn call(call: Self::Call, ctx: &Ctx<'_>) -> StepResult;

    /// Whether this half has anything to call, on any day.
    fn does(&self, dir: Direction) -> bool {
        self.half(dir).is_some() || self.instances().is_some()
    }

    /// Whether it takes one CPU at a time. A missing half does not help: the way back calls the other.
    fn breaks_run(&self) -> bool {
        let does = self.does(Direction::Up) || self.does(Direction::Down);
        does && !self.flags().contains(StepFlags::PARALLEL)
    }
}

macro_rules! impl_half {
    ($step:ty, $call:ty, $obj:ty, |$half:ident, $ctx:ident| $answer:expr) => {
        impl Half for $step {
            type Call = $call;
            type Obj = $obj;

            #[inline]
            fn name(&self) -> &'static str {
                self.name
            }
            #[inline]
            fn half(&self, dir: Direction) -> Option<$call> {
                match dir {
                    Direction::Up => self.up,
                    Direction::Down => self.down,
                }
            }
            #[inline]
            fn instances(&self) -> Option<&'static Instances<$obj>> {
                self.multi
            }
            #[inline]
            fn flags(&self) -> StepFlags {
                self.flags
            }
            #[inline]
            fn call($half: $call, $ctx: &Ctx<'_>) -> StepResult {
                $answer
            }
        }
    };
}

impl_half!(Step, StepFn, dyn MultiStep, |half, ctx| half(ctx));
impl_half!(
    StartStep,
    StartFn,
    dyn MultiStart,
    |half, ctx| match half(ctx) {
        Poll::Ready(()) => Ok(()),
        Poll::Pending => Err(StepError::WOULD_BLOCK),
    }
);
