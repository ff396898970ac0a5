//! An atomic `Option<&'static T>`: the only file of the core with `unsafe`.
//!
//! Dynamic states, instance lists and call queues keep references that other CPUs read while they change.
//! A word that holds nothing but null, one mark or a `&'static T` can be turned back into one; that is all
//! this file promises.
#![expect(
    unsafe_code,
    reason = "a pointer that was stored as a reference is read back as one"
)]

use core::fmt;

use crate::sync::{AtomicPtr, Ordering, zero_const};

/// A cell that is empty or refers to a `T` that lives for ever.
pub(crate) struct AtomicRef<T: 'static> {
    /// Null, or made from a `&'static T` by `set`; private to this file.
    cell: AtomicPtr<T>,
}

impl<T: Sync> AtomicRef<T> {
    zero_const! {
        /// Makes an empty cell.
        pub(crate) fn new() -> Self {
            Self { cell: AtomicPtr::new(core::ptr::null_mut()) }
        }
    }

    /// Reads the cell. Acquire: what its writer wrote before it set it.
    pub(crate) fn get(&self) -> Option<&'static T> {
        let at = self.cell.load(Ordering::Acquire);
        // SAFETY: `cell` is null or was made from a `&'static T`, so it is aligned, points to a `T`
        // that is never freed and never exclusively borrowed; `T: Sync` lets any CPU read it.
        unsafe { at.as_ref() }
    }

    /// Sets or empties the cell. Release: pairs with `get`.
    pub(crate) fn set(&self, to: Option<&'static T>) {
        let at = to.map_or(core::ptr::null_mut(), |to| {
            core::ptr::from_ref(to).cast_mut()
        });
        self.cell.store(at, Ordering::Release);
    }
}

/// What an [`AtomicLink`] holds.
pub(crate) enum Link<T: 'static> {
    /// Null: how a zeroed cell begins.
    Closed,
    /// The one value that is no address of a `T`.
    Open,
    To(&'static T),
}

impl<T> Clone for Link<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Link<T> {}

/// A cell that is closed, open, or refers to a `T` that lives for ever. Each access names its ordering.
pub(crate) struct AtomicLink<T: 'static> {
    /// As in [`Link`]; written by `raw` of one only. Private to this file.
    cell: AtomicPtr<T>,
}

/// An address at which no aligned `T` can be.
const OPEN: usize = 1;

impl<T: Sync> AtomicLink<T> {
    const ALIGNED: () = assert!(align_of::<T>() > OPEN, "the mark is no address of a `T`");

    zero_const! {
        /// Makes a closed cell.
        pub(crate) fn new() -> Self {
            let () = Self::ALIGNED;
            Self { cell: AtomicPtr::new(core::ptr::null_mut()) }
        }
    }

    pub(crate) fn get(&self, order: Ordering) -> Link<T> {
        read(self.cell.load(order))
    }

    pub(crate) fn set(&self, to: Link<T>, order: Ordering) {
        self.cell.store(raw(to), order);
    }

    /// Sets the cell and returns what it held.
    pub(crate) fn swap(&self, to: Link<T>, order: Ordering) -> Link<T> {
        read(self.cell.swap(raw(to), order))
    }

    /// Sets the cell if it holds `seen`.
    ///
    /// # Errors
    /// What it holds instead, read without any ordering.
    pub(crate) fn replace(
        &self,
        seen: Link<T>,
        to: Link<T>,
        order: Ordering,
    ) -> Result<(), Link<T>> {
        let replaced = self
            .cell
            .compare_exchange(raw(seen), raw(to), order, Ordering::Relaxed);
        replaced.map(|_| ()).map_err(read)
    }
}

fn raw<T>(link: Link<T>) -> *mut T {
    match link {
        Link::Closed => core::ptr::null_mut(),
        Link::Open => core::ptr::without_provenance_mut(OPEN),
        Link::To(to) => core::ptr::from_ref(to).cast_mut(),
    }
}

/// Context: `at` comes from the cell of an [`AtomicLink`], so from [`raw`].
fn read<T: Sync>(at: *mut T) -> Link<T> {
    if at.addr() == OPEN {
        return Link::Open;
    }
    // SAFETY: the mark is gone, so `at` is null or was made from a `&'static T`: aligned, never freed,
    // never exclusively borrowed; `T: Sync` lets any CPU read it.
    unsafe { at.as_ref() }.map_or(Link::Closed, Link::To)
}

impl<T: Sync> fmt::Debug for AtomicLink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.get(Ordering::Relaxed) {
            Link::Closed => "AtomicLink(closed)",
            Link::Open => "AtomicLink(open)",
            Link::To(_) => "AtomicLink(set)",
        })
    }
}

impl<T: Sync> fmt::Debug for AtomicRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.get().is_some() {
            "AtomicRef(set)"
        } else {
            "AtomicRef(empty)"
        })
    }
}
