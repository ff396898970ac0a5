//! Sections and symbols of a linked program, added up.

use anyhow::Result;
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

/// Bytes of a program by what they cost.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// Code and constants, also those that are writable until relocated.
    pub(crate) text: u64,
    /// Variables that the file holds a value for.
    pub(crate) data: u64,
    /// Variables that begin as zero.
    pub(crate) bss: u64,
    /// Name, size, and whether it is a function.
    symbols: Vec<(String, u64, bool)>,
}

/// What a section counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cost {
    Text,
    Data,
    Bss,
    Nothing,
}

impl Image {
    /// Reads an ELF file.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let file = object::File::parse(bytes)?;
        let mut image = Self::default();
        for section in file.sections() {
            match cost(section.name()?, section.kind()) {
                Cost::Text => image.text += section.size(),
                Cost::Data => image.data += section.size(),
                Cost::Bss => image.bss += section.size(),
                Cost::Nothing => {}
            }
        }
        for symbol in file.symbols() {
            let name = format!("{:#}", rustc_demangle::demangle(symbol.name()?));
            image
                .symbols
                .push((name, symbol.size(), symbol.kind() == SymbolKind::Text));
        }
        Ok(image)
    }

    /// Size of the one symbol whose name holds `part`.
    pub(crate) fn symbol(&self, part: &str) -> Option<u64> {
        self.symbols
            .iter()
            .find(|(name, ..)| name.contains(part))
            .map(|(_, size, _)| *size)
    }

    /// The `count` largest functions whose names hold `part`, largest first.
    pub(crate) fn largest(&self, part: &str, count: usize) -> Vec<(u64, &str)> {
        let functions = self
            .symbols
            .iter()
            .filter(|(name, _, is_text)| *is_text && name.contains(part));
        let mut found: Vec<(u64, &str)> = functions
            .map(|(name, size, _)| (*size, name.as_str()))
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.truncate(count);
        found
    }
}

/// Unwind tables and notes are not loaded by a kernel; padding after relocation is the linker's.
fn cost(name: &str, kind: SectionKind) -> Cost {
    if name.starts_with(".eh_frame") || name.starts_with(".note") || name == ".relro_padding" {
        return Cost::Nothing;
    }
    let is_relocated = name.starts_with(".data.rel.ro") || name.starts_with(".got");
    if kind == SectionKind::Data && is_relocated {
        return Cost::Text;
    }
    let costs = [
        (SectionKind::Text, Cost::Text),
        (SectionKind::ReadOnlyData, Cost::Text),
        (SectionKind::ReadOnlyDataWithRel, Cost::Text),
        (SectionKind::ReadOnlyString, Cost::Text),
        (SectionKind::Data, Cost::Data),
        (SectionKind::Tls, Cost::Data),
        (SectionKind::UninitializedData, Cost::Bss),
        (SectionKind::UninitializedTls, Cost::Bss),
    ];
    costs
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or(Cost::Nothing, |(_, cost)| *cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_counted_by_what_they_cost() {
        for (name, kind, expected) in [
            (".text", SectionKind::Text, Cost::Text),
            (".rodata", SectionKind::ReadOnlyData, Cost::Text),
            (".rodata.str", SectionKind::ReadOnlyString, Cost::Text),
            (".data.rel.ro", SectionKind::Data, Cost::Text),
            (".data", SectionKind::Data, Cost::Data),
            (".sdata", SectionKind::Data, Cost::Data),
            (".bss", SectionKind::UninitializedData, Cost::Bss),
            (
                ".relro_padding",
                SectionKind::UninitializedData,
                Cost::Nothing,
            ),
            (".eh_frame", SectionKind::ReadOnlyData, Cost::Nothing),
            (".debug_line", SectionKind::Debug, Cost::Nothing),
        ] {
            assert_eq!(cost(name, kind), expected, "{name}");
        }
    }

    #[test]
    fn program_of_this_test_is_read() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        if !bytes.starts_with(b"\x7fELF") {
            return;
        }
        let image = Image::read(&bytes).unwrap();
        assert!(image.text > 0 && image.symbol("program_of_this_test_is_read").is_some());
        assert!(Image::read(b"no program").is_err());
    }
}
