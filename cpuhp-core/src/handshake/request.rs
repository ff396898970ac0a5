//! Requests: what the control CPU can ask of a CPU that is up.

use crate::step::{Direction, How, Rollback, Section, StateId};
use crate::walk::Invoke;

/// What the control CPU asks of an AP that is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Order {
    /// Walk up to the state.
    Up = 1,
    /// Walk down to the state, which is `AP_IDLE` or above.
    Down = 2,
    /// Walk STARTING down and go.
    Die = 3,
    /// Call the `up` half of one state, without moving.
    InvokeUp = 4,
    /// Call its `down` half.
    InvokeDown = 5,
}

/// One request: `seq` in bits 24..32, flags and order in 16..24, the state in 0..16.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Request(pub(super) u32);

/// The CPU will be told to die next.
const LEAVING: u32 = 1 << 22;
/// Of an invocation: its registrar waits no longer. In place of [`LEAVING`].
pub(super) const GIVEN_UP: u32 = 1 << 22;
/// Of an invocation: the half has succeeded, the answer follows. In place of [`How::ROLLBACK`].
pub(super) const SETTLED: u32 = How::ROLLBACK;
/// Call the instance that is being added or removed, not the step.
const CANDIDATE: u32 = 1 << 20;

impl Request {
    #[inline]
    pub(crate) const fn up(goal: StateId) -> Self {
        Self((Order::Up as u32) << 16 | goal.get() as u32)
    }

    #[inline]
    pub(crate) const fn down(goal: StateId) -> Self {
        Self((Order::Down as u32) << 16 | goal.get() as u32)
    }

    #[inline]
    pub(crate) const fn die() -> Self {
        Self((Order::Die as u32) << 16)
    }

    pub(crate) const fn invoke(dir: Direction, at: StateId, what: Invoke) -> Self {
        let order = match dir {
            Direction::Up => Order::InvokeUp,
            Direction::Down => Order::InvokeDown,
        };
        let candidate = match what {
            Invoke::Step => 0,
            Invoke::Candidate => CANDIDATE,
        };
        Self((order as u32) << 16 | candidate | at.get() as u32)
    }

    #[inline]
    pub(crate) const fn leaving(self) -> Self {
        Self(self.0 | LEAVING)
    }

    /// Returns which half of one state it calls without moving, if it does.
    #[inline]
    pub(crate) const fn invocation(self) -> Option<Direction> {
        if self.is(Order::InvokeUp) {
            Some(Direction::Up)
        } else if self.is(Order::InvokeDown) {
            Some(Direction::Down)
        } else {
            None
        }
    }

    /// Whether it is this order.
    #[inline]
    pub(crate) const fn is(self, order: Order) -> bool {
        self.0 >> 16 & 7 == order as u32
    }

    #[inline]
    pub(crate) const fn goal(self) -> StateId {
        StateId::new((self.0 & 0xffff) as u16)
    }

    #[inline]
    pub(crate) const fn is_leaving(self) -> bool {
        self.0 & LEAVING != 0
    }

    #[inline]
    pub(crate) const fn is_rollback(self) -> bool {
        self.0 & How::ROLLBACK != 0
    }

    /// The same request, walked in this way.
    #[inline]
    pub(crate) const fn with(self, how: How) -> Self {
        Self(self.0 | how.flags())
    }

    /// Returns how the walk of this request goes; `turned` if it has turned back by itself.
    #[inline]
    pub(crate) fn how(self, section: Section, turned: Rollback) -> How {
        How::new(
            section,
            match turned {
                Rollback::No => self.0,
                Rollback::Yes => self.0 & !How::FORCED | How::ROLLBACK,
            },
        )
    }

    #[inline]
    pub(crate) const fn invoked(self) -> Invoke {
        if self.0 & CANDIDATE != 0 {
            Invoke::Candidate
        } else {
            Invoke::Step
        }
    }
}
