use std::boxed::Box;

use super::*;
use crate::fake::Fake;

const HW: u64 = 0x1_0000_0203;
const START: Start = Start {
    entry: 0x1_4020_0800,
    arg: 0x5000_0085,
};

fn slot() -> &'static ParkSlot {
    Box::leak(Box::new(ParkSlot::zero()))
}

fn installed(cache: &Fake, sgi: Option<u8>) -> &'static ParkSlot {
    let slot = slot();
    let of = Header {
        hw_id: HW,
        code: 0x1_6000_1000,
        code_len: 0xb0,
        sgi,
    };
    slot.install(cache, of);
    slot
}

#[test]
fn header_is_that_of_the_specification() {
    let cache = Fake::default();
    let slot = installed(&cache, Some(5));
    let header = |at: usize| slot.header[at].load(Ordering::Relaxed);
    let first: [u32; 12] = core::array::from_fn(header);
    let right = [
        0x4b52_4150,
        1,
        4096,
        183,
        0x203,
        1,
        0x6000_1000,
        1,
        0xb0,
        2,
        5,
        0,
    ];
    assert_eq!(first, right);
    assert_eq!((0..16).map(header).fold(0, u32::wrapping_add), 0);
    assert!(!slot.wants_event());
    assert!(installed(&cache, None).wants_event());
}

#[test]
fn a_number_is_released_once() {
    let cache = Fake::default();
    let slot = installed(&cache, Some(5));
    assert_eq!(slot.resting(&cache), None, "nobody has come");
    assert_eq!(slot.next(), 1);
    slot.parked.store(1, Ordering::Relaxed);
    assert_eq!(slot.resting(&cache), Some(1));
    assert_eq!(slot.release(&cache, HW, 1, START), Ok(()));
    let half = |words: &[AtomicU32; 2]| [0, 1].map(|at: usize| words[at].load(Ordering::Relaxed));
    assert_eq!(half(&slot.entry), [0x4020_0800, 1]);
    assert_eq!(half(&slot.arg), [0x5000_0085, 0]);
    assert_eq!(slot.go.load(Ordering::Relaxed), 1);
    assert_eq!(slot.resting(&cache), None, "released");
    let again = slot.release(&cache, HW, 1, START);
    assert_eq!(again, Err(SlotError::AlreadyReleased));
    slot.taken.store(1, Ordering::Relaxed);
    assert_eq!(slot.resting(&cache), None, "gone");
    assert_eq!(slot.next(), 2);
}

#[test]
fn numbers_skip_zero_and_the_claim() {
    let slot = installed(&Fake::default(), None);
    slot.parked.store(0x7fff_ffff, Ordering::Relaxed);
    assert_eq!(slot.next(), 1);
}

#[test]
fn a_slot_that_is_none_or_of_another_is_refused() {
    let cache = Fake::default();
    let errors = [
        (0, SlotError::BadMagic),
        (1, SlotError::BadVersion),
        (2, SlotError::BadVersion),
        (3, SlotError::BadVersion),
        (8, SlotError::BadChecksum),
    ];
    for (at, error) in errors {
        let slot = installed(&cache, Some(1));
        slot.parked.store(1, Ordering::Relaxed);
        slot.header[at].fetch_add(1, Ordering::Relaxed);
        assert_eq!(slot.release(&cache, HW, 1, START), Err(error), "{at}");
        assert_eq!(slot.go.load(Ordering::Relaxed), 0);
    }
    let slot = installed(&cache, Some(1));
    slot.parked.store(1, Ordering::Relaxed);
    let other = slot.release(&cache, HW + 1, 1, START);
    assert_eq!(other, Err(SlotError::WrongCpu));
}
