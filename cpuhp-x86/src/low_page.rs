//! The scoped window on low memory: open from the first kick to the end of the last.
//!
//! The trampoline's bytes are written when the first CPU takes a reference, and the bytes that were
//! there are put back when the last one gives it up. A CPU that timed out keeps its reference: it
//! may still come, and must not find foreign bytes.
#![expect(
    unsafe_code,
    reason = "the page is the kernel's memory, named by an address; see `Window::new`"
)]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

use cpuhp_core::{KickError, KickErrorKind};

use crate::config::{LowPage, SetupError};

/// Bytes of the page that are used, saved and restored.
pub(crate) const IMAGE_LEN: usize = 0x150;
/// What is written there.
pub(crate) type Image = [u8; IMAGE_LEN];

/// How often a CPU asks for its turn: far longer than any turn takes.
const MOST_SPINS: u32 = 1 << 24;

/// One control CPU opens or closes the page now.
const MOVING: u32 = 1 << 31;

/// The page, who needs it, and what was in it.
#[derive(Debug)]
pub(crate) struct Window {
    page: LowPage,
    /// Number of CPUs between kick and its end, and `MOVING`. Moved by control CPUs, by
    /// compare-and-swap; the Release of a change pairs with the Acquire of the next.
    users: AtomicU32,
    /// Where the open page is. This and `saved` are written by whoever set MOVING; they are atomic
    /// only so that the window can be shared.
    at: AtomicPtr<u8>,
    saved: [AtomicU8; IMAGE_LEN],
}

impl Window {
    /// Checks the page's address and takes it over, closed.
    ///
    /// # Errors
    /// [`SetupError::LowPage`] if no SIPI can name the page.
    ///
    /// # Safety
    /// 1. While the window lives, what `page.open` answers is memory of this window alone, until
    ///    `page.close`.
    pub(crate) unsafe fn new(page: LowPage) -> Result<Self, SetupError> {
        if page.phys == 0 || page.phys >= 1 << 20 || !page.phys.is_multiple_of(4096) {
            return Err(SetupError::LowPage(page.phys));
        }
        Ok(Self {
            page,
            users: AtomicU32::new(0),
            at: AtomicPtr::new(core::ptr::null_mut()),
            saved: [const { AtomicU8::new(0) }; IMAGE_LEN],
        })
    }

    /// The number of the page, for a SIPI.
    pub(crate) fn number(&self) -> u8 {
        u8::try_from(self.page.phys >> 12).unwrap_or(0)
    }

    /// Physical address of the page.
    pub(crate) const fn phys(&self) -> u32 {
        self.page.phys
    }

    /// Takes a reference; the first one opens the page and writes `image` into it.
    ///
    /// # Errors
    /// [`KickErrorKind::BadAddress`] if the page does not open, [`KickErrorKind::Busy`] if another CPU does
    /// not get done with it; no reference was taken.
    pub(crate) fn get(&self, image: impl FnOnce() -> Image) -> Result<(), KickError> {
        let users = self.begin().ok_or(KickError::new(KickErrorKind::Busy))?;
        let opened = users != 0 || self.write(image());
        self.end(users + u32::from(opened));
        if opened {
            Ok(())
        } else {
            Err(KickError::new(KickErrorKind::BadAddress))
        }
    }

    /// Gives a reference up; the last one restores the page and closes it.
    ///
    /// If another CPU does not get done with the page it stays open: that is always safe.
    pub(crate) fn put(&self) {
        let Some(users) = self.begin() else { return };
        if users == 1 {
            self.restore();
        }
        self.end(users.saturating_sub(1));
    }

    /// Whether some CPU may still run in the page.
    #[cfg(test)]
    fn is_open(&self) -> bool {
        self.users.load(Ordering::Relaxed) & !MOVING != 0
    }

    /// Waits for its turn, within a bound; what the holder does is a few hundred bytes of copying.
    fn begin(&self) -> Option<u32> {
        for _ in 0..MOST_SPINS {
            let users = self.users.load(Ordering::Relaxed) & !MOVING;
            let moved = self.users.compare_exchange_weak(
                users,
                users | MOVING,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            if moved.is_ok() {
                return Some(users);
            }
            core::hint::spin_loop();
        }
        None
    }

    fn end(&self, users: u32) {
        self.users.store(users, Ordering::Release);
    }

    fn write(&self, image: Image) -> bool {
        let Some(page) = (self.page.open)(self.page.phys) else {
            return false;
        };
        let page = page.cast::<u8>();
        self.at.store(page.as_ptr(), Ordering::Relaxed);
        for (at, (byte, saved)) in image.iter().zip(&self.saved).enumerate() {
            // SAFETY: `at` is below 4096, inside the page that `open` answered.
            let place = unsafe { page.add(at) };
            // SAFETY: promise 1 of `new`: the page is ours now, and mapped.
            let old = unsafe { place.read_volatile() };
            saved.store(old, Ordering::Relaxed);
            // SAFETY: as above. Volatile: the reader is a CPU the compiler knows nothing of.
            unsafe { place.write_volatile(*byte) };
        }
        true
    }

    fn restore(&self) {
        let Some(page) = NonNull::new(self.at.load(Ordering::Relaxed)) else {
            return;
        };
        for (at, saved) in self.saved.iter().enumerate() {
            // SAFETY: `at` is below 4096, inside the page that `open` answered.
            let place = unsafe { page.add(at) };
            // SAFETY: promise 1 of `new`: the page is ours until `close`.
            unsafe { place.write_volatile(saved.load(Ordering::Relaxed)) };
        }
        (self.page.close)(self.page.phys);
    }
}

#[cfg(test)]
mod tests;
