use std::vec::Vec;

use super::*;
use crate::madt::tests::{local_apic, table, x2apic};
use crate::record::BootRecord;

type Entries<'a> = &'a [&'a [u8]];

fn numbered(
    entries: Entries<'_>,
    boot_id: u32,
    numbering: Numbering,
    records: &[BootRecord],
) -> Result<Numbered, SetupError> {
    let bytes = table(1, entries);
    number(&Madt::parse(&bytes).unwrap(), boot_id, numbering, records)
}

fn records(count: usize) -> Vec<BootRecord> {
    (0..count).map(|_| BootRecord::ZERO).collect()
}

fn ids(records: &[BootRecord], numbered: Numbered) -> Vec<(u64, bool)> {
    let cpus = usize::try_from(numbered.cpus).unwrap();
    let pair = |record: &BootRecord| (record.hw_id().0, record.is_present());
    records[..cpus].iter().map(pair).collect()
}

#[test]
fn boot_cpu_is_first_and_absent_cpus_are_last() {
    let entries: Entries<'_> = &[
        &local_apic(4, 0),
        &local_apic(9, 1),
        &local_apic(7, 1),
        &local_apic(2, 1),
    ];
    let records = records(8);
    let result = numbered(entries, 7, Numbering::BootFirst, &records).unwrap();
    let expected = Numbered {
        cpus: 4,
        boot: CpuId::new(0),
        left_out: 0,
        duplicates: 0,
    };
    assert_eq!(result, expected);
    let order = [(7, true), (9, true), (2, true), (4, false)];
    assert_eq!(ids(&records, result), order);
}

#[test]
fn table_order_puts_the_boot_cpu_anywhere() {
    let entries: Entries<'_> = &[&local_apic(4, 0), &local_apic(9, 1), &x2apic(300, 1)];
    let records = records(3);
    let result = numbered(entries, 300, Numbering::Table, &records).unwrap();
    assert_eq!(result.boot, CpuId::new(2));
    assert_eq!(ids(&records, result), [(4, false), (9, true), (300, true)]);
}

#[test]
fn boot_cpu_runs_whatever_firmware_says_of_it() {
    for numbering in [Numbering::BootFirst, Numbering::Table] {
        // Possible by the older revision, never usable by the newer one.
        for revision in [1, 5] {
            let records = records(3);
            let entries = [local_apic(0, 0), local_apic(1, 1), local_apic(2, 2)];
            let bytes = table(revision, &entries.each_ref().map(Vec::as_slice));
            let madt = Madt::parse(&bytes).unwrap();
            let result = number(&madt, 0, numbering, &records).unwrap();
            let listed = [(0, true), (1, true), (2, false)];
            assert_eq!(ids(&records, result), listed, "{numbering:?} {revision}");
        }
    }
}

#[test]
fn an_id_in_both_entry_types_is_one_cpu_and_no_duplicate() {
    let records = records(4);
    let entries: Entries<'_> = &[
        &local_apic(0, 1),
        &local_apic(1, 1),
        &x2apic(1, 1),
        &x2apic(0, 1),
    ];
    let result = numbered(entries, 0, Numbering::BootFirst, &records).unwrap();
    assert_eq!((result.cpus, result.duplicates), (2, 0));
}

#[test]
fn a_repeated_id_is_one_cpu_and_reported() {
    for numbering in [Numbering::BootFirst, Numbering::Table] {
        let records = records(4);
        let entries: Entries<'_> = &[
            &local_apic(0, 1),
            &local_apic(1, 0),
            &local_apic(1, 1),
            &local_apic(1, 1),
        ];
        let result = numbered(entries, 0, numbering, &records).unwrap();
        assert_eq!((result.cpus, result.duplicates), (2, 2));
        let present = [(0, true), (1, true)];
        assert_eq!(ids(&records, result), present, "any enabled entry counts");
    }
}

