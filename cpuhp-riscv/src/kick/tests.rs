//! The engine on a scripted firmware: alone here, under the whole core in [`lies`].

mod fake;
mod lies;
mod machine;

use std::vec;
use std::vec::Vec;

use cpuhp_core::{Confirm, CpuId, KickError, KickErrorKind, KickOutcome};

use self::fake::{Fake, Script};
use super::*;

const PLACES: Places = Places {
    entry: 0x8020_0000,
    records: 0x8800_0000,
};

fn engine(scripts: Vec<Script>) -> (Engine<&'static Fake>, &'static Fake) {
    let fake = Fake::new(scripts);
    let records = fake::records(fake.len());
    let engine = Engine::new(records, fake, Timings::conservative(), PLACES);
    engine.adopt(CpuId::new(0));
    (engine, fake)
}

fn id(cpu: u32) -> CpuId {
    CpuId::new(cpu)
}

#[test]
fn start_value_is_the_record_and_seven_bits_of_the_epoch() {
    let (engine, fake) = engine(vec![Script::GOOD; 4]);
    for (epoch, bits) in [(1, 1), (0x7f, 0x7f), (0x80, 0), (0xffff, 0x7f)] {
        engine.kick(id(3), epoch, 0).unwrap();
        let call = fake.last_start(3);
        assert_eq!(call.entry, 0x8020_0000);
        // Records are 128 bytes each.
        assert_eq!(call.value, 0x8800_0000 + 3 * 128 + bits);
        fake.stop_at_once(3);
        engine.done(id(3), KickOutcome::Lost);
    }
}

#[test]
fn a_kick_that_is_not_accounted_for_is_not_repeated() {
    let (engine, fake) = engine(vec![Script::GOOD; 2]);
    engine.kick(id(1), 1, 0).unwrap();
    let again = engine.kick(id(1), 2, 0);
    assert_eq!(again, Err(KickError::new(KickErrorKind::Busy)));
    assert_eq!(fake.starts(1), 1, "the firmware was not asked again");
    engine.done(id(1), KickOutcome::Lost);
    fake.stop_at_once(1);
    engine.kick(id(1), 3, 0).unwrap();
    assert_eq!(fake.starts(1), 2);
}

#[test]
fn whoever_is_too_late_to_repeat_a_start_leaves_the_word_to_its_owner() {
    let (engine, fake) = engine(vec![Script::GOOD; 2]);
    engine.kick(id(1), 1, 0).unwrap();
    // Two CPUs wait, and both have seen the start; the other one was faster.
    let record = &engine.records[1];
    record.engine.store(CLAIMED, Ordering::Relaxed);
    let is_waiting = engine.repeat(record);
    assert_eq!(record.engine.load(Ordering::Relaxed), CLAIMED);
    assert!(is_waiting, "somebody repeats it: ask again later");
    assert_eq!(fake.starts(1), 1);
}

#[test]
fn the_mark_of_arrival_is_the_last_kicks() {
    let (engine, fake) = engine(vec![Script::GOOD; 2]);
    engine.kick(id(1), 1, 0).unwrap();
    engine.records[1].arrived.store(1, Ordering::Relaxed);
    engine.done(id(1), KickOutcome::Arrived);
    fake.stop_at_once(1);
    engine.kick(id(1), 2, 0).unwrap();
    assert!(!engine.records[1].has_arrived());
}

#[test]
fn a_refused_kick_leaves_the_record_as_it_was() {
    let (engine, fake) = engine(vec![Script::GOOD; 2]);
    engine.kick(id(1), 5, 0).unwrap();
    engine.records[1].arrived.store(1, Ordering::Relaxed);
    engine.done(id(1), KickOutcome::Arrived);
    let refused = engine.kick(id(1), 6, 0);
    let already = KickError::with_code(KickErrorKind::AlreadyOn, -6);
    assert_eq!(refused, Err(already), "the firmware says so itself");
    assert_eq!(fake.starts(1), 2);
    assert_eq!(engine.records[1].epoch.load(Ordering::Relaxed), 5);
    assert!(engine.records[1].has_arrived());
    assert_eq!(engine.calls(), 2);
}

#[test]
fn the_boot_hart_is_refused_by_the_firmware_and_not_marked_as_kicked() {
    let (engine, _) = engine(vec![Script::GOOD; 2]);
    engine.records[0].stack_top.store(0x1000, Ordering::Relaxed);
    for _ in 0..2 {
        let already = KickError::with_code(KickErrorKind::AlreadyOn, -6);
        assert_eq!(engine.kick(id(0), 1, 0), Err(already));
    }
}

#[test]
fn what_cannot_start_does_not_reach_the_firmware() {
    let (engine, fake) = engine(vec![Script::GOOD; 2]);
    let nobody = engine.kick(id(2), 1, 0);
    assert_eq!(nobody, Err(KickError::new(KickErrorKind::NotPresent)));
    engine.records[1].clear();
    let no_stack = engine.kick(id(1), 1, 0);
    assert_eq!(no_stack, Err(KickError::new(KickErrorKind::BadAddress)));
    assert_eq!(fake.starts(1), 0);
    assert_eq!(engine.confirm(id(2)), Confirm::Running, "of nobody");
}

