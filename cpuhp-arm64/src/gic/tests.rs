use std::cell::RefCell;
use std::collections::HashMap;
use std::vec::Vec;

use cpuhp_core::CpuId;

use super::*;
use crate::config::{CpuDesc, WakeMethod};

/// A register file: TYPER by frame, and what was written.
#[derive(Default)]
struct Fake {
    typers: HashMap<u64, u64>,
    words: RefCell<HashMap<(u64, usize), u32>>,
    writes: RefCell<Vec<(usize, u32)>>,
    /// Reads of WAKER until the children are awake.
    sleepy: RefCell<u32>,
}

impl Frames for Fake {
    fn read(&self, frame: u64, at: usize) -> u32 {
        let typer = self.typers.get(&frame).copied().unwrap_or_default();
        match at {
            TYPER => u32::try_from(typer & 0xffff_ffff).unwrap(),
            at if at == TYPER + 4 => u32::try_from(typer >> 32).unwrap(),
            WAKER if *self.sleepy.borrow() > 0 => {
                *self.sleepy.borrow_mut() -= 1;
                CHILDREN_ASLEEP | PROCESSOR_SLEEP
            }
            _ => self.words.borrow().get(&(frame, at)).copied().unwrap_or(0),
        }
    }

    fn write(&self, frame: u64, at: usize, value: u32) {
        self.words.borrow_mut().insert((frame, at), value);
        self.writes.borrow_mut().push((at, value));
    }
}

fn listed(ids: &[u64]) -> Vec<BootRecord> {
    let records: Vec<BootRecord> = ids.iter().map(|_| BootRecord::ZERO).collect();
    for ((record, id), cpu) in records.iter().zip(ids).zip(0..) {
        let (hw, method) = (HwId(*id), WakeMethod::Psci);
        record.list(
            CpuId::new(cpu),
            CpuDesc {
                hw,
                method,
                wave: 0,
            },
        );
    }
    records
}

fn frames_of(records: &[BootRecord]) -> Vec<u64> {
    let frame = |record: &BootRecord| record.frame.load(core::sync::atomic::Ordering::Relaxed);
    records.iter().map(frame).collect()
}

#[test]
fn redistributors_are_found_by_affinity_in_several_regions() {
    let mut fake = Fake::default();
    // Region one has two, the second with frames for virtual interrupts before the third.
    fake.typers.insert(0x1_0000_0000, 0x0000_0001 << 32);
    fake.typers.insert(0x1_0002_0000, HAS_VIRTUAL);
    fake.typers
        .insert(0x1_0006_0000, 0x0000_0100 << 32 | IS_LAST);
    fake.typers
        .insert(0x1_4000_0000, 0x0200_0003 << 32 | IS_LAST);
    let records = listed(&[0, 1, 0x100, 0x2_0000_0003]);
    let regions = [
        (0x0800_0000, 0x100_0000),
        (0, 0),
        (0x4800_0000, 0x100_0000),
        (0, 0),
    ];
    let to_virt = |phys: u64, _: usize| Some(phys - 0x0800_0000 + 0x1_0000_0000);
    assign(regions, 3, (&records, HwId(1)), to_virt, &fake).unwrap();
    let right = [0x1_0002_0000, 0x1_0000_0000, 0x1_0006_0000, 0x1_4000_0000];
    assert_eq!(frames_of(&records), right);
    let sgi = |record: &BootRecord| record.sgi.load(core::sync::atomic::Ordering::Relaxed);
    let right = records.iter().map(|record| sgi_value(3, record.hw_id()));
    assert!(records.iter().map(sgi).eq(right));
}

#[test]
fn a_cpu_without_a_redistributor_is_deaf_but_the_boot_cpu_must_have_one() {
    let mut fake = Fake::default();
    fake.typers.insert(0x1000, 0);
    fake.typers.insert(0x1000 + FRAMES, 1 << 32 | IS_LAST);
    let regions = [(0x1000, 8 * FRAMES), (0, 0), (0, 0), (0, 0)];
    let records = listed(&[0, 1, 7]);
    let assign = |boot, to_virt: fn(u64, usize) -> Option<u64>| {
        assign(regions, 3, (&records, HwId(boot)), to_virt, &fake)
    };
    assert_eq!(assign(1, |phys, _| Some(phys)), Ok(()));
    let deaf: Vec<bool> = records.iter().map(BootRecord::is_deaf).collect();
    assert_eq!(deaf, [false, false, true]);
    let none = Err(SetupError::NoRedistributor(HwId(7)));
    assert_eq!(assign(7, |phys, _| Some(phys)), none);
    assert_eq!(assign(0, |_, _| None), Err(SetupError::Unmapped(0x1000)));
}

#[test]
fn a_region_without_a_last_one_ends_with_its_length() {
    let mut fake = Fake::default();
    fake.typers.insert(0x1000, 0);
    fake.typers.insert(0x1000 + FRAMES, 1 << 32);
    fake.typers.insert(0x1000 + 2 * FRAMES, 2 << 32);
    let regions = [(0x1000, 2 * FRAMES), (0, 0), (0, 0), (0, 0)];
    let records = listed(&[1, 2]);
    let result = assign(regions, 3, (&records, HwId(1)), |phys, _| Some(phys), &fake);
    assert_eq!(result, Ok(()));
    assert_eq!(frames_of(&records), [0x1000 + FRAMES, 0]);
}

#[test]
fn opening_wakes_first_and_enables_last() {
    let fake = Fake::default();
    *fake.sleepy.borrow_mut() = 3;
    fake.words
        .borrow_mut()
        .insert((0x10, PRIORITY + 4), 0x1122_3344);
    open(&fake, 0x10, 5);
    let right = [
        (WAKER, CHILDREN_ASLEEP),
        (GROUP, 1 << 5),
        (PRIORITY + 4, 0x1122_8044),
        (ENABLE, 1 << 5),
    ];
    assert_eq!(*fake.writes.borrow(), right);
}

#[test]
fn a_redistributor_that_does_not_wake_is_given_up() {
    let fake = Fake::default();
    *fake.sleepy.borrow_mut() = u32::MAX;
    open(&fake, 0x10, 0);
    assert_eq!(u32::MAX - *fake.sleepy.borrow(), WAKE_READS + 1);
}

#[test]
fn a_target_is_a_range_and_a_bit() {
    // Fields of ICC_SGI1R_EL1: Aff3 55:48, RS 47:44, Aff2 39:32, INTID 27:24, Aff1 23:16, list 15:0.
    assert_eq!(sgi_value(0, HwId(0)), 1);
    assert_eq!(sgi_value(15, HwId(0x1f)), 1 << 44 | 15 << 24 | 1 << 15);
    let all = sgi_value(2, HwId(0x12_0034_5678));
    assert_eq!(
        all,
        0x12 << 48 | 7 << 44 | 0x34 << 32 | 2 << 24 | 0x56 << 16 | 1 << 8
    );
}
