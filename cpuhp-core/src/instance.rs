//! Multi-instance states: one state, many objects, each with its own two halves.
//!
//! Lists are intrusive: an [`Instance`] is the caller's static memory and is in at most one list. `up`
//! runs in the order of addition, `down` in reverse; a failure undoes what was done inside the step
//! in exact reverse.

use core::fmt;
use core::task::Poll;

use crate::aref::AtomicRef;
use crate::error::StepError;
use crate::record::Leftover;
use crate::step::{Ctx, Direction, StepResult};
use crate::sync::{AtomicU32, Ordering, zero_const};

/// One object of a multi-instance state of PREPARE or ONLINE.
///
/// Context of both: as [`crate::StepFn`]. A forced `down` may reach an instance whose `up` did not
/// run, and must tolerate it.
pub trait MultiStep: Sync {
    /// Sets this object up for the CPU. A failure leaves nothing behind.
    ///
    /// # Errors
    /// The object's own; [`StepError::WOULD_BLOCK`] asks to be called again.
    fn up(&self, ctx: &Ctx<'_>) -> StepResult;

    /// Takes it down. A failure leaves everything as it was.
    ///
    /// # Errors
    /// As [`Self::up`].
    fn down(&self, ctx: &Ctx<'_>) -> StepResult;
}

/// One object of a multi-instance state of STARTING: cannot fail.
pub trait MultiStart: Sync {
    /// Sets this object up; `Pending` asks to be called again.
    fn up(&self, ctx: &Ctx<'_>) -> Poll<()>;

    /// Takes it down; `Pending` asks to be called again.
    fn down(&self, ctx: &Ctx<'_>) -> Poll<()>;
}

/// What the walk needs of either kind of object.
pub(crate) trait Object: Sync + 'static {
    fn call(&self, dir: Direction, ctx: &Ctx<'_>) -> StepResult;
}

impl Object for dyn MultiStep {
    fn call(&self, dir: Direction, ctx: &Ctx<'_>) -> StepResult {
        match dir {
            Direction::Up => self.up(ctx),
            Direction::Down => self.down(ctx),
        }
    }
}

impl Object for dyn MultiStart {
    fn call(&self, dir: Direction, ctx: &Ctx<'_>) -> StepResult {
        let polled = match dir {
            Direction::Up => self.up(ctx),
            Direction::Down => self.down(ctx),
        };
        if polled.is_ready() {
            Ok(())
        } else {
            Err(StepError::WOULD_BLOCK)
        }
    }
}

/// One object in a list, whatever its section.
pub(crate) trait Member: Sync {
    /// Returns the one that `dir` calls next.
    fn following(&self, dir: Direction) -> Option<&'static dyn Member>;
    fn call(&self, dir: Direction, ctx: &Ctx<'_>) -> StepResult;
}

/// A list, whatever its section.
pub(crate) trait Roster: Sync {
    /// Returns the one that `dir` calls first.
    fn first(&self, dir: Direction) -> Option<&'static dyn Member>;

    /// Returns the one that is being added or removed.
    fn candidate(&self) -> Option<&'static dyn Member>;
}

/// The same, for whoever adds and removes.
pub(crate) trait Register: Sync {
    /// Ends an addition, a removal, or one that failed. While a CPU may be inside it, the instance stays
    /// taken. Under the write lock.
    fn finish(&self, change: Option<Direction>, left: Leftover);
}

impl<O: Object + ?Sized> Member for Instance<O> {
    fn following(&self, dir: Direction) -> Option<&'static dyn Member> {
        let cell = match dir {
            Direction::Up => &self.next,
            Direction::Down => &self.prev,
        };
        cell.get().map(|one| one as &dyn Member)
    }

    fn call(&self, dir: Direction, ctx: &Ctx<'_>) -> StepResult {
        self.obj.call(dir, ctx)
    }
}

impl<O: Object + ?Sized> Roster for Instances<O> {
    fn first(&self, dir: Direction) -> Option<&'static dyn Member> {
        let cell = match dir {
            Direction::Up => &self.head,
            Direction::Down => &self.tail,
        };
        cell.get().map(|one| one as &dyn Member)
    }

    fn candidate(&self) -> Option<&'static dyn Member> {
        self.candidate.get().map(|one| one as &dyn Member)
    }
}

impl<O: Object + ?Sized> Register for Instances<O> {
    fn finish(&self, change: Option<Direction>, left: Leftover) {
        if let (Some(dir), Some(one)) = (change, self.candidate.get()) {
            match dir {
                Direction::Up => self.link(one),
                Direction::Down => self.unlink(one),
            }
        }
        if left == Leftover::None {
            self.forget_candidate();
        }
    }
}

/// The caller's memory of one object in one list.
pub struct Instance<O: ?Sized + Sync + 'static = dyn MultiStep> {
    next: AtomicRef<Instance<O>>,
    prev: AtomicRef<Instance<O>>,
    /// 1 while it is in a list, or about to be. Written under the write lock.
    taken: AtomicU32,
    obj: &'static O,
}

impl<O: ?Sized + Sync + 'static> Instance<O> {
    zero_const! {
        /// Makes the memory of `obj`, in no list.
        pub fn new(obj: &'static O) -> Self {
            Self {
                next: AtomicRef::new(),
                prev: AtomicRef::new(),
                taken: AtomicU32::new(0),
                obj,
            }
        }
    }

