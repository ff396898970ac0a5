//! The atomics the whole crate uses: from `core`, from `portable-atomic`, or from loom.
//!
//! The only file that names any of the three. loom's atomics have no `const` constructor and are
//! larger, so constructors go through [`zero_const!`] and layout assertions ask [`MODELLED`].

#[cfg(all(not(loom), not(feature = "portable-atomic")))]
pub(crate) use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, Ordering, fence};
#[cfg(all(not(loom), feature = "portable-atomic"))]
pub(crate) use portable_atomic::{AtomicPtr, AtomicU32, Ordering, fence};

#[cfg(all(not(loom), not(feature = "portable-atomic")))]
pub(crate) use core::sync::atomic::AtomicUsize;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::AtomicUsize;
#[cfg(all(not(loom), feature = "portable-atomic"))]
pub(crate) use portable_atomic::AtomicUsize;

/// Whether the atomics are a model's: sizes and `const` constructors then do not hold.
pub(crate) const MODELLED: bool = cfg!(loom);

/// Declares a constructor that is `const` wherever the atomics allow it.
macro_rules! zero_const {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty $body:block) => {
        #[cfg(not(loom))]
        $(#[$meta])*
        $vis const fn $name($($arg: $ty),*) -> $ret $body
        #[cfg(loom)]
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) -> $ret $body
    };
}
pub(crate) use zero_const;

/// An array whose elements all come from one [`zero_const!`] constructor.
macro_rules! zero_array {
    ($zero:expr; $len:expr) => {{
        #[cfg(not(loom))]
        {
            [const { $zero }; $len]
        }
        #[cfg(loom)]
        {
            core::array::from_fn(|_| $zero)
        }
    }};
}
pub(crate) use zero_array;
