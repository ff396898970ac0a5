//! The region in place: its pages written, its slots installed, and the way into a slot.
#![expect(
    unsafe_code,
    reason = "the region is memory known by its address; see `Region::install`"
)]

use core::sync::atomic::AtomicU64;

use super::code;
use super::pages::{self, CODE};
use super::slot::{self, ParkSlot, SLOT_LEN};
use crate::config::{Gic, Mapping, PARK_SLOTS, ParkRegion, Resting, SetupError, Wake};
use crate::hardware::{Hardware, forget_instructions, write_back_granule};
use crate::record::BootRecord;

/// Bytes that the two sides of a slot keep apart.
const APART: u64 = 256;

/// An installed region. Lives as long as the backend, so for ever.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    phys: u64,
    pub(crate) slots: &'static [ParkSlot],
}

impl Region {
    /// Writes the region for the CPUs of `records`.
    ///
    /// # Errors
    /// [`SetupError::Park`] if it is not aligned or too short, or if this machine cannot use it;
    /// [`SetupError::Unmapped`].
    ///
    /// # Safety
    /// 1. The region is ordinary memory that nobody else uses from now on, and `map` is right for it.
    /// 2. `records` are the numbered ones.
    pub(crate) unsafe fn install(
        config: ParkRegion,
        map: Mapping,
        records: &[BootRecord],
        wake: Wake,
        hardware: &Hardware,
        level: u64,
    ) -> Result<Self, SetupError> {
        let (phys, cpus) = (config.phys, records.len());
        let is_short = config.len < ParkRegion::len_for(cpus);
        let wakes = config.resting == Resting::Event || matches!(wake.gic, Gic::V3 { .. });
        let is_aligned = phys.is_multiple_of(SLOT_LEN as u64);
        if is_short || !is_aligned || !wakes || write_back_granule() > APART {
            return Err(SetupError::Park(phys));
        }
        let base = (map.to_virt)(phys, config.len).ok_or(SetupError::Unmapped(phys))?;
        if !base.cast::<ParkSlot>().is_aligned() {
            return Err(SetupError::Park(phys));
        }
        let words = base.cast::<AtomicU64>().as_ptr().cast_const();
        // SAFETY: promise 1; the pages lie in the region, and are aligned. Atomics may be shared.
        let shared = unsafe { core::slice::from_raw_parts(words, PARK_SLOTS / 8) };
        let first = base.as_ptr().wrapping_add(PARK_SLOTS).cast::<ParkSlot>();
        // SAFETY: as above: the length was checked. Any bytes are a slot.
        let slots: &'static [ParkSlot] =
            unsafe { core::slice::from_raw_parts(first.cast_const(), cpus) };
        let image = code::image();
        let header = pages::Header {
            len: config.len as u64,
            slots: cpus as u64,
            level,
            sgi: u64::from(wake.sgi),
        };
        header.write(shared, image, hardware);
        for (slot, record) in slots.iter().zip(records) {
            let of = slot::Header {
                hw_id: record.hw_id().0,
                code: phys + CODE as u64,
                code_len: u32::try_from(image.len()).unwrap_or(u32::MAX),
                sgi: (config.resting == Resting::Ipi).then_some(wake.sgi),
            };
            slot.install(hardware, of);
        }
        forget_instructions();
        Ok(Self { phys, slots })
    }

    /// Rests the calling CPU in the slot at `index`, for ever as far as the caller is concerned.
    ///
    /// # Safety
    /// 1. It is the calling CPU's own slot.
    /// 2. Nothing of this CPU's state is needed any more.
    /// 3. The region is mapped at its physical address, its code executable.
    pub(crate) unsafe fn enter(&self, index: usize) -> ! {
        let slot = self.slots.get(index);
        let number = slot.map_or(0, ParkSlot::next);
        let wants_event = slot.is_some_and(ParkSlot::wants_event);
        let at = self.phys + (PARK_SLOTS + index * SLOT_LEN) as u64;
        let code = self.phys + CODE as u64;
        // SAFETY: promises 1 to 3, and the addresses are `install`'s.
        unsafe { code::enter(code, at, number, u64::from(wants_event)) }
    }
}