    /// Returns the object.
    pub const fn object(&self) -> &'static O {
        self.obj
    }

    /// Whether it is in a list.
    pub fn is_linked(&self) -> bool {
        self.taken.load(Ordering::Relaxed) != 0
    }

    /// Claims it for one list; `false` if it is in one. Under the write lock.
    fn take(&self) -> bool {
        self.taken.swap(1, Ordering::Relaxed) == 0
    }

    /// Gives it back. Under the write lock.
    fn give_back(&self) {
        self.taken.store(0, Ordering::Relaxed);
    }
}

impl<O: ?Sized + Sync + 'static> fmt::Debug for Instance<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("linked", &self.is_linked())
            .finish_non_exhaustive()
    }
}

/// The list of one multi-instance state. All zero: empty.
pub struct Instances<O: ?Sized + Sync + 'static = dyn MultiStep> {
    head: AtomicRef<Instance<O>>,
    tail: AtomicRef<Instance<O>>,
    /// The one that is being added or removed: what an AP is asked to call.
    candidate: AtomicRef<Instance<O>>,
}

impl<O: ?Sized + Sync + 'static> Instances<O> {
    zero_const! {
        /// Makes an empty list.
        pub fn new() -> Self {
            Self {
                head: AtomicRef::new(),
                tail: AtomicRef::new(),
                candidate: AtomicRef::new(),
            }
        }
    }

    /// Whether there is no instance.
    pub fn is_empty(&self) -> bool {
        self.head.get().is_none()
    }

    /// Returns how many instances there are.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    fn iter(&self) -> impl Iterator<Item = &'static Instance<O>> {
        core::iter::successors(self.head.get(), |at| at.next.get())
    }

    /// Whether `instance` is in this list.
    fn holds(&self, instance: &'static Instance<O>) -> bool {
        self.iter().any(|at| core::ptr::eq(at, instance))
    }

    /// Adds at the end. Under the write lock, with no CPU inside the state.
    fn link(&self, instance: &'static Instance<O>) {
        let last = self.tail.get();
        instance.prev.set(last);
        instance.next.set(None);
        match last {
            Some(last) => last.next.set(Some(instance)),
            None => self.head.set(Some(instance)),
        }
        self.tail.set(Some(instance));
    }

    /// Takes out. Under the write lock, with no CPU inside the state.
    fn unlink(&self, instance: &'static Instance<O>) {
        let (prev, next) = (instance.prev.get(), instance.next.get());
        match prev {
            Some(prev) => prev.next.set(next),
            None => self.head.set(next),
        }
        match next {
            Some(next) => next.prev.set(prev),
            None => self.tail.set(prev),
        }
        instance.next.set(None);
        instance.prev.set(None);
    }

    /// Makes `instance` the candidate, to be added (`Up`) or removed; `false` if it is in a list already,
    /// or not in this one. Under the write lock, with no CPU in flight: nobody can be inside an older one.
    pub(crate) fn propose(&self, instance: &'static Instance<O>, dir: Direction) -> bool {
        self.forget_candidate();
        let fits = match dir {
            Direction::Up => instance.take(),
            Direction::Down => self.holds(instance),
        };
        if fits {
            self.candidate.set(Some(instance));
        }
        fits
    }

    /// Forgets a candidate that no CPU can be inside any more. Under the write lock.
    fn forget_candidate(&self) {
        if let Some(one) = self.candidate.get() {
            self.candidate.set(None);
            if !self.holds(one) {
                one.give_back();
            }
        }
    }
}

impl<O: ?Sized + Sync + 'static> Default for Instances<O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<O: ?Sized + Sync + 'static> fmt::Debug for Instances<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instances")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}
