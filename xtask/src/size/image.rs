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
    symbols: Vec<Symbol>,
}

#[derive(Debug)]
struct Symbol {
    name: String,
    size: u64,
    kind: SymbolKind,
    /// What its section is.
    section: Option<SectionKind>,
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
            let section = symbol.section_index();
            let section = section.and_then(|index| file.section_by_index(index).ok());
            image.symbols.push(Symbol {
                name,
                size: symbol.size(),
                kind: symbol.kind(),
                section: section.map(|at| at.kind()),
            });
        }
        Ok(image)
    }

    /// Size of the one symbol whose name holds `part`.
    pub(crate) fn symbol(&self, part: &str) -> Option<u64> {
        let mut named = self.named(part);
        named.next().map(|symbol| symbol.size)
    }

    /// Size of the same symbol if it begins as zero, or else 0.
    pub(crate) fn zero_symbol(&self, part: &str) -> u64 {
        let zero = Some(SectionKind::UninitializedData);
        let symbol = self.named(part).next();
        symbol.map_or(0, |symbol| {
            if symbol.section == zero {
                symbol.size
            } else {
                0
            }
        })
    }

    /// How many functions have names that hold `part`.
    pub(crate) fn count(&self, part: &str) -> u64 {
        let functions = self
            .named(part)
            .filter(|symbol| symbol.kind == SymbolKind::Text);
        functions.map(|_| 1).sum()
    }

    /// The `count` largest functions whose names hold `part`, largest first.
    pub(crate) fn largest(&self, part: &str, count: usize) -> Vec<(u64, &str)> {
        let functions = self
            .named(part)
            .filter(|symbol| symbol.kind == SymbolKind::Text);
        let mut found: Vec<(u64, &str)> = functions
            .map(|symbol| (symbol.size, symbol.name.as_str()))
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.truncate(count);
        found
    }

    fn named(&self, part: &str) -> impl Iterator<Item = &Symbol> {
        let part = part.to_owned();
        self.symbols
            .iter()
            .filter(move |symbol| symbol.name.contains(&part))
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
        let own = "program_of_this_test_is_read";
        assert!(image.text > 0 && image.symbol(own).is_some() && image.count(own) > 0);
        assert_eq!(
            (image.count("no_such_name"), image.zero_symbol(own)),
            (0, 0)
        );
        assert!(Image::read(b"no program").is_err());
    }
}
