use std::vec::Vec;

use super::*;

const ID: u64 = 0x1_0000_0007;

#[test]
fn a_cpu_rests_until_it_is_released_and_then_no_more() {
    let slot = ParkSlot::installed(ID);
    assert!(!slot.is_resting(), "it has never been here");
    assert_eq!(slot.release(ID, 1, 2), Err(SlotError::NotParked));
    let number = slot.park();
    assert!(slot.is_resting() && !slot.is_released());
    assert_eq!(slot.wake(number), None, "a wake-up for no reason");
    assert_eq!(slot.release(ID, 0x1_2000, 0xffff_8000_0000_0085), Ok(()));
    assert!(!slot.is_resting(), "it may be on its way");
    assert!(slot.is_released());
    let again = slot.release(ID, 3, 4);
    assert_eq!(again, Err(SlotError::AlreadyReleased));
    let start = slot.wake(number);
    assert_eq!(start, Some([0x1_2000, 0xffff_8000_0000_0085]));
    assert!(!slot.is_resting() && !slot.is_released());
    assert_eq!(slot.release(ID, 5, 6), Err(SlotError::NotParked));
}

#[test]
fn a_later_rest_is_not_ended_by_an_earlier_release() {
    let slot = ParkSlot::installed(ID);
    let first = slot.park();
    slot.release(ID, 1, 2).unwrap();
    slot.wake(first).unwrap();
    let second = slot.park();
    assert_ne!(first, second);
    assert_eq!(slot.wake(second), None);
    assert!(slot.is_resting());
}

#[test]
fn a_cpu_that_was_reset_has_left() {
    let slot = ParkSlot::installed(ID);
    slot.park();
    slot.leave();
    assert!(!slot.is_resting());
    slot.park();
    assert!(slot.is_resting());
}

#[test]
fn numbers_wrap_past_zero_and_never_look_like_a_claim() {
    let slot = ParkSlot::installed(ID);
    slot.parked.store(CLAIM - 1, Ordering::Relaxed);
    slot.leave();
    assert_eq!(slot.park(), 1);
    assert!(slot.is_resting());
}

#[test]
fn a_claim_is_neither_a_rest_nor_a_release() {
    let slot = ParkSlot::installed(ID);
    let number = slot.park();
    slot.go.store(number | CLAIM, Ordering::Relaxed);
    assert!(!slot.is_resting(), "it may be released any moment");
    assert_eq!(slot.wake(number), None, "not before the words are valid");
}

#[test]
fn every_word_of_a_bad_header_is_refused() {
    for (at, error) in [
        (0, SlotError::BadMagic),
        (1, SlotError::BadVersion),
        (2, SlotError::BadVersion),
        (3, SlotError::BadVersion),
        (4, SlotError::BadChecksum),
        (7, SlotError::BadChecksum),
        (10, SlotError::BadChecksum),
        (15, SlotError::BadChecksum),
    ] {
        let slot = ParkSlot::installed(ID);
        slot.park();
        slot.header[at].fetch_xor(1 << 20, Ordering::Relaxed);
        assert_eq!(slot.release(ID, 1, 2), Err(error), "word {at}");
        assert!(slot.is_resting(), "word {at}");
    }
    let slot = ParkSlot::installed(ID);
    slot.park();
    assert_eq!(slot.release(7, 1, 2), Err(SlotError::WrongCpu));
}

#[test]
fn header_is_as_the_abi_has_it() {
    let slot = ParkSlot::installed(ID);
    let words: Vec<u32> = (0..12)
        .map(|at| slot.header[at].load(Ordering::Relaxed))
        .collect();
    let right = [
        0x4b52_4150,
        1,
        4096,
        62,
        7,
        1,
        0x10_2000,
        0,
        0x300,
        2,
        0xf0,
        0,
    ];
    assert_eq!(words, right);
}

#[test]
fn of_two_releasers_one_wins() {
    for _ in 0..200 {
        let slot = ParkSlot::installed(ID);
        let number = slot.park();
        let results: Vec<_> = std::thread::scope(|scope| {
            let slot = &slot;
            let release = |arg| scope.spawn(move || slot.release(ID, arg, arg));
            let threads = [release(1), release(2)];
            threads.map(|thread| thread.join().unwrap()).to_vec()
        });
        let won = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(won, 1, "{results:?}");
        let [entry, arg] = slot.wake(number).unwrap();
        assert_eq!(entry, arg, "the words of one of them");
    }
}
