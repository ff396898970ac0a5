//! One CPU's slot: the words by which a parked CPU and whoever wants it talk.
//!
//! One page of 32-bit words; every word has one writing side, and the two sides never share 256
//! bytes, so that a CPU with its caches off can use it too. A CPU rests from `parked` := n until `go`
//! reads n; a number is used once, so no word has to be reset in between.
//!
//! | offset | words | writer |
//! |---|---|---|
//! | 0x000 | header, 16 words that add up to 0 | installer |
//! | 0x100 | `go`; 0x108 entry, argument | releaser |
//! | 0x200 | `parked`, `taken` | the parked CPU |
//! | 0x400 | here: the parked CPU's stack | the parked CPU |
//!
//! Spec: park slot ABI version 1.

use core::sync::atomic::{AtomicU32, Ordering};

const MAGIC: u32 = 0x4b52_4150;
const VERSION: u32 = 1;
/// Bytes of a slot.
pub(crate) const SLOT_LEN: usize = 4096;
const LEN: u32 = 4096;
/// ELF machine number of `x86_64`.
const ARCH: u32 = 62;
/// Wake kind: an interrupt, its vector is the argument.
const WAKE_IPI: u32 = 2;
/// In `go`: somebody is about to release this number.
const CLAIM: u32 = 1 << 31;

/// What the installer writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) hw_id: u64,
    /// Physical address of the park code, and its length.
    pub(crate) code: u64,
    pub(crate) code_len: u32,
    pub(crate) vector: u8,
}

/// Why a CPU was not released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SlotError {
    /// This is no slot.
    BadMagic,
    /// A slot of another version, size or architecture.
    BadVersion,
    /// The header does not add up.
    BadChecksum,
    /// The slot of another CPU.
    WrongCpu,
    /// Nobody rests here.
    NotParked,
    /// Somebody else was faster.
    AlreadyReleased,
}

/// The slot. All zero is a slot of nobody.
#[repr(C, align(4096))]
pub(crate) struct ParkSlot {
    header: [AtomicU32; 64],
    go: AtomicU32,
    reserved: AtomicU32,
    entry: [AtomicU32; 2],
    arg: [AtomicU32; 2],
    to_0x200: [AtomicU32; 58],
    parked: AtomicU32,
    taken: AtomicU32,
    to_0x400: [AtomicU32; 126],
    stack: [AtomicU32; 768],
}

/// Offsets that the park code knows.
pub(crate) mod at {
    use core::mem::offset_of;

    use super::ParkSlot;

    pub(crate) const GO: usize = offset_of!(ParkSlot, go);
    pub(crate) const ENTRY: usize = offset_of!(ParkSlot, entry);
    pub(crate) const ARG: usize = offset_of!(ParkSlot, arg);
    pub(crate) const PARKED: usize = offset_of!(ParkSlot, parked);
    pub(crate) const TAKEN: usize = offset_of!(ParkSlot, taken);

    const _: () = assert!(GO == 0x100 && ENTRY == 0x108 && ARG == 0x110);
    const _: () = assert!(PARKED == 0x200 && TAKEN == 0x204);
    const _: () = assert!(offset_of!(ParkSlot, stack) == 0x400);
    const _: () = assert!(size_of::<ParkSlot>() == super::SLOT_LEN);
}

#[expect(clippy::cast_possible_truncation, reason = "split into two words")]
const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

impl ParkSlot {
    /// Makes it the slot of one CPU that has never rested here. Context: nobody uses it.
    pub(crate) fn install(&self, of: Header) {
        let [hw_low, hw_high] = halves(of.hw_id);
        let [code_low, code_high] = halves(of.code);
        let vector = u32::from(of.vector);
        let words = [
            [MAGIC, VERSION, LEN, ARCH],
            [hw_low, hw_high, code_low, code_high],
            [of.code_len, WAKE_IPI, vector, 0],
        ];
        let mut sum = 0_u32;
        for (place, word) in self.header.iter().zip(words.as_flattened()) {
            place.store(*word, Ordering::Relaxed);
            sum = sum.wrapping_add(*word);
        }
        for place in &self.header[12..] {
            place.store(0, Ordering::Relaxed);
        }
        self.header[15].store(sum.wrapping_neg(), Ordering::Relaxed);
        for word in [&self.go, &self.parked] {
            word.store(0, Ordering::Relaxed);
        }
        // Release: whoever reads a number from here on finds the header.
        self.taken.store(0, Ordering::Release);
    }

