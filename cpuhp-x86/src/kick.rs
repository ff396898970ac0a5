//! The kick engine: INIT, a delay, SIPI, and SIPI again, for any number of CPUs at once.
//!
//! A kick sends INIT and returns. What is due later is sent by [`Engine::service`], which every
//! place that has time runs for *all* CPUs: so in a batch all INITs go out first, and one delay
//! serves them all. Each CPU has one word, moved by compare-and-swap, because control may change
//! hands in the middle:
//!
//! ```text
//! IDLE -> CLAIMED -> INIT -> CLAIMED -> SIPI 1 -> CLAIMED -> SIPI 2 ...     kick, service
//!   ^        |          any of INIT, CLAIMED, SIPI n -> RUNNING             done(Arrived)
//!   |        +-> IDLE   the INIT could not be sent                          kick
//!   +------------------ any of INIT, CLAIMED, SIPI n, RUNNING               done(Lost)
//! ```
//!
//! CLAIMED means that one control CPU is writing to its APIC for this CPU. SIPI is repeated only
//! while the CPU has not arrived, and for one second at most; after that the CPU stays as it is,
//! counted as kicked, until `done`. A second INIT is never sent to it: it would reset a CPU that
//! came late, in the middle of its work.
//!
//! Spec: Intel SDM vol. 3A, "Multiple-Processor (MP) Initialization", "MP Initialization Example".

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use cpuhp_core::{CpuId, KickError, KickErrorKind, KickOutcome};

use crate::apic::{Ipi, IpiError, LocalApic};
use crate::config::Timings;
use crate::record::BootRecord;

const IDLE: u32 = 0;
const CLAIMED: u32 = 1;
const INIT: u32 = 2;
const SIPI: u32 = 3;
const RUNNING: u32 = 4;
const TAG: u32 = 0xff;
/// One SIPI in the word: the count is kept above the tag.
const ONE: u32 = 0x100;

/// How long SIPI is repeated after the INIT.
const REPEAT_NS: u64 = 1_000_000_000;
/// Most signals one `service` sends, so that it stays short with hundreds of CPUs due at once.
const MOST_SENDS: u32 = 16;

/// Where the signals go out, and where they make a CPU start.
#[derive(Clone, Copy)]
pub(crate) struct Sender<'a> {
    pub(crate) apic: &'a dyn LocalApic,
    /// Page number of the trampoline.
    pub(crate) page: u8,
}

/// The engine: the records' words and one hint when to look at them again.
#[derive(Debug)]
pub(crate) struct Engine {
    records: &'static [BootRecord],
    timings: Timings,
    /// No signal is due before this time. Lowered by kicks, recomputed by `service`; a value too
    /// low costs one scan.
    next_due: AtomicU64,
    /// Where the next scan begins, so that late repeats do not starve first signals.
    cursor: AtomicU32,
}

impl Engine {
    /// Serves the CPUs of `records`, which are listed.
    pub(crate) const fn new(records: &'static [BootRecord], timings: Timings) -> Self {
        Self {
            records,
            timings,
            next_due: AtomicU64::new(u64::MAX),
            cursor: AtomicU32::new(0),
        }
    }

    /// When `service` has something to send, at the earliest.
    pub(crate) fn next_due(&self) -> u64 {
        self.next_due.load(Ordering::Relaxed)
    }

    /// Sends INIT to `cpu` and notes the time; the SIPIs follow from [`Self::service`].
    ///
    /// # Errors
    /// [`KickError`]; nothing was sent and the CPU's word is as it was.
    pub(crate) fn kick(
        &self,
        cpu: CpuId,
        epoch: u16,
        sender: Sender<'_>,
        now: u64,
    ) -> Result<(), KickError> {
        let record = self.records.get(cpu.index());
        let record = record.ok_or(KickError::new(KickErrorKind::NotPresent))?;
        if record.stack_top.load(Ordering::Relaxed) == 0 {
            return Err(KickError::new(KickErrorKind::BadAddress));
        }
        // Acquire: whoever moved the word to IDLE has finished with the record.
        let claimed =
            record
                .engine
                .compare_exchange(IDLE, CLAIMED, Ordering::Acquire, Ordering::Acquire);
        match claimed {
            Ok(_) => {}
            Err(RUNNING) => return Err(KickError::new(KickErrorKind::AlreadyOn)),
            Err(_) => return Err(KickError::new(KickErrorKind::Busy)),
        }
        record.epoch.store(u32::from(epoch), Ordering::Relaxed);
        record.esr.store(0, Ordering::Relaxed);
        record.forget();
        record.kicked_at.store(now, Ordering::Relaxed);
        record.sent_at.store(now, Ordering::Relaxed);
        let id = record.hw_id.load(Ordering::Relaxed);
        if let Err(error) = sender.apic.send(id, Ipi::Init) {
            record.engine.store(IDLE, Ordering::Release);
            return Err(match error {
                IpiError::Busy => KickError::new(KickErrorKind::Busy),
                IpiError::Unreachable => {
                    KickError::with_code(KickErrorKind::NotSupported, i64::from(id))
                }
            });
        }
        record.engine.store(INIT, Ordering::Release);
        let due = now.saturating_add(ns(self.timings.init_us));
        self.next_due.fetch_min(due, Ordering::Relaxed);
        Ok(())
    }

