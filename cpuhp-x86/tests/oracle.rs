//! The MADT iterator against another reader: the `acpi` crate, from RSDP to the last entry.
//!
//! Both read the same tables in this process's memory, where physical and virtual addresses are
//! equal. The other reader is not asked for what it lacks: entries that lie, and the reset vector
//! of a version 1 wakeup mailbox.
#![expect(
    unsafe_code,
    reason = "the other reader maps memory by address, which its trait declares unsafe"
)]

use std::pin::Pin;
use std::ptr::NonNull;

use acpi::madt::{Madt as TheirMadt, MadtEntry};
use acpi::{AcpiHandler, AcpiTables, PhysicalMapping};
use cpuhp_x86::acpi::find_table;
use cpuhp_x86::madt::{CpuKind, Entry, Listed, Madt};

#[derive(Clone)]
struct Identity;

impl AcpiHandler for Identity {
    unsafe fn map_physical_region<T>(&self, at: usize, size: usize) -> PhysicalMapping<Self, T> {
        let place = NonNull::new(std::ptr::with_exposed_provenance_mut(at)).expect("not null");
        // SAFETY: every address in the tables is one of `leak`, and lives for ever.
        unsafe { PhysicalMapping::new(at, place, size, size, Self) }
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}

/// Puts bytes where they stay, with some room behind for readers that map whole structures.
fn leak(bytes: &[u8]) -> u64 {
    let mut words = vec![0_u64; bytes.len().div_ceil(8) + 64];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut padded = [0; 8];
        padded[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_le_bytes(padded);
    }
    Vec::leak(words).as_ptr().expose_provenance() as u64
}

fn map(phys: u64, len: usize) -> Option<&'static [u8]> {
    let start = std::ptr::with_exposed_provenance(usize::try_from(phys).ok()?);
    // SAFETY: as for the other reader; only addresses of `leak`, with lengths from its tables.
    Some(unsafe { std::slice::from_raw_parts(start, len) })
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte))
}

fn table(signature: &[u8; 4], body: &[u8]) -> u64 {
    let mut bytes = vec![0; 36];
    bytes[..4].copy_from_slice(signature);
    bytes[8] = 3;
    bytes.extend(body);
    let length = u32::try_from(bytes.len()).expect("a small table");
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[9] = sum(&bytes);
    leak(&bytes)
}

fn machine(madt: &[u8]) -> u64 {
    let tables = [table(b"HPET", &[0; 20]), table(b"APIC", madt)];
    let pointers: Vec<u8> = tables
        .iter()
        .flat_map(|table| table.to_le_bytes())
        .collect();
    let xsdt = table(b"XSDT", &pointers);
    let mut rsdp = vec![0; 36];
    rsdp[..8].copy_from_slice(b"RSD PTR ");
    rsdp[15] = 2;
    rsdp[20] = 36;
    rsdp[24..32].copy_from_slice(&xsdt.to_le_bytes());
    rsdp[8] = sum(&rsdp[..20]);
    rsdp[32] = sum(&rsdp);
    leak(&rsdp)
}

/// (id, enabled, 32-bit entry?)
type Cpu = (u32, bool, bool);

fn theirs(rsdp: u64) -> Vec<Cpu> {
    let at = usize::try_from(rsdp).expect("an address of this host");
    // SAFETY: `machine` made an RSDP there.
    let tables = unsafe { AcpiTables::from_rsdp(Identity, at) }.expect("their tables");
    let mapping = tables.find_table::<TheirMadt>().expect("their madt");
    let madt: Pin<&TheirMadt> = mapping.get();
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "two of nineteen types list CPUs"
    )]
    let read = |entry: MadtEntry<'_>| match entry {
        MadtEntry::LocalApic(cpu) => {
            let (id, flags) = (cpu.apic_id, cpu.flags);
            (id != 0xff).then(|| (u32::from(id), flags & 1 != 0, false))
        }
        MadtEntry::LocalX2Apic(cpu) => {
            let (id, flags) = (cpu.x2apic_id, cpu.flags);
            (id != u32::MAX).then_some((id, flags & 1 != 0, true))
        }
        _ => None,
    };
    madt.entries().filter_map(read).collect()
}

fn ours(rsdp: u64) -> Vec<Cpu> {
    let madt = find_table(rsdp, *b"APIC", map)
        .and_then(Madt::parse)
        .expect("our madt");
    let read = |entry| {
        let Entry::Cpu { id, listed, kind } = entry else {
            return None;
        };
        Some((id, listed == Listed::Present, kind == CpuKind::LocalX2Apic))
    };
    madt.entries()
        .map(|entry| entry.expect("a good entry"))
        .filter_map(read)
        .collect()
}

#[test]
fn both_readers_list_the_same_cpus() {
    let mut seed = 7_u32;
    let mut random = move |below: u32| {
        seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        (seed >> 16) % below
    };
    let mut cpus = 0;
    for _ in 0..300 {
        let mut body = [0xfee0_0000_u32.to_le_bytes(), [1, 0, 0, 0]].concat();
        for _ in 0..random(40) {
            let id = random(0x1_0000);
            let flags = random(4).to_le_bytes();
            let [low, high, ..] = id.to_le_bytes();
            match random(4) {
                0 => body.extend([1, 12, low, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]),
                1 => body.extend([9, 16, 0, 0, low, high, 0, 0, flags[0], 0, 0, 0, 0, 0, 0, 0]),
                2 => body.extend([0, 8, 0, 0xff, flags[0], 0, 0, 0]),
                _ => body.extend([0, 8, 0, low, flags[0], 0, 0, 0]),
            }
        }
        let rsdp = machine(&body);
        let (ours, theirs) = (ours(rsdp), theirs(rsdp));
        assert_eq!(ours, theirs);
        cpus += ours.len();
    }
    assert!(cpus > 1_000, "only {cpus} CPUs compared");
}
