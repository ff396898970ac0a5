//! The kick engine: how a CPU is started, asked after, and started again.
//!
//! A kick hands the CPU its record and returns; that firmware took it says nothing of the CPU. Each
//! CPU has one word, moved by compare-and-swap, because control may change hands in the middle:
//!
//! ```text
//! IDLE -> CLAIMED -> KICKED -> RUNNING           CPU_ON, or the word of a spin-table; done(Arrived)
//!   ^        |          |         |
//!   |        +----------|---------|---> as it was: refused                            kick
//!   +-------------------+---------+     firmware says that it is off                  confirm
//! RUNNING -> CLAIMED -> RELEASED -> RUNNING      it rests, and is not off             kick
//! RUNNING -> WAKING -> RELEASED                  core parked it and wants it again    wake, service
//! ```
//!
//! There is no second `CPU_ON` while one is unaccounted for, and no way to cancel one: a CPU that
//! does not come stays KICKED until it comes or firmware says that it is off.
//!
//! The word is also what the entry code asks whether anybody wants this CPU: it is cleaned to the
//! point of coherency whenever it leaves IDLE or goes back there, and when a start is complete. A CPU that
//! comes with a value looks for any word but IDLE, since the value says which kick it is of. One without
//! looks for KICKED or WAKING: then the epoch is the one of its kick, which it is not while CLAIMED.
//!
//! Spec: Arm DEN0022 (PSCI) 1.1, "CPU_ON", "AFFINITY_INFO"; devicetree specification,
//! "enable-method", `cpu-release-addr`.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use cpuhp_core::{Confirm, CpuId, KickError, KickErrorKind, KickOutcome};

use crate::cache::{Area, Cache, store_foreign};
use crate::config::{Timings, WakeMethod};
use crate::park::slot::{self, ParkSlot};
use crate::psci::{self, Firmware, OnAnswer};
use crate::record::{self, BootRecord, EPOCH_BITS, FIRST_LINE, RESTS};

const IDLE: u32 = 0;
pub(crate) const CLAIMED: u32 = 1;
pub(crate) const KICKED: u32 = 2;
const RUNNING: u32 = 3;
const RELEASED: u32 = 4;
pub(crate) const WAKING: u32 = 5;

/// How old a kick is whose CPU has not come before firmware's word that it is off counts: some report a
/// start only when the CPU begins to run.
const SETTLE_NS: u64 = 200_000_000;

/// Everything of the machine that the engine touches.
pub(crate) trait Machine: Firmware + Cache {
    /// Sends the wake interrupt.
    fn interrupt(&self, to: &BootRecord);

    /// Ends the sleep of a CPU that rests in the kernel's text.
    fn rouse(&self, cpu: &BootRecord);

    /// Returns the word at this physical address where a CPU looks for its entry.
    fn release_word(&self, phys: u64) -> Option<&'static AtomicU64>;
}

/// Physical addresses that a start needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// Of the first instruction of an AP.
    pub(crate) entry: u64,
    /// Of the first record.
    pub(crate) records: u64,
}

/// The engine.
pub(crate) struct Engine<M> {
    records: &'static [BootRecord],
    slots: &'static [ParkSlot],
    places: Places,
    timings: Timings,
    pub(crate) machine: M,
    /// 1: some word is WAKING. Set by `wake`, taken by `service`.
    is_waking: AtomicU32,
}

/// What a claimed CPU is started by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Start {
    /// By firmware.
    Cold,
    /// From where it rests.
    Release(Place),
}

/// Where a CPU rests that is down and not off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// In its slot, under this number.
    Slot(u32),
    /// In the kernel's text, its record watched.
    Text,
}

impl<M: Machine> Engine<M> {
    /// Serves the CPUs of `records`, which are listed, and their slots, if there are any.
    pub(crate) const fn new(
        records: &'static [BootRecord],
        slots: &'static [ParkSlot],
        places: Places,
        timings: Timings,
        machine: M,
    ) -> Self {
        Self {
            records,
            slots,
            places,
            timings,
            machine,
            is_waking: AtomicU32::new(0),
        }
    }

