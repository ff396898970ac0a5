//! One CPU's slot: the words by which a parked CPU and whoever wants it talk.
//!
//! One page of 32-bit words; every word has one writing side, and the two sides never share 256
//! bytes, so that a CPU with its caches off can use it: a dirty line of one side that is written back
//! never takes a word of the other with it. A CPU rests from `parked` := n until `go` reads n; a number
//! is used once, so no word has to be reset in between.
//!
//! | offset | words | writer |
//! |---|---|---|
//! | 0x000 | header, 16 words that add up to 0 | installer |
//! | 0x100 | `go`; 0x108 entry, argument | releaser, caches on: cleaned after |
//! | 0x200 | `parked`, `taken` | the parked CPU, caches off: refreshed before they are read |
//!
//! Spec: park slot ABI version 1.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::cache::{Area, Cache, load_foreign};

const MAGIC: u32 = 0x4b52_4150;
const VERSION: u32 = 1;
/// Bytes of a slot.
pub(crate) const SLOT_LEN: usize = 4096;
const LEN: u32 = 4096;
/// ELF machine number of arm64.
const ARCH: u32 = 183;
/// Wake kinds: the event register, and an interrupt whose number is the argument.
const WAKE_EVENT: u32 = 1;
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
    /// `None`: woken by an event.
    pub(crate) sgi: Option<u8>,
}

/// Where a released CPU goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    /// Physical address of the code it goes to, MMU and caches off.
    pub(crate) entry: u64,
    /// What it finds in x0 there.
    pub(crate) arg: u64,
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
    to_the_end: [AtomicU32; 894],
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
    const _: () = assert!(size_of::<ParkSlot>() == super::SLOT_LEN);
}

#[expect(clippy::cast_possible_truncation, reason = "split into two words")]
const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

impl ParkSlot {
    /// Makes it the slot of one CPU that has never rested here. Context: nobody uses it.
    pub(crate) fn install(&self, cache: &impl Cache, of: Header) {
        let [hw_low, hw_high] = halves(of.hw_id);
        let [code_low, code_high] = halves(of.code);
        let (kind, sgi) = match of.sgi {
            Some(sgi) => (WAKE_IPI, u32::from(sgi)),
            None => (WAKE_EVENT, 0),
        };
        let words = [
            [MAGIC, VERSION, LEN, ARCH],
            [hw_low, hw_high, code_low, code_high],
            [of.code_len, kind, sgi, 0],
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
        for word in [&self.go, &self.parked, &self.taken] {
            word.store(0, Ordering::Relaxed);
        }
        // All of it: no line may be left dirty that the CPU writes with its caches off.
        cache.publish(Area::of(self));
    }

    /// Returns the number of the next rest of the CPU, for the park code. Context: the CPU itself.
    ///
    /// No cache holds an older one than whoever released its last rest has read.
    pub(crate) fn next(&self) -> u32 {
        match self.parked.load(Ordering::Relaxed).wrapping_add(1) & !CLAIM {
            0 => 1,
            number => number,
        }
    }

    /// Whether whoever rests here is woken by an event, else by an interrupt.
    pub(crate) fn wants_event(&self) -> bool {
        self.header[9].load(Ordering::Relaxed) == WAKE_EVENT
    }

    /// Returns the number under which the CPU rests here, if nobody has released it.
    ///
    /// Then everything the CPU did before is visible.
    pub(crate) fn resting(&self, cache: &impl Cache) -> Option<u32> {
        // One line holds both words of the other side.
        let parked = load_foreign(cache, &self.parked);
        let taken = self.taken.load(Ordering::Relaxed);
        let go = self.go.load(Ordering::Relaxed);
        (parked != taken && go & !CLAIM != parked).then_some(parked)
    }

    /// Lets the CPU that rests here under this number go to `entry`, with `arg`. It has to be woken
    /// after that.
    ///
    /// # Errors
    /// [`SlotError`]; the CPU rests as before, or is released already.
    pub(crate) fn release(
        &self,
        cache: &impl Cache,
        hw_id: u64,
        number: u32,
        start: Start,
    ) -> Result<(), SlotError> {
        self.check(hw_id)?;
        let go = self.go.load(Ordering::Relaxed);
        let claim = number | CLAIM;
        let is_claimed = go & !CLAIM != number
            && self
                .go
                .compare_exchange(go, claim, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if !is_claimed {
            return Err(SlotError::AlreadyReleased);
        }
        for (words, value) in [(&self.entry, start.entry), (&self.arg, start.arg)] {
            for (word, half) in words.iter().zip(halves(value)) {
                word.store(half, Ordering::Relaxed);
            }
        }
        // Release: no write-back of the line has the number without what belongs to it.
        self.go.store(number, Ordering::Release);
        let at = core::ptr::from_ref(&self.go).cast();
        let len = at::ARG + 8 - at::GO;
        cache.publish(Area { at, len });
        Ok(())
    }

    /// Checks that this is the slot of the CPU `hw_id`.
    fn check(&self, hw_id: u64) -> Result<(), SlotError> {
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
        Ok(())
    }
}

#[cfg(test)]
impl ParkSlot {
    /// The slot of nobody.
    pub(crate) fn zero() -> Self {
        let zeros = |_| AtomicU32::new(0);
        Self {
            header: core::array::from_fn(zeros),
            go: zeros(0),
            reserved: zeros(0),
            entry: core::array::from_fn(zeros),
            arg: core::array::from_fn(zeros),
            to_0x200: core::array::from_fn(zeros),
            parked: zeros(0),
            taken: zeros(0),
            to_the_end: core::array::from_fn(zeros),
        }
    }

    /// What the park code does when a CPU comes to rest, its caches off.
    pub(crate) fn park(&self, memory: &crate::fake::Fake, number: u32) {
        memory.write(&self.parked, number);
    }

    /// What it does when it wakes: entry and argument, if it was released.
    pub(crate) fn wake(&self, memory: &crate::fake::Fake, number: u32) -> Option<Start> {
        if memory.read(&self.go) != number {
            return None;
        }
        let read = |words: &[AtomicU32; 2]| {
            let [low, high] = [0, 1].map(|at: usize| memory.read(&words[at]));
            u64::from(high) << 32 | u64::from(low)
        };
        let start = Start {
            entry: read(&self.entry),
            arg: read(&self.arg),
        };
        memory.write(&self.taken, number);
        Some(start)
    }

    /// The same two on a machine whose caches are not looked at.
    pub(crate) fn rest(&self) -> u32 {
        let number = self.next();
        self.parked.store(number, Ordering::Release);
        number
    }

    pub(crate) fn leave(&self, number: u32) -> Option<Start> {
        if self.go.load(Ordering::Acquire) != number {
            return None;
        }
        let read = |words: &[AtomicU32; 2]| {
            let [low, high] = [0, 1].map(|at: usize| words[at].load(Ordering::Relaxed));
            u64::from(high) << 32 | u64::from(low)
        };
        let (entry, arg) = (read(&self.entry), read(&self.arg));
        self.taken.store(number, Ordering::Release);
        Some(Start { entry, arg })
    }

    /// Makes the header add up no more.
    pub(crate) fn spoil(&self) {
        self.header[12].fetch_add(1, Ordering::Relaxed);
    }

    /// What a kernel without caches reads of the header.
    pub(crate) fn header_in_memory(&self, memory: &crate::fake::Fake) -> [u32; 16] {
        core::array::from_fn(|at| memory.read(&self.header[at]))
    }
}

#[cfg(test)]
mod tests;
