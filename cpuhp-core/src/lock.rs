//! The hotplug lock: who holds the write side may change CPU states, who holds a read side knows that
//! nobody does.
//!
//! One writer word and a few reader counters. A reader counts itself and then looks for a writer; a
//! writer announces itself and then waits for the readers to leave; a sequentially consistent fence on
//! both sides makes one of the two see the other. A waiting writer makes new readers step back, so two
//! read guards must not be nested: pass [`Stable`] on instead.

use core::marker::PhantomData;
use core::task::Poll;

use crate::cpu::CpuId;
use crate::error::{OpError, Refused, Why};
use crate::hotplug::Cpuhp;
use crate::platform::Platform;
use crate::sync::{AtomicU32, Ordering, fence, zero_const};
use crate::trace::Trace;

/// The writer's side of the lock, and the source of operation stamps. All zero: free.
#[derive(Debug)]
pub struct LockWord {
    writer: AtomicU32,
    stamp: AtomicU32,
    /// Stamp of the running bulk operation; 0 = none. Written under the write guard.
    bulk: AtomicU32,
    /// 1 while a registration runs: no CPU may begin to move. Written under the write guard.
    registering: AtomicU32,
    /// 1 while the running bulk operation takes CPUs down. Written by the writer only.
    leaving: AtomicU32,
    /// 1 from a freeze to its thaw.
    frozen: AtomicU32,
    /// How many disablements are in force. Raised by the writer, lowered by anybody.
    disabled: AtomicU32,
    /// The reader counter of storage that brings none.
    reader: ReaderCell,
}

/// One counter of readers, on lines of its own. All zero: none.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct ReaderCell {
    count: AtomicU32,
}

impl ReaderCell {
    zero_const! {
        /// Makes a counter without readers.
        pub fn new() -> Self {
            Self { count: AtomicU32::new(0) }
        }
    }
}

impl Default for ReaderCell {
    fn default() -> Self {
        Self::new()
    }
}

impl LockWord {
    zero_const! {
        /// Makes a free lock.
        pub fn new() -> Self {
            Self {
                writer: AtomicU32::new(0),
                stamp: AtomicU32::new(0),
                bulk: AtomicU32::new(0),
                registering: AtomicU32::new(0),
                leaving: AtomicU32::new(0),
                frozen: AtomicU32::new(0),
                disabled: AtomicU32::new(0),
                reader: ReaderCell::new(),
            }
        }
    }

    /// Returns the reader counter of storage that brings none.
    pub(crate) const fn own_reader(&self) -> &[ReaderCell] {
        core::slice::from_ref(&self.reader)
    }

    #[inline]
    fn claim(&self) -> bool {
        let claimed = self
            .writer
            .compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
        // Acquire: what the last writer wrote; pairs with `free`. And either a reader's count is seen
        // below, or the reader sees the claim.
        fence(Ordering::SeqCst);
        claimed.is_ok()
    }

    #[inline]
    fn free(&self) {
        // Release: pairs with `claim`, and with the look of a reader.
        self.writer.store(0, Ordering::Release);
    }

    /// Ends what a writer did: an abandoned bulk operation ends with its guard; its CPUs stay claimed.
    #[inline(never)]
    fn leave(&self) {
        self.set_registering(Registering::No);
        self.free_bulk();
        self.free();
    }

