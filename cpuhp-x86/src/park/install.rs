//! The region in place: its pages written, its slots installed, and the way into a slot.
#![expect(
    unsafe_code,
    reason = "the region is memory known by its address; see `Region::install`"
)]

use core::sync::atomic::AtomicU64;

use super::code::{self, CODE_LEN, HANDLERS, Kernel, Manner, STUB_AT};
use super::pages::{Levels, Plan, SLOTS};
use super::slot::{Header, ParkSlot, SLOT_LEN};
use crate::config::{Mapping, ParkRegion, Resting, SetupError};
use crate::record::BootRecord;

/// Where the code page lies in the region.
const CODE: u64 = 0x2000;
/// Words of a page.
const WORDS: usize = 512;

/// An installed region. Lives as long as the backend, so for ever.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    phys: u64,
    pub(crate) slots: &'static [ParkSlot],
    pub(crate) resting: Resting,
    /// The boot CPU's page tables, which map the region.
    root: u64,
}

/// What the pages say of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub(crate) kernel: Kernel,
    pub(crate) apic: u64,
    pub(crate) apic_mode: u64,
    pub(crate) leaf: u64,
    pub(crate) vector: u8,
    pub(crate) bsp: Option<u32>,
    pub(crate) levels: Levels,
}

impl Region {
    /// Writes the region for the CPUs of `records`.
    ///
    /// # Errors
    /// [`SetupError::Park`] if it is not aligned or too short, [`SetupError::Above4G`] if it or the
    /// local APIC lies beyond what its page tables map, [`SetupError::Unmapped`].
    ///
    /// # Safety
    /// 1. The region is ordinary memory that nobody else uses from now on, and `map` is right for it.
    /// 2. `records` are the numbered ones.
    pub(crate) unsafe fn install(
        config: ParkRegion,
        map: Mapping,
        records: &[BootRecord],
        spec: Spec,
    ) -> Result<Self, SetupError> {
        let (phys, cpus) = (config.phys, records.len());
        if !phys.is_multiple_of(SLOT_LEN as u64) || config.len < ParkRegion::len_for(cpus) {
            return Err(SetupError::Park(phys));
        }
        for end in [phys.saturating_add(config.len as u64), spec.apic + 4096] {
            if end > 1 << 32 {
                return Err(SetupError::Above4G(end));
            }
        }
        let base = (map.to_virt)(phys, config.len).ok_or(SetupError::Unmapped(phys))?;
        if !base.cast::<ParkSlot>().is_aligned() {
            return Err(SetupError::Park(phys));
        }
        // SAFETY: promise 1; the pages lie in the region, and are aligned. Atomics may be shared.
        let shared = unsafe {
            core::slice::from_raw_parts(base.cast::<AtomicU64>().as_ptr().cast_const(), SLOTS / 8)
        };
        let first = base.as_ptr().wrapping_add(SLOTS).cast::<ParkSlot>();
        // SAFETY: as above: the length was checked. Any bytes are a slot.
        let slots: &'static [ParkSlot] =
            unsafe { core::slice::from_raw_parts(first.cast_const(), cpus) };
        let top = first.wrapping_add(cpus).cast::<AtomicU64>();
        // SAFETY: as above: one page more than the slots.
        let top = unsafe { core::slice::from_raw_parts(top.cast_const(), WORDS) };
        let plan = Plan {
            phys,
            len: config.len as u64,
            slots: cpus as u64,
            apic: spec.apic,
            apic_mode: spec.apic_mode,
            leaf: spec.leaf,
            vector: spec.vector,
            bsp: spec.bsp,
            code: &code::image(spec.kernel),
            handlers: HANDLERS,
            levels: spec.levels,
        };
        plan.write(shared, top);
        for (slot, record) in slots.iter().zip(records) {
            slot.install(Header {
                hw_id: record.hw_id().0,
                code: phys + CODE,
                code_len: CODE_LEN,
                vector: spec.vector,
            });
        }
        Ok(Self {
            phys,
            slots,
            resting: config.resting,
            root: spec.kernel.cr3,
        })
    }

    /// Physical address of what a released CPU goes to.
    pub(crate) const fn stub(&self) -> u64 {
        self.phys + CODE + STUB_AT
    }

    /// Rests the calling CPU in the slot at `index`, for ever as far as the caller is concerned.
    ///
    /// # Safety
    /// 1. It is the calling CPU's own slot.
    /// 2. Interrupts are off, the local APIC is enabled with all its local vectors masked, and
    ///    nothing of this CPU's state is needed any more.
    /// 3. The boot CPU's page tables map the region at its physical address, its code executable.
    pub(crate) unsafe fn enter(&self, index: usize, class: u8, manner: Manner) -> ! {
        let number = self.slots.get(index).map_or(0, ParkSlot::next);
        let slot = self.phys + (SLOTS + index * SLOT_LEN) as u64;
        // SAFETY: promises 1 to 3, and the addresses are `install`'s.
        unsafe { code::enter(self.root, self.phys + CODE, slot, number, class, manner) }
    }
}
