//! The storage of a whole machine: records, masks, slots and the lock, lent out as slices.
//!
//! The core works on slices because kernels learn the number of CPUs at boot; [`Store`] is only the
//! static that hands them out.

use crate::cpu::CpuId;
use crate::lock::{LockWord, ReaderCell};
use crate::mask::{CpuMask, KINDS, Kind, MaskWord, words};
use crate::record::{DynSlot, Record};
use crate::sync::{zero_array, zero_const};

/// Static memory for a machine of up to `CPUS` CPUs; `WORDS` is `words(CPUS)`.
///
/// `READERS` counters spread the readers of the hotplug lock: one is enough for a small kernel, one
/// per CPU lets no two CPUs share a line.
///
/// All zero, so a `static` of it stays in `.bss` whatever its size.
///
/// ```
/// use cpuhp_core::{Store, words};
/// static STORE: Store<64, { words(64) }, 0> = Store::new();
/// assert_eq!(STORE.get().cpus(), 64);
/// ```
#[derive(Debug)]
pub struct Store<const CPUS: usize, const WORDS: usize, const DYN: usize, const READERS: usize = 1>
{
    records: [Record; CPUS],
    masks: [[MaskWord; WORDS]; KINDS],
    slots: [DynSlot; DYN],
    lock: LockWord,
    readers: [ReaderCell; READERS],
}

impl<const CPUS: usize, const WORDS: usize, const DYN: usize, const READERS: usize>
    Store<CPUS, WORDS, DYN, READERS>
{
    const CHECKED: () = {
        assert!(
            WORDS == words(CPUS),
            "the second parameter of `Store` is `words(CPUS)`"
        );
        assert!(READERS > 0, "the hotplug lock needs a reader counter");
        assert!(
            CPUS as u64 <= u32::MAX as u64,
            "cpu numbers are 32 bits wide"
        );
    };

    zero_const! {
        /// Makes the storage of a machine on which every CPU is off.
        pub fn new() -> Self {
            let () = Self::CHECKED;
            Self {
                records: zero_array!(Record::new(); CPUS),
                masks: zero_array!(zero_array!(MaskWord::new(0); WORDS); KINDS),
                slots: zero_array!(DynSlot::new(); DYN),
                lock: LockWord::new(),
                readers: zero_array!(ReaderCell::new(); READERS),
            }
        }
    }

    /// Lends the storage out, to [`crate::Cpuhp::new`].
    #[inline]
    pub const fn get(&self) -> Storage<'_> {
        Storage {
            records: &self.records,
            masks: self.masks.as_flattened(),
            slots: &self.slots,
            lock: &self.lock,
            readers: &self.readers,
        }
    }
}

impl<const C: usize, const W: usize, const D: usize, const R: usize> Default for Store<C, W, D, R> {
    fn default() -> Self {
        Self::new()
    }
}

/// Borrowed storage of one machine; the number of records is the number of possible CPUs.
#[derive(Clone, Copy, Debug)]
pub struct Storage<'a> {
    pub(crate) records: &'a [Record],
    masks: &'a [MaskWord],
    pub(crate) slots: &'a [DynSlot],
    pub(crate) lock: &'a LockWord,
    pub(crate) readers: &'a [ReaderCell],
}

impl<'a> Storage<'a> {
    /// Assembles storage from memory that a kernel allocated at boot, all of it freshly zero.
    ///
    /// `masks` has [`Self::mask_words`] words. Returns `None` if it has fewer, or if there are more
    /// records than CPU numbers.
    pub fn from_parts(
        records: &'a [Record],
        masks: &'a [MaskWord],
        slots: &'a [DynSlot],
        lock: &'a LockWord,
    ) -> Option<Self> {
        let fits =
            u32::try_from(records.len()).is_ok() && masks.len() >= Self::mask_words(records.len());
        fits.then_some(Self {
            records,
            masks,
            slots,
            lock,
            readers: lock.own_reader(),
        })
    }

    /// Spreads the readers of the hotplug lock over these counters, best one per CPU. Without them all
    /// readers share the one in `lock`.
    #[must_use]
    pub const fn with_readers(mut self, readers: &'a [ReaderCell]) -> Self {
        if !readers.is_empty() {
            self.readers = readers;
        }
        self
    }

    /// Returns how many mask words `cpus` CPUs need in all.
    pub const fn mask_words(cpus: usize) -> usize {
        words(cpus) * KINDS
    }

    /// Returns how many CPUs are possible.
    #[inline]
    pub const fn cpus(&self) -> usize {
        self.records.len()
    }

    /// Returns what tells this machine's storage from another's.
    pub(crate) fn home(&self) -> usize {
        core::ptr::from_ref(self.lock).addr()
    }

    #[inline(never)]
    pub(crate) fn mask(&self, kind: Kind) -> CpuMask<'a> {
        let each = words(self.records.len());
        let from = kind as usize * each;
        CpuMask::new(self.masks.get(from..from + each).unwrap_or_default())
    }

    /// Returns the word of a mask that has the bit of `cpu`.
    #[inline]
    fn word(&self, kind: Kind, cpu: CpuId) -> Option<&'a MaskWord> {
        let each = words(self.records.len());
        let at = cpu.index() / usize::BITS as usize;
        if at < each {
            self.masks.get(kind as usize * each + at)
        } else {
            None
        }
    }

    #[inline(never)]
    pub(crate) fn has(&self, kind: Kind, cpu: CpuId) -> bool {
        self.word(kind, cpu).is_some_and(|word| word.has(cpu))
    }

    #[inline(never)]
    pub(crate) fn add(&self, kind: Kind, cpu: CpuId) {
        if let Some(word) = self.word(kind, cpu) {
            word.insert(cpu);
        }
    }

    #[inline(never)]
    pub(crate) fn take(&self, kind: Kind, cpu: CpuId) {
        if let Some(word) = self.word(kind, cpu) {
            word.remove(cpu);
        }
    }

    /// Takes every CPU out of a mask.
    pub(crate) fn clear(&self, kind: Kind) {
        self.mask(kind).clear();
    }

    #[inline(never)]
    pub(crate) fn next(&self, kind: Kind, from: u32) -> Option<CpuId> {
        self.mask(kind).first_from(from)
    }

    /// Iterates over a mask by less code and more loads than [`CpuMask::iter`].
    #[inline]
    pub(crate) fn each(&self, kind: Kind) -> impl Iterator<Item = CpuId> + use<'_, 'a> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let cpu = self.next(kind, from)?;
            from = cpu.get() + 1;
            Some(cpu)
        })
    }
}
