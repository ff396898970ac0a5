//! The kick, and what the firmware says of a hart, for any number of harts.
//!
//! A start is one call that returns at once. Each hart has one word, moved by compare-and-swap, because
//! control may change hands:
//!
//! ```text
//! IDLE, RUNNING -> CLAIMED -> KICKED -> RUNNING      kick, of a hart at rest a release; done(Arrived)
//!                  CLAIMED -> as it was              the firmware refused
//!        KICKED -> CLAIMED -> KICKED                 service: a lost start is repeated
//!                  KICKED -> IDLE                    confirm: the hart is off
//!                  KICKED, RUNNING -> IDLE           done(Lost)
//! ```
//!
//! While a hart is KICKED and not off the firmware is not asked to start it again, whatever it said before:
//! there is no call that takes a start back, and the hart may still come. But some firmware loses starts:
//! OpenSBI 1.1 says START_PENDING before it has written down where the hart shall go. A hart that looks
//! in that moment goes where its last start led it, with the value of that. The entry code sends it back, and
//! the start is repeated as soon as the firmware says that the hart is STOPPED, a few times.
//!
//! **Spec**: RISC-V SBI 1.0, "Function: HART start", "Function: HART get status".

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use cpuhp_core::{Confirm, CpuId, KickError, KickErrorKind, KickOutcome};

use crate::config::Timings;
use crate::record::BootRecord;
use crate::sbi::{Firmware, STARTED, STOP_PENDING, STOPPED, refusal};

/// How long after a kick, and then how often, the firmware is asked whether it has lost the start.
const REPEAT_NS: u64 = 10_000_000;
/// Most repeats of one start.
const MOST_REPEATS: u32 = 8;

const IDLE: u32 = 0;
const CLAIMED: u32 = 1;
const KICKED: u32 = 2;
const RUNNING: u32 = 3;

/// Bits of a start value that hold the epoch; the rest is the address of a record.
pub(crate) const EPOCH_BITS: u32 = 0x7f;
const _: () = assert!(align_of::<BootRecord>() > EPOCH_BITS as usize);

/// The engine: the records' words and the firmware.
#[derive(Debug)]
pub(crate) struct Engine<F> {
    records: &'static [BootRecord],
    firmware: F,
    timings: Timings,
    places: Places,
    /// Starts that were asked for; every one is a call of the firmware.
    calls: AtomicU32,
    /// Before this time no kicked hart is asked after. Lowered by kicks, recomputed by `service`.
    next_look: AtomicU64,
}

/// Physical addresses that a start needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// The first instruction of a hart.
    pub(crate) entry: u64,
    /// The first record; the others follow it.
    pub(crate) records: u64,
}

impl<F: Firmware> Engine<F> {
    /// Serves the CPUs of `records`, which are listed.
    pub(crate) const fn new(
        records: &'static [BootRecord],
        firmware: F,
        timings: Timings,
        places: Places,
    ) -> Self {
        Self {
            records,
            firmware,
            timings,
            places,
            calls: AtomicU32::new(0),
            next_look: AtomicU64::new(u64::MAX),
        }
    }

    /// Notes that `cpu` runs although nobody kicked it. Context: the boot CPU, of itself.
    pub(crate) fn adopt(&self, cpu: CpuId) {
        if let Some(record) = self.records.get(cpu.index()) {
            record.engine.store(RUNNING, Ordering::Release);
            record.arrived.store(1, Ordering::Release);
        }
    }

