//! The engine's other half: CPUs that rest in their slot are released, and one that does not come is
//! reset. What the hardware says of a CPU is here too, because its slot and its word say it together.

use core::fmt;
use core::sync::atomic::Ordering;

use cpuhp_core::{Confirm, CpuId, KickError, KickErrorKind};

use super::{
    CLAIMED, Engine, IDLE, INIT, RELEASED, RESET, RUNNING, SETTLE_NS, SIPI, Sender, TAG, WAKING,
    begin, refused,
};
use crate::apic::Ipi;
use crate::config::Resting;
use crate::park::slot::ParkSlot;
use crate::record::BootRecord;

/// The slots of the park region, by CPU number; none without a region.
#[derive(Clone, Copy)]
pub(crate) struct Slots {
    pub(crate) slots: &'static [ParkSlot],
    /// Physical address of what a released CPU goes to.
    pub(crate) stub: u64,
}

impl Slots {
    #[cfg(test)]
    pub(crate) const NONE: Self = Self {
        slots: &[],
        stub: 0,
    };

    /// How `cpu` rests in its slot, if it provably does.
    ///
    /// The mark of arrival is the second witness: a CPU that INIT has thrown out of its slot has none.
    pub(super) fn rests(&self, cpu: CpuId, record: &BootRecord) -> Option<Resting> {
        let slot = self.slots.get(cpu.index())?;
        let rests = record.has_arrived() && slot.is_resting();
        // Ordered by the Acquire in `is_resting`.
        let resting = match record.manner.load(Ordering::Relaxed) {
            0 => Resting::Ipi,
            _ => Resting::Hlt,
        };
        rests.then_some(resting)
    }

    /// Lets a resting CPU go to its record.
    fn release(&self, cpu: CpuId, record: &BootRecord) -> Result<(), KickError> {
        let slot = self.slots.get(cpu.index());
        let slot = slot.ok_or(KickError::new(KickErrorKind::NotSupported))?;
        // Records are aligned to 128: the low bits are free for the epoch.
        let epoch = record.epoch.load(Ordering::Relaxed) & 0x7f;
        let value = core::ptr::from_ref(record) as u64 | u64::from(epoch);
        slot.release(record.hw_id().0, self.stub, value)
            .map_err(|error| KickError::with_code(KickErrorKind::BadAddress, error as i64))
    }

