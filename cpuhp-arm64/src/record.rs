//! The boot record: all that one CPU's start needs, 128 bytes of `.bss` per CPU.
//!
//! Two cache lines with one kind of writer each. Control CPUs write the first line and clean it to
//! the point of coherency before a kick, because the entry code of the AP reads it with its caches
//! off; the second belongs to the AP, apart from its `wake` word, and is touched with caches on only.
//! The record of a CPU lies at the index of its logical number, so the records are also the table
//! from [`HwId`] to [`CpuId`]; without an allocator they are the only memory that grows with the
//! machine.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use cpuhp_core::{CpuId, HwId};

use crate::config::{CpuDesc, WakeMethod};

/// What a CPU is given to start with. A PREPARE step hands it over with [`BootRecord::set`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Boot {
    /// Highest address of the CPU's stack, exclusive; a multiple of 16.
    pub stack_top: u64,
    /// The per-CPU base (TPIDR of the exception level on entry); 0 = the address of the record itself.
    pub percpu: u64,
    /// Physical address of the translation table (TTBR1_EL1; at EL2 TTBR0_EL2); 0 = as on the boot CPU.
    pub root: u64,
}

/// The CPU is there: listed by firmware, or made present later.
const PRESENT: u32 = 1;
/// It is started by a spin-table.
const SPIN_TABLE: u32 = 2;
/// No redistributor names it: it could not be woken.
const DEAF: u32 = 4;
/// Where the wave lies.
const WAVE: u32 = 8;

// The `rest` word; 0: it runs, or is off.
pub(crate) const RESTS: u32 = 1;
pub(crate) const RELEASED: u32 = 2;

/// A poke that the CPU has not consumed yet; set by anybody.
const POKED: u32 = 1;
/// The CPU is about to sleep, or asleep; set by itself.
const ASLEEP: u32 = 2;

/// Bits of a start value that hold the epoch; the rest is the address of a record.
pub(crate) const EPOCH_BITS: u32 = 0x7f;

/// Bytes of the first line, which the entry code reads with its caches off.
pub(crate) const FIRST_LINE: usize = 64;

/// One CPU's start and wake-up words. All zero is valid, and means "nobody".
///
/// ```
/// use cpuhp_arm64::BootRecord;
/// static RECORDS: [BootRecord; 8] = [const { BootRecord::ZERO }; 8];
/// assert_eq!(core::mem::size_of_val(&RECORDS), 8 * 128);
/// ```
#[repr(C, align(128))]
#[derive(Debug)]
pub struct BootRecord {
    // First line: written by control CPUs, read by the AP's entry code. No ordering is needed
    // between the two: the start itself orders them (see `kick`).
    pub(crate) hw_id: AtomicU64,
    pub(crate) stack_top: AtomicU64,
    pub(crate) percpu: AtomicU64,
    pub(crate) root: AtomicU64,
    /// When the running kick began. Written by whoever claimed `engine`.
    pub(crate) kicked_at: AtomicU64,
    /// Where a CPU of a spin-table looks for its entry: physical address.
    pub(crate) release: AtomicU64,
    pub(crate) cpu: AtomicU32,
    /// Epoch of the last kick.
    pub(crate) epoch: AtomicU32,
    /// The kick engine's word; see `kick`, the only file that writes it. 0: nobody has kicked it.
    pub(crate) engine: AtomicU32,
    flags: AtomicU32,

    // Second line: written by the AP, apart from `frame`, `sgi` and `wake`.
    line: Line,
    /// Virtual address of its redistributor; written once, by the boot CPU.
    pub(crate) frame: AtomicU64,
    /// What makes the wake interrupt pending on it: a value of ICC_SGI1R_EL1. Written once, likewise.
    pub(crate) sgi: AtomicU64,
    /// 1 once the AP's entry code ran after the last kick. Release by the AP; Acquire in `kick`.
    pub(crate) arrived: AtomicU32,
    /// `POKED` and `ASLEEP`. Written by the CPU and by everybody who wakes it.
    wake: AtomicU32,
    /// Polls since the last wake-up, and the most there were. Written by the CPU.
    polls: AtomicU32,
    polls_max: AtomicU32,
    /// Epoch bits of the start that entered last. Written by the AP's entry code.
    pub(crate) started: AtomicU32,
    /// 0, `RESTS` or `RELEASED`: for a CPU that is down and has no slot. It writes the first two, and whoever
    /// releases it the third.
    pub(crate) rest: AtomicU32,
}

/// Moves what follows to the next cache line.
#[repr(C, align(64))]
#[derive(Debug)]
struct Line;