    /// Asks the firmware to start `cpu`.
    ///
    /// # Errors
    /// [`KickError`]; the hart was certainly not started, and its word is as it was. With a code: the
    /// firmware's. `NotPresent`, `BadAddress` (no stack was given) and `Busy` (kicked before and not
    /// accounted for) without one.
    pub(crate) fn kick(&self, cpu: CpuId, epoch: u16, now: u64) -> Result<(), KickError> {
        let (record, was) = self.claim(cpu)?;
        if record.is_parked() {
            record.epoch.store(u32::from(epoch), Ordering::Relaxed);
            record.arrived.store(0, Ordering::Relaxed);
            record.engine.store(KICKED, Ordering::Release);
            self.unpark(record);
            return Ok(());
        }
        let before = record.epoch.swap(u32::from(epoch), Ordering::Relaxed);
        let arrived = record.arrived.swap(0, Ordering::Relaxed);
        let answer = self.start(record);
        if let Err(code) = answer {
            record.epoch.store(before, Ordering::Relaxed);
            record.arrived.store(arrived, Ordering::Relaxed);
            record.engine.store(was, Ordering::Release);
            return Err(refusal(code));
        }
        record.repeats.store(0, Ordering::Relaxed);
        self.claimed_is_kicked(record);
        let look = now.saturating_add(REPEAT_NS);
        // Release: pairs with the swap in `service`.
        self.next_look.fetch_min(look, Ordering::Release);
        Ok(())
    }

    /// Gives a claimed word back.
    fn claimed_is_kicked(&self, record: &BootRecord) {
        // Fails only if `done` ended the kick meanwhile; then its answer stands.
        let order = (Ordering::Release, Ordering::Relaxed);
        let _ = record
            .engine
            .compare_exchange(CLAIMED, KICKED, order.0, order.1);
    }

