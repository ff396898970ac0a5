use std::vec::Vec;

use cpuhp_core::CpuId;

use super::*;

/// What a processor without 0xB answers to the extended leaves: AMD's, with so many threads less one.
fn amd(leaf: u32, features: u32, less_one: u32) -> [u32; 4] {
    match leaf {
        0x8000_0000 => [0x8000_001f, 0, 0, 0],
        0x8000_0001 => [0, 0, features, 0],
        0x8000_001e => [0xffff_ffff, 0x00ff_0003 | less_one << 8, 0xffff_ffff, 0],
        other => panic!("leaf {other:#x} was not needed"),
    }
}

#[test]
fn topology_leaves_give_the_bits_of_a_thread() {
    let cases: [(IdLeaf, Cpuid, u32); 6] = [
        (IdLeaf::Topology, |_, _| [0, 1, 0x100, 5], 0),
        (IdLeaf::Topology, |_, _| [1, 2, 0x100, 5], 1),
        (IdLeaf::TopologyV2, |_, _| [2, 4, 0x100, 5], 2),
        // The reserved bits above are not the width's.
        (IdLeaf::TopologyV2, |_, _| [0xffff_ffe1, 2, 0x100, 5], 1),
        // Only the level of threads tells threads apart: this one is of cores.
        (IdLeaf::Topology, |_, _| [3, 8, 0x200, 5], 0),
        (IdLeaf::Topology, |_, _| [3, 8, 0, 5], 0),
    ];
    for (number, (leaf, cpuid, bits)) in cases.into_iter().enumerate() {
        assert_eq!(ThreadBits::read(leaf, cpuid), ThreadBits(bits), "{number}");
    }
}

#[test]
fn topology_leaves_are_asked_for_their_first_level() {
    let cpuid = |leaf, sub_leaf| {
        assert_eq!((leaf, sub_leaf), (0x1f, 0));
        [1, 2, 0x100, 0]
    };
    assert_eq!(ThreadBits::read(IdLeaf::TopologyV2, cpuid), ThreadBits(1));
}

#[test]
fn without_them_the_identifiers_do_or_every_cpu_is_a_core() {
    let cases: [(Cpuid, u32); 7] = [
        (|leaf, _| amd(leaf, 1 << 22, 0), 0),
        (|leaf, _| amd(leaf, 1 << 22, 1), 1),
        (|leaf, _| amd(leaf, 1 << 22, 2), 2),
        (|leaf, _| amd(leaf, 1 << 22, 3), 2),
        // The leaf is there, and means nothing.
        (|leaf, _| amd(leaf, !(1 << 22), 1), 0),
        // The last extended leaf is below.
        (
            |leaf, _| match leaf {
                0x8000_0000 => [0x8000_0008, 0, 0, 0],
                other => panic!("leaf {other:#x} does not exist"),
            },
            0,
        ),
        (|leaf, _| amd(leaf, 1 << 22, 255), 8),
    ];
    for (number, (cpuid, bits)) in cases.into_iter().enumerate() {
        let read = ThreadBits::read(IdLeaf::Basic, cpuid);
        assert_eq!(read, ThreadBits(bits), "{number}");
    }
}

/// Records with these ids, all of them present but `absent`.
fn records(ids: &[u32], absent: &[u32]) -> Vec<BootRecord> {
    let records: Vec<_> = ids.iter().map(|_| BootRecord::ZERO).collect();
    for (cpu, (record, id)) in (0..).zip(records.iter().zip(ids)) {
        record.list(CpuId::new(cpu), *id);
        if !absent.contains(id) {
            record.set_present();
        }
    }
    records
}

fn waves(records: &[BootRecord]) -> Vec<u8> {
    records.iter().map(BootRecord::wave).collect()
}

#[test]
fn lowest_thread_of_each_core_is_its_primary() {
    let cases: [(u32, &[u32], &[u8]); 6] = [
        // threads=1
        (0, &[0, 1, 2, 3], &[0, 0, 0, 0]),
        // threads=2
        (1, &[0, 1, 2, 3, 4, 5], &[0, 1, 0, 1, 0, 1]),
        // threads=4
        (2, &[0, 1, 2, 3, 4, 5, 6, 7], &[0, 1, 1, 1, 0, 1, 1, 1]),
        // threads=3: two bits, and ids with gaps
        (2, &[0, 1, 2, 4, 5, 6, 16], &[0, 1, 1, 0, 1, 1, 0]),
        // Numbers do not follow ids: the boot CPU is first, whoever it is.
        (1, &[3, 0, 1, 2], &[1, 0, 1, 0]),
        // More than eight bits.
        (1, &[0x1_0000, 0x1_0001, 1], &[0, 1, 0]),
    ];
    for (bits, ids, expected) in cases {
        let records = records(ids, &[]);
        ThreadBits(bits).mark_all(&records);
        assert_eq!(waves(&records), expected, "{bits} bits, ids {ids:?}");
    }
}

#[test]
fn missing_thread_makes_the_next_one_the_primary() {
    // The first thread of the second core is not there, and no thread of the third.
    let records = records(&[0, 1, 2, 3, 4, 5], &[2, 4, 5]);
    let bits = ThreadBits(1);
    bits.mark_all(&records);
    assert_eq!(waves(&records), [0, 1, 0, 0, 0, 0]);

    // It is added: of two primaries one is left, and the other cores stay as they are.
    records[2].set_present();
    bits.mark_core_of(&records[2], &records);
    assert_eq!(waves(&records), [0, 1, 0, 1, 0, 0]);

    // The second thread of a core comes before its first.
    for (at, expected) in [(5, [0, 1, 0, 1, 0, 0]), (4, [0, 1, 0, 1, 0, 1])] {
        records[at].set_present();
        bits.mark_core_of(&records[at], &records);
        assert_eq!(waves(&records), expected);
    }
}

#[test]
fn widest_field_a_processor_can_report_is_no_panic() {
    let records = records(&[0, u32::MAX - 1], &[]);
    ThreadBits(31).mark_all(&records);
    assert_eq!(waves(&records), [0, 0]);
}
