//! A call's node and a CPU's queue of them: every edge, its side and its ordering.
//!
//! The queue is a list whose newest node is its head. It is pushed to by one compare-and-swap and taken
//! as a whole by one, so no node is ever popped from it while it can change. As everywhere, each ordering
//! stands in one place, and the others are relaxed on purpose.
//!
//! | edge | side | ordering | carries |
//! |---|---|---|---|
//! | node idle -> queued | caller, CAS | Acquire | what its last run wrote |
//! | node -> head | caller, CAS | Release | the node, and all the caller wrote |
//! | head -> open, head -> closed | target, CAS, swap | Acquire | the same |
//! | node queued -> idle | target, store | Release | what its function wrote |
//! | end of a call | caller, load | Acquire | the same |
//! | inside | target's contexts, CAS, swap | Acquire, Release | what an earlier call wrote |
//! | inside, turned away | target's contexts, CAS, swap | Release, Acquire | that there is another call |

use core::panic::Location;

use crate::aref::{AtomicLink, Link};
use crate::cpu::CpuId;
use crate::sync::{AtomicU32, AtomicUsize, MODELLED, Ordering, zero_const};

/// What a call runs: on the CPU named first, with the number the caller gave.
///
/// Context: the called CPU, in an interrupt handler, in its idle loop, or on its way out with interrupts
/// off. Takes little time, waits for nobody, and may make calls that do not wait.
pub type CallFn = fn(CpuId, usize);

/// One call at a time: a node of the caller's own static memory.
///
/// It is taken from [`crate::Cpuhp::call`] until its function has returned. Whoever queues it next, and the
/// function then, see what its last run wrote.
#[derive(Debug)]
pub struct Call {
    func: CallFn,
    /// Bit 0: queued. Bit 1: the caller waits. Above: how often it was used. Written by whoever claims it,
    /// then by the CPU that runs it.
    state: AtomicU32,
    from: AtomicU32,
    arg: AtomicUsize,
    /// The node that was the head before: an older one, or "open" for none.
    next: AtomicLink<Call>,
    /// Where the call was made; empty if nobody traces.
    site: AtomicLink<Location<'static>>,
}

const QUEUED: u32 = 1;
const WAITED: u32 = 1 << 1;
const ONE_TURN: u32 = 1 << 2;

/// Whether the caller waits for the end of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waits {
    No,
    Yes,
}

/// What a node holds while it is queued.
#[derive(Clone, Copy)]
pub(super) struct Content {
    pub(super) from: CpuId,
    pub(super) arg: usize,
    pub(super) site: Option<&'static Location<'static>>,
}

/// One use of a node: its `state` word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn(u32);

impl Turn {
    pub(super) const fn number(self) -> u32 {
        self.0 / ONE_TURN
    }

    pub(super) const fn is_waited(self) -> bool {
        self.0 & WAITED != 0
    }
}

impl Call {
    zero_const! {
        /// Makes a node that runs `func`.
        pub fn new(func: CallFn) -> Self {
            Self {
                func,
                state: AtomicU32::new(0),
                from: AtomicU32::new(0),
                arg: AtomicUsize::new(0),
                next: AtomicLink::new(),
                site: AtomicLink::new(),
            }
        }
    }

    /// Whether the node is free. If so, what its last run wrote is visible.
    ///
    /// Context: any CPU.
    pub fn is_done(&self) -> bool {
        // Acquire: what its function wrote.
        self.state.load(Ordering::Acquire) & QUEUED == 0
    }

    // ---- caller

    /// Takes the node for one call. `None`: it is in use.
    pub(super) fn claim(&self, waits: Waits, content: &Content) -> Option<Turn> {
        let seen = self.state.load(Ordering::Relaxed);
        if seen & QUEUED != 0 {
            return None;
        }
        let waits = if waits == Waits::Yes { WAITED } else { 0 };
        let claimed = seen | QUEUED | waits;
        // Acquire: what its last run wrote, which the next one may build on.
        let swapped =
            self.state
                .compare_exchange(seen, claimed, Ordering::Acquire, Ordering::Relaxed);
        swapped.ok()?;
        self.from.store(content.from.get(), Ordering::Relaxed);
        self.arg.store(content.arg, Ordering::Relaxed);
        if let Some(site) = content.site {
            self.site.set(Link::To(site), Ordering::Relaxed);
        }
        Some(Turn(claimed))
    }

    /// Whether the call of this turn has ended, whatever the node does now.
    pub(super) fn has_ended(&self, turn: Turn) -> bool {
        // Acquire: what its function wrote.
        self.state.load(Ordering::Acquire) != turn.0
    }

    // ---- target

    pub(super) fn turn(&self) -> Turn {
        Turn(self.state.load(Ordering::Relaxed))
    }

    pub(super) fn content(&self) -> Content {
        let site = match self.site.get(Ordering::Relaxed) {
            Link::To(site) => Some(site),
            Link::Closed | Link::Open => None,
        };
        Content {
            from: CpuId::new(self.from.load(Ordering::Relaxed)),
            arg: self.arg.load(Ordering::Relaxed),
            site,
        }
    }

    pub(super) fn run(&self, cpu: CpuId, arg: usize) {
        (self.func)(cpu, arg);
    }

