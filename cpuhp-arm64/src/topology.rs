//! Who is who: the table between [`HwId`] and [`CpuId`], in the order of firmware's list.
//!
//! An AP finds itself by its MPIDR and never by the order of arrival. Ids are sparse: a number is
//! never computed from one.
//!
//! Spec: Arm ARM, "MPIDR_EL1, Multiprocessor Affinity Register".

use core::sync::atomic::Ordering;

use cpuhp_core::{CpuId, HwId};

use crate::config::{CpuDesc, Numbering, SetupError};
use crate::record::BootRecord;

/// The affinity fields of MPIDR: what a firmware table calls a CPU's id.
pub(crate) const AFFINITY: u64 = 0xff_00ff_ffff;

/// What numbering the CPUs of a machine came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Numbered {
    pub(crate) cpus: u32,
    pub(crate) boot: CpuId,
    /// Listed, but without a record. An id listed twice beyond the records counts twice.
    pub(crate) left_out: u32,
    /// Ids that are listed more than once; each is one CPU.
    pub(crate) duplicates: u32,
}

/// Gives each listed CPU its record. The first entry of an id counts.
///
/// # Errors
/// [`SetupError::BootCpuNotListed`], [`SetupError::NoRecords`] if there is none for the boot CPU. The
/// records may have been written.
pub(crate) fn number(
    cpus: impl IntoIterator<Item = CpuDesc>,
    boot: HwId,
    numbering: Numbering,
    records: &[BootRecord],
) -> Result<Numbered, SetupError> {
    let first = records.first().ok_or(SetupError::NoRecords)?;
    // With the boot CPU first, the place before all others is kept for it.
    let mut table = Table {
        records,
        cpus: u32::from(numbering == Numbering::BootFirst),
        left_out: 0,
        duplicates: 0,
    };
    let mut boot_listed = false;
    for desc in cpus {
        let desc = CpuDesc {
            hw: HwId(desc.hw.0 & AFFINITY),
            ..desc
        };
        if desc.hw != boot || numbering == Numbering::Table {
            boot_listed |= desc.hw == boot;
            table.add(desc);
        } else if boot_listed {
            table.duplicates += 1;
        } else {
            boot_listed = true;
            first.list(CpuId::new(0), desc);
        }
    }
    if !boot_listed {
        return Err(SetupError::BootCpuNotListed(boot));
    }
    let boot = find(table.taken(), boot).ok_or(SetupError::NoRecords)?;
    Ok(Numbered {
        cpus: table.cpus,
        boot: CpuId::new(boot.cpu.load(Ordering::Relaxed)),
        left_out: table.left_out,
        duplicates: table.duplicates,
    })
}

/// Finds the record of a hardware id. The entry code does the same in assembly.
pub(crate) fn find(records: &[BootRecord], id: HwId) -> Option<&BootRecord> {
    let is_it = |record: &&BootRecord| record.is_present() && record.hw_id() == id;
    records.iter().find(is_it)
}

struct Table<'a> {
    records: &'a [BootRecord],
    cpus: u32,
    left_out: u32,
    duplicates: u32,
}

impl<'a> Table<'a> {
    fn taken(&self) -> &'a [BootRecord] {
        self.records.get(..self.cpus as usize).unwrap_or(&[])
    }

    fn add(&mut self, desc: CpuDesc) {
        if find(self.taken(), desc.hw).is_some() {
            self.duplicates = self.duplicates.saturating_add(1);
            return;
        }
        match self.records.get(self.cpus as usize) {
            Some(record) => {
                record.list(CpuId::new(self.cpus), desc);
                self.cpus += 1;
            }
            None => self.left_out = self.left_out.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::config::WakeMethod;

    fn desc(id: u64) -> CpuDesc {
        CpuDesc {
            hw: HwId(id),
            method: WakeMethod::Psci,
            wave: 0,
        }
    }

    fn numbered(
        ids: &[u64],
        boot: u64,
        numbering: Numbering,
        len: usize,
    ) -> Result<(Numbered, Vec<u64>), SetupError> {
        let records: Vec<BootRecord> = (0..len).map(|_| BootRecord::ZERO).collect();
        let list = ids.iter().map(|id| desc(*id));
        let numbered = number(list, HwId(boot), numbering, &records)?;
        let taken = records.iter().take(numbered.cpus as usize);
        Ok((numbered, taken.map(|record| record.hw_id().0).collect()))
    }

    #[test]
    fn boot_cpu_comes_first_wherever_it_is_listed() {
        let ids = [0x100, 0x101, 0x1_0000_0000, 7];
        let (numbered, order) = numbered(&ids, 0x101, Numbering::BootFirst, 8).unwrap();
        assert_eq!(order, [0x101, 0x100, 0x1_0000_0000, 7]);
        assert_eq!((numbered.cpus, numbered.boot), (4, CpuId::new(0)));
    }

    #[test]
    fn order_of_the_list_keeps_the_boot_cpu_in_the_middle() {
        let (numbered, order) = numbered(&[5, 9, 2], 9, Numbering::Table, 8).unwrap();
        assert_eq!(order, [5, 9, 2]);
        assert_eq!(numbered.boot, CpuId::new(1));
    }

    #[test]
    fn an_id_listed_twice_is_one_cpu_and_counted() {
        for numbering in [Numbering::BootFirst, Numbering::Table] {
            let ids = [0, 1, 1, 0, 0x8000_0001];
            let (numbered, order) = numbered(&ids, 0, numbering, 8).unwrap();
            // Bits outside the affinity fields are no part of an id.
            assert_eq!((order.as_slice(), numbered.duplicates), (&[0, 1][..], 3));
        }
    }

    #[test]
    fn cpus_beyond_the_records_are_left_out_and_counted() {
        let (numbered, order) = numbered(&[3, 4, 5, 0], 0, Numbering::BootFirst, 2).unwrap();
        assert_eq!((order.as_slice(), numbered.left_out), (&[0, 3][..], 2));
    }

    #[test]
    fn a_list_without_the_boot_cpu_is_refused() {
        let error = numbered(&[1, 2], 0, Numbering::BootFirst, 8).unwrap_err();
        assert_eq!(error, SetupError::BootCpuNotListed(HwId(0)));
        let error = numbered(&[1, 0], 0, Numbering::Table, 1).unwrap_err();
        assert_eq!(error, SetupError::NoRecords);
        let error = numbered(&[0], 0, Numbering::BootFirst, 0).unwrap_err();
        assert_eq!(error, SetupError::NoRecords);
    }
}
