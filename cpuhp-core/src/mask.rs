//! CPU masks: borrowed views over shared words, and the invariant of each mask the core keeps.
//!
//! `possible ⊇ present ⊇ available ⊇ online`; `possible` is no mask but "the number is below the
//! number of records". Words may be read by anybody at any time, without a lock, as a snapshot that
//! can be stale. Masks are never held on a stack by value.

use crate::cpu::CpuId;
use crate::sync::{AtomicUsize, Ordering, zero_array, zero_const};

/// CPUs per word.
const BITS: usize = usize::BITS as usize;

/// Returns how many mask words `cpus` CPUs need.
pub const fn words(cpus: usize) -> usize {
    cpus.div_ceil(BITS)
}

/// One word of a mask: an atomic of the core's own choice.
#[derive(Debug)]
#[repr(transparent)]
pub struct MaskWord(AtomicUsize);

impl MaskWord {
    zero_const! {
        /// Makes a word with these bits set.
        pub fn new(bits: usize) -> Self {
            Self(AtomicUsize::new(bits))
        }
    }

    // Relaxed, all: a mask is a snapshot; what a bit stands for is carried by the handshake.
    #[inline]
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    fn set(&self, bits: usize) {
        self.0.fetch_or(bits, Ordering::Relaxed);
    }

    #[inline]
    fn clear(&self, bits: usize) {
        self.0.fetch_and(!bits, Ordering::Relaxed);
    }

    // The word that has the bit of this CPU.

    #[inline]
    pub(crate) fn has(&self, cpu: CpuId) -> bool {
        self.get() & bit(cpu) != 0
    }

    #[inline]
    pub(crate) fn insert(&self, cpu: CpuId) {
        self.set(bit(cpu));
    }

    #[inline]
    pub(crate) fn remove(&self, cpu: CpuId) {
        self.clear(bit(cpu));
    }
}

/// A view of one CPU mask, to look at.
#[derive(Clone, Copy, Debug)]
pub struct CpuMask<'a> {
    words: &'a [MaskWord],
}

impl<'a> CpuMask<'a> {
    /// Views `words` as a mask: bit `i % usize::BITS` of word `i / usize::BITS` is CPU `i`.
    pub const fn new(words: &'a [MaskWord]) -> Self {
        Self { words }
    }

    /// Whether `cpu` is in the mask. A CPU beyond its words is not.
    #[inline(never)]
    pub fn contains(self, cpu: CpuId) -> bool {
        let word = self.words.get(cpu.index() / BITS);
        word.is_some_and(|word| word.get() & bit(cpu) != 0)
    }

    /// Adds `cpu`. Returns whether the mask has room for it.
    #[inline(never)]
    pub(crate) fn insert(self, cpu: CpuId) -> bool {
        let word = self.words.get(cpu.index() / BITS);
        word.map(|word| word.set(bit(cpu))).is_some()
    }

    /// Takes `cpu` out.
    #[inline(never)]
    pub(crate) fn remove(self, cpu: CpuId) {
        if let Some(word) = self.words.get(cpu.index() / BITS) {
            word.clear(bit(cpu));
        }
    }

    /// Takes every CPU out.
    #[inline(never)]
    pub(crate) fn clear(self) {
        self.words.iter().for_each(|word| word.clear(usize::MAX));
    }

    /// Returns how many CPUs are in the mask.
    #[inline(never)]
    pub fn count(self) -> usize {
        self.words
            .iter()
            .map(|word| word.get().count_ones() as usize)
            .sum()
    }

    /// Whether no CPU is in the mask.
    #[inline(never)]
    pub fn is_empty(self) -> bool {
        self.words.iter().all(|word| word.get() == 0)
    }

    /// Iterates over the CPUs in ascending order. Each word is read once, when it is reached.
    pub const fn iter(self) -> Iter<'a> {
        Iter {
            words: self.words,
            next: 0,
            current: 0,
        }
    }

    /// Returns the first CPU at or above `from`.
    #[inline(never)]
    pub(crate) fn first_from(self, from: u32) -> Option<CpuId> {
        let at = from as usize;
        let mut iter = Iter {
            words: self.words,
            next: at / BITS,
            current: 0,
        };
        if !at.is_multiple_of(BITS) {
            let word = self.words.get(at / BITS)?;
            iter.current = word.get() & (usize::MAX << (at % BITS));
            iter.next += 1;
        }
        iter.next()
    }

    /// Iterates like [`Self::iter`], by less code and more loads: for what is not done often.
    pub(crate) fn each(self) -> impl Iterator<Item = CpuId> + use<'a> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let cpu = self.first_from(from)?;
            from = cpu.get() + 1;
            Some(cpu)
        })
    }
}

