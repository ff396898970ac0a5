//! What the loader says: memory map, command line, RSDP. Bytes in, values out.
//!
//! Spec: Xen "x86/HVM direct boot ABI", `hvm_start_info` version 1.

use core::ops::Range;

use spin::Once;

use crate::memory;

const MAGIC: u32 = 0x336e_c578;
/// Longest command line that is read.
const LONGEST: usize = 2048;

/// The kernel's own copy: the loader's may lie in low memory that is used again.
static COMMAND_LINE: Once<[u8; LONGEST]> = Once::new();
/// Memory-map type of RAM.
const RAM: u32 = 1;

/// The start info, as far as a kernel without modules needs it.
#[derive(Debug)]
pub(crate) struct Info {
    /// `None` if it is too long, or not UTF-8.
    pub(crate) command_line: Option<&'static str>,
    pub(crate) rsdp: Option<u64>,
    memory_map: &'static [u8],
}

impl Info {
    /// Reads the structure at `address`, or `None` if there is none.
    pub(crate) fn read(address: usize) -> Option<Self> {
        let raw = memory::bytes(address as u64, 0x38)?;
        if u32_at(raw, 0)? != MAGIC {
            return None;
        }
        let text = u64_at(raw, 0x18)?;
        let theirs = memory::bytes(text, LONGEST)?.first_chunk()?;
        let command_line = COMMAND_LINE.call_once(|| *theirs);
        let command_line = command_line.split(|byte| *byte == 0).next();
        let command_line = command_line.filter(|text| text.len() < LONGEST);
        let entries = u32_at(raw, 0x30)? as usize;
        Some(Self {
            command_line: command_line.and_then(|text| core::str::from_utf8(text).ok()),
            rsdp: u64_at(raw, 0x20)
                .filter(|rsdp| *rsdp != 0)
                .or_else(find_rsdp),
            memory_map: memory::bytes(u64_at(raw, 0x28)?, entries.checked_mul(24)?)?,
        })
    }

    /// Ranges of RAM.
    pub(crate) fn ram(&self) -> impl Iterator<Item = Range<u64>> {
        self.memory_map.chunks_exact(24).filter_map(|entry| {
            let (start, len) = (u64_at(entry, 0)?, u64_at(entry, 8)?);
            (u32_at(entry, 16)? == RAM).then_some(start..start.checked_add(len)?)
        })
    }

    /// A free page below 640 KiB: whole, in RAM, above what BIOS and loader keep at the bottom.
    pub(crate) fn low_page(&self) -> Option<u32> {
        (0x8000..0xa0000).step_by(4096).find(|page| {
            let (page, end) = (u64::from(*page), u64::from(*page) + 4096);
            self.ram().any(|ram| ram.start <= page && end <= ram.end)
        })
    }
}

/// Looks for the RSDP where a PC BIOS puts it.
fn find_rsdp() -> Option<u64> {
    (0xe0000..0x0010_0000)
        .step_by(16)
        .find(|at| memory::bytes(*at, 8) == Some(b"RSD PTR "))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u64::from_le_bytes)
}
