//! The way to an ACPI table: RSDP, then XSDT or RSDT, then the table with the wanted signature.
//!
//! Pure functions over bytes. The kernel answers `map(physical address, length)`, or `None` for
//! what it cannot reach; nothing is read that was not asked for, and every checksum is verified.
//!
//! Spec: ACPI 6.5, "Root System Description Pointer (RSDP)", "System Description Table Header",
//! "Root System Description Table (RSDT)", "Extended System Description Table (XSDT)", "Fixed ACPI
//! Description Table (FADT)".

use core::fmt;

/// Length of the header every system description table begins with.
pub(crate) const HEADER: usize = 36;
/// Length of the first RSDP, and of the part its first checksum covers.
const RSDP_V1: usize = 20;
/// Length of the RSDP since revision 2, as far as this file reads it.
const RSDP_V2: usize = 36;
/// More pointers than any machine has; bounds the walk through a lying table.
const MAX_POINTERS: usize = 1024;
/// Largest table this file asks to map.
const MAX_TABLE: usize = 1 << 20;

/// What is wrong with a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TableError {
    /// A length, signature or entry that cannot be, and the offset of it in its table.
    Bad {
        /// Offset in bytes.
        at: u32,
    },
    /// The bytes do not add up to zero.
    Checksum,
    /// This physical address could not be mapped.
    Unmapped(u64),
    /// No table with this signature is listed.
    NotFound,
}

impl TableError {
    pub(crate) fn bad_at(at: usize) -> Self {
        Self::Bad {
            at: u32::try_from(at).unwrap_or(u32::MAX),
        }
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad { at } => write!(f, "bad acpi table at offset {at}"),
            Self::Checksum => f.write_str("acpi table with a wrong checksum"),
            Self::Unmapped(phys) => write!(f, "acpi table at {phys:#x} cannot be mapped"),
            Self::NotFound => f.write_str("acpi table not found"),
        }
    }
}

impl core::error::Error for TableError {}

/// Finds the table with `signature`, starting from the RSDP at physical address `rsdp`.
///
/// `map(phys, len)` gives at least `len` bytes, or `None`. A listed table that cannot be mapped, or
/// is no table, is passed over unless it is the wanted one.
///
/// # Errors
/// Any [`TableError`]; [`TableError::NotFound`] if every listed table is another one.
pub fn find_table<'a>(
    rsdp: u64,
    signature: [u8; 4],
    map: impl Fn(u64, usize) -> Option<&'a [u8]>,
) -> Result<&'a [u8], TableError> {
    let (root, kind) = read_rsdp(rsdp, &map)?;
    let (name, width) = match kind {
        Root::Rsdt => (*b"RSDT", 4),
        Root::Xsdt => (*b"XSDT", 8),
    };
    let root = map_table(root, &map)?;
    let root = check_table(root, name)?;
    let pointers = root.get(HEADER..).unwrap_or(&[]).chunks_exact(width);
    for pointer in pointers.take(MAX_POINTERS) {
        let phys = match kind {
            Root::Rsdt => u32_at(pointer, 0).map(u64::from),
            Root::Xsdt => u64_at(pointer, 0),
        };
        let Some(phys) = phys else { continue };
        if map(phys, HEADER).is_some_and(|header| header.starts_with(&signature)) {
            let table = map_table(phys, &map)?;
            return check_table(table, signature);
        }
    }
    Err(TableError::NotFound)
}

/// Returns the I/O port of the ACPI power-management timer from a FADT, if the machine has one.
///
/// Spec: ACPI 6.5, FADT field PM_TMR_BLK (offset 76); 0 = not supported.
pub fn pm_timer_port(fadt: &[u8]) -> Option<u16> {
    let port = u32_at(fadt, 76)?;
    u16::try_from(port).ok().filter(|port| *port != 0)
}

#[derive(Clone, Copy)]
enum Root {
    Rsdt,
    Xsdt,
}

fn read_rsdp<'a>(
    phys: u64,
    map: &impl Fn(u64, usize) -> Option<&'a [u8]>,
) -> Result<(u64, Root), TableError> {
    let unmapped = TableError::Unmapped(phys);
    let first = map(phys, RSDP_V1).and_then(|bytes| bytes.get(..RSDP_V1));
    let first = first.ok_or(unmapped)?;
    if !first.starts_with(b"RSD PTR ") {
        return Err(TableError::Bad { at: 0 });
    }
    check_sum(first)?;
    // Revision 1 never existed; 0 has no length and no XSDT.
    if u8_at(first, 15).is_none_or(|revision| revision < 2) {
        let rsdt = u32_at(first, 16).ok_or(TableError::Bad { at: 16 })?;
        return Ok((u64::from(rsdt), Root::Rsdt));
    }
    let length = map(phys, RSDP_V2).and_then(|bytes| u32_at(bytes, 20));
    let length = length.ok_or(unmapped)? as usize;
    if !(RSDP_V2..=HEADER + 4096).contains(&length) {
        return Err(TableError::Bad { at: 20 });
    }
    let whole = map(phys, length).and_then(|bytes| bytes.get(..length));
    let whole = whole.ok_or(unmapped)?;
    check_sum(whole)?;
    let xsdt = u64_at(whole, 24).ok_or(TableError::Bad { at: 24 })?;
    if xsdt == 0 {
        let rsdt = u32_at(whole, 16).ok_or(TableError::Bad { at: 16 })?;
        return Ok((u64::from(rsdt), Root::Rsdt));
    }
    Ok((xsdt, Root::Xsdt))
}

/// Maps the whole table at `phys`, by the length its header claims.
fn map_table<'a>(
    phys: u64,
    map: &impl Fn(u64, usize) -> Option<&'a [u8]>,
) -> Result<&'a [u8], TableError> {
    let unmapped = TableError::Unmapped(phys);
    let header = map(phys, HEADER).ok_or(unmapped)?;
    let length = u32_at(header, 4).ok_or(TableError::Bad { at: 4 })? as usize;
    if !(HEADER..=MAX_TABLE).contains(&length) {
        return Err(TableError::Bad { at: 4 });
    }
    map(phys, length).ok_or(unmapped)
}

/// Checks a table's signature, length and checksum, and cuts it to its length.
pub(crate) fn check_table(table: &[u8], signature: [u8; 4]) -> Result<&[u8], TableError> {
    if !table.starts_with(&signature) {
        return Err(TableError::Bad { at: 0 });
    }
    let length = u32_at(table, 4).ok_or(TableError::Bad { at: 4 })? as usize;
    let table = table.get(..length).ok_or(TableError::Bad { at: 4 })?;
    if length < HEADER {
        return Err(TableError::Bad { at: 4 });
    }
    check_sum(table)?;
    Ok(table)
}

fn check_sum(bytes: &[u8]) -> Result<(), TableError> {
    match bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) {
        0 => Ok(()),
        _ => Err(TableError::Checksum),
    }
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes_at(bytes, at).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes_at(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests;