const _: () = assert!(size_of::<BootRecord>() == 128);
const _: () = assert!(core::mem::offset_of!(BootRecord, frame) == FIRST_LINE);

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
        hw_id: AtomicU64::new(0),
        stack_top: AtomicU64::new(0),
        percpu: AtomicU64::new(0),
        root: AtomicU64::new(0),
        kicked_at: AtomicU64::new(0),
        release: AtomicU64::new(0),
        cpu: AtomicU32::new(0),
        epoch: AtomicU32::new(0),
        engine: AtomicU32::new(0),
        flags: AtomicU32::new(0),
        line: Line,
        frame: AtomicU64::new(0),
        sgi: AtomicU64::new(0),
        arrived: AtomicU32::new(0),
        wake: AtomicU32::new(0),
        polls: AtomicU32::new(0),
        polls_max: AtomicU32::new(0),
        started: AtomicU32::new(0),
        rest: AtomicU32::new(0),
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

    /// Gives the record to the CPU `cpu`, listed as `desc`.
    pub(crate) fn list(&self, cpu: CpuId, desc: CpuDesc) {
        self.hw_id.store(desc.hw.0, Ordering::Relaxed);
        self.cpu.store(cpu.get(), Ordering::Relaxed);
        let (method, release) = match desc.method {
            WakeMethod::Psci => (0, 0),
            WakeMethod::SpinTable { release } => (SPIN_TABLE, release),
        };
        self.release.store(release, Ordering::Relaxed);
        let flags = PRESENT | method | u32::from(desc.wave) << WAVE;
        self.flags.store(flags, Ordering::Relaxed);
    }

    /// Clears the AP's side for a new start; nothing of the last one counts any more.
    ///
    /// Context: control CPU, while the CPU is off.
    pub(crate) fn forget(&self) {
        self.arrived.store(0, Ordering::Relaxed);
        self.wake.store(0, Ordering::Relaxed);
        self.polls.store(0, Ordering::Relaxed);
    }

    pub(crate) fn set_present(&self) {
        self.flags.fetch_or(PRESENT, Ordering::Relaxed);
    }

    pub(crate) fn set_absent(&self) {
        self.flags.fetch_and(!PRESENT, Ordering::Relaxed);
    }

    pub(crate) fn set_deaf(&self) {
        self.flags.fetch_or(DEAF, Ordering::Relaxed);
    }

    pub(crate) fn is_deaf(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & DEAF != 0
    }

    pub(crate) fn is_present(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & PRESENT != 0
    }

    pub(crate) fn method(&self) -> WakeMethod {
        if self.flags.load(Ordering::Relaxed) & SPIN_TABLE == 0 {
            WakeMethod::Psci
        } else {
            let release = self.release.load(Ordering::Relaxed);
            WakeMethod::SpinTable { release }
        }
    }

    pub(crate) fn wave(&self) -> u8 {
        let [_, wave, ..] = self.flags.load(Ordering::Relaxed).to_le_bytes();
        wave
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

    /// Announces the CPU's sleep. False if it was poked since its last one: then it must not sleep.
    ///
    /// Context: the CPU itself, interrupts off until the sleep has ended.
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
    fn only_the_first_poke_of_a_sleeper_interrupts() {
        let record = BootRecord::ZERO;
        assert!(record.begin_sleep());
        assert_eq!(record.poke(), Poke::Interrupt);
        assert_eq!(record.poke(), Poke::Seen);
        record.end_sleep();
        assert_eq!(record.poke_waiter(), Poke::Seen);
    }

    #[test]
    fn polls_are_counted_between_two_wakes() {
        let record = BootRecord::ZERO;
        assert_eq!([record.count_poll(), record.count_poll()], [1, 2]);
        record.end_sleep();
        assert_eq!(record.count_poll(), 1);
        assert_eq!(record.polls_max(), 2);
    }

    #[test]
    fn what_is_listed_is_read_back() {
        let record = BootRecord::ZERO;
        let method = WakeMethod::SpinTable { release: 0xd8 };
        let hw = HwId(0xff_00ff_ffff);
        let (cpu, wave) = (CpuId::new(3), 1);
        record.list(cpu, CpuDesc { hw, method, wave });
        assert_eq!((record.hw_id(), record.method()), (hw, method));
        assert_eq!((record.wave(), record.is_present()), (1, true));
        let method = WakeMethod::Psci;
        record.list(
            cpu,
            CpuDesc {
                hw,
                method,
                wave: 0,
            },
        );
        assert_eq!((record.method(), record.wave()), (method, 0));
    }
}
