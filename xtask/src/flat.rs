//! A program as one flat image: what loaders take that know no ELF.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, elf};

/// Most bytes an image may have: addresses far apart are a mistake of the linker script.
const LONGEST: u64 = 64 << 20;

/// Writes the image of the ELF file `program` beside it and returns where.
///
/// # Errors
/// It cannot be read or written, or is no program that can be flat.
pub(crate) fn write(program: &Path) -> Result<PathBuf> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let image = flatten(&bytes).with_context(|| format!("cannot flatten {}", program.display()))?;
    let path = program.with_extension("bin");
    fs::write(&path, image).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The bytes of all loaded segments, each at its physical address, from the lowest on.
fn flatten(bytes: &[u8]) -> Result<Vec<u8>> {
    let file: ElfFile64<'_, Endianness> = ElfFile64::parse(bytes)?;
    let endian = file.endian();
    let loaded = || {
        let headers = file.elf_program_headers().iter();
        headers
            .filter(|header| header.p_type(endian) == elf::PT_LOAD && header.p_filesz(endian) > 0)
    };
    let Some(base) = loaded().map(|header| header.p_paddr(endian)).min() else {
        bail!("nothing in it is loaded");
    };
    let mut image = Vec::new();
    for header in loaded() {
        let start = header.p_paddr(endian) - base;
        let Ok(data) = header.data(endian, bytes) else {
            bail!("a segment lies outside the file");
        };
        let end = start.saturating_add(data.len() as u64);
        if end > LONGEST {
            bail!("its segments lie {end} bytes apart");
        }
        let (start, end) = (usize::try_from(start)?, usize::try_from(end)?);
        if image.len() < end {
            image.resize(end, 0);
        }
        image
            .get_mut(start..end)
            .context("a segment beyond the image")?
            .copy_from_slice(data);
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file of these segments: physical address, bytes.
    fn program(segments: &[(u64, &[u8])]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([2, 0, 183, 0, 1, 0, 0, 0]);
        file.extend(
            [
                0_u64.to_le_bytes(),
                64_u64.to_le_bytes(),
                0_u64.to_le_bytes(),
            ]
            .concat(),
        );
        file.extend([0, 0, 0, 0, 64, 0, 56, 0]);
        file.extend(u16::try_from(segments.len()).unwrap().to_le_bytes());
        file.extend([64, 0, 0, 0, 0, 0]);
        let mut at = 64 + 56 * segments.len() as u64;
        for (address, bytes) in segments {
            let len = bytes.len() as u64;
            file.extend([1, 0, 0, 0, 7, 0, 0, 0]);
            for word in [at, *address, *address, len, len + 16, 1] {
                file.extend(word.to_le_bytes());
            }
            at += len;
        }
        for (_, bytes) in segments {
            file.extend(*bytes);
        }
        file
    }

    #[test]
    fn segments_stand_where_they_are_loaded() {
        let file = program(&[(0x4000_0008, b"later"), (0x4000_0000, b"first")]);
        assert_eq!(flatten(&file).unwrap(), b"first\0\0\0later");
    }

    #[test]
    fn what_cannot_be_flat_is_refused() {
        assert!(flatten(b"no program").is_err());
        assert!(flatten(&program(&[])).is_err());
        let apart = program(&[(0, b"one"), (1 << 40, b"two")]);
        assert!(flatten(&apart).unwrap_err().to_string().contains("apart"));
    }
}