    /// Returns the number of the next rest of the CPU, for the park code. Context: the CPU itself.
    pub(crate) fn next(&self) -> u32 {
        match self.parked.load(Ordering::Relaxed).wrapping_add(1) & !CLAIM {
            0 => 1,
            number => number,
        }
    }

    /// Whether the CPU rests here and nobody has released it.
    ///
    /// Acquire: then everything the CPU did before is visible.
    pub(crate) fn is_resting(&self) -> bool {
        let parked = self.parked.load(Ordering::Acquire);
        let taken = self.taken.load(Ordering::Relaxed);
        let go = self.go.load(Ordering::Relaxed);
        parked != taken && go & !CLAIM != parked
    }

    /// Whether a release waits for the CPU to see it.
    pub(crate) fn is_released(&self) -> bool {
        let parked = self.parked.load(Ordering::Relaxed);
        self.go.load(Ordering::Relaxed) == parked && self.taken.load(Ordering::Relaxed) != parked
    }

    /// Lets the CPU go to `entry`, with `arg`. It has to be woken after that.
    ///
    /// # Errors
    /// [`SlotError`]; the CPU rests as before, or is released already.
    pub(crate) fn release(&self, hw_id: u64, entry: u64, arg: u64) -> Result<(), SlotError> {
        let header = |at: usize| self.header[at].load(Ordering::Relaxed);
        if header(0) != MAGIC {
            return Err(SlotError::BadMagic);
        }
        if [header(1), header(2), header(3)] != [VERSION, LEN, ARCH] {
            return Err(SlotError::BadVersion);
        }
        if (0..16).map(header).fold(0, u32::wrapping_add) != 0 {
            return Err(SlotError::BadChecksum);
        }
        if [header(4), header(5)] != halves(hw_id) {
            return Err(SlotError::WrongCpu);
        }
        let parked = self.parked.load(Ordering::Acquire);
        if parked == self.taken.load(Ordering::Relaxed) {
            return Err(SlotError::NotParked);
        }
        let go = self.go.load(Ordering::Relaxed);
        let claim = parked | CLAIM;
        let is_claimed = go & !CLAIM != parked
            && self
                .go
                .compare_exchange(go, claim, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if !is_claimed {
            return Err(SlotError::AlreadyReleased);
        }
        for (words, value) in [(&self.entry, entry), (&self.arg, arg)] {
            for (word, half) in words.iter().zip(halves(value)) {
                word.store(half, Ordering::Relaxed);
            }
        }
        // Release: the CPU that sees it sees entry and argument, and all the releaser wrote.
        self.go.store(parked, Ordering::Release);
        Ok(())
    }

    /// Notes that the CPU is not here any more. Context: the CPU itself, after a start by INIT.
    pub(crate) fn leave(&self) {
        let parked = self.parked.load(Ordering::Relaxed);
        self.taken.store(parked, Ordering::Release);
    }
}

#[cfg(test)]
impl ParkSlot {
    /// The slot of a CPU with this id.
    pub(crate) fn installed(hw_id: u64) -> Self {
        let zeros = |_| AtomicU32::new(0);
        let slot = Self {
            header: core::array::from_fn(zeros),
            go: zeros(0),
            reserved: zeros(0),
            entry: core::array::from_fn(zeros),
            arg: core::array::from_fn(zeros),
            to_0x200: core::array::from_fn(zeros),
            parked: zeros(0),
            taken: zeros(0),
            to_0x400: core::array::from_fn(zeros),
            stack: core::array::from_fn(zeros),
        };
        slot.install(Header {
            hw_id,
            code: 0x10_2000,
            code_len: 0x300,
            vector: 0xf0,
        });
        slot
    }

    /// What the park code does when a CPU comes to rest.
    pub(crate) fn park(&self) -> u32 {
        let number = self.next();
        self.parked.store(number, Ordering::Release);
        number
    }

    /// What it does when it wakes: entry and argument, if it was released.
    pub(crate) fn wake(&self, number: u32) -> Option<[u64; 2]> {
        if self.go.load(Ordering::Acquire) != number {
            return None;
        }
        let read = |words: &[AtomicU32; 2]| {
            let [low, high] = [0, 1].map(|at: usize| words[at].load(Ordering::Relaxed));
            u64::from(high) << 32 | u64::from(low)
        };
        let start = [read(&self.entry), read(&self.arg)];
        self.taken.store(number, Ordering::Release);
        Some(start)
    }
}

#[cfg(test)]
mod tests;
