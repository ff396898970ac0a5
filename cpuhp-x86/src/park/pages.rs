//! The pages that all parked CPUs share: header, code, page tables, descriptor tables.
//!
//! Written once, by the kernel that installs the region, and constant from then on. The page tables
//! map the first 4 GiB at their own addresses and belong to no kernel; the bits that a processor
//! sets by itself are set already.
//!
//! | offset | content |
//! |---|---|
//! | 0x0000 | header: what a later kernel must know |
//! | 0x1000 | mailbox, empty |
//! | 0x2000 | park code |
//! | 0x3000 | PML4, PDPT, four page directories |
//! | 0x9000 | IDT |
//! | 0xA000 | GDT; 0xA800 its descriptor, the IDT's, the page table to load |
//! | 0xB000 | the slots; behind them one table more for five-level paging |
//!
//! Spec: Intel SDM vol. 3A, "4-Level Paging and 5-Level Paging", "64-Bit IDT Gate Descriptors".

use core::sync::atomic::{AtomicU64, Ordering};

const PAGE: u64 = 4096;
const CODE: u64 = 0x2000;
const TABLES: u64 = 0x3000;
const IDT: u64 = 0x9000;
const GDT: u64 = 0xa000;
/// Where the slots begin.
pub(crate) const SLOTS: usize = 0xb000;

const MAGIC: u64 = 0x4b52_4150_3638_7868;
const VERSION: u64 = 1;
/// Words of the header; the last one makes them add up to 0.
const HEADER: usize = 10;

/// Present, writable, accessed.
const TABLE: u64 = 0x23;
/// Present, writable, accessed, dirty, 2 MiB.
const LARGE: u64 = 0xe3;
/// Cache disabled, write-through.
const UNCACHED: u64 = 0x18;
const LARGE_LEN: u64 = 2 << 20;

/// Code selector of the region's GDT, and its data selector.
pub(crate) const CODE_SELECTOR: u16 = 0x08;
pub(crate) const DATA_SELECTOR: u16 = 0x10;
const DESCRIPTORS: [u64; 3] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
/// A present interrupt gate.
const GATE: u64 = 0x8e << 40 | (CODE_SELECTOR as u64) << 16;

/// Offsets from the code page that the park code knows.
pub(crate) mod from_code {
    /// Pseudo-descriptors: limit and base from byte 6 of two words on.
    pub(crate) const GDTR: usize = 0xa800 - 0x2000 + 6;
    pub(crate) const IDTR: usize = GDTR + 16;
    /// Physical address of the top page table.
    pub(crate) const TOP: usize = 0xa800 - 0x2000 + 32;
}

/// Where a vector's gate leads, as offsets in the code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handlers {
    pub(crate) interrupt: u64,
    pub(crate) nmi: u64,
    pub(crate) machine_check: u64,
    /// Every other exception: nothing in the park code raises one.
    pub(crate) stop: u64,
}

/// What the pages are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// Physical address of the region, and its length.
    pub(crate) phys: u64,
    pub(crate) len: u64,
    pub(crate) slots: u64,
    /// Physical address of the local APIC's registers.
    pub(crate) apic: u64,
    /// 1 xAPIC, 2 x2APIC.
    pub(crate) apic_mode: u64,
    pub(crate) leaf: u64,
    pub(crate) vector: u8,
    /// Hardware id of the bootstrap processor, if it is known.
    pub(crate) bsp: Option<u32>,
    pub(crate) code: &'a [u8],
    pub(crate) handlers: Handlers,
    pub(crate) levels: Levels,
}

/// How deep the page tables are that the CPUs use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Levels {
    Four,
    Five,
}

