//! Instances that come and go while CPUs are in all kinds of states, and steps left half done.
#![cfg(not(loom))]

use core::task::Poll;

use cpuhp_core::{
    Calls, Direction, FaultAt, Instance, OpError, OpFlags, RegisterError, StateId, StepError, Why,
};
use cpuhp_tests::batch::calls;
use cpuhp_tests::fake::{Machine, TICK};
use cpuhp_tests::full::{FULL, KICK, MULTI_START, ONLINE, instance, populated, start_instance};
use cpuhp_tests::refusal::snapshot;
use cpuhp_tests::scatter::{cpu, past, scattered};
use cpuhp_tests::verdict::{Bench, Way};
use cpuhp_tests::world::{Act, Call, World, with};

fn add(hp: &Machine, at: u16, one: &'static Instance) -> Result<(), RegisterError> {
    with(|w| w.registering(|| hp.add_instance(StateId::new(at), one, Calls::Run)))
}

fn remove(hp: &Machine, at: u16, one: &'static Instance) -> Result<u32, RegisterError> {
    with(|w| w.registering(|| hp.remove_instance(StateId::new(at), one, Calls::Run)))
}

fn called(dir: Direction, log: &[Call]) -> Vec<u32> {
    let mut all: Vec<u32> = log
        .iter()
        .filter(|c| c.dir == dir && c.answer == 0)
        .map(|c| c.cpu)
        .collect();
    all.sort_unstable();
    all
}

/// Adds them one by one; each runs where it belongs, and cannot be added twice.
fn add_all(hp: &Machine, at: u16, all: &[&'static Instance]) {
    for (n, one) in (0..).zip(all) {
        assert_eq!(add(hp, at, one), Ok(()));
        assert_eq!(called(Direction::Up, &calls()), past(at));
        with(|w| w.set_instances(at, &(0..=n).collect::<Vec<u8>>()));
        with(World::take_log);
        let linked = RegisterError::AlreadyLinked(StateId::new(at));
        assert_eq!(add(hp, at, one), Err(linked), "{n}");
    }
}

/// Added, walked, removed in any order: the list keeps the order of addition, and all is as before.
#[test]
fn instances_come_and_go_in_any_order() {
    for at in [2, 11, 16] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let hp = scattered();
            let before = snapshot(hp);
            let all: Vec<_> = (0..3).map(|n| instance(at, n)).collect();
            add_all(hp, at, &all);
            let mut left: Vec<u8> = vec![0, 1, 2];
            for gone in order {
                // The way up and down keeps to the order of the list: the book checks it.
                assert_eq!(hp.drive(cpu(0), StateId::new(ONLINE)), Ok(()));
                assert_eq!(hp.cpu_down(cpu(0)), Ok(()));
                with(World::take_log);
                let one = all[usize::from(gone)];
                assert_eq!(remove(hp, at, one), Ok(0));
                assert_eq!(called(Direction::Down, &calls()), past(at));
                left.retain(|n| *n != gone);
                with(|w| w.set_instances(at, &left));
                with(World::take_log);
                let missing = RegisterError::NotLinked(StateId::new(at));
                assert_eq!(remove(hp, at, one), Err(missing));
                assert!(!one.is_linked());
            }
            assert_eq!(snapshot(hp), before);
            assert_eq!(add(hp, at, all[1]), Ok(()), "its memory can be used again");
        }
    }
}

/// Bugs 4, 36: an addition that fails on one CPU is an error, the first one, whatever the undo answers, and
/// leaves no up without a down.
#[test]
fn a_failed_addition_leaves_nothing_behind() {
    for at in [2, 11, 16] {
        for failing in past(at) {
            for undo_fails in [None, Some(past(at)[0])] {
                let hp = scattered();
                assert_eq!(add(hp, at, instance(at, 0)), Ok(()));
                with(|w| {
                    w.set_instances(at, &[0]);
                    w.take_log();
                    w.rule_on(Some(failing), (at, Some(1)), Direction::Up, Act::Fail(-8));
                    if undo_fails.is_some() {
                        w.rule_on(undo_fails, (at, Some(1)), Direction::Down, Act::Fail(9));
                    }
                });
                let one = instance(at, 1);
                let result = add(hp, at, one);
                let Err(RegisterError::Failed {
                    cpu: which,
                    first,
                    undo,
                }) = result
                else {
                    panic!("{result:?}");
                };
                assert_eq!(
                    (which, first.err.code(), first.at.get()),
                    (cpu(failing), -8, at)
                );
                assert_eq!(first.name, FULL.at(at).name);
                let ups = called(Direction::Up, &calls());
                let mut undone: Vec<u32> = calls()
                    .iter()
                    .filter(|c| c.dir == Direction::Down)
                    .map(|c| c.cpu)
                    .collect();
                assert!(undone.iter().rev().is_sorted(), "in reverse: {undone:?}");
                undone.sort_unstable();
                assert_eq!(undone, ups);
                let met = undo_fails.filter(|n| ups.contains(n));
                assert_eq!(
                    undo.map(|(c, e)| (c.get(), e.err.code())),
                    met.map(|n| (n, 9))
                );
                assert!(!one.is_linked());
                assert!(
                    calls().iter().all(|c| c.instance == Some(1)),
                    "the others are not touched"
                );
                with(World::forgive);
                if met.is_none() {
                    assert_eq!(add(hp, at, one), Ok(()));
                }
            }
        }
    }
}