    /// Gives the node back: it may be used anew at once.
    pub(super) fn free(&self, turn: Turn) {
        let next = (turn.0 & !(QUEUED | WAITED)).wrapping_add(ONE_TURN);
        // Release: what the function wrote.
        self.state.store(next, Ordering::Release);
    }
}

/// The calls to one CPU. All zero: closed, which is right for a CPU that is off.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct CallQueue {
    /// Closed, open and empty, or the newest node. Written by callers and, to take all, by the CPU.
    head: AtomicLink<Call>,
    /// Context + 1 that runs calls of this CPU now, and whether another was turned away; 0 = none. Written
    /// by the CPU's own contexts, with read-modify-writes only: one of the two sees the other.
    inside: AtomicU32,
}

const _: () = assert!(MODELLED || size_of::<CallQueue>() == 64);

/// What a push found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// Nothing was queued: the target has to be told.
    First,
    /// Whoever was first has told it, or is about to.
    Behind,
    /// The CPU does not take calls; nothing was queued.
    Closed,
}

impl CallQueue {
    zero_const! {
        /// Makes the queue of a CPU that takes no calls yet.
        pub fn new() -> Self {
            Self { head: AtomicLink::new(), inside: AtomicU32::new(0) }
        }
    }

    // ---- callers

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.head.get(Ordering::Relaxed), Link::Closed)
    }

    /// Whether calls wait. A hint: the ordering is in `take`.
    pub(super) fn has_some(&self) -> bool {
        matches!(self.head.get(Ordering::Relaxed), Link::To(_))
    }

    /// Appends a claimed node.
    pub(super) fn push(&self, node: &'static Call) -> Pushed {
        // As a rule nothing is queued.
        let mut seen = Link::Open;
        loop {
            let pushed = match seen {
                Link::Closed => return Pushed::Closed,
                Link::Open => Pushed::First,
                Link::To(_) => Pushed::Behind,
            };
            node.next.set(seen, Ordering::Relaxed);
            // Release: the node, and all its caller wrote before. Those behind it are older heads, whose
            // releases this swap continues.
            match self.head.replace(seen, Link::To(node), Ordering::Release) {
                Ok(()) => return pushed,
                Err(now) => seen = now,
            }
        }
    }

    // ---- target

    /// Begins to take calls. Context: the CPU, before it is available.
    #[inline]
    pub(super) fn open(&self) {
        // Relaxed: it was closed, so nobody else changes it, and who pushes learns nothing by it.
        self.head.set(Link::Open, Ordering::Relaxed);
    }

    /// Takes everything that is queued. Context: inside, so that nobody closes it meanwhile.
    pub(super) fn take(&self) -> Calls {
        if self.is_closed() {
            return Calls(Link::Closed);
        }
        // Acquire: pairs with `push`.
        Calls::reversed(self.head.swap(Link::Open, Ordering::Acquire))
    }

    /// Takes no calls any more, and takes everything that is queued. Context: inside.
    pub(super) fn close(&self) -> Calls {
        // Acquire: pairs with `push`, which comes before this and is run, or after it and is refused.
        Calls::reversed(self.head.swap(Link::Closed, Ordering::Acquire))
    }

    /// Claims the running of calls for the context with this mark; `false` if one is at it already, which
    /// then looks again before it ends.
    pub(super) fn enter(&self, mark: u32) -> bool {
        let mut seen = 0;
        loop {
            let next = if seen == 0 { mark } else { seen | AGAIN };
            // Acquire: what the calls of an earlier context wrote. Release: the call this context was told
            // of, for the one inside.
            let swapped =
                self.inside
                    .compare_exchange(seen, next, Ordering::AcqRel, Ordering::Relaxed);
            match swapped {
                Ok(_) => return seen == 0,
                Err(now) => seen = now,
            }
        }
    }

    /// Gives it back. The caller looks again: whoever was turned away counts on it.
    pub(super) fn exit(&self) {
        // Release: pairs with the next `enter`, which may be of another context. Acquire: with the one that
        // was turned away, whose call is seen then.
        self.inside.swap(0, Ordering::AcqRel);
    }

    /// Whether the context with this mark is inside a call.
    pub(super) fn is_inside(&self, mark: u32) -> bool {
        self.inside.load(Ordering::Relaxed) & !AGAIN == mark
    }
}

/// In `inside`: another context was turned away.
const AGAIN: u32 = 1 << 31;

impl Default for CallQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// Calls that were taken from a queue, the oldest first.
pub(super) struct Calls(Link<Call>);

impl Calls {
    fn reversed(newest: Link<Call>) -> Self {
        let (mut rest, mut calls) = (newest, Link::Open);
        while let Link::To(node) = rest {
            rest = node.next.get(Ordering::Relaxed);
            node.next.set(calls, Ordering::Relaxed);
            calls = Link::To(node);
        }
        Self(calls)
    }
}

impl Iterator for Calls {
    type Item = &'static Call;

    /// Lets go of the node it returns: its link may change from then on.
    fn next(&mut self) -> Option<&'static Call> {
        let Link::To(node) = self.0 else {
            return None;
        };
        self.0 = node.next.get(Ordering::Relaxed);
        Some(node)
    }
}