    /// Sends every SIPI that is due, up to a bound; what remains is due at once.
    ///
    /// Context: any CPU, any number of them at once. `now` reads the clock.
    pub(crate) fn service(&self, sender: Sender<'_>, now: impl Fn() -> u64) {
        if now() < self.next_due() {
            return;
        }
        // From here on a kick lowers the hint again; it is not lost when the result is merged.
        self.next_due.store(u64::MAX, Ordering::Relaxed);
        let start = self.cursor.load(Ordering::Relaxed) as usize;
        let (before, from) = self.records.split_at_checked(start).unwrap_or((&[], &[]));
        let mut sends = 0;
        let mut earliest = u64::MAX;
        for record in from.iter().chain(before) {
            let Some(due) = self.due(record) else {
                continue;
            };
            let time = now();
            if due > time {
                earliest = earliest.min(due);
            } else if sends == MOST_SENDS {
                self.cursor
                    .store(record.cpu.load(Ordering::Relaxed), Ordering::Relaxed);
                earliest = 0;
                break;
            } else if Self::repeat(record, sender, time) {
                sends += 1;
                earliest = earliest.min(self.due(record).unwrap_or(u64::MAX));
            }
        }
        self.next_due.fetch_min(earliest, Ordering::Relaxed);
    }

    /// When the next signal for this CPU is due; `None` if it needs none.
    fn due(&self, record: &BootRecord) -> Option<u64> {
        // Acquire: pairs with the Release of whoever sent last and noted the time.
        let word = record.engine.load(Ordering::Acquire);
        let gap = match word & TAG {
            INIT => self.timings.init_us,
            SIPI if word < SIPI + 2 * ONE => self.timings.sipi_us,
            SIPI => self.timings.resend_us.max(1),
            _ => return None,
        };
        let sent = record.sent_at.load(Ordering::Relaxed);
        let due = sent.saturating_add(ns(gap));
        let last = record.kicked_at.load(Ordering::Relaxed);
        let over = word & TAG == SIPI && due > last.saturating_add(REPEAT_NS);
        (!over && !record.has_arrived()).then_some(due)
    }

    /// Sends one SIPI. False if another control CPU does it just now.
    fn repeat(record: &BootRecord, sender: Sender<'_>, now: u64) -> bool {
        let word = record.engine.load(Ordering::Acquire);
        if !matches!(word & TAG, INIT | SIPI) {
            return false;
        }
        let claimed = record.engine.compare_exchange(
            word,
            CLAIMED | (word & !TAG),
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        if claimed.is_err() {
            return false;
        }
        if word & TAG == SIPI {
            // The CPU did not come for the one before: keep what the APIC has to say about it.
            let errors = sender.apic.take_errors();
            record.esr.fetch_or(errors, Ordering::Relaxed);
        }
        let page = sender.page;
        let id = record.hw_id.load(Ordering::Relaxed);
        // A busy APIC is not an error here: the INIT is out, the signal is simply due again soon.
        let sent = sender.apic.send(id, Ipi::Startup { page }).is_ok();
        record.sent_at.store(now, Ordering::Relaxed);
        let count = (word & !TAG).saturating_add(if sent { ONE } else { 0 });
        // Fails only if `done` ended the kick meanwhile; then its answer stands.
        let _ = record.engine.compare_exchange(
            CLAIMED | (word & !TAG),
            SIPI | count,
            Ordering::Release,
            Ordering::Relaxed,
        );
        true
    }

    /// Ends the kick of `cpu`. Returns whether there was one: true exactly once per kick.
    pub(crate) fn done(&self, cpu: CpuId, how: KickOutcome) -> Done {
        let Some(record) = self.records.get(cpu.index()) else {
            return Done::Nothing;
        };
        let next = match how {
            KickOutcome::Arrived => RUNNING,
            KickOutcome::Lost => IDLE,
        };
        let moved = record
            .engine
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                // Arrival of a CPU that was never kicked changes nothing.
                (word & TAG != IDLE && word != next).then_some(next)
            });
        match moved {
            Ok(word) if word & TAG != RUNNING => Done::Ended,
            _ => Done::Nothing,
        }
    }

    /// Whether `cpu` was kicked and not confirmed lost since.
    pub(crate) fn is_kicked(&self, cpu: CpuId) -> bool {
        let record = self.records.get(cpu.index());
        record.is_some_and(|record| record.engine.load(Ordering::Acquire) & TAG != IDLE)
    }
}

/// Whether [`Engine::done`] ended a kick.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Done {
    /// It did; what the kick held may be given back.
    Ended,
    /// There was none.
    Nothing,
}

const fn ns(us: u32) -> u64 {
    us as u64 * 1_000
}

#[cfg(test)]
mod tests;
