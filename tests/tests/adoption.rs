//! Taking the boot CPU in: it walks its own table, and a failure leaves it where it can try again: at
//! `OFFLINE`, or once it is through STARTING, which a running CPU cannot leave, at `AP_IDLE`.
#![cfg(not(loom))]

use cpuhp_core::{BootSteps, CpuId, Direction, OpError, StateId, StepError, Tag};
use cpuhp_tests::fake::{Machine, STEP, TICK};
use cpuhp_tests::model::{Ap, DOWN_CODE, Kind, PENDS, Task, UP_CODE, expect};
use cpuhp_tests::shape::Section;
use cpuhp_tests::tables::{BARE, WIDE, bare, wide};
use cpuhp_tests::world::{Act, Call, World, fresh, with};

/// Any number may boot.
const BOOT: u32 = 2;

fn machine() -> (&'static Machine, CpuId) {
    (fresh(4, BOOT, &wide::TABLE, &WIDE), CpuId::new(BOOT))
}

fn is_online(hp: &Machine, boot: CpuId) {
    assert_eq!(hp.state(boot), Some(wide::ONLINE));
    assert_eq!(hp.target(boot), Some(wide::ONLINE), "bug 12");
    assert_eq!(hp.tag(boot), Some(Tag::Up));
    assert_eq!(
        hp.last_error(boot),
        None,
        "an adoption that succeeded did not fail"
    );
    for mask in [hp.available(), hp.online()] {
        assert!(mask.iter().eq([boot]));
    }
    assert!(hp.dying().is_empty());
    assert_eq!(hp.present().count(), 4);
    assert!(with(|w| w.is_truthful(BOOT, WIDE.online())));
}

/// Boots other CPUs, which proves that nothing of the adoption is left over.
fn works(hp: &Machine) {
    assert_eq!(hp.cpu_up(CpuId::new(0)), Ok(()));
    assert_eq!(hp.cpu_down(CpuId::new(0)), Ok(()));
}

/// Every single and double fault, with and without a half that waits.
#[test]
fn every_adoption_ends_as_the_model_says_and_can_be_tried_again() {
    let mut cases = 0;
    let some = |all: Vec<u16>| core::iter::once(None).chain(all.into_iter().map(Some));
    for up_fails in some(WIDE.fallible(Direction::Up)) {
        for down_fails in some(WIDE.fallible(Direction::Down)) {
            for pends in some(WIDE.with_half(Direction::Up)) {
                let task = Task {
                    origin: 0,
                    target: WIDE.online(),
                    up_fails,
                    down_fails,
                    pends: pends.map(|at| (at, Direction::Up)),
                    ap: Ap::Off,
                };
                adopt(&task);
                cases += 1;
            }
        }
    }
    println!("@proof {cases} cases");
    assert!(cases > 500);
}

fn adopt(task: &Task) {
    let (hp, boot) = machine();
    with(|w| {
        if let Some((at, dir)) = task.pends {
            w.rule(None, at, dir, Act::Pend(PENDS));
        }
        if let Some(at) = task.up_fails {
            w.rule(None, at, Direction::Up, Act::Fail(UP_CODE));
        }
        if let Some(at) = task.down_fails {
            w.rule(None, at, Direction::Down, Act::Fail(DOWN_CODE));
        }
    });
    let expected = expect(&WIDE, task, Kind::Adoption, (BOOT, BOOT));
    let result = hp.adopt_boot_cpu(BootSteps::Run);
    let mut calls: Vec<Call> = Vec::new();
    let kicks = with(|w| w.drain_calls(&mut calls));
    assert_eq!((calls, kicks), (expected.calls, 0), "{task:?}");
    let failure = match result {
        Ok(()) => None,
        Err(OpError::Failed(failure)) => Some(failure),
        Err(refused) => panic!("{refused}"),
    };
    let plain = |step: cpuhp_core::StepFailure| (step.at.get(), step.err.code());
    assert_eq!(failure.map(|f| plain(f.first)), expected.first, "{task:?}");
    let second = failure.and_then(|f| f.rollback).map(plain);
    assert_eq!(second, expected.second, "{task:?}");
    assert_eq!(hp.last_error(boot), failure, "{task:?}");
    let end = Some(StateId::new(expected.end));
    assert_eq!(
        (hp.state(boot), hp.target(boot)),
        (end, end),
        "{task:?} (bug 12)"
    );
    assert!(with(|w| w.is_truthful(BOOT, expected.end)), "{task:?}");
    with(World::forgive);
    if failure.is_some() {
        assert!(!hp.online().contains(boot), "{task:?}");
        assert_eq!(hp.adopt_boot_cpu(BootSteps::Run), Ok(()), "{task:?}, again");
    }
    is_online(hp, boot);
    works(hp);
}

#[test]
fn what_boot_did_by_hand_is_not_done_again() {
    let (hp, boot) = machine();
    with(|w| w.assume_up(BOOT));
    assert_eq!(hp.adopt_boot_cpu(BootSteps::AlreadyDone), Ok(()));
    assert_eq!(with(World::take_log), []);
    is_online(hp, boot);
    works(hp);
    // Its first teardown meets what boot made, and says that it was here before.
    assert_eq!(hp.cpu_up(CpuId::new(0)), Ok(()));
    with(|w| w.as_cpu(0, || assert_eq!(hp.cpu_down(boot), Ok(()))));
    assert!(with(|w| w.is_truthful(BOOT, 0)));
    with(|w| w.as_cpu(0, || assert_eq!(hp.cpu_up(boot), Ok(()))));
}

#[test]
fn a_boot_step_that_never_ends_is_given_up_in_time() {
    for at in WIDE.fallible(Direction::Up) {
        let (hp, boot) = machine();
        with(|w| w.rule(None, at, Direction::Up, Act::Hang));
        let begun = with(World::time);
        let Err(OpError::Failed(failure)) = hp.adopt_boot_cpu(BootSteps::Run) else {
            panic!("step {at} never ends");
        };
        let took = with(World::time) - begun;
        assert!((STEP..=STEP + 30 * TICK).contains(&took), "took {took}");
        assert_eq!((failure.cpu, failure.first.at.get()), (boot, at));
        let code = failure.first.err;
        assert!(
            matches!(code, StepError::TIMEOUT | StepError::STUCK),
            "{failure}"
        );
        assert!(failure.to_string().contains(WIDE.at(at).name));
        with(World::forgive);
        assert_eq!(
            hp.adopt_boot_cpu(BootSteps::Run),
            Ok(()),
            "tried again after {at} hung"
        );
        is_online(hp, boot);
        works(hp);
    }
}

#[test]
fn a_table_without_steps_works() {
    let hp = fresh(2, 1, &bare::TABLE, &BARE);
    assert_eq!(hp.adopt_boot_cpu(BootSteps::Run), Ok(()));
    for _ in 0..3 {
        for target in [bare::KICK, bare::ONLINE, bare::AP_IDLE, bare::OFFLINE] {
            assert_eq!(hp.drive(CpuId::new(0), target), Ok(()));
            assert_eq!(hp.state(CpuId::new(0)), Some(target));
        }
    }
    assert!(
        WIDE.states
            .iter()
            .any(|state| state.section == Section::Starting)
    );
}
