//! An atomic `Option<&'static T>`: the only file of the core with `unsafe`.
//!
//! Dynamic states and instance lists keep references that other CPUs read while they change. A word
//! that holds nothing but null or a `&'static T` can be turned back into one; that is all this file
//! promises.
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

impl<T: Sync> fmt::Debug for AtomicRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.get().is_some() {
            "AtomicRef(set)"
        } else {
            "AtomicRef(empty)"
        })
    }
}