#[test]
fn more_cpus_than_records_are_counted_and_present_ones_go_first() {
    let records = records(2);
    let entries: Entries<'_> = &[
        &local_apic(5, 0),
        &local_apic(0, 1),
        &local_apic(1, 1),
        &local_apic(2, 1),
    ];
    let result = numbered(entries, 0, Numbering::BootFirst, &records).unwrap();
    assert_eq!((result.cpus, result.left_out), (2, 2));
    assert_eq!(ids(&records, result), [(0, true), (1, true)]);
}

#[test]
fn a_boot_cpu_without_entry_or_record_is_an_error() {
    let entries: Entries<'_> = &[&local_apic(1, 1), &local_apic(2, 1)];
    let unlisted = numbered(entries, 9, Numbering::BootFirst, &records(2));
    assert_eq!(unlisted, Err(SetupError::BootCpuNotListed(HwId(9))));
    for numbering in [Numbering::BootFirst, Numbering::Table] {
        let none = numbered(entries, 2, numbering, &[]);
        assert_eq!(none, Err(SetupError::NoRecords));
    }
    let beyond = numbered(entries, 2, Numbering::Table, &records(1));
    assert_eq!(beyond, Err(SetupError::NoRecords));
}

#[test]
fn a_broken_table_is_an_error_before_any_record_is_given() {
    let records = records(2);
    let entries: Entries<'_> = &[&local_apic(0, 1), &[0, 0]];
    let result = numbered(entries, 0, Numbering::BootFirst, &records);
    assert_eq!(result, Err(SetupError::BadTable { at: 52 }));
    assert!(records.iter().all(|record| !record.is_present()));
}

#[test]
fn sparse_and_large_ids_find_their_record() {
    let many: Vec<Vec<u8>> = (0..255)
        .map(|id| local_apic(id, 1))
        .chain((255..288).map(|id| x2apic(id * 3, 1)))
        .collect();
    let entries: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    let records = records(288);
    let result = numbered(&entries, 0, Numbering::BootFirst, &records).unwrap();
    assert_eq!((result.cpus, result.left_out), (288, 0));
    for record in &records {
        let id = u32::try_from(record.hw_id().0).unwrap();
        let found = find(&records, id).unwrap();
        assert!(core::ptr::eq(found, record), "{id}");
    }
    assert!(find(&records, 5_000).is_none());
}

/// CPUID of a processor with id 0x123 (basic leaf: 0x23), where only some leaves answer.
fn cpuid(max: u32, topology: u32, topology_v2: u32, leaf: u32, sub_leaf: u32) -> [u32; 4] {
    assert!(leaf <= max, "leaf {leaf:#x} does not exist");
    assert_eq!(sub_leaf, 0);
    match leaf {
        0 => [max, 0, 0, 0],
        1 => [0, 0x2300_0800, 0, 0],
        0xb => [0, topology, 0, 0x123],
        0x1f => [0, topology_v2, 0, 0x123],
        other => panic!("leaf {other:#x} was not needed"),
    }
}

#[test]
fn best_leaf_that_exists_gives_the_id() {
    let cases: [(Cpuid, IdLeaf, u32); 5] = [
        (
            |leaf, sub| cpuid(0x1f, 1, 1, leaf, sub),
            IdLeaf::TopologyV2,
            0x123,
        ),
        (
            |leaf, sub| cpuid(0x1f, 1, 0, leaf, sub),
            IdLeaf::Topology,
            0x123,
        ),
        (
            |leaf, sub| cpuid(0x1f, 0, 0, leaf, sub),
            IdLeaf::Basic,
            0x23,
        ),
        (
            |leaf, sub| cpuid(0xd, 2, 9, leaf, sub),
            IdLeaf::Topology,
            0x123,
        ),
        (|leaf, sub| cpuid(7, 9, 9, leaf, sub), IdLeaf::Basic, 0x23),
    ];
    for (cpuid, leaf, id) in cases {
        assert_eq!(IdLeaf::choose(cpuid), leaf);
        assert_eq!(leaf.read(cpuid), id);
    }
}