/// A state with instances is not removed (no dangling list), and one without takes none.
#[test]
fn a_state_with_instances_stays() {
    let full = populated(2, 1);
    let hp = full.hp;
    for (at, handle) in full.handles {
        let result = hp.unregister(handle, Calls::Skip);
        if at == 4 || at == 12 {
            assert_eq!(
                result,
                Err(RegisterError::InstancesLeft(StateId::new(at), 2))
            );
        }
    }
    for at in [1, 10, 0, KICK, 7, 13, ONLINE, 99] {
        let result = hp.add_instance(StateId::new(at), instance(at, 0), Calls::Run);
        assert_eq!(
            result,
            Err(RegisterError::NotMulti(StateId::new(at))),
            "{at}"
        );
    }
    // STARTING has its own kind.
    let result = hp.add_instance(StateId::new(MULTI_START), instance(8, 0), Calls::Run);
    assert_eq!(
        result,
        Err(RegisterError::NotMulti(StateId::new(MULTI_START)))
    );
}

/// Bug 24: instances of STARTING see interrupts off, also when they come and go; the book checks.
#[test]
fn instances_of_starting_see_interrupts_off_on_every_path() {
    let hp = scattered();
    let at = StateId::new(MULTI_START);
    let one = start_instance(MULTI_START, 0);
    let guard = hp.try_write().unwrap();
    let ends = |op: &mut cpuhp_core::RegisterOp| {
        for _ in 0..100 {
            if let Poll::Ready(done) = with(|w| w.registering(|| op.poll(&guard))) {
                return done;
            }
            with(|w| w.registering(|| w.pass(TICK)));
            with(|w| w.registering(|| w.poll_all()));
        }
        panic!("no end");
    };
    for _ in 0..2 {
        with(|w| w.rule_on(None, (MULTI_START, Some(0)), Direction::Up, Act::Pend(2)));
        let mut op = guard.add_start_instance(at, one, Calls::Run).unwrap();
        assert!(ends(&mut op).is_ok());
        assert_eq!(called(Direction::Up, &calls()), past(MULTI_START));
        with(World::take_log);
        let mut op = guard.remove_start_instance(at, one, Calls::Run).unwrap();
        assert!(ends(&mut op).is_ok());
        assert_eq!(called(Direction::Down, &calls()), past(MULTI_START));
        with(World::take_log);
    }
}

/// An operation that stopped in the middle of the instances of PREPARE is turned round by the next one:
/// those that are done are undone, no other step takes them for its own.
#[test]
fn instances_of_an_operation_that_was_given_up_are_undone() {
    for at in [2_u16, 4] {
        for index in 0..2_u8 {
            for dir in [Direction::Up, Direction::Down] {
                let mut bench = Bench::over(populated(2, 1).hp, &FULL);
                let hp = bench.hp;
                let (from, to) = if dir == Direction::Up {
                    (0, KICK - 1)
                } else {
                    (KICK - 1, 0)
                };
                assert_eq!(bench.go(from, Way::Drive), Ok(()));
                with(|w| w.rule_on(None, (at, Some(index)), dir, Act::Hang));
                let result = bench.go(to, Way::Drive);
                assert!(
                    matches!(result, Err(OpError::Failed(f)) if f.first.err == StepError::STUCK)
                );
                // Neither list changes under it.
                let busy = hp.add_instance(StateId::new(at), instance(at, 7), Calls::Skip);
                assert!(
                    matches!(busy, Err(RegisterError::Refused(e)) if e.why() == Some(Why::Busy))
                );
                with(World::forgive);
                with(|w| w.settle(0));
                assert_eq!(bench.go(from, Way::Drive), Ok(()), "{at} {index} {dir:?}");
                assert!(with(|w| w.is_truthful(0, from)));
                with(World::take_log);
                for end in [to, from, 0, ONLINE, 0] {
                    bench.clean_points(end);
                }
            }
        }
    }
}

