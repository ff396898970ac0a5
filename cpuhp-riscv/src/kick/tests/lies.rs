//! Firmware that refuses, lies, or is late: each ends in the error that names it, moves no other hart, and
//! costs at most one deadline.

use std::vec;
use std::vec::Vec;

use cpuhp_core::{
    CpuId, Failure, KickError, KickErrorKind, Left, OpError, StateId, StepError, Tag, Which,
};

use super::fake::{Script, State};
use super::machine::{ALIVE, DIE, Hp, machine, steps_up, table};

fn id(cpu: u32) -> CpuId {
    CpuId::new(cpu)
}

/// Harts of which number 2 follows `script`, and the others are good.
fn with(script: Script) -> Vec<Script> {
    let mut scripts = vec![Script::GOOD; 5];
    scripts[2] = script;
    scripts
}

fn failure(result: Result<(), OpError>) -> Failure {
    match result {
        Err(OpError::Failed(failure)) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

fn all_up(hp: &Hp) {
    let report = hp.bring_up(Which::All).unwrap();
    assert!(report.is_complete(), "{report}");
}

/// Every hart but number 2 is online, was started once, and goes down and comes up.
fn others_are_well(hp: &Hp) {
    let others = [1, 3, 4].map(id);
    for cpu in others {
        assert_eq!(hp.state(cpu), Some(table::TABLE.online()), "{cpu}");
        hp.cpu_down(cpu).unwrap();
        hp.cpu_up(cpu).unwrap();
    }
    assert!(hp.online().contains(id(0)));
}

#[test]
fn every_refusal_is_an_error_with_its_code_at_once() {
    for (code, kind) in [
        (-1, KickErrorKind::Firmware),
        (-2, KickErrorKind::NotSupported),
        (-3, KickErrorKind::NotPresent),
        (-4, KickErrorKind::Denied),
        (-5, KickErrorKind::BadAddress),
        (-6, KickErrorKind::AlreadyOn),
        (-7, KickErrorKind::AlreadyOn),
        (-77, KickErrorKind::Firmware),
        (i64::MIN, KickErrorKind::Firmware),
        (5, KickErrorKind::Firmware),
    ] {
        let refuses = Script {
            refuses: Some(code),
            ..Script::GOOD
        };
        let (hp, fake) = machine(with(refuses));
        let report = hp.bring_up(Which::All).unwrap();
        assert_eq!((report.done, report.failed), (3, 1), "{code}");
        assert!(
            fake.now() < ALIVE / 2,
            "{code}: a refusal costs no deadline"
        );
        let failed = hp.last_error(id(2)).unwrap();
        assert_eq!(failed.cpu, id(2));
        assert_eq!(failed.kick, Some(KickError::with_code(kind, code)));
        assert_eq!(failed.first.err, StepError::kick(kind));
        assert_eq!(failed.first.at, table::TABLE.kick());
        assert_eq!(failed.left, Left::At(StateId::OFFLINE), "{code}");
        assert_eq!(fake.starts(2), 1, "{code}");
        assert_eq!(hp.tag(id(2)), Some(Tag::Dead));
        others_are_well(hp);
        assert_eq!(fake.state(2), State::Stopped);
        // Two steps on each of four CPUs.
        assert_eq!(steps_up(), 8, "{code}");
    }
}

#[test]
fn refusal_names_hart_step_and_code_in_words() {
    let refuses = Script {
        refuses: Some(-4),
        ..Script::GOOD
    };
    let (hp, _) = machine(with(refuses));
    let error = hp.cpu_up(id(2)).unwrap_err();
    let text = std::format!("{error}");
    for word in ["cpu 2", "kick", "denied", "-4"] {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

#[test]
fn success_that_never_arrives_costs_one_deadline_for_all() {
    let never = Script {
        comes_after: None,
        ..Script::GOOD
    };
    let scripts = vec![Script::GOOD, never, never, never, Script::GOOD];
    let (hp, fake) = machine(scripts);
    let report = hp.bring_up(Which::All).unwrap();
    assert_eq!((report.done, report.failed), (1, 3));
    assert!((ALIVE..ALIVE + ALIVE / 2).contains(&fake.now()));
    for cpu in 1..4 {
        let failed = hp.last_error(id(cpu)).unwrap();
        assert_eq!(failed.first.err, StepError::TIMEOUT);
        assert_eq!(failed.kick, None, "the firmware refused nothing");
        // The firmware says that it is on its way: what it would stand on stays.
        assert_eq!(hp.tag(id(cpu)), Some(Tag::Cancelled));
        assert_eq!(
            hp.state(id(cpu)).unwrap().get() + 1,
            table::TABLE.kick().get()
        );
        assert_eq!(fake.starts(cpu as usize), 1);
    }
    // Asked for again, it is waited for again, and not started a second time.
    let again = failure(hp.cpu_up(id(1)));
    assert_eq!(again.first.err, StepError::TIMEOUT);
    assert_eq!(fake.starts(1), 1);
    assert_eq!(hp.state(id(4)), Some(table::TABLE.online()));
}

#[test]
fn late_hart_parks_and_is_taken_back_without_a_second_start() {
    let late = Script {
        comes_after: Some(3 * ALIVE),
        ..Script::GOOD
    };
    let (hp, fake) = machine(with(late));
    let report = hp.bring_up(Which::All).unwrap();
    assert_eq!((report.done, report.failed), (3, 1));
    others_are_well(hp);
    let before = steps_up();
    fake.pass(3 * ALIVE);
    // Somebody waits for something else: the hart comes meanwhile.
    hp.cpu_down(id(1)).unwrap();
    hp.cpu_up(id(1)).unwrap();
    assert_eq!(fake.state(2), State::Parked);
    assert_eq!(hp.tag(id(2)), Some(Tag::Parked));
    assert_eq!(steps_up(), before, "it ran none of its steps");
    hp.cpu_up(id(2)).unwrap();
    assert_eq!(fake.starts(2), 1);
    others_are_well(hp);
}

#[test]
fn late_hart_that_nobody_wants_gives_its_memory_back_and_can_come_up() {
    let late = Script {
        comes_after: Some(3 * ALIVE),
        ..Script::GOOD
    };
    let (hp, fake) = machine(with(late));
    let report = hp.bring_up(Which::All).unwrap();
    assert_eq!((report.done, report.failed), (3, 1));
    let before = steps_up();
    fake.pass(3 * ALIVE);
    hp.cpu_down(id(1)).unwrap();
    hp.cpu_up(id(1)).unwrap();
    assert_eq!(fake.state(2), State::Parked);
    // It stands on nothing that PREPARE made: that can go.
    hp.cpu_down(id(2)).unwrap();
    assert_eq!(hp.state(id(2)), Some(StateId::OFFLINE));
    assert_eq!(steps_up(), before - 1);
    assert_eq!(fake.state(2), State::Parked, "and it rests on");
    hp.cpu_up(id(2)).unwrap();
    assert_eq!(steps_up(), before + 1);
    assert_eq!(fake.starts(2), 1, "no start of a hart that rests");
    others_are_well(hp);
}

#[test]
fn kick_that_is_taken_back_at_once_ends_where_it_began() {
    let late = Script {
        comes_after: Some(ALIVE / 4),
        ..Script::GOOD
    };
    let (hp, fake) = machine(with(late));
    hp.drive(id(2), table::TABLE.kick()).unwrap();
    assert!(matches!(fake.state(2), State::Coming(_)));
    hp.cpu_down(id(2)).unwrap();
    assert_eq!(hp.state(id(2)), Some(StateId::OFFLINE));
    hp.cpu_up(id(2)).unwrap();
    assert_eq!(fake.starts(2), 1);
}

#[test]
fn hart_that_firmware_loses_for_ever_is_off_and_can_be_started_again() {
    let lost = Script {
        loses: u32::MAX,
        ..Script::GOOD
    };
    let (hp, fake) = machine(with(lost));
    let report = hp.bring_up(Which::All).unwrap();
    assert_eq!((report.done, report.failed), (3, 1));
    assert!(fake.now() < 2 * ALIVE);
    assert_eq!(hp.last_error(id(2)).unwrap().first.err, StepError::TIMEOUT);
    let starts = fake.starts(2);
    assert!(starts <= 1 + 8, "{starts} starts");
    // The next kick may be repeated as often again.
    fake.change(2, |script| script.loses = 2);
    hp.cpu_up(id(2)).unwrap();
    assert_eq!(fake.starts(2), starts + 3);
    others_are_well(hp);
}

#[test]
fn stop_pending_is_waited_for() {
    for polls in [1, 15, 16, 17, 100] {
        let lingers = Script {
            lingers: polls,
            ..Script::GOOD
        };
        let (hp, fake) = machine(with(lingers));
        all_up(hp);
        let asked = fake.asked(2);
        hp.cpu_down(id(2)).unwrap();
        // Each answer STOP_PENDING, and the one that is STOPPED.
        assert!(fake.asked(2) > asked + polls, "{polls}");
        assert_eq!(hp.state(id(2)), Some(StateId::OFFLINE));
        hp.cpu_up(id(2)).unwrap();
        assert_eq!(fake.starts(2), 2);
        others_are_well(hp);
    }
}

#[test]
fn stop_pending_for_ever_is_stuck_and_keeps_its_memory() {
    let lingers = Script {
        lingers: u32::MAX,
        ..Script::GOOD
    };
    let (hp, fake) = machine(with(lingers));
    all_up(hp);
    let (begin, before) = (fake.now(), steps_up());
    let failed = failure(hp.cpu_down(id(2)));
    assert_eq!(failed.cpu, id(2));
    assert_eq!(failed.first.err, StepError::STUCK);
    let took = fake.now() - begin;
    assert!((DIE..DIE + DIE / 2).contains(&took), "{took}");
    // ONLINE went down; PREPARE, which the hart may still stand on, did not.
    assert_eq!(steps_up(), before - 1);
    assert_eq!(fake.starts(2), 1);
    let again = failure(hp.cpu_up(id(2)));
    assert_eq!(again.first.err, StepError::STUCK);
    assert_eq!(fake.starts(2), 1, "no start while it is not off");
    others_are_well(hp);
}

#[test]
fn status_that_is_an_error_is_no_proof() {
    let (hp, fake) = machine(with(Script::GOOD));
    all_up(hp);
    fake.change(2, |script| script.says = Some(Err(-3)));
    let failed = failure(hp.cpu_down(id(2)));
    assert_eq!(failed.first.err, StepError::STUCK);
    others_are_well(hp);
    // The firmware comes back to its senses, and the operation is taken up where it stands.
    fake.change(2, |script| script.says = None);
    hp.cpu_down(id(2)).unwrap();
    hp.cpu_up(id(2)).unwrap();
}

#[test]
fn firmware_that_cannot_restart_is_an_error_and_the_hart_stays_off() {
    let once = Script {
        refuses: Some(-1),
        refuses_from: 2,
        ..Script::GOOD
    };
    let (hp, fake) = machine(with(once));
    all_up(hp);
    hp.cpu_down(id(2)).unwrap();
    for starts in [2, 3] {
        let failed = failure(hp.cpu_up(id(2)));
        let code = KickError::with_code(KickErrorKind::Firmware, -1);
        assert_eq!(failed.kick, Some(code));
        assert_eq!(failed.left, Left::At(StateId::OFFLINE));
        assert_eq!(fake.starts(2), starts);
    }
    assert!(fake.now() < ALIVE);
    others_are_well(hp);
}

#[test]
fn start_value_of_an_earlier_kick_goes_back_to_the_firmware() {
    let (hp, fake) = machine(with(Script::GOOD));
    all_up(hp);
    hp.cpu_down(id(2)).unwrap();
    let before = steps_up();
    let old = fake.last_start(2).value;
    fake.change(2, |script| script.hands_over = Some((old, 3)));
    let begin = fake.now();
    hp.cpu_up(id(2)).unwrap();
    // Three times it gave itself back, and nothing of the kernel ran on it.
    assert_eq!(fake.starts(2), 1 + 1 + 3);
    assert!(fake.now() - begin < ALIVE / 2);
    assert_eq!(steps_up(), before + 2);
    others_are_well(hp);
}

#[test]
fn start_values_of_an_earlier_kick_without_end_are_one_deadline() {
    let (hp, fake) = machine(with(Script::GOOD));
    all_up(hp);
    hp.cpu_down(id(2)).unwrap();
    let (before, begin) = (steps_up(), fake.now());
    let old = fake.last_start(2).value;
    fake.change(2, |script| script.hands_over = Some((old, u32::MAX)));
    let failed = failure(hp.cpu_up(id(2)));
    assert_eq!(failed.first.err, StepError::TIMEOUT);
    assert!(fake.now() - begin < 2 * ALIVE);
    assert!(fake.starts(2) <= 1 + 1 + 8);
    fake.change(2, |script| script.hands_over = None);
    hp.cpu_up(id(2)).unwrap();
    assert_eq!(steps_up(), before + 2);
    others_are_well(hp);
}

#[test]
fn starts_that_the_firmware_loses_are_repeated_for_all_at_once() {
    let lost = Script {
        loses: 3,
        ..Script::GOOD
    };
    let never = Script {
        comes_after: None,
        ..Script::GOOD
    };
    // One that never comes is waited for all the time, and keeps nobody's start from being repeated.
    let (hp, fake) = machine(vec![Script::GOOD, never, lost, lost, lost]);
    let report = hp.bring_up(Which::All).unwrap();
    assert_eq!((report.done, report.failed), (3, 1));
    assert_eq!([2, 3, 4].map(|cpu| fake.starts(cpu)), [4; 3]);
    assert_eq!(fake.starts(1), 1);
    assert!(fake.now() < 2 * ALIVE);
}

#[test]
fn down_and_up_of_all_starts_each_hart_once_more() {
    let (hp, fake) = machine(vec![Script::GOOD; 9]);
    all_up(hp);
    for round in 2..5 {
        let down = hp.take_down(Which::All).unwrap();
        assert_eq!((down.done, steps_up()), (8, 2));
        all_up(hp);
        for cpu in 1..9 {
            assert_eq!(fake.starts(cpu), round);
            assert!(fake.ipis(cpu) > 0);
        }
    }
}
