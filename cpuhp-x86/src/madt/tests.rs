use std::vec;
use std::vec::Vec;

use super::*;

/// Builds a table with these bytes behind the header's 44, with a right length and checksum.
pub(crate) fn table(revision: u8, entries: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0; ENTRIES];
    bytes[..4].copy_from_slice(b"APIC");
    bytes[8] = revision;
    bytes[HEADER..HEADER + 4].copy_from_slice(&0xfee0_0000_u32.to_le_bytes());
    bytes.extend(entries.iter().flat_map(|entry| entry.iter()));
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    seal(&mut bytes);
    bytes
}

/// Makes the checksum right.
pub(crate) fn seal(bytes: &mut [u8]) {
    bytes[9] = 0;
    bytes[9] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
}

pub(crate) fn local_apic(id: u8, flags: u32) -> Vec<u8> {
    [&[0, 8, 0, id][..], &flags.to_le_bytes()].concat()
}

pub(crate) fn x2apic(id: u32, flags: u32) -> Vec<u8> {
    let head = [9, 16, 0, 0];
    [&head[..], &id.to_le_bytes(), &flags.to_le_bytes(), &[0; 4]].concat()
}

fn read(bytes: &[u8]) -> Vec<Result<Entry, TableError>> {
    Madt::parse(bytes).unwrap().entries().collect()
}

fn cpu(id: u32, listed: Listed, kind: CpuKind) -> Result<Entry, TableError> {
    Ok(Entry::Cpu { id, listed, kind })
}

#[test]
fn reads_every_entry_that_speaks_of_cpus_and_skips_the_others() {
    let override_address = [&[5, 12, 0, 0][..], &0xfee1_0000_u64.to_le_bytes()].concat();
    let bytes = table(
        3,
        &[
            &local_apic(0, 1),
            &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0], // I/O APIC
            &[0x7f, 2],                                   // unknown, the shortest there can be
            &local_apic(7, 0),
            &x2apic(0x1234, 1),
            &override_address,
        ],
    );
    assert_eq!(Madt::parse(&bytes).unwrap().local_apic(), 0xfee0_0000);
    assert_eq!(
        read(&bytes),
        [
            cpu(0, Listed::Present, CpuKind::LocalApic),
            cpu(7, Listed::Possible, CpuKind::LocalApic),
            cpu(0x1234, Listed::Present, CpuKind::LocalX2Apic),
            Ok(Entry::AddressOverride(0xfee1_0000)),
        ]
    );
}

#[test]
fn broadcast_ids_are_no_cpus() {
    let bytes = table(1, &[&local_apic(0xff, 1), &x2apic(u32::MAX, 1)]);
    assert_eq!(read(&bytes), []);
    // An 8-bit id of a 32-bit entry is an ordinary one.
    let bytes = table(1, &[&x2apic(0xff, 1)]);
    assert_eq!(
        read(&bytes),
        [cpu(0xff, Listed::Present, CpuKind::LocalX2Apic)]
    );
}

#[test]
fn what_a_disabled_cpu_means_follows_from_the_revision() {
    for (revision, flags, listed) in [
        (1, 0, Listed::Possible),
        (4, 2, Listed::Possible),
        (5, 0, Listed::Never),
        (5, 2, Listed::Possible),
        (45, 0, Listed::Possible),
        (46, 0, Listed::Never),
        (6, 1, Listed::Present),
        (6, 3, Listed::Present),
    ] {
        let bytes = table(revision, &[&local_apic(3, flags)]);
        assert_eq!(
            read(&bytes),
            [cpu(3, listed, CpuKind::LocalApic)],
            "revision {revision}, flags {flags}"
        );
    }
}