    /// Calls the firmware. Context: whoever claimed the word.
    fn start(&self, record: &BootRecord) -> Result<u64, i64> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let value = self.value(record);
        // What the hart shall find is written before the call that starts it. The hart's memory stays
        // coherent with translation off, so that is all.
        fence(Ordering::SeqCst);
        self.firmware
            .hart_start(record.hw_id(), self.places.entry, value)
    }

    /// When `service` has somebody to ask after, at the earliest.
    pub(crate) fn next_look(&self) -> u64 {
        self.next_look.load(Ordering::Relaxed)
    }

    /// Repeats the starts that the firmware has lost.
    ///
    /// Context: any CPU that waits for others. Asks after each hart that was kicked and has not come, and
    /// not more often than the interval says.
    pub(crate) fn service(&self, now: u64) {
        if now < self.next_look() {
            return;
        }
        // From here on a kick lowers the time again; it is not lost when the result is merged. Acquire:
        // whoever lowered it before has its word seen.
        self.next_look.swap(u64::MAX, Ordering::Acquire);
        let mut is_waiting = false;
        for record in self.records {
            let may_come = record.engine.load(Ordering::Relaxed) == KICKED && !record.has_arrived();
            is_waiting |= may_come && self.repeat(record);
        }
        if is_waiting {
            let look = now.saturating_add(REPEAT_NS);
            self.next_look.fetch_min(look, Ordering::Relaxed);
        }
    }

    /// Starts a hart again that the firmware says is off. False if it has been tried often enough.
    fn repeat(&self, record: &BootRecord) -> bool {
        let order = (Ordering::Acquire, Ordering::Relaxed);
        let claimed = record
            .engine
            .compare_exchange(KICKED, CLAIMED, order.0, order.1);
        if claimed.is_err() {
            // The word is somebody else's, who asks after the hart just now.
            return true;
        }
        let repeats = record.repeats.load(Ordering::Relaxed);
        if repeats == MOST_REPEATS {
            self.claimed_is_kicked(record);
            return false;
        }
        let is_lost = self.firmware.hart_status(record.hw_id()) == Ok(STOPPED);
        if is_lost {
            record.repeats.store(repeats + 1, Ordering::Relaxed);
            // A refusal is no news to anybody: the kick was accepted. The time-out will tell.
            let _ = self.start(record);
        }
        self.claimed_is_kicked(record);
        true
    }

    /// The start value: where the record lies, and the epoch in its zero bits.
    fn value(&self, record: &BootRecord) -> u64 {
        let index = u64::from(record.cpu.load(Ordering::Relaxed));
        let epoch = record.epoch.load(Ordering::Relaxed) & EPOCH_BITS;
        (self.places.records + index * size_of::<BootRecord>() as u64) | u64::from(epoch)
    }

    /// Claims the word of a CPU that is not on its way; whether it runs, the firmware knows.
    fn claim(&self, cpu: CpuId) -> Result<(&'static BootRecord, u32), KickError> {
        let record = self.records.get(cpu.index());
        let record = record.ok_or(KickError::new(KickErrorKind::NotPresent))?;
        if record.stack_top.load(Ordering::Relaxed) == 0 {
            return Err(KickError::new(KickErrorKind::BadAddress));
        }
        // Acquire: whoever moved the word before has finished with the record.
        let claim = |word| {
            let order = (Ordering::Acquire, Ordering::Acquire);
            record
                .engine
                .compare_exchange(word, CLAIMED, order.0, order.1)
        };
        match claim(RUNNING).or_else(|_| claim(IDLE)) {
            Ok(was) => Ok((record, was)),
            Err(_) => Err(KickError::new(KickErrorKind::Busy)),
        }
    }

    /// Lets a CPU go on that rests, or is about to. Context: control CPU.
    pub(crate) fn unpark(&self, record: &BootRecord) {
        record.release();
        // A refusal cannot be reported here; the hart stays where it is, and the operation times out.
        let _ = self.interrupt(record);
    }

    /// Says whether `cpu` rests, or else asks the firmware whether it is off. Anything but its STOPPED is no proof.
    ///
    /// A hart that has said its last word is about to call the firmware, or inside it: it is asked after
    /// a few times in a row. Any other hart is asked after once.
    pub(crate) fn confirm(&self, cpu: CpuId) -> Confirm {
        let Some(record) = self.records.get(cpu.index()) else {
            return Confirm::Running;
        };
        if record.is_parked() {
            return Confirm::Parked;
        }
        let word = record.engine.load(Ordering::Acquire);
        if word == CLAIMED {
            // It is being started just now.
            return Confirm::Running;
        }
        let hart = record.hw_id();
        for _ in 0..self.timings.yields.max(1) {
            match self.firmware.hart_status(hart) {
                Ok(STOPPED) if !retire(record, word) => return Confirm::Running,
                Ok(STOPPED) => {
                    // Whatever the hart did last is visible from here on.
                    fence(Ordering::SeqCst);
                    return Confirm::Off;
                }
                Ok(STARTED | STOP_PENDING) if record.has_arrived() => core::hint::spin_loop(),
                // On its way up, suspended, or an answer that makes no sense.
                Ok(_) | Err(_) => break,
            }
        }
        Confirm::Running
    }

    /// Ends the kick of `cpu`, if there was one.
    pub(crate) fn done(&self, cpu: CpuId, how: KickOutcome) {
        let Some(record) = self.records.get(cpu.index()) else {
            return;
        };
        let next = match how {
            KickOutcome::Arrived => RUNNING,
            KickOutcome::Lost => IDLE,
        };
        // Fails if nobody kicked it: arrival of such a CPU changes nothing.
        let _ = record
            .engine
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word != IDLE).then_some(next)
            });
    }

    /// Interrupts `cpu`.
    ///
    /// # Errors
    /// The firmware's code; nothing was sent.
    pub(crate) fn interrupt(&self, record: &BootRecord) -> Result<(), i64> {
        // What it shall see is written before the call that wakes it.
        fence(Ordering::SeqCst);
        self.firmware.send_ipi(record.hw_id()).map(|_| ())
    }

    /// How many starts the firmware was asked for.
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }
}

/// Ends the kick of a hart that is off, so that nobody repeats its start. False if somebody does just now.
fn retire(record: &BootRecord, word: u32) -> bool {
    let order = (Ordering::AcqRel, Ordering::Relaxed);
    word != KICKED
        || record
            .engine
            .compare_exchange(KICKED, IDLE, order.0, order.1)
            .is_ok()
}

#[cfg(test)]
mod tests;