    /// Counts a reader, or steps back from a writer.
    fn enter(&self, cell: &ReaderCell) -> bool {
        cell.count.fetch_add(1, Ordering::Relaxed);
        // Either the writer's claim is seen below, or the writer sees the count.
        fence(Ordering::SeqCst);
        // Acquire: what the last writer wrote; pairs with `free`.
        if self.writer.load(Ordering::Acquire) == 0 {
            return true;
        }
        cell.count.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Returns a stamp that no live operation has: never 0.
    ///
    /// Read-modify-write: CPUs that share a guard may begin operations at once.
    #[inline(never)]
    pub(crate) fn next_stamp(&self) -> u32 {
        let next = || self.stamp.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        match next() {
            0 => next(),
            stamp => stamp,
        }
    }

    /// Lets one bulk operation at a time run under the lock.
    #[inline(never)]
    pub(crate) fn claim_bulk(&self, stamp: u32) -> bool {
        // Relaxed: what the last one wrote is carried by the owner words, and by the guard.
        let claimed = self
            .bulk
            .compare_exchange(0, stamp, Ordering::Relaxed, Ordering::Relaxed);
        claimed.is_ok()
    }

    /// Whether this is the stamp of the bulk operation that runs under the lock; 0 = none runs.
    #[inline]
    pub(crate) fn is_bulk(&self, stamp: u32) -> bool {
        self.bulk.load(Ordering::Relaxed) == stamp
    }

    /// Ends a bulk operation.
    #[inline]
    pub(crate) fn free_bulk(&self) {
        self.bulk.store(0, Ordering::Relaxed);
    }

    /// Notes that a registration begins, or has ended.
    pub(crate) fn set_registering(&self, registering: Registering) {
        self.registering
            .store(registering as u32, Ordering::Relaxed);
    }

    /// Whether a registration runs.
    pub(crate) fn is_registering(&self) -> bool {
        self.registering.load(Ordering::Relaxed) != 0
    }

    /// Notes whether the batch of the bulk operation is going down.
    pub(crate) fn set_leaving(&self, leaving: Leaving) {
        self.leaving.store(leaving as u32, Ordering::Relaxed);
    }

    /// Whether the CPUs of the batch are going down.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn set_frozen(&self, frozen: Frozen) {
        self.frozen.store(frozen as u32, Ordering::Relaxed);
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn is_disabled(&self) -> bool {
        // Acquire: what was done under the disablement; pairs with `enable`.
        self.disabled.load(Ordering::Acquire) != 0
    }

    /// Adds one disablement; refused before the count could wrap. Under the write lock.
    pub(crate) fn disable(&self) -> bool {
        let one_more = |count: u32| count.checked_add(1);
        self.disabled
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    /// Takes one back. Every caller holds exactly one.
    pub(crate) fn enable(&self) {
        // Release: pairs with `is_disabled`.
        self.disabled.fetch_sub(1, Ordering::Release);
    }
}

impl Default for LockWord {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a registration runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Registering {
    No = 0,
    Yes = 1,
}

/// Whether the machine is frozen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Frozen {
    No = 0,
    Yes = 1,
}

/// Whether a batch is going down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leaving {
    No = 0,
    Yes = 1,
}

/// Proof that no CPU goes up or down while it lives.
///
/// Has nothing to call: a function that may only run while the CPUs stand still takes one.
#[derive(Debug)]
pub struct Stable<'a> {
    pub(crate) proof: PhantomData<&'a ()>,
}

impl Stable<'_> {
    pub(crate) const PROOF: Self = Self { proof: PhantomData };
}

/// The exclusive right to change CPU states.
///
/// Dropping it with operations in flight undoes nothing: they stay claimed, and
/// [`WriteGuard::resume`] takes them over.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct WriteGuard<'h, 'a, P: Platform, T: Trace> {
    pub(crate) hp: &'h Cpuhp<'a, P, T>,
}

/// The write lock, announced: no reader comes in any more, those that are in are waited for.
///
/// Dropping it before it is ready gives the lock back.
#[derive(Debug)]
#[must_use = "a lock that is being taken does nothing unless polled"]
pub struct Writing<'h, 'a, P: Platform, T: Trace> {
    guard: Option<WriteGuard<'h, 'a, P, T>>,
    /// The first reader counter that was not seen empty yet.
    cursor: usize,
}

/// The right to see CPU states stand still.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct ReadGuard<'h> {
    cell: &'h ReaderCell,
}

/// Hotplug is disabled while it lives: operations answer [`Why::Disabled`].
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Disabled<'h> {
    lock: &'h LockWord,
}

impl<'a, P: Platform, T: Trace> Cpuhp<'a, P, T> {
    /// Takes the write lock if it is free and nobody reads.
    ///
    /// Context: any available CPU, interrupts on, not inside a step, not under a read guard. Never
    /// waits.
    ///
    /// # Errors
    /// [`Why::Busy`] if another operation is in flight or somebody reads, [`Why::WouldDeadlock`] from
    /// inside a step, [`Why::CallerOffline`] on a CPU that is not available. Nothing changed.
    pub fn try_write(&self) -> Result<WriteGuard<'_, 'a, P, T>, OpError> {
        Ok(self.write_within(0)?)
    }

    /// Announces a writer: poll it until the readers have left.
    ///
    /// Context: as [`Self::try_write`].
    ///
    /// # Errors
    /// As [`Self::try_write`], but for readers.
    pub fn begin_write(&self) -> Result<Writing<'_, 'a, P, T>, OpError> {
        let guard = Some(self.announce(self.platform().this_cpu())?);
        Ok(Writing { guard, cursor: 0 })
    }