impl Plan<'_> {
    /// Writes the pages into `shared`, and the fifth level, if there is one, into `top`.
    pub(crate) fn write(&self, shared: &[AtomicU64], top: &[AtomicU64]) {
        for word in shared.iter().chain(top) {
            word.store(0, Ordering::Relaxed);
        }
        let put = |at: u64, value: u64| {
            let word = usize::try_from(at / 8).ok().and_then(|at| shared.get(at));
            if let Some(word) = word {
                word.store(value, Ordering::Relaxed);
            }
        };
        self.write_header(put);
        for (at, bytes) in (CODE..).step_by(8).zip(self.code.chunks(8)) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(bytes) {
                *to = *from;
            }
            put(at, u64::from_le_bytes(word));
        }
        self.write_tables(put);
        for vector in 0..256 {
            let at = self.phys + CODE + self.handlers.of(vector);
            let low = at & 0xffff | (at >> 16 & 0xffff) << 48 | GATE;
            put(IDT + 16 * vector, low);
            put(IDT + 16 * vector + 8, at >> 32);
        }
        for (at, descriptor) in (GDT..).step_by(8).zip(DESCRIPTORS) {
            put(at, descriptor);
        }
        let pointers = GDT + 0x800;
        put(pointers, (8 * DESCRIPTORS.len() as u64 - 1) << 48);
        put(pointers + 8, self.phys + GDT);
        put(pointers + 16, (16 * 256 - 1) << 48);
        put(pointers + 24, self.phys + IDT);
        put(pointers + 32, self.top());
        if let (Levels::Five, Some(first)) = (self.levels, top.first()) {
            first.store((self.phys + TABLES) | TABLE, Ordering::Relaxed);
        }
    }

    /// Physical address of the top page table.
    fn top(&self) -> u64 {
        match self.levels {
            Levels::Four => self.phys + TABLES,
            Levels::Five => self.phys + SLOTS as u64 + self.slots * PAGE,
        }
    }

    fn write_header(&self, put: impl Fn(u64, u64)) {
        let words: [u64; HEADER] = [
            MAGIC,
            VERSION,
            self.len,
            self.slots,
            self.leaf,
            self.apic_mode,
            u64::from(self.vector),
            self.bsp.map_or(u64::MAX, u64::from),
            0,
            0,
        ];
        let sum = words
            .iter()
            .fold(0, |sum: u64, word| sum.wrapping_add(*word));
        for (at, word) in (0..).step_by(8).zip(words) {
            put(at, word);
        }
        put(8 * (HEADER as u64 - 1), sum.wrapping_neg());
    }

    fn write_tables(&self, put: impl Fn(u64, u64)) {
        let (pml4, pdpt) = (TABLES, TABLES + PAGE);
        put(pml4, (self.phys + pdpt) | TABLE);
        for gib in 0..4 {
            let directory = TABLES + (2 + gib) * PAGE;
            put(pdpt + 8 * gib, (self.phys + directory) | TABLE);
            for entry in 0..512 {
                let page = (gib * 512 + entry) * LARGE_LEN;
                let holds_apic = page == self.apic & !(LARGE_LEN - 1);
                let cached = if holds_apic { UNCACHED } else { 0 };
                put(directory + 8 * entry, page | LARGE | cached);
            }
        }
    }
}

