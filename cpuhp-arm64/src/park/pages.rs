//! The shared pages of the park region: what it is, and its code.
//!
//! | offset | content |
//! |---|---|
//! | 0x0000 | nine words: magic, version, length, slots, exception level, interrupt, 0, 0, checksum |
//! | 0x1000 | the code, position independent |
//! | 0x2000 | the slots |

use core::sync::atomic::{AtomicU64, Ordering};

use crate::cache::{Area, Cache};

/// Where the code lies.
pub(crate) const CODE: usize = 0x1000;
const MAGIC: u64 = 0x6b72_6170_3436_6d72;
const VERSION: u64 = 1;

/// What the first page says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) len: u64,
    pub(crate) slots: u64,
    /// Exception level at which the CPUs rest.
    pub(crate) level: u64,
    pub(crate) sgi: u64,
}

impl Header {
    /// Writes both pages, and cleans them for CPUs that run there with their caches off.
    pub(crate) fn write(&self, pages: &[AtomicU64], code: &[u8], cache: &impl Cache) {
        for word in pages {
            word.store(0, Ordering::Relaxed);
        }
        let words = [MAGIC, VERSION, self.len, self.slots, self.level, self.sgi];
        let mut sum = 0_u64;
        for (place, word) in pages.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
            sum = sum.wrapping_add(word);
        }
        if let Some(place) = pages.get(8) {
            place.store(sum.wrapping_neg(), Ordering::Relaxed);
        }
        let places = pages.iter().skip(CODE / 8);
        for (place, bytes) in places.zip(code.chunks(8)) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(bytes) {
                *to = *from;
            }
            place.store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        let at = pages.as_ptr().cast();
        let len = size_of_val(pages);
        cache.publish(Area { at, len });
    }
}