    fn announce(&self, caller: CpuId) -> Result<WriteGuard<'_, 'a, P, T>, Refused> {
        let allowed = self.check_caller(caller).and_then(|()| self.lock());
        allowed.map_err(|why| Refused(caller, why))
    }

    /// Takes the write lock, waiting for readers to leave, at most [`Platform::step_timeout`].
    pub(crate) fn write(&self) -> Result<WriteGuard<'_, 'a, P, T>, Refused> {
        self.write_within(self.platform().step_timeout())
    }

    #[inline(never)]
    fn write_within(&self, limit_ns: u64) -> Result<WriteGuard<'_, 'a, P, T>, Refused> {
        let caller = self.platform().this_cpu();
        let guard = self.announce(caller)?;
        let mut cursor = 0;
        if guard.is_alone(&mut cursor) {
            return Ok(guard);
        }
        let deadline = self.platform().now().saturating_add(limit_ns);
        while !guard.is_alone(&mut cursor) {
            if self.platform().now() >= deadline {
                return Err(Refused(caller, Why::Busy));
            }
            self.wait_served(caller, deadline);
        }
        Ok(guard)
    }

    /// Takes the lock, whoever reads, without asking whether the caller is available.
    pub(crate) fn lock(&self) -> Result<WriteGuard<'_, 'a, P, T>, Why> {
        if self.storage.lock.claim() {
            Ok(WriteGuard { hp: self })
        } else {
            Err(Why::Busy)
        }
    }

    /// Takes a read guard if no writer holds the lock or waits for it.
    ///
    /// Context: any CPU, interrupts on or off, but not under another read guard. Never waits; the
    /// guard may be dropped on another CPU.
    ///
    /// # Errors
    /// [`Why::Busy`].
    pub fn try_read(&self) -> Result<ReadGuard<'a>, OpError> {
        let caller = self.platform().this_cpu();
        let cells = self.storage.readers;
        let at = caller.index().checked_rem(cells.len()).unwrap_or(0);
        let cell = cells.get(at).filter(|cell| self.storage.lock.enter(cell));
        Ok(cell
            .map(|cell| ReadGuard { cell })
            .ok_or(Refused(caller, Why::Busy))?)
    }
}

impl<'h, 'a, P: Platform, T: Trace> Writing<'h, 'a, P, T> {
    /// Looks whether the readers have left. Never waits. Pending for ever once it was ready.
    pub fn poll(&mut self) -> Poll<WriteGuard<'h, 'a, P, T>> {
        let cursor = &mut self.cursor;
        let ready = self.guard.take_if(|guard| guard.is_alone(cursor));
        ready.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<'h, P: Platform, T: Trace> WriteGuard<'h, '_, P, T> {
    /// Whether the readers have left, those below `cursor` being known to.
    #[inline(never)]
    pub(crate) fn is_alone(&self, cursor: &mut usize) -> bool {
        while let Some(cell) = self.hp.storage.readers.get(*cursor) {
            // Acquire: what the readers did under their guards comes before what the writer does.
            if cell.count.load(Ordering::Acquire) != 0 {
                return false;
            }
            *cursor += 1;
        }
        true
    }

    /// Returns the proof that no one else changes CPU states.
    pub const fn stable(&self) -> &Stable<'_> {
        &Stable::PROOF
    }

    /// Disables hotplug until what it returns is dropped. Nests.
    ///
    /// # Errors
    /// [`Why::Busy`] if 2^32 - 1 disablements are in force.
    pub fn disable(&self) -> Result<Disabled<'h>, OpError> {
        let hp = self.hp;
        if hp.storage.lock.disable() {
            Ok(Disabled {
                lock: hp.storage.lock,
            })
        } else {
            Err(Refused(hp.platform().this_cpu(), Why::Busy).into())
        }
    }
}

impl ReadGuard<'_> {
    /// Returns the proof that no CPU goes up or down.
    pub const fn stable(&self) -> &Stable<'_> {
        &Stable::PROOF
    }
}

impl<P: Platform, T: Trace> Drop for WriteGuard<'_, '_, P, T> {
    fn drop(&mut self) {
        self.hp.storage.lock.leave();
    }
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        // Release: pairs with the writer that waits for the count.
        self.cell.count.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Disabled<'_> {
    fn drop(&mut self) {
        self.lock.enable();
    }
}