impl Handlers {
    fn of(&self, vector: u64) -> u64 {
        match vector {
            2 => self.nmi,
            18 => self.machine_check,
            0..32 => self.stop,
            _ => self.interrupt,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const PHYS: u64 = 0x10_0000;
    const APIC: u64 = 0xfee0_0000;

    fn plan(levels: Levels) -> Plan<'static> {
        Plan {
            phys: PHYS,
            len: 0xe000,
            slots: 2,
            apic: APIC,
            apic_mode: 1,
            leaf: 0xb,
            vector: 0xf0,
            bsp: Some(5),
            code: &[0xfa, 0xfc, 3, 4, 5, 6, 7, 8, 9],
            handlers: Handlers {
                interrupt: 0x100,
                nmi: 0x180,
                machine_check: 0x190,
                stop: 0x1c0,
            },
            levels,
        }
    }

    fn written(levels: Levels) -> (Vec<u64>, u64) {
        let memory = |len: usize| (0..len).map(|_| AtomicU64::new(!0)).collect::<Vec<_>>();
        let (shared, top) = (memory(SLOTS / 8), memory(512));
        plan(levels).write(&shared, &top);
        let plain = shared.iter().map(|word| word.load(Ordering::Relaxed));
        (plain.collect(), top[0].load(Ordering::Relaxed))
    }

    /// What the processor finds for an address: the physical one, and whether it is cached.
    fn translate(memory: &[u64], top: u64, address: u64) -> Option<(u64, bool)> {
        let word = |table: u64, index: u64| {
            let at = (table & !0xfff) - PHYS + 8 * index;
            memory[usize::try_from(at / 8).unwrap()]
        };
        let mut entry = top;
        for shift in [39, 30, 21] {
            entry = word(entry, address >> shift & 511);
            let preset = if entry & 0x80 == 0 { 0x23 } else { 0x63 };
            if entry & preset != preset {
                return None;
            }
        }
        assert_ne!(entry & 0x80, 0, "2 MiB pages");
        let frame = entry & 0x000f_ffff_ffe0_0000;
        Some((frame + (address & 0x1f_ffff), entry & 0x18 == 0))
    }

    #[test]
    fn four_gib_are_mapped_at_themselves_and_only_the_apics_page_is_uncached() {
        let (memory, _) = written(Levels::Four);
        let top = memory[0xa820 / 8];
        for page in (0..1 << 32).step_by(2 << 20) {
            for address in [page, page + 0x1f_fff8] {
                let cached = address >> 21 != APIC >> 21;
                assert_eq!(translate(&memory, top, address), Some((address, cached)));
            }
        }
        assert_eq!(translate(&memory, top, 1 << 32), None);
    }

    #[test]
    fn a_fifth_level_lies_behind_the_slots_and_leads_to_the_fourth() {
        let (memory, top) = written(Levels::Five);
        assert_eq!(memory[0xa820 / 8], PHYS + 0xb000 + 2 * 4096);
        assert_eq!(top, (PHYS + 0x3000) | 0x23);
        assert_eq!(written(Levels::Four).1, 0);
    }

    #[test]
    fn every_vector_has_a_gate_and_nmi_and_machine_check_have_their_own() {
        let (memory, _) = written(Levels::Four);
        for vector in 0..256 {
            let [low, high] = [0, 1].map(|half| memory[0x9000 / 8 + 2 * vector + half]);
            let at = low & 0xffff | low >> 32 & 0xffff_0000 | high << 32;
            let right = match vector {
                2 => 0x180,
                18 => 0x190,
                0..=31 => 0x1c0,
                _ => 0x100,
            };
            assert_eq!(at, PHYS + 0x2000 + right, "vector {vector}");
            assert_eq!(low >> 16 & 0xffff, 8);
            assert_eq!(low >> 32 & 0xffff, 0x8e00, "present, no IST");
        }
    }

    #[test]
    fn code_and_pseudo_descriptors_are_in_their_places() {
        let (memory, _) = written(Levels::Four);
        assert_eq!(memory[0x2000 / 8], 0x0807_0605_0403_fcfa);
        assert_eq!(memory[0x2008 / 8], 9);
        assert_eq!(memory[0xa000 / 8..][..3], DESCRIPTORS);
        let pointers = &memory[0xa800 / 8..][..4];
        assert_eq!(pointers[0] >> 48, 23);
        assert_eq!(pointers[1], PHYS + 0xa000);
        assert_eq!(pointers[2] >> 48, 4095);
        assert_eq!(pointers[3], PHYS + 0x9000);
        assert_eq!(0x2000 + from_code::GDTR, 0xa806);
        assert_eq!(0x2000 + from_code::IDTR, 0xa816);
        assert_eq!(0x2000 + from_code::TOP, 0xa820);
    }

    #[test]
    fn header_adds_up_and_says_what_the_next_kernel_needs() {
        let (memory, _) = written(Levels::Four);
        let header = &memory[..HEADER];
        let sum = header
            .iter()
            .fold(0, |sum: u64, word| sum.wrapping_add(*word));
        assert_eq!(sum, 0);
        assert_eq!(header[1..8], [1, 0xe000, 2, 0xb, 1, 0xf0, 5]);
        let rest = &memory[HEADER..0x2000 / 8];
        assert!(rest.iter().all(|word| *word == 0), "the mailbox is empty");
    }
}
