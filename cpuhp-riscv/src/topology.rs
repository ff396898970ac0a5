//! Who is who: the table between hart ids and logical numbers, and which harts firmware serves.

use cpuhp_core::{CpuId, HwId};

use crate::config::{CpuDesc, Numbering, SetupError, WakeMethod};
use crate::record::BootRecord;
use crate::sbi::Firmware;

/// What numbering the CPUs of a machine came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Numbered {
    pub(crate) cpus: u32,
    pub(crate) boot: CpuId,
    /// Listed, but without a record. An id listed twice beyond the records counts twice.
    pub(crate) left_out: u32,
    /// Entries that repeat an id.
    pub(crate) duplicates: u32,
}

/// Gives each listed hart its record, and asks the firmware after each.
///
/// # Errors
/// [`SetupError`] for a list without the boot hart, or no record for it. The records may have been
/// written.
pub(crate) fn number<I: Iterator<Item = CpuDesc> + Clone>(
    cpus: &I,
    boot_hart: HwId,
    numbering: Numbering,
    records: &[BootRecord],
    firmware: &impl Firmware,
) -> Result<Numbered, SetupError> {
    let mut table = Table {
        records,
        cpus: 0,
        left_out: 0,
        duplicates: 0,
    };
    let listed = cpus.clone().find(|desc| desc.hw == boot_hart);
    let first = listed.ok_or(SetupError::BootCpuNotListed(boot_hart))?;
    // The boot hart runs this code, whatever firmware says of it.
    let served = |desc: &CpuDesc| {
        let asked = || desc.method == WakeMethod::SbiHsm && firmware.hart_status(desc.hw).is_ok();
        if desc.hw == boot_hart || asked() {
            Served::Yes
        } else {
            Served::No
        }
    };
    match numbering {
        Numbering::BootFirst => {
            table.add(first, Served::Yes);
            let others = || cpus.clone().filter(|desc| desc.hw != boot_hart);
            for desc in others().filter(|desc| served(desc) == Served::Yes) {
                if table.has_room() {
                    table.add(desc, Served::Yes);
                }
            }
            // Asked once, or an answer that changes would lose the hart.
            for desc in others() {
                if !table.serves(desc.hw) {
                    table.add(desc, Served::No);
                }
            }
            let boots = cpus.clone().filter(|desc| desc.hw == boot_hart).count();
            let more = u32::try_from(boots).unwrap_or(u32::MAX).saturating_sub(1);
            table.duplicates = table.duplicates.saturating_add(more);
        }
        Numbering::Table => cpus.clone().for_each(|desc| table.add(desc, served(&desc))),
    }
    let boot = find(table.taken(), boot_hart).ok_or(SetupError::NoRecords)?;
    Ok(Numbered {
        cpus: table.cpus,
        boot: CpuId::new(boot.cpu.load(core::sync::atomic::Ordering::Relaxed)),
        left_out: table.left_out,
        duplicates: table.duplicates,
    })
}

/// Whether the firmware answers for a hart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Served {
    Yes,
    No,
}

/// Finds the record of a hardware id.
pub(crate) fn find(records: &[BootRecord], id: HwId) -> Option<&BootRecord> {
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

    fn has_room(&self) -> bool {
        self.records.len() > self.cpus as usize
    }

    /// Whether the hart has a record, and firmware answered for it.
    fn serves(&self, id: HwId) -> bool {
        find(self.taken(), id).is_some_and(BootRecord::is_present)
    }

    /// Adds a hart once.
    fn add(&mut self, desc: CpuDesc, served: Served) {
        if find(self.taken(), desc.hw).is_some() {
            self.duplicates = self.duplicates.saturating_add(1);
            return;
        }
        let Some(record) = self.records.get(self.cpus as usize) else {
            self.left_out = self.left_out.saturating_add(1);
            return;
        };
        record.list(CpuId::new(self.cpus), desc.hw, desc.wave);
        if served == Served::Yes {
            record.set_present();
        }
        self.cpus += 1;
    }
}

#[cfg(test)]
mod tests;
