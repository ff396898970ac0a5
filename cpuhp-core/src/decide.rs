//! What the control CPU does next with a CPU: a pure function of what it sees.
//!
//! Level-triggered: it looks at the tag, the state and the goal, never at how they came about, so an
//! operation that was abandoned, timed out or taken over goes on from wherever the CPU is.

use crate::handshake::{Request, Tag};
use crate::step::StateId;
use crate::table::Table;

/// What the control CPU sees of one CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) tag: Tag,
    pub(crate) state: StateId,
    /// Where the operation wants it now.
    pub(crate) goal: StateId,
    pub(crate) mailbox: Mailbox,
    /// Whether a goal around `KICK` waits for the CPU itself.
    pub(crate) meet: Meet,
}

/// The state of the mailbox of a CPU that is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mailbox {
    Empty,
    Asked,
}

/// When a CPU that was kicked counts as having reached `KICK` or the state below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meet {
    /// Once it is kicked, or given up on.
    No,
    /// Once it has arrived, or is known to be off or parked.
    Yes,
}

/// The next thing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// The goal is reached.
    Finish,
    /// Walk PREPARE on this CPU, to [`Seen::prepare_goal`].
    Prepare,
    /// Kick it, or wake it from its rest.
    Start,
    /// Give up on its coming.
    Cancel,
    /// It was given up on; find out whether it is off.
    AskOff,
    /// Let it go on from ALIVE.
    Release,
    /// Tell it to leave from ALIVE.
    TurnAway,
    /// Post [`Seen::request`].
    Post,
    /// Wait for it to come.
    AwaitArrival,
    /// Wait for a step, or for the answer to a request.
    AwaitStep,
    /// Wait for it to be gone.
    AwaitGone,
    /// It said its last word; confirm.
    Confirm,
}

/// Decides for a table whose `KICK` and `AP_IDLE` divide the sections.
pub(crate) fn decide(table: &Table, seen: Seen) -> Action {
    let (kick, goal) = (table.kick(), seen.goal);
    match seen.tag {
        Tag::Dead | Tag::Parked if goal == seen.state && goal < kick => Action::Finish,
        Tag::Dead | Tag::Parked if goal < kick || seen.state.above() < kick => Action::Prepare,
        Tag::Dead | Tag::Parked => Action::Start,
        Tag::Cancelled if goal >= kick => Action::Start,
        Tag::Cancelled if goal == seen.state && seen.meet == Meet::No => Action::Finish,
        Tag::Cancelled => Action::AskOff,
        Tag::Kicked if goal < kick => Action::Cancel,
        Tag::Kicked if goal == kick && seen.meet == Meet::No => Action::Finish,
        Tag::Kicked => Action::AwaitArrival,
        Tag::Alive if goal < kick => Action::TurnAway,
        Tag::Alive if goal == kick => Action::Finish,
        Tag::Alive => Action::Release,
        Tag::Go => Action::AwaitStep,
        Tag::Up if seen.mailbox == Mailbox::Asked => Action::AwaitStep,
        Tag::Up if goal == seen.state => Action::Finish,
        Tag::Up => Action::Post,
        Tag::Die => Action::AwaitGone,
        Tag::Gone => Action::Confirm,
    }
}

impl Seen {
    /// Returns how far PREPARE is walked: to the goal, or to below `KICK` on the way to it.
    pub(crate) fn prepare_goal(self, table: &Table) -> StateId {
        self.goal.min(table.kick().below())
    }

    /// Returns what to ask of a CPU that is up.
    pub(crate) fn request(self, table: &Table) -> Request {
        let (state, goal, idle) = (self.state, self.goal, table.ap_idle());
        if goal > state {
            Request::up(goal)
        } else if goal >= idle {
            Request::down(goal)
        } else if state > idle {
            Request::down(idle).leaving()
        } else {
            Request::die()
        }
    }
}
