//! SMT: which CPUs share a core, and so which of them are kicked in the second wave.
//!
//! The threads of a core differ in the low bits of their APIC id only, and CPUID says in how many. Ids
//! may be sparse, and the thread with all bits 0 may be missing: the primary of a core is whoever has
//! the lowest id of those that are present.
//!
//! Spec: Intel SDM vol. 2A, "CPUID", leaves 0BH and 1FH; AMD APM vol. 3, "CPUID Fn8000_001E".

use super::{Cpuid, IdLeaf};
use crate::record::BootRecord;

/// Level type of a thread, in ECX 15:8 of both topology leaves.
const THREAD_LEVEL: u32 = 1;
/// First extended leaf; its EAX is the last one.
const EXTENDED: u32 = 0x8000_0000;
const EXTENDED_FEATURES: u32 = 0x8000_0001;
/// ECX bit of that leaf: the next one exists.
const HAS_IDENTIFIERS: u32 = 1 << 22;
/// EBX 15:8: threads of a core, less one.
const IDENTIFIERS: u32 = 0x8000_001e;

/// How many low bits of an APIC id tell the threads of one core apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ThreadBits(u32);

impl ThreadBits {
    /// Asks the calling CPU; `leaf` is the one that gives ids. Without an answer every CPU is a core.
    pub(crate) fn read(leaf: IdLeaf, cpuid: Cpuid) -> Self {
        match leaf {
            IdLeaf::Topology | IdLeaf::TopologyV2 => {
                let [eax, _, ecx, _] = cpuid(leaf as u32, 0);
                let is_thread = ecx >> 8 & 0xff == THREAD_LEVEL;
                Self(if is_thread { eax & 0x1f } else { 0 })
            }
            IdLeaf::Basic => Self::read_identifiers(cpuid),
        }
    }

    fn read_identifiers(cpuid: Cpuid) -> Self {
        let [last, ..] = cpuid(EXTENDED, 0);
        let has = last >= IDENTIFIERS && cpuid(EXTENDED_FEATURES, 0)[2] & HAS_IDENTIFIERS != 0;
        let less_one = if has {
            cpuid(IDENTIFIERS, 0)[1] >> 8 & 0xff
        } else {
            0
        };
        Self((less_one + 1).next_power_of_two().trailing_zeros())
    }

    /// Marks every CPU that is no primary.
    pub(crate) fn mark_all(self, records: &[BootRecord]) {
        for record in records {
            self.mark_core_of(record, records);
        }
    }

    /// Marks the CPUs of one core again, after one of them became present.
    pub(crate) fn mark_core_of(self, of: &BootRecord, records: &[BootRecord]) {
        if self.0 == 0 {
            return;
        }
        let core = self.core(of);
        let here = || {
            records
                .iter()
                .filter(move |record| self.core(record) == core)
        };
        let present = here().filter(|record| record.is_present());
        let first = present.map(BootRecord::hw_id).min();
        here()
            .filter(|record| first.is_some_and(|first| record.hw_id() > first))
            .for_each(BootRecord::set_sibling);
    }

    fn core(self, record: &BootRecord) -> u64 {
        record.hw_id().0 >> self.0
    }
}

#[cfg(test)]
mod tests;