    fn is_released(&self, record: &BootRecord) -> bool {
        let cpu = record.cpu.load(Ordering::Relaxed) as usize;
        self.slots.get(cpu).is_some_and(ParkSlot::is_released)
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Takes in a CPU that runs though nobody kicked it. Context: that CPU, before any kick.
    pub(crate) fn adopt(&self, cpu: CpuId) {
        if let Some(record) = self.records.get(cpu.index()) {
            record.engine.store(RUNNING, Ordering::Relaxed);
            record.arrived.store(1, Ordering::Release);
        }
    }

    /// How `cpu` rests in its slot, if it provably does.
    pub(crate) fn rests(&self, cpu: CpuId) -> Option<Resting> {
        self.slots.rests(cpu, self.records.get(cpu.index())?)
    }

    /// What is certain of `cpu`.
    pub(crate) fn confirm(&self, cpu: CpuId, now: u64) -> Confirm {
        let Some(record) = self.records.get(cpu.index()) else {
            return Confirm::Off;
        };
        match record.engine.load(Ordering::Acquire) & TAG {
            // It has never run anything of ours, or was confirmed lost.
            IDLE => Confirm::Off,
            // It stands in its slot, perhaps, and leaves it any moment.
            WAKING => Confirm::Running,
            RESET => {
                let settled = record.sent_at.load(Ordering::Relaxed) + SETTLE_NS;
                if now < settled {
                    Confirm::Running
                } else {
                    Confirm::Off
                }
            }
            _ => match self.slots.rests(cpu, record) {
                None => Confirm::Running,
                Some(Resting::Ipi) => Confirm::Parked,
                Some(Resting::Hlt) => Confirm::Off,
            },
        }
    }

    /// Releases `cpu`, which rests in its slot.
    ///
    /// # Errors
    /// [`KickError`]; it rests as before.
    pub(crate) fn release(
        &self,
        cpu: CpuId,
        epoch: u16,
        sender: Sender<'_>,
        now: u64,
    ) -> Result<(), KickError> {
        let (record, was) = self.claim(cpu)?;
        let old = record.epoch.load(Ordering::Relaxed);
        begin(record, epoch, now);
        if let Err(error) = self.slots.release(cpu, record) {
            record.epoch.store(old, Ordering::Relaxed);
            record.arrived.store(1, Ordering::Relaxed);
            record.engine.store(was, Ordering::Release);
            return Err(error);
        }
        record.engine.store(RELEASED, Ordering::Release);
        self.repeat_release(record, sender, now);
        let due = now.saturating_add(super::ns(self.timings.resend_us));
        // Release: pairs with the swap in `service`.
        self.next_due.fetch_min(due, Ordering::Release);
        Ok(())
    }

    /// Wakes a CPU that core has parked; it may not be in its slot yet.
    pub(crate) fn wake(&self, cpu: CpuId) {
        if let Some(record) = self.records.get(cpu.index()) {
            let from = (RUNNING, WAKING);
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            let _ = record
                .engine
                .compare_exchange(from.0, from.1, order.0, order.1);
            self.next_due.store(0, Ordering::Release);
        }
    }

    /// Sends the wake interrupt to a CPU that is released, or releases one that is wanted again.
    pub(super) fn repeat_release(&self, record: &BootRecord, sender: Sender<'_>, now: u64) {
        let cpu = CpuId::new(record.cpu.load(Ordering::Relaxed));
        let is_waking = record.engine.load(Ordering::Acquire) & TAG == WAKING;
        if is_waking && self.slots.rests(cpu, record).is_some() {
            // Fails only if another control CPU was faster.
            let _ = self.slots.release(cpu, record);
        }
        if is_waking && !self.slots.is_released(record) {
            return;
        }
        let id = record.hw_id.load(Ordering::Relaxed);
        let vector = sender.vector;
        let sent = sender.apic.send(id, Ipi::Fixed { vector });
        record.sent_at.store(now, Ordering::Relaxed);
        if is_waking && sent.is_ok() {
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            let _ = record
                .engine
                .compare_exchange(WAKING, RUNNING, order.0, order.1);
        }
    }

    /// Sends INIT to a CPU that was kicked and never came. It is off once it has settled.
    ///
    /// # Errors
    /// `AlreadyOn`: it came. `Denied`: nobody has kicked it. `Busy`: the local APIC is, or another
    /// control CPU sends to it just now.
    pub(crate) fn cancel(&self, cpu: CpuId, sender: Sender<'_>, now: u64) -> Result<(), KickError> {
        let record = self.records.get(cpu.index());
        let record = record.ok_or(KickError::new(KickErrorKind::NotPresent))?;
        let word = record.engine.load(Ordering::Acquire);
        match word & TAG {
            RUNNING | WAKING => return Err(KickError::new(KickErrorKind::AlreadyOn)),
            INIT | SIPI | RELEASED if record.has_arrived() => {
                return Err(KickError::new(KickErrorKind::AlreadyOn));
            }
            INIT | SIPI | RELEASED => {}
            RESET => return Ok(()),
            IDLE => return Err(KickError::new(KickErrorKind::Denied)),
            _ => return Err(KickError::new(KickErrorKind::Busy)),
        }
        let order = (Ordering::Acquire, Ordering::Relaxed);
        let claimed = record
            .engine
            .compare_exchange(word, CLAIMED, order.0, order.1);
        claimed.map_err(|_| KickError::new(KickErrorKind::Busy))?;
        let id = record.hw_id.load(Ordering::Relaxed);
        if let Err(error) = sender.apic.send(id, Ipi::Init) {
            record.engine.store(word, Ordering::Release);
            return Err(refused(error, id));
        }
        record.sent_at.store(now, Ordering::Relaxed);
        let was_released = if word & TAG == RELEASED {
            super::ONE
        } else {
            0
        };
        record.engine.store(RESET | was_released, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