/// A fault that is armed for a step in the middle of its instances is met the next time.
#[test]
fn a_fault_armed_inside_a_step_is_for_the_next_time() {
    let bench = Bench::over(populated(2, 1).hp, &FULL);
    with(|w| w.rule_on(None, (2, Some(1)), Direction::Up, Act::Pend(1)));
    let guard = bench.hp.try_write().unwrap();
    let mut op = guard
        .op(bench.id(), StateId::new(5), OpFlags::AUTO)
        .unwrap();
    assert!(op.poll(&guard).is_pending());
    assert_eq!(
        guard.arm_fault(bench.id(), StateId::new(2), FaultAt::Up),
        Ok(())
    );
    assert_eq!(bench.finish(&guard, &mut op), Ok(()));
    drop(guard);
    assert_eq!(
        bench.hp.armed_fault(bench.id()),
        Some((StateId::new(2), FaultAt::Up))
    );
    assert_eq!(bench.go(0, Way::Drive), Ok(()));
    let Err(OpError::Failed(failure)) = bench.go(5, Way::Drive) else {
        panic!("the fault is due");
    };
    assert_eq!(failure.first.err, StepError::INJECTED);
    assert_eq!(bench.hp.armed_fault(bench.id()), None, "one shot");
    assert_eq!(bench.go(5, Way::Drive), Ok(()));
}

/// Begun while the CPU was in flight, an operation finds a step half up: it ends there.
#[test]
fn a_step_torn_behind_the_back_of_an_operation_ends_it() {
    let bench = Bench::over(populated(2, 1).hp, &FULL);
    with(|w| {
        w.rule_on(None, (11, Some(2)), Direction::Up, Act::Fail(-1));
        w.rule_on(None, (11, Some(1)), Direction::Down, Act::Hang);
    });
    assert!(bench.go(ONLINE, Way::Drive).is_err());
    with(|w| {
        w.forgive();
        w.set_torn(Some((0, 11)));
        w.rule_on(None, (11, Some(1)), Direction::Down, Act::Fail(-2));
        w.take_log();
    });
    let result = bench.go(0, Way::Drive);
    assert!(result.is_err(), "it went on over a step that is half up");
    assert_eq!(bench.state(), 11);
    let why = bench.hp.cpu_down(bench.id()).unwrap_err().why();
    assert_eq!(why, Some(Why::Torn));
    with(World::forgive);
    assert_eq!(bench.go(0, Way::Op(OpFlags::FORCE)), Ok(()));
}

/// While a CPU is half up nothing comes or goes at that state: on that CPU nobody knows which of the others
/// are up. Elsewhere it does, and here too once a forced teardown has passed it.
#[test]
fn no_instance_comes_or_goes_where_a_cpu_is_half_up() {
    for at in [2, 11, 16] {
        let bench = Bench::over(populated(2, 1).hp, &FULL);
        let hp = bench.hp;
        with(|w| {
            w.rule_on(None, (at, Some(1)), Direction::Up, Act::Fail(-1));
            w.rule_on(None, (at, Some(0)), Direction::Down, Act::Fail(-2));
        });
        assert!(bench.go(ONLINE, Way::Drive).is_err());
        with(World::forgive);
        with(|w| w.set_torn(Some((0, at))));
        let (new, state) = (instance(at, 5), StateId::new(at));
        let before = snapshot(hp);
        let error = add(hp, at, new).expect_err("it is half up");
        let RegisterError::Refused(error) = error else {
            panic!("{error}");
        };
        assert_eq!((error.cpu(), error.why()), (bench.id(), Some(Why::Torn)));
        assert!(!new.is_linked());
        let listed = |hp: &Machine| {
            let mut text = String::new();
            assert_eq!(hp.read_node("instances", &mut text), Ok(()));
            text
        };
        let instances = listed(hp);
        assert_eq!(snapshot(hp), before);
        let other = if at == 2 { 11 } else { 2 };
        assert_eq!(
            hp.add_instance(StateId::new(other), instance(other, 6), Calls::Skip),
            Ok(())
        );
        assert_ne!(listed(hp), instances);
        assert_eq!(bench.go(0, Way::Op(OpFlags::FORCE)), Ok(()));
        assert_eq!(hp.add_instance(state, new, Calls::Skip), Ok(()));
        let gone = with(|w| w.registering(|| hp.remove_instance(state, new, Calls::Skip)));
        assert_eq!(gone, Ok(0));
    }
}
