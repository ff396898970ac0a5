//! The boot record: all that one CPU's start needs, 128 bytes of `.bss` per CPU.
//!
//! Two cache lines with one kind of writer each. Control CPUs write the first line and the entry
//! code of the AP reads it; the second belongs to the AP, apart from its `wake` word. The record of
//! a CPU lies at the index of its logical number, so the records are also the table from [`HwId`]
//! to [`CpuId`]; without an allocator they are the only memory that grows with the machine.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use cpuhp_core::{CpuId, HwId};

/// What a CPU is given to start with. A PREPARE step hands it over with [`BootRecord::set`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Boot {
    /// Highest address of the CPU's stack, exclusive; a multiple of 16.
    pub stack_top: u64,
    /// The per-CPU base (`tp` on entry); 0 = the address of the record itself.
    pub percpu: u64,
    /// The page table, as the value of `satp`; 0 = the boot hart's, which may be none.
    pub root: u64,
}

/// The CPU is there: served by the firmware, or made present later.
const PRESENT: u32 = 1;

/// A poke that the CPU has not consumed yet; set by anybody.
const POKED: u32 = 1;
/// The CPU is about to sleep, or asleep; set by itself.
const ASLEEP: u32 = 2;

/// One CPU's start and wake-up words. All zero is valid, and means "nobody".
///
/// ```
/// use cpuhp_riscv::BootRecord;
/// static RECORDS: [BootRecord; 8] = [const { BootRecord::ZERO }; 8];
/// assert_eq!(core::mem::size_of_val(&RECORDS), 8 * 128);
/// ```
#[repr(C, align(128))]
#[derive(Debug)]
pub struct BootRecord {
    // First line: written by control CPUs, read by the AP's entry code. No ordering is needed
    // between the two: the start itself orders them (see `kick`).
    pub(crate) stack_top: AtomicU64,
    pub(crate) percpu: AtomicU64,
    pub(crate) root: AtomicU64,
    pub(crate) hw_id: AtomicU64,
    /// Whether the CPU was kicked; see `kick`, the only file that writes it.
    pub(crate) engine: AtomicU32,
    pub(crate) cpu: AtomicU32,
    flags: AtomicU32,
    /// Epoch of the last kick.
    pub(crate) epoch: AtomicU32,
    wave: AtomicU32,
    /// How often the start of the last kick was repeated. Written by whoever claimed `engine`.
    pub(crate) repeats: AtomicU32,
    /// Number of the rest that has ended; see [`BootRecord::release`].
    pub(crate) go: AtomicU32,

    // Second line: written by the AP.
    line: Line,
    /// 1 once the AP's entry code ran after the last kick. Release by the AP; Acquire in `kick`.
    pub(crate) arrived: AtomicU32,
    /// POKED and ASLEEP. All accesses are read-modify-writes of this one word, so either the
    /// sleeper sees the poke or the poker sees the sleeper.
    wake: AtomicU32,
    polls: AtomicU32,
    polls_max: AtomicU32,
    /// Number of the CPU's last rest, and of the last one that it left. Written by the park code, where
    /// Release orders what the CPU did before; the first is read with Acquire.
    pub(crate) parked: AtomicU32,
    pub(crate) taken: AtomicU32,
    /// Epoch bits of the start that entered last. Written and read by the CPU itself.
    pub(crate) started: AtomicU32,
}

/// Moves what follows to the next cache line.
#[repr(C, align(64))]
#[derive(Debug)]
struct Line;

const _: () = assert!(size_of::<BootRecord>() == 128);
const _: () = assert!(core::mem::offset_of!(BootRecord, arrived) == 64);

/// Whether the target of a poke has to be interrupted to see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Poke {
    /// It sleeps: send the wake interrupt.
    Interrupt,
    /// It looks by itself before it sleeps.
    Seen,
}

