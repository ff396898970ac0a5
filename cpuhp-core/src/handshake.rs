//! The two words through which control CPU and AP meet: every edge, its side and its ordering.
//!
//! Owns the sync word (`tag`, `flags`, `epoch`) and the mailbox (`req`, `ack`); nothing else may
//! touch them. Every edge that two parties compete for is one compare-and-swap of the whole word.
//! Each ordering that carries data stands in exactly one place, so that a model can show that it is
//! needed; the others are relaxed on purpose.
//!
//! | edge | side | ordering | carries |
//! |---|---|---|---|
//! | DEAD, CANCELLED, PARKED -> KICKED | control, CAS | Release | what PREPARE wrote, the pre-posted request |
//! | KICKED -> ALIVE or GO | AP, CAS | Relaxed | - |
//! | KICKED -> CANCELLED | control, CAS | Relaxed | - |
//! | KICKED -> DEAD (kick refused) | control, CAS | Relaxed | - |
//! | ALIVE -> GO | control, CAS | Release | what control wrote since the kick |
//! | DEAD -> GO, UP | boot CPU, CAS | Relaxed | - (both sides are the same CPU) |
//! | ALIVE -> DIE | control, CAS | Relaxed | - |
//! | ALIVE, CANCELLED -> PARKED | AP, CAS | Release | the AP's early writes |
//! | GO -> UP | AP, store | Release | what STARTING wrote |
//! | UP, DIE -> GONE | AP, store | Release | everything the AP wrote |
//! | GONE, CANCELLED, PARKED -> DEAD | control, CAS | Relaxed | - (after `confirm`) |
//! | `req`, `ack` | writer stores, reader loads | Release, Acquire | request, result |
//! | `req`: given up, settled | registrar, AP, both fetch-or | Relaxed | - (one of them is first) |
//! | `sync` read to decide | both sides | Acquire | the other side's last edge |

mod request;
mod word;

use crate::bulk::Suspend;
use crate::step::{Rollback, StateId};
use crate::sync::{AtomicU32, Ordering, zero_const};

use request::{GIVEN_UP, SETTLED};
pub(crate) use request::{Order, Request};
pub use word::Tag;
use word::{AUTO, BACK, RESUME};
pub(crate) use word::{Release, Word};

const SEQ: u32 = 0xff << 24;
const ONE_SEQ: u32 = 1 << 24;

/// The words of one CPU. All zero: DEAD, epoch 0, no request.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Handshake {
    sync: AtomicU32,
    req: AtomicU32,
    ack: AtomicU32,
}

impl Handshake {
    zero_const! {
        pub(crate) fn new() -> Self {
            Self { sync: AtomicU32::new(0), req: AtomicU32::new(0), ack: AtomicU32::new(0) }
        }
    }

    // ---- both sides

    /// Reads the word to decide what to do next.
    #[inline]
    pub(crate) fn look(&self) -> Word {
        Word(self.sync.load(Ordering::Acquire))
    }

    /// Reads the word without learning anything else: for hints and for showing.
    #[inline]
    pub(crate) fn peek(&self) -> Word {
        Word(self.sync.load(Ordering::Relaxed))
    }

    /// Whether a request is unanswered. A hint: the orderings are in `ap_request` and `answer`.
    #[inline]
    pub(crate) fn has_request(&self) -> bool {
        let (req, ack) = (
            self.req.load(Ordering::Relaxed),
            self.ack.load(Ordering::Relaxed),
        );
        (req ^ ack) & SEQ != 0
    }

    #[inline]
    fn swap(&self, seen: Word, next: Word, carries: Ordering) -> Option<Word> {
        let swapped = self
            .sync
            .compare_exchange(seen.0, next.0, carries, Ordering::Relaxed);
        swapped.ok().map(|_| next)
    }

    // ---- control CPU

    /// Begins a start: DEAD, CANCELLED or PARKED -> KICKED, with the next epoch.
    #[inline]
    pub(crate) fn kick(&self, seen: Word, release: Release, suspend: Suspend) -> Option<Word> {
        let flags = match release {
            Release::ByControl => 0,
            Release::Auto => AUTO,
        };
        let flags = flags | if suspend == Suspend::Yes { RESUME } else { 0 };
        let next = Word::new(Tag::Kicked, flags, seen.epoch().wrapping_add(1));
        // Release: the AP's first look acquires what PREPARE wrote, and the pre-posted request.
        self.swap(seen, next, Ordering::Release)
    }

    /// Gives up on a CPU that did not come: KICKED -> CANCELLED. Fails if it came just now.
    #[inline]
    pub(crate) fn cancel(&self, seen: Word) -> Option<Word> {
        let next = self.swap(seen, seen.to(Tag::Cancelled), Ordering::Relaxed)?;
        // Or a CPU that is wanted again later would run past its new target.
        self.withdraw();
        Some(next)
    }

    /// Takes a start back whose kick was refused: KICKED -> DEAD.
    #[inline]
    pub(crate) fn refuse_kick(&self, seen: Word) -> Option<Word> {
        let next = self.swap(seen, seen.to(Tag::Dead), Ordering::Relaxed)?;
        self.withdraw();
        Some(next)
    }

    /// Lets a waiting AP go on: ALIVE -> GO. Fails if it parked just now.
    #[inline]
    pub(crate) fn release(&self, seen: Word, rollback: Rollback) -> Option<Word> {
        let flags = match rollback {
            Rollback::No => 0,
            Rollback::Yes => BACK,
        };
        // Release: the AP's look acquires what the control CPU wrote since the kick.
        let next = Word::new(Tag::Go, flags | seen.0 & RESUME, seen.epoch());
        self.swap(seen, next, Ordering::Release)
    }

