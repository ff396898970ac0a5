use std::boxed::Box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::vec::Vec;

use super::*;
use crate::sbi::Answer;

/// Firmware that serves some harts, and is asked after them only.
struct Serves(Vec<u64>);

impl Firmware for Serves {
    fn hart_start(&self, _: HwId, _: u64, _: u64) -> Answer {
        panic!("nothing is started while the harts are numbered");
    }
    fn hart_status(&self, hart: HwId) -> Answer {
        if self.0.contains(&hart.0) {
            Ok(1)
        } else {
            Err(-3)
        }
    }
    fn send_ipi(&self, _: HwId) -> Answer {
        panic!("nobody is interrupted while the harts are numbered");
    }
}

/// Firmware that serves each hart the first time it is asked, and never again.
struct Forgets(AtomicU32);

impl Firmware for Forgets {
    fn hart_start(&self, _: HwId, _: u64, _: u64) -> Answer {
        Err(-1)
    }
    fn hart_status(&self, _: HwId) -> Answer {
        match self.0.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => Ok(1),
            _ => Err(-3),
        }
    }
    fn send_ipi(&self, _: HwId) -> Answer {
        Err(-1)
    }
}

fn desc(id: u64) -> CpuDesc {
    CpuDesc {
        hw: HwId(id),
        method: WakeMethod::SbiHsm,
        wave: u8::from(id % 2 == 1),
    }
}

fn records(len: usize) -> &'static [BootRecord] {
    let records: Vec<BootRecord> = (0..len).map(|_| BootRecord::ZERO).collect();
    Box::leak(records.into_boxed_slice())
}

struct Made {
    numbered: Result<Numbered, SetupError>,
    /// Hart id and presence, by logical number.
    table: Vec<(u64, bool)>,
}

fn make(
    ids: &[u64],
    boot: u64,
    numbering: Numbering,
    len: usize,
    firmware: &impl Firmware,
) -> Made {
    let records = records(len);
    let cpus = ids.iter().copied().map(desc);
    let numbered = number(&cpus, HwId(boot), numbering, records, firmware);
    let count = numbered.map_or(0, |numbered| numbered.cpus as usize);
    let row = |record: &BootRecord| (record.hw_id().0, record.is_present());
    Made {
        numbered,
        table: records[..count].iter().map(row).collect(),
    }
}

fn made(ids: &[u64], boot: u64, numbering: Numbering, len: usize, served: &[u64]) -> Made {
    make(ids, boot, numbering, len, &Serves(served.to_vec()))
}

#[test]
fn boot_hart_is_first_and_harts_without_firmware_are_last() {
    let ids = [7, 3, 1 << 40, 4, 9];
    let made = made(&ids, 4, Numbering::BootFirst, 8, &[7, 4, 9]);
    let numbered = made.numbered.unwrap();
    assert_eq!(numbered.boot, CpuId::new(0));
    assert_eq!((numbered.left_out, numbered.duplicates), (0, 0));
    let right = [
        (4, true),
        (7, true),
        (9, true),
        (3, false),
        (1 << 40, false),
    ];
    assert_eq!(made.table, right);
}

#[test]
fn table_order_is_kept_with_the_boot_hart_in_the_middle() {
    let made = made(&[7, 3, 4, 9], 4, Numbering::Table, 8, &[7, 4, 9]);
    assert_eq!(made.numbered.unwrap().boot, CpuId::new(2));
    assert_eq!(made.table, [(7, true), (3, false), (4, true), (9, true)]);
}

#[test]
fn boot_hart_is_present_whatever_firmware_says_of_it() {
    for numbering in [Numbering::BootFirst, Numbering::Table] {
        let made = made(&[0, 1], 0, numbering, 8, &[1]);
        assert_eq!(made.table, [(0, true), (1, true)], "{numbering:?}");
    }
}

#[test]
fn an_id_listed_twice_is_one_hart_and_is_counted() {
    for numbering in [Numbering::BootFirst, Numbering::Table] {
        let made = made(&[0, 1, 1, 2, 0, 2, 2], 0, numbering, 8, &[0, 1]);
        assert_eq!(
            made.table,
            [(0, true), (1, true), (2, false)],
            "{numbering:?}"
        );
        assert_eq!(made.numbered.unwrap().duplicates, 4, "{numbering:?}");
    }
}

#[test]
fn what_has_no_record_is_counted_and_those_that_are_there_go_first() {
    let ids = [0, 1, 2, 3, 4, 5];
    let made = made(&ids, 0, Numbering::BootFirst, 3, &[0, 3, 4, 5]);
    assert_eq!(made.table, [(0, true), (3, true), (4, true)]);
    assert_eq!(made.numbered.unwrap().left_out, 3);
}

#[test]
fn list_without_the_boot_hart_and_no_record_for_it_are_named() {
    let absent = made(&[1, 2], 0, Numbering::Table, 8, &[1, 2]);
    assert_eq!(absent.numbered, Err(SetupError::BootCpuNotListed(HwId(0))));
    let nobody = made(&[], 0, Numbering::BootFirst, 8, &[]);
    assert_eq!(nobody.numbered, Err(SetupError::BootCpuNotListed(HwId(0))));
    for numbering in [Numbering::BootFirst, Numbering::Table] {
        let without = made(&[1, 0], 0, numbering, 0, &[0, 1]);
        assert_eq!(without.numbered, Err(SetupError::NoRecords));
    }
    let late = made(&[1, 2, 0], 0, Numbering::Table, 2, &[0, 1, 2]);
    assert_eq!(late.numbered, Err(SetupError::NoRecords));
}

#[test]
fn an_answer_that_changes_loses_no_hart() {
    let forgets = Forgets(AtomicU32::new(0));
    let made = make(&[0, 1, 2, 3], 0, Numbering::BootFirst, 8, &forgets);
    let mut ids: Vec<u64> = made.table.iter().map(|row| row.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2, 3]);
    assert_eq!(made.numbered.unwrap().duplicates, 0);
}

#[test]
fn hart_that_is_listed_as_disabled_is_not_present_although_it_is_served() {
    let disabled = |id| CpuDesc {
        method: WakeMethod::Disabled,
        ..desc(id)
    };
    for numbering in [Numbering::BootFirst, Numbering::Table] {
        let records = records(4);
        // The boot hart runs, whatever its node says.
        let cpus = [disabled(0), desc(1), disabled(2)].into_iter();
        let served = Serves([0, 1, 2].to_vec());
        number(&cpus, HwId(0), numbering, records, &served).unwrap();
        let present: Vec<bool> = records[..3].iter().map(BootRecord::is_present).collect();
        assert_eq!(present, [true, true, false], "{numbering:?}");
    }
}

#[test]
fn wave_stays_with_its_hart() {
    let records = records(4);
    let cpus = [3, 2, 5].into_iter().map(desc);
    let served = Serves([2, 3, 5].to_vec());
    number(&cpus, HwId(2), Numbering::BootFirst, records, &served).unwrap();
    let waves: Vec<u8> = records[..3].iter().map(BootRecord::wave).collect();
    assert_eq!(waves, [0, 1, 1]);
}
