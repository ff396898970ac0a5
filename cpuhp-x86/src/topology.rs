//! Who is who: the CPUID leaf that carries the APIC id, and the table between [`HwId`] and
//! [`CpuId`].
//!
//! An AP finds itself by its id and never by the order of arrival. The boot CPU chooses the leaf
//! once, so that every CPU asks the same question. CPUID gives the *initial* id, in every APIC mode.
//!
//! Spec: Intel SDM vol. 2A, "CPUID", leaves 01H, 0BH, 1FH; AMD APM vol. 3, "CPUID Fn0000_000B".

use cpuhp_core::{CpuId, HwId};

use crate::config::{Numbering, SetupError};
use crate::madt::{CpuKind, Entry, Listed, Madt};
use crate::record::BootRecord;

pub(crate) mod smt;

/// The CPUID leaf that gives a CPU's APIC id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum IdLeaf {
    /// EBX 31:24, eight bits.
    Basic = 1,
    /// EDX of sub-leaf 0.
    Topology = 0xb,
    /// EDX of sub-leaf 0.
    TopologyV2 = 0x1f,
}

/// CPUID: `(leaf, sub-leaf)` to EAX, EBX, ECX, EDX.
pub(crate) type Cpuid = fn(u32, u32) -> [u32; 4];

impl IdLeaf {
    /// Chooses the leaf. A leaf exists if it is not above leaf 0's maximum and its EBX is not 0.
    pub(crate) fn choose(cpuid: Cpuid) -> Self {
        let [max, ..] = cpuid(0, 0);
        [Self::TopologyV2, Self::Topology]
            .into_iter()
            .find(|leaf| {
                let number = *leaf as u32;
                let [_, ebx, ..] = if number <= max {
                    cpuid(number, 0)
                } else {
                    [0; 4]
                };
                ebx != 0
            })
            .unwrap_or(Self::Basic)
    }

    /// Returns the calling CPU's APIC id.
    pub(crate) fn read(self, cpuid: Cpuid) -> u32 {
        let [_, ebx, _, edx] = cpuid(self as u32, 0);
        match self {
            Self::Basic => ebx >> 24,
            Self::Topology | Self::TopologyV2 => edx,
        }
    }
}

/// What numbering the CPUs of a machine came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Numbered {
    pub(crate) cpus: u32,
    pub(crate) boot: CpuId,
    /// Usable or possible, but without a record. An id listed twice beyond the records counts twice.
    pub(crate) left_out: u32,
    /// Ids that one entry type lists more than once.
    pub(crate) duplicates: u32,
}

/// Gives each listed CPU its record.
///
/// # Errors
/// [`SetupError`] for a bad table, a table without the boot CPU, or no record for it. The records
/// may have been written.
pub(crate) fn number(
    madt: &Madt<'_>,
    boot_id: u32,
    numbering: Numbering,
    records: &[BootRecord],
) -> Result<Numbered, SetupError> {
    let mut table = Table {
        records,
        cpus: 0,
        left_out: 0,
        duplicates: 0,
    };
    let mut boot_listed = false;
    for entry in madt.entries() {
        boot_listed |= matches!(entry?, Entry::Cpu { id, .. } if id == boot_id);
    }
    if !boot_listed {
        return Err(SetupError::BootCpuNotListed(HwId(u64::from(boot_id))));
    }
    match numbering {
        Numbering::BootFirst => {
            table.add(boot_id, Listed::Present);
            for pass in [Listed::Present, Listed::Possible] {
                table.add_all(madt, |_, listed| listed == pass);
            }
        }
        Numbering::Table => {
            table.add_all(madt, |id, listed| id == boot_id || listed != Listed::Never)
        }
    }
    let boot = find(table.taken(), boot_id).ok_or(SetupError::NoRecords)?;
    // It runs this code, whatever firmware says of it.
    boot.set_present();
    table.duplicates = duplicates(madt);
    Ok(Numbered {
        cpus: table.cpus,
        boot: CpuId::new(boot.cpu.load(core::sync::atomic::Ordering::Relaxed)),
        left_out: table.left_out,
        duplicates: table.duplicates,
    })
}

/// Finds the record of a hardware id. The entry code does the same in assembly.
pub(crate) fn find(records: &[BootRecord], id: u32) -> Option<&BootRecord> {
    let id = HwId(u64::from(id));
    records.iter().find(|record| record.hw_id() == id)
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

    fn add_all(&mut self, madt: &Madt<'_>, wanted: impl Fn(u32, Listed) -> bool) {
        for entry in madt.entries().flatten() {
            if let Entry::Cpu { id, listed, .. } = entry
                && wanted(id, listed)
            {
                self.add(id, listed);
            }
        }
    }

    /// Adds a CPU once. Of two entries for one id, either may be the one that is enabled.
    fn add(&mut self, id: u32, listed: Listed) {
        let record = find(self.taken(), id).or_else(|| {
            let record = self.records.get(self.cpus as usize)?;
            record.list(CpuId::new(self.cpus), id);
            self.cpus += 1;
            Some(record)
        });
        match record {
            Some(record) if listed == Listed::Present => record.set_present(),
            Some(_) => {}
            None => self.left_out = self.left_out.saturating_add(1),
        }
    }
}

/// Most entries that are compared with each other; a real table has two per CPU.
const MOST_COMPARED: usize = 4096;

/// Counts ids that one entry type lists twice. Listed once by each type is what some firmware does.
fn duplicates(madt: &Madt<'_>) -> u32 {
    let cpu = |entry| {
        let Entry::Cpu { id, listed, kind } = entry else {
            return None;
        };
        (listed != Listed::Never).then_some((id, kind))
    };
    let cpus = || madt.entries().flatten().filter_map(cpu);
    let twice =
        cpus()
            .take(MOST_COMPARED)
            .enumerate()
            .filter(|(index, this): &(usize, (u32, CpuKind))| {
                cpus().take(*index).any(|other| other == *this)
            });
    u32::try_from(twice.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