#[test]
fn only_stopped_is_off() {
    for (state, right) in [
        (Ok(0), Confirm::Running),
        (Ok(1), Confirm::Off),
        (Ok(2), Confirm::Running),
        (Ok(3), Confirm::Running),
        (Ok(4), Confirm::Running),
        (Ok(5), Confirm::Running),
        (Ok(6), Confirm::Running),
        (Ok(7), Confirm::Running),
        (Ok(u64::MAX), Confirm::Running),
        (Err(-3), Confirm::Running),
        (Err(-1), Confirm::Running),
        (Err(1), Confirm::Running),
    ] {
        let says = Script {
            says: Some(state),
            ..Script::GOOD
        };
        let (engine, _) = engine(vec![Script::GOOD, says]);
        assert_eq!(engine.confirm(id(1)), right, "{state:?}");
    }
}

#[test]
fn a_hart_on_its_way_out_is_asked_after_in_a_row_and_any_other_once() {
    let yields = Timings::conservative().yields;
    for (arrived, state, asked) in [
        (1, Ok(0), yields),
        (1, Ok(3), yields),
        (1, Ok(2), 1),
        (1, Err(-3), 1),
        (0, Ok(0), 1),
        (0, Ok(3), 1),
        (1, Ok(1), 1),
    ] {
        let says = Script {
            says: Some(state),
            ..Script::GOOD
        };
        let (engine, fake) = engine(vec![Script::GOOD, says]);
        engine.records[1].arrived.store(arrived, Ordering::Relaxed);
        let _ = engine.confirm(id(1));
        assert_eq!(fake.asked(1), asked, "{arrived} {state:?}");
    }
}

#[test]
fn a_hart_at_rest_is_released_and_not_started() {
    let (engine, fake) = engine(vec![Script::GOOD; 2]);
    engine.kick(id(1), 1, 0).unwrap();
    engine.done(id(1), KickOutcome::Arrived);
    let record = &engine.records[1];
    record.parked.store(record.next_rest(), Ordering::Release);
    assert_eq!(engine.confirm(id(1)), Confirm::Parked);
    engine.kick(id(1), 9, 0).unwrap();
    assert_eq!((fake.starts(1), fake.ipis(1)), (1, 1));
    assert_eq!(record.go.load(Ordering::Relaxed), 1);
    assert_eq!(record.epoch.load(Ordering::Relaxed), 9);
    assert_eq!(engine.confirm(id(1)), Confirm::Running, "it may have left");
}

#[test]
fn a_lost_start_is_repeated_in_its_time_and_not_for_ever() {
    let lost = Script {
        loses: u32::MAX,
        ..Script::GOOD
    };
    let (engine, fake) = engine(vec![Script::GOOD, lost, Script::GOOD]);
    assert_eq!(engine.next_look(), u64::MAX, "nobody was kicked");
    engine.kick(id(1), 1, 500).unwrap();
    engine.kick(id(2), 1, 600).unwrap();
    let value = fake.last_start(1).value;
    engine.service(500 + REPEAT_NS - 1);
    assert_eq!(fake.asked(1), 0, "it is too early");
    let mut now = 500;
    for repeats in 1..=8 {
        now += REPEAT_NS;
        assert_eq!(engine.next_look(), now);
        engine.service(now);
        assert_eq!(
            (fake.starts(1), fake.last_start(1).value),
            (1 + repeats, value)
        );
        assert_eq!(fake.starts(2), 1, "that one is on its way");
    }
    engine.service(now + REPEAT_NS);
    assert_eq!(fake.starts(1), 9);
    engine.done(id(2), KickOutcome::Lost);
    engine.service(now + 2 * REPEAT_NS);
    assert_eq!(engine.next_look(), u64::MAX, "nobody is left to ask after");
}

#[test]
fn a_hart_that_came_and_left_again_is_not_started_by_itself() {
    let (engine, fake) = engine(vec![Script::GOOD; 2]);
    engine.kick(id(1), 1, 0).unwrap();
    engine.records[1].arrived.store(1, Ordering::Relaxed);
    fake.stop_at_once(1);
    engine.service(REPEAT_NS);
    assert_eq!((fake.starts(1), fake.asked(1)), (1, 0));
}

#[test]
fn a_start_is_not_repeated_once_the_hart_was_confirmed_off() {
    let lost = Script {
        loses: u32::MAX,
        ..Script::GOOD
    };
    let (engine, fake) = engine(vec![Script::GOOD, lost]);
    engine.kick(id(1), 1, 0).unwrap();
    assert_eq!(engine.confirm(id(1)), Confirm::Off);
    engine.service(REPEAT_NS);
    engine.done(id(1), KickOutcome::Lost);
    engine.service(2 * REPEAT_NS);
    assert_eq!(fake.starts(1), 1, "what PREPARE made may be gone");
    // Being started just now, whatever the firmware says of it.
    engine.records[1].engine.store(CLAIMED, Ordering::Relaxed);
    assert_eq!(engine.confirm(id(1)), Confirm::Running);
}

#[test]
fn arrival_of_a_hart_that_nobody_kicked_changes_nothing() {
    let (engine, fake) = engine(vec![Script::GOOD; 2]);
    for how in [KickOutcome::Arrived, KickOutcome::Lost] {
        engine.done(id(1), how);
        engine.done(id(9), how);
        assert_eq!(engine.records[1].engine.load(Ordering::Relaxed), IDLE);
    }
    engine.kick(id(1), 1, 0).unwrap();
    assert_eq!(fake.starts(1), 1);
}

#[test]
fn many_control_cpus_start_each_hart_once() {
    let (engine, fake) = engine(vec![Script::GOOD; 64]);
    let started = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for cpu in 1..64 {
                    let won = engine.kick(id(cpu), 1, 0).is_ok();
                    started.fetch_add(u32::from(won), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(started.load(Ordering::Relaxed), 63);
    let starts: Vec<u32> = (1..64).map(|cpu| fake.starts(cpu)).collect();
    assert_eq!(starts, [1; 63]);
}