    pub(crate) fn record(&self, cpu: CpuId) -> Option<&'static BootRecord> {
        self.records.get(cpu.index())
    }

    fn slot(&self, record: &BootRecord) -> Option<&'static ParkSlot> {
        self.slots.get(record.cpu.load(Ordering::Relaxed) as usize)
    }

    /// Takes in a CPU that runs though nobody kicked it. Context: that CPU, before any kick.
    pub(crate) fn adopt(&self, cpu: CpuId) {
        if let Some(record) = self.record(cpu) {
            record.engine.store(RUNNING, Ordering::Relaxed);
            record.arrived.store(1, Ordering::Release);
        }
    }

    /// Makes every record visible to a CPU that starts by mistake. Context: before the first kick.
    pub(crate) fn publish_all(&self) {
        let at = self.records.as_ptr().cast();
        let len = size_of_val(self.records);
        self.machine.publish(Area { at, len });
    }

    /// Starts `cpu`, which is off or rests in its slot.
    ///
    /// # Errors
    /// [`KickError`]; the CPU is as it was.
    pub(crate) fn kick(&self, cpu: CpuId, epoch: u16, now: u64) -> Result<(), KickError> {
        let record = self.record(cpu);
        let record = record.ok_or(KickError::new(KickErrorKind::NotPresent))?;
        if record.stack_top.load(Ordering::Relaxed) == 0 {
            return Err(KickError::new(KickErrorKind::BadAddress));
        }
        if record.is_deaf() {
            return Err(self.why_deaf(record));
        }
        let (was, start) = self.claim(record)?;
        let before = (
            record.epoch.load(Ordering::Relaxed),
            record.arrived.load(Ordering::Relaxed),
        );
        record.epoch.store(u32::from(epoch), Ordering::Relaxed);
        Self::begin(record, now);
        match self.start(record, start) {
            Ok(word) => {
                // Fails only if `done` ended the kick meanwhile; then its answer stands.
                if move_word(record, CLAIMED, word) && start == Start::Cold {
                    self.let_in(record);
                }
                Ok(())
            }
            Err(error) => {
                record.epoch.store(before.0, Ordering::Relaxed);
                record.arrived.store(before.1, Ordering::Relaxed);
                record.engine.store(was, Ordering::Release);
                self.publish(record);
                Err(error)
            }
        }
    }

    /// Why a CPU without a redistributor is not started: firmware does not know it, or nobody could wake it.
    fn why_deaf(&self, record: &BootRecord) -> KickError {
        let code = self.machine.affinity_info(record.hw_id().0);
        if code < 0 {
            psci::refusal(code)
        } else {
            KickError::new(KickErrorKind::NotSupported)
        }
    }

    /// Claims the word of a CPU that can be started.
    fn claim(&self, record: &BootRecord) -> Result<(u32, Start), KickError> {
        let word = record.engine.load(Ordering::Acquire);
        let is_unaccounted = matches!(word, KICKED | RELEASED) && !record.has_arrived();
        if is_unaccounted || matches!(word, CLAIMED | WAKING) {
            return Err(KickError::new(KickErrorKind::Busy));
        }
        let start = match self.resting(record) {
            Some(place) => Start::Release(place),
            None if word == IDLE || self.is_off(record) => Start::Cold,
            None => return Err(KickError::new(KickErrorKind::AlreadyOn)),
        };
        if move_word(record, word, CLAIMED) {
            Ok((word, start))
        } else {
            Err(KickError::new(KickErrorKind::Busy))
        }
    }

    /// Makes everything ready that the CPU reads; who starts it cleans it to memory. Context: whoever claimed
    /// the word.
    fn begin(record: &BootRecord, now: u64) {
        record.forget();
        record.kicked_at.store(now, Ordering::Relaxed);
    }

    /// Makes the record's first line visible to a CPU with its caches off.
    fn publish(&self, record: &BootRecord) {
        let at = core::ptr::from_ref(record).cast();
        let len = FIRST_LINE;
        self.machine.publish(Area { at, len });
    }

    /// Lets a CPU in that got no value with its start: it waits for the word to leave CLAIMED, since the epoch
    /// may be older than that.
    fn let_in(&self, record: &BootRecord) {
        self.publish(record);
        self.machine.send_event();
    }

    /// Starts the CPU, and returns its next word.
    fn start(&self, record: &BootRecord, start: Start) -> Result<u32, KickError> {
        match (start, record.method()) {
            (Start::Release(Place::Slot(number)), _) => {
                self.release(record, number).map(|()| RELEASED)
            }
            (Start::Release(Place::Text), _) => {
                // Release: the CPU goes on with what the record says from here on.
                record.rest.store(record::RELEASED, Ordering::Release);
                self.machine.rouse(record);
                Ok(RELEASED)
            }
            (Start::Cold, WakeMethod::Psci) => self.cpu_on(record).map(|()| KICKED),
            (Start::Cold, WakeMethod::SpinTable { release }) => {
                let word = self.machine.release_word(release);
                let word = word.ok_or(KickError::new(KickErrorKind::BadAddress))?;
                store_foreign(&self.machine, word, self.places.entry.to_le());
                self.machine.send_event();
                Ok(KICKED)
            }
        }
    }

    fn cpu_on(&self, record: &BootRecord) -> Result<(), KickError> {
        let id = record.hw_id().0;
        let (entry, value) = (self.places.entry, self.start_value(record));
        let mut tries = self.timings.yields;
        self.publish(record);
        loop {
            let code = self.machine.cpu_on(id, entry, value);
            match psci::answer(code) {
                OnAnswer::Started => return Ok(()),
                OnAnswer::Again if tries > 0 => {
                    tries -= 1;
                    self.machine.relax();
                }
                OnAnswer::Again | OnAnswer::Refused => return Err(psci::refusal(code)),
            }
        }
    }

    /// Lets a resting CPU go to the entry code, and wakes it.
    fn release(&self, record: &BootRecord, number: u32) -> Result<(), KickError> {
        let slot = self.slot(record);
        let slot = slot.ok_or(KickError::new(KickErrorKind::NotSupported))?;
        let id = record.hw_id();
        self.publish(record);
        let start = slot::Start {
            entry: self.places.entry,
            arg: self.start_value(record),
        };
        slot.release(&self.machine, id.0, number, start)
            .map_err(|error| KickError::with_code(KickErrorKind::BadAddress, error as i64))?;
        self.wake_up(slot, record);
        Ok(())
    }

    /// Ends the sleep of a CPU that rests in its slot.
    fn wake_up(&self, slot: &ParkSlot, record: &BootRecord) {
        if slot.wants_event() {
            self.machine.send_event();
        } else {
            self.machine.interrupt(record);
        }
    }

    /// Physical address of the record, and the epoch in its free low bits.
    fn start_value(&self, record: &BootRecord) -> u64 {
        let index = u64::from(record.cpu.load(Ordering::Relaxed));
        let epoch = record.epoch.load(Ordering::Relaxed) & EPOCH_BITS;
        let at = self.places.records + index * size_of::<BootRecord>() as u64;
        at | u64::from(epoch)
    }

    /// Where the CPU rests, if nobody has released it.
    fn resting(&self, record: &BootRecord) -> Option<Place> {
        match self.slot(record) {
            Some(slot) => slot.resting(&self.machine).map(Place::Slot),
            // Acquire: then everything the CPU did before is visible.
            None => (record.rest.load(Ordering::Acquire) == RESTS).then_some(Place::Text),
        }
    }

    /// Whether firmware says that a CPU is off; asked several times, for one that is just leaving.
    fn is_off(&self, record: &BootRecord) -> bool {
        if record.method() != WakeMethod::Psci {
            return false;
        }
        let id = record.hw_id().0;
        for _ in 0..self.timings.yields {
            if self.machine.affinity_info(id) == psci::STATE_OFF {
                return true;
            }
            self.machine.relax();
        }
        self.machine.affinity_info(id) == psci::STATE_OFF
    }

    /// What is certain of `cpu`.
    pub(crate) fn confirm(&self, cpu: CpuId, now: impl Fn() -> u64) -> Confirm {
        let Some(record) = self.record(cpu) else {
            return Confirm::Off;
        };
        let word = record.engine.load(Ordering::Acquire);
        match word {
            // It has never run anything of ours, or was confirmed off.
            IDLE => return Confirm::Off,
            // It leaves its rest any moment.
            CLAIMED | WAKING => return Confirm::Running,
            _ if self.resting(record).is_some() => return Confirm::Parked,
            KICKED if !record.has_arrived() => {
                let settled = record.kicked_at.load(Ordering::Relaxed) + SETTLE_NS;
                if now() < settled {
                    return Confirm::Running;
                }
            }
            _ => {}
        }
        if !self.is_off(record) || !move_word(record, word, IDLE) {
            return Confirm::Running;
        }
        // Firmware's answer comes after the CPU's last access; what is read from here on does too.
        fence(Ordering::SeqCst);
        self.publish(record);
        Confirm::Off
    }

    /// Ends the kick of `cpu`.
    pub(crate) fn done(&self, cpu: CpuId, how: KickOutcome) {
        let Some(record) = self.record(cpu) else {
            return;
        };
        match how {
            KickOutcome::Arrived => {
                let _ = move_word(record, KICKED, RUNNING) || move_word(record, RELEASED, RUNNING);
            }
            KickOutcome::Lost => {
                if record.engine.swap(IDLE, Ordering::AcqRel) != IDLE {
                    self.publish(record);
                }
            }
        }
    }

    /// Releases a CPU that core has parked; it may still be on its way.
    pub(crate) fn wake(&self, cpu: CpuId) {
        let Some(record) = self.record(cpu) else {
            return;
        };
        let has_moved = [RUNNING, KICKED, RELEASED]
            .into_iter()
            .any(|word| move_word(record, word, WAKING));
        if has_moved {
            self.is_waking.store(1, Ordering::Release);
        }
    }

    /// Whether some CPU is wanted again that has not come to rest yet. It will tell nobody when it does.
    pub(crate) fn is_waking(&self) -> bool {
        self.is_waking.load(Ordering::Relaxed) != 0
    }

    /// Starts those of them that have come to rest since.
    ///
    /// Context: control CPU. One look at a flag, unless some CPU is wanted again.
    pub(crate) fn service(&self, now: impl Fn() -> u64) {
        if !self.is_waking() {
            return;
        }
        // Acquire: whoever set it has its word seen. A store could take its mark and miss the word.
        self.is_waking.swap(0, Ordering::Acquire);
        let waking = |record: &&BootRecord| record.engine.load(Ordering::Acquire) == WAKING;
        for record in self.records.iter().filter(waking) {
            if !self.start_again(record, &now) {
                self.is_waking.store(1, Ordering::Relaxed);
            }
        }
    }

    /// Releases a CPU by the value of its last kick. False if it is not at rest yet.
    fn start_again(&self, record: &BootRecord, now: impl Fn() -> u64) -> bool {
        let Some(place) = self.resting(record) else {
            return false;
        };
        if !move_word(record, WAKING, CLAIMED) {
            return true;
        }
        Self::begin(record, now());
        let started = self.start(record, Start::Release(place));
        record
            .engine
            .store(started.unwrap_or(WAKING), Ordering::Release);
        started.is_ok()
    }
}

/// Moves a record's word, unless another control CPU was faster.
fn move_word(record: &BootRecord, from: u32, to: u32) -> bool {
    let order = (Ordering::AcqRel, Ordering::Relaxed);
    let moved = record.engine.compare_exchange(from, to, order.0, order.1);
    moved.is_ok()
}

#[cfg(test)]
mod tests;
