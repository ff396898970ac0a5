//! The kick engine: INIT, a delay, SIPI, and SIPI again, for any number of CPUs at once; and the
//! release of CPUs that rest in their slot.
//!
//! A kick sends INIT and returns. What is due later is sent by [`Engine::service`], which every
//! place that has time runs for *all* CPUs: so in a batch all INITs go out first, and one delay
//! serves them all. Each CPU has one word, moved by compare-and-swap, because control may change
//! hands in the middle:
//!
//! ```text
//! IDLE -> CLAIMED -> INIT -> CLAIMED -> SIPI 1 -> CLAIMED -> SIPI 2 ...     kick, service
//!   ^        |          any of INIT, CLAIMED, SIPI n -> RUNNING             done(Arrived)
//!   |        +-> as it was: the INIT could not be sent                      kick
//!   +------------------ any of INIT, CLAIMED, SIPI n, RUNNING, RESET        done(Lost)
//! any of INIT, SIPI n, RELEASED -> RESET     INIT to a CPU that never came  cancel
//!
//! IDLE, RUNNING -> CLAIMED -> RELEASED -> RUNNING     it rests in its slot  kick; done(Arrived)
//! RUNNING -> WAKING -> RUNNING               it parks, or does so just now  wake; service
//! ```
//!
//! A release is repeated as a wake interrupt only. WAKING is for a CPU that core parked and wants
//! again: it may be on its way into the slot still, so the release waits for it in `service`.
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

mod release;

pub(crate) use release::Slots;

const IDLE: u32 = 0;
const CLAIMED: u32 = 1;
const INIT: u32 = 2;
const SIPI: u32 = 3;
const RUNNING: u32 = 4;
const RELEASED: u32 = 5;
const WAKING: u32 = 6;
const RESET: u32 = 7;
const TAG: u32 = 0xff;
/// One SIPI in the word: the count is kept above the tag.
const ONE: u32 = 0x100;

/// How long SIPI is repeated after the INIT.
const REPEAT_NS: u64 = 1_000_000_000;
/// How long a CPU may take to obey an INIT.
const SETTLE_NS: u64 = 10_000_000;
/// Most signals one `service` sends, so that it stays short with hundreds of CPUs due at once.
const MOST_SENDS: u32 = 16;

/// Where the signals go out, and where they make a CPU start.
#[derive(Clone, Copy)]
pub(crate) struct Sender<'a> {
    pub(crate) apic: &'a dyn LocalApic,
    /// Page number of the trampoline.
    pub(crate) page: u8,
    /// Vector of the wake interrupt.
    pub(crate) vector: u8,
}

/// The engine: the records' words and one hint when to look at them again.
#[derive(Debug)]
pub(crate) struct Engine {
    records: &'static [BootRecord],
    timings: Timings,
    pub(crate) slots: Slots,
    /// No signal is due before this time. Lowered by kicks, recomputed by `service`; a value too
    /// low costs one scan.
    next_due: AtomicU64,
    /// Where the next scan begins, so that late repeats do not starve first signals.
    cursor: AtomicU32,
}