impl<'a> IntoIterator for CpuMask<'a> {
    type Item = CpuId;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

const fn bit(cpu: CpuId) -> usize {
    1 << (cpu.index() % BITS)
}

/// The CPUs of a mask in ascending order; holds the current word.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    words: &'a [MaskWord],
    next: usize,
    current: usize,
}

impl Iterator for Iter<'_> {
    type Item = CpuId;

    fn next(&mut self) -> Option<CpuId> {
        while self.current == 0 {
            self.current = self.words.get(self.next)?.get();
            self.next += 1;
        }
        let number = (self.next - 1) * BITS + self.current.trailing_zeros() as usize;
        self.current &= self.current - 1;
        u32::try_from(number).ok().map(CpuId::new)
    }
}

/// A view of a mask of a caller's own, to change.
///
/// The masks the core keeps are never handed out as this.
#[derive(Clone, Copy, Debug)]
pub struct CpuMaskMut<'a> {
    mask: CpuMask<'a>,
}

impl<'a> CpuMaskMut<'a> {
    /// Views `words` as a mask, laid out as in [`CpuMask::new`].
    pub const fn new(words: &'a [MaskWord]) -> Self {
        Self {
            mask: CpuMask::new(words),
        }
    }

    /// Adds `cpu`. Returns whether the mask has room for it.
    pub fn insert(self, cpu: CpuId) -> bool {
        self.mask.insert(cpu)
    }

    /// Takes `cpu` out.
    pub fn remove(self, cpu: CpuId) {
        self.mask.remove(cpu);
    }

    /// Takes every CPU out.
    pub fn clear(self) {
        self.mask.clear();
    }

    /// Returns the view to look at, and to name CPUs with.
    pub const fn get(self) -> CpuMask<'a> {
        self.mask
    }
}

/// Memory for one mask of a caller's own, all zero.
///
/// ```
/// use cpuhp_core::{CpuId, MaskStore, words};
/// static MINE: MaskStore<{ words(64) }> = MaskStore::new();
/// assert!(MINE.get_mut().insert(CpuId::new(63)));
/// assert!(!MINE.get_mut().insert(CpuId::new(64)));
/// assert_eq!(MINE.get().count(), 1);
/// ```
#[derive(Debug)]
pub struct MaskStore<const WORDS: usize> {
    words: [MaskWord; WORDS],
}

impl<const WORDS: usize> MaskStore<WORDS> {
    zero_const! {
        /// Makes an empty mask.
        pub fn new() -> Self {
            Self { words: zero_array!(MaskWord::new(0); WORDS) }
        }
    }

    /// Returns the view to look at, and to name CPUs with.
    pub const fn get(&self) -> CpuMask<'_> {
        CpuMask::new(&self.words)
    }

    /// Returns the view to change. Shared: the words are atomic.
    pub const fn get_mut(&self) -> CpuMaskMut<'_> {
        CpuMaskMut::new(&self.words)
    }
}

impl<const WORDS: usize> Default for MaskStore<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

/// The masks the core keeps, in the order of their words in [`crate::Storage`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// May be brought up. Written by the control CPU, before an operation.
    Present = 0,
    /// At `AP_IDLE` or above: CPU-local work may run. Written by the AP: set before UP is stored,
    /// cleared when it is told to die.
    Available = 1,
    /// At `ONLINE`: general work may be placed. Written by the AP: set after its last `up`, cleared
    /// before its first `down`.
    Online = 2,
    /// On the way out. Written by the AP: cleared when it turns back and before GONE is stored.
    Dying = 3,
    /// In the running bulk operation. Written by the control CPU.
    Batch = 4,
    /// Of these, not yet collected. Written by the control CPU.
    Pending = 5,
    /// Named for it, but not yet admitted. Written by the control CPU.
    Waiting = 6,
    /// Taken down by a freeze. Written by the control CPU.
    Frozen = 7,
}

/// How many masks the core keeps.
pub(crate) const KINDS: usize = 8;
