//! The kick, and what the firmware says of a hart, for any number of harts.
//!
//! A start is one call that returns at once; nothing is due later. Each hart has one word, moved by
//! compare-and-swap, because control may change hands:
//!
//! ```text
//! IDLE, RUNNING -> CLAIMED -> KICKED -> RUNNING      kick, of a hart at rest a release; done(Arrived)
//!                  CLAIMED -> as it was              the firmware refused
//!                  KICKED, RUNNING -> IDLE           done(Lost)
//! ```
//!
//! While a hart is KICKED the firmware is not asked to start it again, whatever it said before: there
//! is no call that takes a start back, and the hart may still come.
//!
//! **Spec**: RISC-V SBI 1.0, "Function: HART start", "Function: HART get status".

use core::sync::atomic::{AtomicU32, Ordering, fence};

use cpuhp_core::{Confirm, CpuId, KickError, KickErrorKind, KickOutcome};

use crate::config::Timings;
use crate::record::BootRecord;
use crate::sbi::{Firmware, STARTED, STOP_PENDING, STOPPED, refusal};

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
    pub(crate) fn kick(&self, cpu: CpuId, epoch: u16) -> Result<(), KickError> {
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
        let value = self.value(cpu, epoch);
        self.calls.fetch_add(1, Ordering::Relaxed);
        // What the hart shall find is written before the call that starts it. The hart's memory stays
        // coherent with translation off, so that is all.
        fence(Ordering::SeqCst);
        let answer = self
            .firmware
            .hart_start(record.hw_id(), self.places.entry, value);
        if let Err(code) = answer {
            record.epoch.store(before, Ordering::Relaxed);
            record.arrived.store(arrived, Ordering::Relaxed);
            record.engine.store(was, Ordering::Release);
            return Err(refusal(code));
        }
        // Fails only if `done` ended the kick meanwhile; then its answer stands.
        let order = (Ordering::Release, Ordering::Relaxed);
        let _ = record
            .engine
            .compare_exchange(CLAIMED, KICKED, order.0, order.1);
        Ok(())
    }

    /// The start value: where the record lies, and the epoch in its zero bits.
    fn value(&self, cpu: CpuId, epoch: u16) -> u64 {
        let offset = (cpu.index() * size_of::<BootRecord>()) as u64;
        (self.places.records + offset) | u64::from(u32::from(epoch) & EPOCH_BITS)
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
        let hart = record.hw_id();
        for _ in 0..self.timings.yields.max(1) {
            match self.firmware.hart_status(hart) {
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

#[cfg(test)]
mod tests;