    /// Takes the calling CPU in, which needs no kick: DEAD -> GO or UP.
    #[inline]
    pub(crate) fn adopt(&self, seen: Word, tag: Tag) -> Option<Word> {
        self.swap(seen, seen.to(tag), Ordering::Relaxed)
    }

    /// Tells a waiting AP to leave: ALIVE -> DIE. Fails if it parked just now.
    #[inline]
    pub(crate) fn turn_away(&self, seen: Word) -> Option<Word> {
        self.swap(seen, seen.to(Tag::Die), Ordering::Relaxed)
    }

    /// Records a confirmed end: GONE, CANCELLED or PARKED -> DEAD. No request survives it.
    #[inline]
    pub(crate) fn bury(&self, seen: Word) -> Option<Word> {
        let next = self.swap(seen, seen.to(Tag::Dead), Ordering::Relaxed)?;
        self.withdraw();
        Some(next)
    }

    /// Posts a request to an AP that has none.
    #[inline]
    pub(crate) fn post(&self, request: Request) {
        let seq = self.ack.load(Ordering::Relaxed).wrapping_add(ONE_SEQ) & SEQ;
        // Release: the AP's look at the request acquires what the control CPU wrote before it.
        self.req.store(seq | request.0, Ordering::Release);
    }

    /// Whether the AP has answered the last request.
    #[inline]
    pub(crate) fn answered(&self) -> bool {
        // Acquire: the result words and everything the AP's steps wrote.
        let ack = self.ack.load(Ordering::Acquire);
        (self.req.load(Ordering::Relaxed) ^ ack) & SEQ == 0
    }

    /// Returns the request that was posted last.
    #[inline]
    pub(crate) fn last_request(&self) -> Request {
        Request(self.req.load(Ordering::Relaxed))
    }

    /// Waits no longer for the answer to an invocation; `false`, once, if the half has succeeded already
    /// and the answer is under way.
    pub(crate) fn give_up(&self) -> bool {
        // Relaxed: one word decides between this and `ap_settle`; what the step wrote is carried by `ack`.
        let before = self.req.fetch_or(GIVEN_UP, Ordering::Relaxed);
        before & (SETTLED | GIVEN_UP) != SETTLED
    }

    #[inline]
    fn withdraw(&self) {
        // Relaxed: the AP reads it only after the next start, whose edge carries it.
        self.req
            .store(self.ack.load(Ordering::Relaxed) & SEQ, Ordering::Relaxed);
    }

    // ---- AP

    /// Reports arrival: KICKED -> ALIVE, or GO if it need not wait. Fails if it was cancelled.
    #[inline]
    pub(crate) fn ap_arrive(&self, seen: Word) -> Option<Word> {
        let tag = if seen.is_auto() { Tag::Go } else { Tag::Alive };
        let next = Word::new(tag, seen.0 & RESUME, seen.epoch());
        self.swap(seen, next, Ordering::Relaxed)
    }

    /// Goes to rest: ALIVE or CANCELLED -> PARKED. Fails if the control CPU wants it after all.
    #[inline]
    pub(crate) fn ap_park(&self, seen: Word) -> Option<Word> {
        // Release: PREPARE may be undone once this is seen; the AP's early writes come before.
        self.swap(seen, seen.to(Tag::Parked), Ordering::Release)
    }

    /// Reports STARTING done: GO -> UP.
    #[inline]
    pub(crate) fn ap_up(&self, seen: Word) -> Word {
        let next = seen.to(Tag::Up);
        // Release: what STARTING wrote.
        self.sync.store(next.0, Ordering::Release);
        next
    }

    /// The AP's last store to its record: UP or DIE -> GONE.
    #[inline]
    pub(crate) fn ap_gone(&self, seen: Word) -> Word {
        let next = seen.to(Tag::Gone);
        // Release: everything this CPU wrote in its life.
        self.sync.store(next.0, Ordering::Release);
        next
    }

    /// Returns the unanswered request, if there is one.
    #[inline]
    pub(crate) fn ap_request(&self) -> Option<Request> {
        // Acquire: what the control CPU wrote before it posted.
        let req = self.req.load(Ordering::Acquire);
        ((req ^ self.ack.load(Ordering::Relaxed)) & SEQ != 0).then_some(Request(req))
    }

    /// Notes that an invocation has succeeded; `false` if nobody waits for it any more, so that nobody else
    /// will undo it.
    pub(crate) fn ap_settle(&self) -> bool {
        // Relaxed: as in `give_up`.
        self.req.fetch_or(SETTLED, Ordering::Relaxed) & GIVEN_UP == 0
    }

    /// Answers `request`: its result words are written.
    #[inline]
    pub(crate) fn ap_answer(&self, request: Request, at: StateId) {
        // Release: the result words and everything the steps wrote.
        self.ack
            .store(request.0 & SEQ | u32::from(at.get()), Ordering::Release);
    }
}

/// One caller at a time on the AP's side of a record.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Busy(AtomicU32);

impl Busy {
    zero_const! {
        pub(crate) fn new() -> Self {
            Self(AtomicU32::new(0))
        }
    }

    /// Claims the AP's side; `false` if another context of this CPU is inside.
    #[inline]
    pub(crate) fn claim(&self) -> bool {
        // Acquire: what an earlier context of the same CPU wrote in its walk.
        self.0.swap(1, Ordering::Acquire) == 0
    }

    /// Gives the AP's side back.
    #[inline]
    pub(crate) fn free(&self) {
        // Release: pairs with the next `claim`, which may be of another context.
        self.0.store(0, Ordering::Release);
    }

    /// Forgets a claim of a CPU that is confirmed off.
    #[inline]
    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