#[test]
fn wakeup_mailbox_has_two_lengths() {
    let mailbox = 0x7000_1000_u64.to_le_bytes();
    let version_0 = [&[0x10, 16, 0, 0, 0, 0, 0, 0][..], &mailbox].concat();
    let reset = 0x7000_2000_u64.to_le_bytes();
    let version_1 = [&[0x10, 24, 1, 0, 0, 0, 0, 0][..], &mailbox, &reset].concat();
    let long_version_0 = [&[0x10, 24, 0, 0, 0, 0, 0, 0][..], &mailbox, &reset].concat();
    let bytes = table(5, &[&version_0, &version_1, &long_version_0]);
    let wakeup = |reset_vector| {
        Ok(Entry::Wakeup {
            mailbox: 0x7000_1000,
            reset_vector,
        })
    };
    assert_eq!(
        read(&bytes),
        [wakeup(None), wakeup(Some(0x7000_2000)), wakeup(None)]
    );
}

#[test]
fn entries_that_lie_about_their_length_end_the_walk_with_their_offset() {
    let good = local_apic(0, 1);
    for bad in [
        &[0_u8, 0][..],            // no length: a walk that trusts it never ends
        &[0, 1],                   // shorter than type and length
        &[0, 200, 0, 1],           // past the end
        &[0],                      // cut off behind the type
        &[0, 4, 0, 1],             // too short for its type
        &[9, 8, 0, 0, 1, 0, 0, 0], // likewise
        &[5, 2],
        &[0x10, 8, 0, 0, 0, 0, 0, 0],
    ] {
        let bytes = table(1, &[&good, bad]);
        let at = u32::try_from(ENTRIES + good.len()).unwrap();
        assert_eq!(
            read(&bytes),
            [
                cpu(0, Listed::Present, CpuKind::LocalApic),
                Err(TableError::Bad { at })
            ],
            "{bad:?}"
        );
    }
}

#[test]
fn header_is_checked() {
    let good = table(1, &[&local_apic(0, 1)]);
    assert!(Madt::parse(&good).is_ok());
    let mut wrong = good.clone();
    wrong[0] = b'a';
    assert_eq!(Madt::parse(&wrong).unwrap_err(), TableError::Bad { at: 0 });
    let mut wrong = good.clone();
    wrong[20] ^= 1;
    assert_eq!(Madt::parse(&wrong).unwrap_err(), TableError::Checksum);
    for length in [0_u32, 35, 53, u32::MAX] {
        let mut wrong = good.clone();
        wrong[4..8].copy_from_slice(&length.to_le_bytes());
        seal(&mut wrong);
        assert_eq!(
            Madt::parse(&wrong).unwrap_err(),
            TableError::Bad { at: 4 },
            "length {length}"
        );
    }
    // A header alone is a table without the two fields before the entries.
    let mut short = good;
    short.truncate(HEADER);
    short[4..8].copy_from_slice(&36_u32.to_le_bytes());
    seal(&mut short);
    assert_eq!(Madt::parse(&short).unwrap_err(), TableError::Bad { at: 4 });
}

#[test]
fn every_truncation_is_an_error_and_none_panics() {
    let good = table(1, &[&local_apic(0, 1), &x2apic(300, 1)]);
    for length in 0..good.len() {
        assert!(Madt::parse(&good[..length]).is_err(), "{length} bytes");
    }
    // Bytes behind the table are not its own.
    let mut long = good;
    long.extend([0; 9]);
    assert_eq!(read(&long).len(), 2);
}

#[test]
fn random_entries_end_and_cover_at_most_their_bytes() {
    let mut seed = 1_u64;
    let mut byte = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u8::try_from(seed >> 56).unwrap()
    };
    for _ in 0..20_000 {
        let length = usize::from(byte()) / 2;
        let mut entries: Vec<u8> = (0..length).map(|_| byte()).collect();
        // Mostly small numbers, so that types and lengths are often plausible.
        entries.iter_mut().step_by(2).for_each(|byte| *byte %= 24);
        let bytes = table(byte() % 8, &[&entries]);
        let items = read(&bytes);
        assert!(items.len() <= length / 8 + 1, "{entries:?}");
        let errors = items.iter().filter(|item| item.is_err()).count();
        assert!(errors == 0 || (errors == 1 && items.last().unwrap().is_err()));
    }
}
