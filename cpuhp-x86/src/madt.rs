//! The MADT: which CPUs firmware lists. Pure functions over bytes that nobody trusts.
//!
//! No allocation, no panic, no loop that the table controls: every entry is at least two bytes
//! long and ends inside the table, or the walk stops with a typed error.
//!
//! Spec: ACPI 6.5, "Multiple APIC Description Table (MADT)" and its structures "Processor Local
//! APIC", "Processor Local x2APIC", "Local APIC Address Override", "Multiprocessor Wakeup".

use core::fmt;

use crate::acpi::{self, HEADER, TableError};

/// Offset of the first entry: header, local APIC address, flags.
const ENTRIES: usize = HEADER + 8;
/// First MADT revision whose flags have an "online capable" bit (ACPI 6.3).
const ONLINE_CAPABLE_SINCE: u8 = 5;
/// The revision of ACPI 6.2 Errata B: a larger number, without the bit.
const ACPI_6_2_B: u8 = 45;

const ENABLED: u32 = 1;
const ONLINE_CAPABLE: u32 = 2;

/// A checked MADT.
#[derive(Clone, Copy)]
pub struct Madt<'a> {
    revision: u8,
    local_apic: u32,
    entries: &'a [u8],
}

/// How firmware lists a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listed {
    /// Usable now.
    Present,
    /// Not there, or not to be used, until something makes it present.
    Possible,
    /// Never usable.
    Never,
}

/// One entry of the table. Types that say nothing about CPUs are passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Entry {
    /// A CPU, by an 8-bit (type 0) or 32-bit (type 9) id.
    Cpu {
        /// Its APIC id.
        id: u32,
        /// How it is listed.
        listed: Listed,
        /// Which of the two entry types names it.
        kind: CpuKind,
    },
    /// Another address of the local APIC registers (type 5).
    AddressOverride(u64),
    /// Firmware's mailbox for waking CPUs (type 0x10).
    Wakeup {
        /// Physical address of the mailbox.
        mailbox: u64,
        /// Physical address that takes CPUs back; version 1 only.
        reset_vector: Option<u64>,
    },
}

/// The two entry types that list CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CpuKind {
    /// Type 0, 8-bit id.
    LocalApic,
    /// Type 9, 32-bit id.
    LocalX2Apic,
}

impl<'a> Madt<'a> {
    /// Checks signature, length and checksum of `table`. Bytes behind its length are ignored.
    ///
    /// # Errors
    /// [`TableError::Bad`] for a wrong signature or length, [`TableError::Checksum`].
    pub fn parse(table: &'a [u8]) -> Result<Self, TableError> {
        let table = acpi::check_table(table, *b"APIC")?;
        let entries = table.get(ENTRIES..).ok_or(TableError::Bad { at: 4 })?;
        Ok(Self {
            revision: acpi::u8_at(table, 8).unwrap_or(0),
            local_apic: acpi::u32_at(table, HEADER).unwrap_or(0),
            entries,
        })
    }

    /// Returns the physical address of the local APIC registers, without the override.
    pub const fn local_apic(&self) -> u32 {
        self.local_apic
    }

    /// Iterates over the entries. After an error there is no further item.
    pub const fn entries(&self) -> Entries<'a> {
        Entries {
            rest: self.entries,
            at: ENTRIES,
            revision: self.revision,
        }
    }
}

impl fmt::Debug for Madt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries()).finish()
    }
}

/// The entries of a MADT that say something about CPUs.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    at: usize,
    revision: u8,
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(&kind) = self.rest.first() {
            let length = usize::from(acpi::u8_at(self.rest, 1).unwrap_or(0));
            let at = self.at;
            let (Some(entry), 2..) = (self.rest.get(..length), length) else {
                self.rest = &[];
                return Some(Err(TableError::bad_at(at)));
            };
            self.rest = self.rest.get(length..).unwrap_or(&[]);
            self.at += length;
            match self.read(kind, entry) {
                Some(Some(entry)) => return Some(Ok(entry)),
                Some(None) => {}
                None => {
                    self.rest = &[];
                    return Some(Err(TableError::bad_at(at)));
                }
            }
        }
        None
    }
}

impl Entries<'_> {
    /// Reads one entry: `None` if it is too short for its type, `Some(None)` if it says nothing.
    fn read(&self, kind: u8, entry: &[u8]) -> Option<Option<Entry>> {
        Some(match kind {
            0 => {
                let (id, flags) = (acpi::u8_at(entry, 3)?, acpi::u32_at(entry, 4)?);
                // 0xFF is the broadcast destination, never a CPU.
                (id != 0xff).then(|| self.cpu(u32::from(id), flags, CpuKind::LocalApic))
            }
            5 => Some(Entry::AddressOverride(acpi::u64_at(entry, 4)?)),
            9 => {
                let (id, flags) = (acpi::u32_at(entry, 4)?, acpi::u32_at(entry, 8)?);
                (id != u32::MAX).then(|| self.cpu(id, flags, CpuKind::LocalX2Apic))
            }
            0x10 => {
                let version = acpi::u16_at(entry, 2)?;
                Some(Entry::Wakeup {
                    mailbox: acpi::u64_at(entry, 8)?,
                    // Version 0 is 16 bytes long; both lengths are in the field.
                    reset_vector: (version >= 1).then(|| acpi::u64_at(entry, 16)).flatten(),
                })
            }
            _ => None,
        })
    }

    /// Before ACPI 6.3 a clear "enabled" bit meant "not there, may be added", and the second bit
    /// was reserved; since then only "online capable" says that.
    const fn cpu(&self, id: u32, flags: u32, kind: CpuKind) -> Entry {
        let has_bit = self.revision >= ONLINE_CAPABLE_SINCE && self.revision != ACPI_6_2_B;
        let may_come = !has_bit || flags & ONLINE_CAPABLE != 0;
        let listed = if flags & ENABLED != 0 {
            Listed::Present
        } else if may_come {
            Listed::Possible
        } else {
            Listed::Never
        };
        Entry::Cpu { id, listed, kind }
    }
}

#[cfg(test)]
pub(crate) mod tests;