impl BootRecord {
    /// The record of nobody.
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "the initial value of each element of a static array"
    )]
    pub const ZERO: Self = Self {
        stack_top: AtomicU64::new(0),
        percpu: AtomicU64::new(0),
        root: AtomicU64::new(0),
        hw_id: AtomicU64::new(0),
        engine: AtomicU32::new(0),
        cpu: AtomicU32::new(0),
        flags: AtomicU32::new(0),
        epoch: AtomicU32::new(0),
        wave: AtomicU32::new(0),
        repeats: AtomicU32::new(0),
        go: AtomicU32::new(0),
        line: Line,
        arrived: AtomicU32::new(0),
        wake: AtomicU32::new(0),
        polls: AtomicU32::new(0),
        polls_max: AtomicU32::new(0),
        parked: AtomicU32::new(0),
        taken: AtomicU32::new(0),
        started: AtomicU32::new(0),
    };

    /// Gives the CPU what it starts with: the `up` half of a PREPARE step.
    ///
    /// Context: control CPU, while the CPU is off.
    pub fn set(&self, boot: Boot) {
        self.percpu.store(boot.percpu, Ordering::Relaxed);
        self.root.store(boot.root, Ordering::Relaxed);
        // The ABI wants 16 bytes; a stack that ends elsewhere loses the rest.
        self.stack_top
            .store(boot.stack_top & !0xf, Ordering::Relaxed);
    }

    /// Takes it back: the `down` half of the same step. A kick is refused from here on.
    ///
    /// Context: control CPU, while the CPU is off.
    pub fn clear(&self) {
        self.set(Boot {
            stack_top: 0,
            percpu: 0,
            root: 0,
        });
    }

    /// Returns the most polls this CPU made between two wake-ups while it waited.
    pub fn polls_max(&self) -> u32 {
        self.polls_max.load(Ordering::Relaxed)
    }

    /// Whether the CPU's entry code has run since its last kick.
    pub fn has_arrived(&self) -> bool {
        self.arrived.load(Ordering::Acquire) != 0
    }

    /// Gives the record to the CPU `cpu` with hardware id `hw_id`.
    pub(crate) fn list(&self, cpu: CpuId, hw_id: HwId, wave: u8) {
        self.hw_id.store(hw_id.0, Ordering::Relaxed);
        self.cpu.store(cpu.get(), Ordering::Relaxed);
        self.flags.store(0, Ordering::Relaxed);
        self.wave.store(u32::from(wave), Ordering::Relaxed);
    }

    /// Returns the wave in which the CPU is to be started.
    pub(crate) fn wave(&self) -> u8 {
        u8::try_from(self.wave.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn set_present(&self) {
        self.flags.fetch_or(PRESENT, Ordering::Relaxed);
    }

    pub(crate) fn is_present(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & PRESENT != 0
    }

    /// Returns the number of the CPU's next rest. Context: the CPU itself, before it rests.
    ///
    /// Each number is used once, so no word has to be reset between two rests.
    pub(crate) fn next_rest(&self) -> u32 {
        after(self.parked.load(Ordering::Relaxed))
    }

    /// Whether the CPU rests off everything that PREPARE made, and nobody has released it.
    ///
    /// Acquire: then everything the CPU did before is visible.
    pub(crate) fn is_parked(&self) -> bool {
        let parked = self.parked.load(Ordering::Acquire);
        let go = self.go.load(Ordering::Relaxed);
        parked != self.taken.load(Ordering::Relaxed) && go != parked
    }

    /// Ends the CPU's rest, or the one it is about to begin. It has to be woken after that.
    ///
    /// Context: control CPU. A rest that never comes costs the next one a look at the record.
    pub(crate) fn release(&self) {
        let parked = self.parked.load(Ordering::Relaxed);
        let rests = parked != self.taken.load(Ordering::Relaxed);
        let number = if rests { parked } else { after(parked) };
        // Release: the CPU that sees it sees what it shall begin with.
        self.go.store(number, Ordering::Release);
    }

    pub(crate) fn hw_id(&self) -> HwId {
        HwId(self.hw_id.load(Ordering::Relaxed))
    }

    /// Makes the CPU's next or running sleep end, wherever it sleeps. Context: any CPU, after what it shall
    /// see.
    ///
    /// A CPU that is not in one of our sleeps may be in one of its kernel's own, which only an interrupt
    /// ends. It is spared only where one is on its way to this very sleep.
    ///
    /// Release: a sleeper that sees the poke also sees what was published before it.
    pub(crate) fn poke(&self) -> Poke {
        let before = self.wake.fetch_or(POKED, Ordering::Release);
        if before == ASLEEP | POKED {
            Poke::Seen
        } else {
            Poke::Interrupt
        }
    }

    /// As [`Self::poke`], for a CPU that sleeps in our waits only: awake, it looks before it sleeps.
    pub(crate) fn poke_waiter(&self) -> Poke {
        match self.wake.fetch_or(POKED, Ordering::Release) {
            ASLEEP => Poke::Interrupt,
            _ => Poke::Seen,
        }
    }

    /// Takes a poke back whose interrupt could not be sent, so that the next one tries again.
    pub(crate) fn unpoke(&self) {
        self.wake.fetch_and(!POKED, Ordering::Relaxed);
    }

    /// Announces the CPU's sleep. False if it was poked since its last one: then it must not sleep.
    ///
    /// Context: the CPU itself, interrupts off until the sleep has begun.
    pub(crate) fn begin_sleep(&self) -> bool {
        let poked = self.wake.fetch_or(ASLEEP, Ordering::Acquire) & POKED != 0;
        if poked {
            self.end_sleep();
        }
        !poked
    }

    /// Ends the sleep, whoever ended it. A poke that came meanwhile is consumed: its publisher was
    /// earlier, and the CPU looks again before the next sleep.
    pub(crate) fn end_sleep(&self) {
        self.wake.swap(0, Ordering::Acquire);
        self.polls.store(0, Ordering::Relaxed);
    }

    /// Uses up a poke that came while the CPU polled. If it did, the CPU polls again and does not
    /// sleep: its last poll may have been earlier. Kept, the poke would only spoil a later sleep.
    pub(crate) fn take_poke(&self) -> bool {
        let poked = self.wake.load(Ordering::Relaxed) & POKED != 0;
        if poked {
            self.end_sleep();
        }
        poked
    }

    /// Counts one poll and returns how many were made since the last wake-up or poke.
    ///
    /// Context: the CPU itself; nobody else counts, so a load and a store are enough.
    pub(crate) fn count_poll(&self) -> u32 {
        let polls = self.polls.load(Ordering::Relaxed).saturating_add(1);
        self.polls.store(polls, Ordering::Relaxed);
        if polls > self.polls_max.load(Ordering::Relaxed) {
            self.polls_max.store(polls, Ordering::Relaxed);
        }
        polls
    }
}

/// The number after this one; never 0, which is no rest.
const fn after(number: u32) -> u32 {
    match number.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poke_before_sleep_prevents_it_and_is_consumed() {
        let record = BootRecord::ZERO;
        assert_eq!(record.poke_waiter(), Poke::Seen);
        assert!(!record.begin_sleep());
        assert!(record.begin_sleep());
    }

    #[test]
    fn a_cpu_outside_our_sleeps_is_interrupted_every_time() {
        let record = BootRecord::ZERO;
        assert_eq!(record.poke(), Poke::Interrupt);
        assert_eq!(record.poke(), Poke::Interrupt);
    }

    #[test]
    fn a_poke_that_was_not_sent_is_tried_again() {
        let record = BootRecord::ZERO;
        assert!(record.begin_sleep());
        assert_eq!(record.poke(), Poke::Interrupt);
        record.unpoke();
        assert_eq!(record.poke(), Poke::Interrupt);
    }

    #[test]
    fn only_the_first_poke_of_a_sleeper_interrupts() {
        let record = BootRecord::ZERO;
        assert!(record.begin_sleep());
        assert_eq!(record.poke(), Poke::Interrupt);
        assert_eq!(record.poke(), Poke::Seen);
        record.end_sleep();
        assert_eq!(record.poke_waiter(), Poke::Seen);
    }

    #[test]
    fn a_poke_of_a_polling_cpu_starts_the_count_anew() {
        let record = BootRecord::ZERO;
        assert_eq!([record.count_poll(), record.count_poll()], [1, 2]);
        assert!(!record.take_poke());
        assert_eq!(record.poke_waiter(), Poke::Seen);
        assert!(record.take_poke());
        assert!(!record.take_poke(), "it is used up");
        assert_eq!(record.count_poll(), 1);
        assert!(record.begin_sleep());
    }

    /// What the park code does: comes to rest, and says whether it stays.
    fn rest(record: &BootRecord) -> u32 {
        let number = record.next_rest();
        record.parked.store(number, Ordering::Release);
        number
    }

    fn leaves(record: &BootRecord, number: u32) -> bool {
        let leaves = record.go.load(Ordering::Acquire) == number;
        if leaves {
            record.taken.store(number, Ordering::Release);
        }
        leaves
    }

    #[test]
    fn a_rest_ends_by_its_release_only_whichever_comes_first() {
        let record = BootRecord::ZERO;
        assert!(!record.is_parked());
        for start in [0, 1, u32::MAX - 1, u32::MAX] {
            record.parked.store(start, Ordering::Relaxed);
            record.taken.store(start, Ordering::Relaxed);
            let first = rest(&record);
            assert!(record.is_parked() && !leaves(&record, first), "{start}");
            record.release();
            assert!(!record.is_parked(), "it may leave at any moment");
            assert!(leaves(&record, first));
            assert!(!record.is_parked());
            // On its way into the next one when it is released.
            record.release();
            assert!(!record.is_parked(), "it is not there yet");
            let second = rest(&record);
            assert!(!record.is_parked() && leaves(&record, second), "{start}");
            let third = rest(&record);
            assert!(record.is_parked() && !leaves(&record, third), "{start}");
            assert!(first != 0 && second != 0 && third != 0);
            record.release();
            assert!(leaves(&record, third));
        }
    }

    #[test]
    fn polls_are_counted_between_two_wakes() {
        let record = BootRecord::ZERO;
        assert_eq!([record.count_poll(), record.count_poll()], [1, 2]);
        record.end_sleep();
        assert_eq!(record.count_poll(), 1);
        assert_eq!(record.polls_max(), 2);
    }
}
