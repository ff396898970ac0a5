//! What can be found wrong, counted, and the first few kept for a person to read.

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use cpuhp_core::CpuId;

use crate::machine::Host;

/// One kind of broken promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Violation {
    Order,
    WrongCpu,
    Interrupts,
    Overlap,
    Level,
    Balance,
    Masks,
    Target,
    Tag,
    Kicks,
    KickOutcome,
    OperationFailed,
    WrongError,
    WrongState,
    WrongLog,
    Count,
    Existence,
    Deadline,
    HeldUp,
    Time,
    Presence,
    Wave,
    WrongText,
    Section,
    Call,
}

const ALL: [(Violation, &str); 25] = [
    (Violation::Order, "a callback ran out of order"),
    (Violation::WrongCpu, "a callback ran on the wrong CPU"),
    (
        Violation::Interrupts,
        "a callback ran with interrupts in the wrong state",
    ),
    (
        Violation::Overlap,
        "two CPUs were in a step that takes one at a time",
    ),
    (
        Violation::Level,
        "the state is not the number of steps that are up",
    ),
    (
        Violation::Balance,
        "ups without their downs, or the reverse",
    ),
    (Violation::Masks, "a mask does not match the state"),
    (Violation::Target, "at rest, the target is not the state"),
    (Violation::Tag, "the tag does not match the state"),
    (Violation::Kicks, "not exactly one kick per start"),
    (Violation::KickOutcome, "not exactly one outcome per kick"),
    (
        Violation::OperationFailed,
        "an operation failed that should not",
    ),
    (
        Violation::WrongError,
        "the error is not the one that was caused",
    ),
    (Violation::WrongState, "the CPU is not where it should be"),
    (
        Violation::WrongLog,
        "the callbacks are not those that should have run",
    ),
    (Violation::Count, "a count is not what it should be"),
    (Violation::Existence, "the wrong CPUs came, or failed to"),
    (
        Violation::Deadline,
        "a wait did not end at its one deadline",
    ),
    (Violation::HeldUp, "missing CPUs held living ones up"),
    (Violation::Time, "times are out of order"),
    (
        Violation::Presence,
        "the wrong number of CPUs is not present",
    ),
    (
        Violation::Wave,
        "a CPU was kicked before one of an earlier wave",
    ),
    (Violation::WrongText, "a node does not say what it should"),
    (
        Violation::Section,
        "a critical section let somebody else in",
    ),
    (
        Violation::Call,
        "a call was lost, run twice, or traced otherwise than it went",
    ),
];

/// How many are kept.
const KEPT: usize = 8;

/// The violations of one result.
#[derive(Debug)]
pub(crate) struct Violations {
    count: AtomicU32,
    first: [Kept; KEPT],
}

/// One that is kept.
#[derive(Debug)]
struct Kept {
    /// Kind in bits 0..8, CPU in 8..40.
    what: AtomicU64,
    found: AtomicU64,
    right: AtomicU64,
}

impl Violations {
    pub(crate) const fn new() -> Self {
        Self {
            count: AtomicU32::new(0),
            first: [const {
                Kept {
                    what: AtomicU64::new(0),
                    found: AtomicU64::new(0),
                    right: AtomicU64::new(0),
                }
            }; KEPT],
        }
    }

    /// Counts a violation; `found` and `right` are two numbers that help to understand it.
    pub(crate) fn add(&self, what: Violation, cpu: CpuId, found: u64, right: u64) {
        let at = self.count.fetch_add(1, Ordering::Relaxed) as usize;
        if let Some(slot) = self.first.get(at) {
            let word = what as u64 | u64::from(cpu.get()) << 8;
            slot.found.store(found, Ordering::Relaxed);
            slot.right.store(right, Ordering::Relaxed);
            slot.what.store(word, Ordering::Relaxed);
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Prints the first ones, and forgets all.
    pub(crate) fn print_and_clear(&self, host: &dyn Host) {
        let count = self.count() as usize;
        for kept in self.first.iter().take(count) {
            host.print(format_args!("violation: {kept}"));
        }
        if count > KEPT {
            host.print(format_args!("violation: and {} more", count - KEPT));
        }
        self.count.store(0, Ordering::Relaxed);
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what.load(Ordering::Relaxed);
        let kind = ALL.iter().find(|(kind, _)| *kind as u64 == what & 0xff);
        let text = kind.map_or("", |(_, text)| text);
        let found = self.found.load(Ordering::Relaxed);
        let right = self.right.load(Ordering::Relaxed);
        write!(f, "cpu {}: {text} ({found}, expected {right})", what >> 8)
    }
}
