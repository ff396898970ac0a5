use std::vec;
use std::vec::Vec;

use super::*;
use crate::madt::tests::{local_apic, seal, table};

/// Physical memory from `BASE` on.
struct Memory(Vec<u8>);

const BASE: u64 = 0xe_0000;
const RSDT: u64 = BASE + 0x100;
const XSDT: u64 = BASE + 0x200;
const OTHER: u64 = BASE + 0x300;
const MADT: u64 = BASE + 0x400;

impl Memory {
    /// A machine with both root tables; `revision` is the RSDP's.
    fn new(revision: u8) -> Self {
        let mut memory = Self(vec![0; 0x1000]);
        let mut rsdp = vec![0; 36];
        rsdp[..8].copy_from_slice(b"RSD PTR ");
        rsdp[15] = revision;
        rsdp[16..20].copy_from_slice(&low(RSDT));
        rsdp[20..24].copy_from_slice(&36_u32.to_le_bytes());
        rsdp[24..32].copy_from_slice(&XSDT.to_le_bytes());
        rsdp[8] = sum(&rsdp[..20]);
        rsdp[32] = sum(&rsdp);
        memory.put(BASE, &rsdp);
        memory.put(RSDT, &header(*b"RSDT", &[low(OTHER), low(MADT)].concat()));
        let pointers = [OTHER.to_le_bytes(), MADT.to_le_bytes()].concat();
        memory.put(XSDT, &header(*b"XSDT", &pointers));
        memory.put(OTHER, &header(*b"FACP", &[0; 100]));
        memory.put(MADT, &table(1, &[&local_apic(0, 1)]));
        memory
    }

    fn put(&mut self, phys: u64, bytes: &[u8]) {
        let at = usize::try_from(phys - BASE).unwrap();
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn map(&self, phys: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(phys.checked_sub(BASE)?).ok()?;
        self.0.get(at..at.checked_add(len)?)
    }

    fn find(&self) -> Result<&[u8], TableError> {
        find_table(BASE, *b"APIC", |phys, len| self.map(phys, len))
    }
}

fn low(phys: u64) -> [u8; 4] {
    u32::try_from(phys).unwrap().to_le_bytes()
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte))
}

fn header(signature: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..4].copy_from_slice(&signature);
    bytes.extend(body);
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    seal(&mut bytes);
    bytes
}

#[test]
fn finds_the_table_through_either_root() {
    for revision in [0, 2] {
        let memory = Memory::new(revision);
        assert_eq!(
            memory.find(),
            Ok(&memory.0[0x400..0x400 + 52]),
            "{revision}"
        );
    }
}

#[test]
fn revision_decides_which_root_is_read() {
    for revision in [0, 1] {
        let mut memory = Memory::new(revision);
        memory.put(XSDT, b"none");
        assert!(memory.find().is_ok(), "{revision} reads the RSDT");
    }
    let mut memory = Memory::new(2);
    memory.put(RSDT, b"none");
    assert!(memory.find().is_ok(), "revision 2 reads the XSDT");
    memory.put(XSDT, b"none");
    assert_eq!(memory.find(), Err(TableError::Bad { at: 0 }));
}

#[test]
fn checksums_of_rsdp_root_and_table_are_verified() {
    // Byte 10 of the RSDP is in both sums, byte 33 in the second only.
    for at in [10, 33, 0x200 + 12, 0x400 + 12] {
        let mut memory = Memory::new(2);
        memory.0[at] ^= 1;
        assert_eq!(memory.find(), Err(TableError::Checksum), "byte {at:#x}");
    }
    let mut memory = Memory::new(0);
    memory.0[10] ^= 1;
    assert_eq!(memory.find(), Err(TableError::Checksum), "old RSDP");
    // A broken table that nobody asked for is no obstacle.
    let mut memory = Memory::new(2);
    memory.0[0x300 + 12] ^= 1;
    assert!(memory.find().is_ok());
}

#[test]
fn pointers_to_nowhere_are_passed_over() {
    let mut memory = Memory::new(2);
    let pointers = [u64::MAX, 0, MADT].map(u64::to_le_bytes).concat();
    memory.put(XSDT, &header(*b"XSDT", &pointers));
    assert!(memory.find().is_ok());
    memory.put(XSDT, &header(*b"XSDT", &OTHER.to_le_bytes()));
    assert_eq!(memory.find(), Err(TableError::NotFound));
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    for length in [0_u32, 35, 0x2_0000, u32::MAX] {
        let mut memory = Memory::new(2);
        memory.put(MADT + 4, &length.to_le_bytes());
        assert!(memory.find().is_err(), "table of {length}");
        let mut memory = Memory::new(2);
        memory.put(BASE + 20, &length.to_le_bytes());
        assert!(memory.find().is_err(), "rsdp of {length}");
    }
}

#[test]
fn unmapped_memory_names_its_address() {
    let memory = Memory::new(2);
    let find = |rsdp| find_table(rsdp, *b"APIC", |phys, len| memory.map(phys, len));
    assert_eq!(find(0x10), Err(TableError::Unmapped(0x10)));
    let find = find_table(BASE, *b"APIC", |phys, len| {
        memory.map(phys, len).filter(|_| phys != XSDT)
    });
    assert_eq!(find, Err(TableError::Unmapped(XSDT)));
}

#[test]
fn pm_timer_port_is_16_bits_and_not_zero() {
    let fadt = |port: u32| {
        let mut body = [0; 100];
        body[76 - HEADER..80 - HEADER].copy_from_slice(&port.to_le_bytes());
        header(*b"FACP", &body)
    };
    assert_eq!(pm_timer_port(&fadt(0x608)), Some(0x608));
    assert_eq!(pm_timer_port(&fadt(0)), None);
    assert_eq!(pm_timer_port(&fadt(0x1_0608)), None);
    assert_eq!(pm_timer_port(&fadt(0x608)[..78]), None);
}