impl Engine {
    /// Serves the CPUs of `records`, which are listed.
    pub(crate) const fn new(
        records: &'static [BootRecord],
        timings: Timings,
        slots: Slots,
    ) -> Self {
        Self {
            records,
            timings,
            slots,
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
        let (record, was) = self.claim(cpu)?;
        begin(record, epoch, now);
        let id = record.hw_id.load(Ordering::Relaxed);
        if let Err(error) = sender.apic.send(id, Ipi::Init) {
            record.engine.store(was, Ordering::Release);
            return Err(refused(error, id));
        }
        record.engine.store(INIT, Ordering::Release);
        let due = now.saturating_add(ns(self.timings.init_us));
        // Release: pairs with the swap in `service`.
        self.next_due.fetch_min(due, Ordering::Release);
        Ok(())
    }

    /// Claims the word of a CPU that is off: never started, lost, or at rest in its slot.
    fn claim(&self, cpu: CpuId) -> Result<(&'static BootRecord, u32), KickError> {
        let record = self.records.get(cpu.index());
        let record = record.ok_or(KickError::new(KickErrorKind::NotPresent))?;
        if record.stack_top.load(Ordering::Relaxed) == 0 {
            return Err(KickError::new(KickErrorKind::BadAddress));
        }
        let rests = self.slots.rests(cpu, record).is_some();
        let was = if rests { RUNNING } else { IDLE };
        // Acquire: whoever moved the word before has finished with the record.
        let claim = |word| {
            let order = (Ordering::Acquire, Ordering::Acquire);
            record
                .engine
                .compare_exchange(word, CLAIMED, order.0, order.1)
        };
        match claim(was).or_else(|_| claim(IDLE)) {
            Ok(was) => Ok((record, was)),
            Err(RUNNING) => Err(KickError::new(KickErrorKind::AlreadyOn)),
            Err(_) => Err(KickError::new(KickErrorKind::Busy)),
        }
    }

    /// Sends every SIPI that is due, up to a bound; what remains is due at once.
    ///
    /// Context: any CPU, any number of them at once. `now` reads the clock.
    pub(crate) fn service(&self, sender: Sender<'_>, now: impl Fn() -> u64) {
        if now() < self.next_due() {
            return;
        }
        // From here on a kick lowers the hint again; it is not lost when the result is merged. Acquire, and
        // a swap: whoever lowered it before has its word seen by the scan. A plain store could still sit in
        // this CPU's store buffer when the scan reads the words.
        self.next_due.swap(u64::MAX, Ordering::Acquire);
        let start = self.cursor.load(Ordering::Relaxed) as usize;
        let (before, from) = self.records.split_at_checked(start).unwrap_or((&[], &[]));
        let mut sends = 0;
        let mut earliest = u64::MAX;
        for record in from.iter().chain(before) {
            let Some((word, due)) = self.due(record) else {
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
            } else if self.repeat(record, word, sender, time) {
                sends += 1;
                earliest = earliest.min(self.due(record).map_or(u64::MAX, |(_, due)| due));
            }
        }
        self.next_due.fetch_min(earliest, Ordering::Relaxed);
    }

    /// When the next signal for this CPU is due, and the word that says so; `None` if it needs none.
    fn due(&self, record: &BootRecord) -> Option<(u32, u64)> {
        // Acquire: pairs with the Release of whoever sent last and noted the time.
        let word = record.engine.load(Ordering::Acquire);
        let gap = match word & TAG {
            INIT => self.timings.init_us,
            SIPI if word < SIPI + 2 * ONE => self.timings.sipi_us,
            SIPI | RELEASED => self.timings.resend_us.max(1),
            WAKING => return Some((word, 0)),
            _ => return None,
        };
        let sent = record.sent_at.load(Ordering::Relaxed);
        let due = sent.saturating_add(ns(gap));
        let last = record.kicked_at.load(Ordering::Relaxed);
        let over = word & TAG != INIT && due > last.saturating_add(REPEAT_NS);
        (!over && !record.has_arrived()).then_some((word, due))
    }

    /// Sends the signal that is due by `word`. False if that is not the CPU's word any more: another control
    /// CPU has just sent it, or is about to.
    fn repeat(&self, record: &BootRecord, word: u32, sender: Sender<'_>, now: u64) -> bool {
        if matches!(word & TAG, RELEASED | WAKING) {
            self.repeat_release(record, sender, now);
            return true;
        }
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
                // Arrival of a CPU that was never kicked, or that is only woken, changes nothing.
                let is_news = how == KickOutcome::Lost || !matches!(word & TAG, IDLE | WAKING);
                (is_news && word != next).then_some(next)
            });
        let Ok(word) = moved else {
            return Done::Nothing;
        };
        if word & TAG == RESET {
            // It may have come in the instant before: that is over, and its rest with it.
            record.forget();
        }
        match word & TAG {
            RUNNING | WAKING => Done::Nothing,
            RELEASED => Done::Released,
            RESET if word & !TAG != 0 => Done::Released,
            _ => Done::Ended,
        }
    }

    /// Whether `cpu` was kicked and not confirmed lost since.
    #[cfg(test)]
    pub(crate) fn is_kicked(&self, cpu: CpuId) -> bool {
        let record = self.records.get(cpu.index());
        record.is_some_and(|record| record.engine.load(Ordering::Acquire) & TAG != IDLE)
    }
}

/// Notes the start of a kick. Context: whoever claimed the word.
fn begin(record: &BootRecord, epoch: u16, now: u64) {
    record.epoch.store(u32::from(epoch), Ordering::Relaxed);
    record.esr.store(0, Ordering::Relaxed);
    record.forget();
    record.kicked_at.store(now, Ordering::Relaxed);
    record.sent_at.store(now, Ordering::Relaxed);
}

fn refused(error: IpiError, id: u32) -> KickError {
    match error {
        IpiError::Busy => KickError::new(KickErrorKind::Busy),
        IpiError::Unreachable => KickError::with_code(KickErrorKind::NotSupported, i64::from(id)),
    }
}

/// Whether [`Engine::done`] ended a kick.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Done {
    /// It did; what the kick held may be given back.
    Ended,
    /// It did, and held nothing: a release needs no low page.
    Released,
    /// There was none.
    Nothing,
}

const fn ns(us: u32) -> u64 {
    us as u64 * 1_000
}

#[cfg(test)]
mod tests;
