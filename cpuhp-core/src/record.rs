//! The per-CPU record and the storage of a whole machine: atomics only, all zero at the start.
//!
//! One record is 128 bytes: a line that the other side polls (the handshake and the operation) and a
//! line that the walking side writes at every step. Every 64-bit value is two words of one owner, so
//! no 64-bit atomics are needed. All-zero is the valid initial state: storage stays in `.bss`.

use crate::cpu::CpuId;
use crate::handshake::{Busy, Handshake};
use crate::lock::LockWord;
use crate::mask::{CpuMask, KINDS, Kind, words};
use crate::step::StateId;
use crate::sync::{AtomicU32, MODELLED, MaskWord, Ordering, zero_array, zero_const};

/// A word with one owner at a time; another side reads it only after an edge of the handshake.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Own(pub(crate) AtomicU32);

impl Own {
    zero_const! {
        fn new() -> Self {
            Self(AtomicU32::new(0))
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads it as a state number.
    #[inline]
    pub(crate) fn state(&self) -> StateId {
        crate::walk::state_of(&self.0)
    }

    #[inline]
    pub(crate) fn set_state(&self, at: StateId) {
        self.set(u32::from(at.get()));
    }
}

/// A 64-bit value with one owner at a time.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Own64 {
    low: Own,
    high: Own,
}

impl Own64 {
    zero_const! {
        fn new() -> Self {
            Self { low: Own::new(), high: Own::new() }
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        u64::from(self.low.get()) | u64::from(self.high.get()) << 32
    }

    #[expect(clippy::cast_possible_truncation, reason = "split into two words")]
    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.low.set(value as u32);
        self.high.set((value >> 32) as u32);
    }
}

/// A failure as record words: what answered, and at which state.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Fault {
    pub(crate) err: Own,
    pub(crate) at: Own,
}

impl Fault {
    zero_const! {
        fn new() -> Self {
            Self { err: Own::new(), at: Own::new() }
        }
    }

    #[inline]
    pub(crate) fn clear(&self) {
        self.err.set(0);
        self.at.set(0);
    }
}

/// Everything the core keeps of one CPU.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Record {
    // Line 0: edges, and the operation. Written by the control CPU, but for `ack` and `sync`.
    pub(crate) edges: Handshake,
    /// Stamp of the operation that may move this CPU; 0 = none.
    pub(crate) owner: AtomicU32,
    /// Phase, flags, what is awaited, and the state seen when its deadline was armed.
    pub(crate) phase: Own,
    pub(crate) target: Own,
    pub(crate) origin: Own,
    pub(crate) first: Fault,
    pub(crate) second: Fault,
    pub(crate) deadline: Own64,
    /// Epoch of the last hardware kick, and in bit 16 whether its outcome is untold.
    pub(crate) kicked: Own,
    pub(crate) kick_code: Own64,
    // Line 1: the walking side.
    /// Last completed state.
    pub(crate) state: AtomicU32,
    pub(crate) busy: Busy,
    /// What the AP's present request does: idle, forward, back, leaving.
    pub(crate) mode: Own,
    /// State at which the AP's present request began.
    pub(crate) walk_origin: Own,
    pub(crate) walk_first: Fault,
    pub(crate) walk_second: Fault,
    /// Sections this CPU has ever completed upwards: bit 0 PREPARE, 1 STARTING, 2 ONLINE.
    pub(crate) entered: Own,
    /// Context + 1 that executes a step on this CPU now; 0 = none.
    pub(crate) step_context: Own,
    /// Since when the AP waits for its release; 0 = not waiting.
    pub(crate) since: Own64,
}

const _: () = assert!(MODELLED || size_of::<Record>() == 128);

impl Record {
    zero_const! {
        /// Makes the record of a CPU that is off and was never started: all zero.
        pub fn new() -> Self {
            Self {
                edges: Handshake::new(),
                owner: AtomicU32::new(0),
                phase: Own::new(),
                target: Own::new(),
                origin: Own::new(),
                first: Fault::new(),
                second: Fault::new(),
                deadline: Own64::new(),
                kicked: Own::new(),
                kick_code: Own64::new(),
                state: AtomicU32::new(0),
                busy: Busy::new(),
                mode: Own::new(),
                walk_origin: Own::new(),
                walk_first: Fault::new(),
                walk_second: Fault::new(),
                entered: Own::new(),
                step_context: Own::new(),
                since: Own64::new(),
            }
        }
    }

    /// Returns the last completed state.
    #[inline]
    pub(crate) fn state(&self) -> StateId {
        crate::walk::state_of(&self.state)
    }

    #[inline]
    pub(crate) fn set_state(&self, at: StateId) {
        self.state.store(u32::from(at.get()), Ordering::Relaxed);
    }
}

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

/// Room for one dynamic state. Empty until dynamic states can be registered.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct DynSlot {
    step: MaskWord,
}

impl DynSlot {
    zero_const! {
        /// Makes an empty slot.
        pub fn new() -> Self {
            Self { step: MaskWord::new(0) }
        }
    }

    /// Whether no state is registered here.
    pub fn is_empty(&self) -> bool {
        self.step.load(Ordering::Relaxed) == 0
    }
}

impl Default for DynSlot {
    fn default() -> Self {
        Self::new()
    }
}

/// Static memory for a machine of up to `CPUS` CPUs; `WORDS` is `words(CPUS)`.
///
/// All zero, so a `static` of it stays in `.bss` whatever its size.
///
/// ```
/// use cpuhp_core::{Store, words};
/// static STORE: Store<64, { words(64) }, 0> = Store::new();
/// assert_eq!(STORE.get().cpus(), 64);
/// ```
#[derive(Debug)]
pub struct Store<const CPUS: usize, const WORDS: usize, const DYN: usize> {
    records: [Record; CPUS],
    masks: [[MaskWord; WORDS]; KINDS],
    slots: [DynSlot; DYN],
    lock: LockWord,
}

impl<const CPUS: usize, const WORDS: usize, const DYN: usize> Store<CPUS, WORDS, DYN> {
    const CHECKED: () = {
        assert!(
            WORDS == words(CPUS),
            "the second parameter of `Store` is `words(CPUS)`"
        );
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
        }
    }
}

impl<const C: usize, const W: usize, const D: usize> Default for Store<C, W, D> {
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
        })
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

    #[inline(never)]
    pub(crate) fn mask(&self, kind: Kind) -> CpuMask<'a> {
        let each = words(self.records.len());
        let from = kind as usize * each;
        CpuMask::new(self.masks.get(from..from + each).unwrap_or_default())
    }

    #[inline(never)]
    pub(crate) fn has(&self, kind: Kind, cpu: CpuId) -> bool {
        self.mask(kind).contains(cpu)
    }

    #[inline(never)]
    pub(crate) fn add(&self, kind: Kind, cpu: CpuId) {
        self.mask(kind).insert(cpu);
    }

    #[inline(never)]
    pub(crate) fn take(&self, kind: Kind, cpu: CpuId) {
        self.mask(kind).remove(cpu);
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
