//! Registration with CPUs that do not answer, and registrations that are dropped.
#![cfg(not(loom))]

use core::task::Poll;

use cpuhp_core::{
    Calls, Direction, OpFlags, Platform, RegisterError, StateId, StepError, Who, Why,
};
use cpuhp_tests::batch::calls;
use cpuhp_tests::fake::{STEP, TICK};
use cpuhp_tests::full::{EMPTY, ONLINE_DYN, both, keep};
use cpuhp_tests::scatter::{cpu, cycle, register, scattered, shape_with, unregister};
use cpuhp_tests::world::{Act, World, with};

/// A CPU that never answers: STUCK, the others are undone, the slot stays taken until it has answered.
#[test]
fn a_stuck_cpu_keeps_the_slot_until_it_has_answered() {
    for parallel in [false, true] {
        let (at, stuck) = (12, 6);
        let step = both("dyn:one", at);
        let step = keep(if parallel { step.parallel() } else { step });
        let hp = scattered();
        with(|w| {
            w.rule(Some(stuck), at, Direction::Up, Act::Hang);
            w.unanswered.set(Some(at));
        });
        let begun = with(World::time);
        let result = register(hp, ONLINE_DYN, at, step);
        let took = with(World::time) - begun;
        assert!((STEP..STEP + 4 * TICK).contains(&took), "{took}");
        let Err(RegisterError::Failed {
            cpu: which,
            first,
            undo,
        }) = result
        else {
            panic!("{result:?}");
        };
        assert_eq!(
            (which, first.err, undo),
            (cpu(stuck), StepError::STUCK, None)
        );
        // Nobody but the stuck one has it, and walks pass it over.
        assert_eq!(hp.name(StateId::new(at)), "");
        with(|w| {
            w.reshape(&EMPTY);
            w.take_log();
        });
        assert_eq!(hp.cpu_down(cpu(7)), Ok(()));
        assert_eq!(hp.cpu_up(cpu(7)), Ok(()));
        assert!(calls().iter().all(|c| c.at != at || c.cpu == stuck));
        // It may still be inside: nothing is registered meanwhile.
        let busy = hp.register(ONLINE_DYN, step, Calls::Run);
        let Err(RegisterError::Refused(error)) = busy else {
            panic!("{busy:?}");
        };
        assert_eq!((error.cpu(), error.why()), (cpu(stuck), Some(Why::Busy)));
        with(|w| {
            w.forgive();
            w.rule(Some(stuck), at, Direction::Up, Act::Fail(-1));
            World::poll_all_now();
            w.forgive();
            w.unanswered.set(None);
        });
        let handle = register(hp, ONLINE_DYN, at, step).unwrap();
        assert_eq!(handle.state().get(), at, "the slot is free again");
        assert_eq!(unregister(hp, handle), Ok(0));
        cycle(hp);
    }
}

/// A removal that a CPU does not answer: it is removed, the slot stays taken.
#[test]
fn a_stuck_removal_is_a_removal() {
    let (at, stuck) = (12, 6);
    let hp = scattered();
    let handle = register(hp, ONLINE_DYN, at, keep(both("dyn:one", at))).unwrap();
    with(|w| {
        w.rule(Some(stuck), at, Direction::Down, Act::Hang);
        w.unanswered.set(Some(at));
    });
    assert_eq!(unregister(hp, handle), Ok(1));
    with(World::take_log);
    assert_eq!(hp.cpu_down(cpu(7)), Ok(()), "it is called no more");
    assert!(calls().iter().all(|c| c.at != at || c.cpu == stuck));
    with(|w| {
        w.forgive();
        w.reshape(shape_with(at, "dyn:one"));
        World::poll_all_now();
        w.reshape(&EMPTY);
        w.unanswered.set(None);
    });
    assert_eq!(
        hp.unregister(handle, Calls::Run),
        Err(RegisterError::Stale(handle))
    );
    assert_eq!(
        register(hp, ONLINE_DYN, at, keep(both("dyn:one", at)))
            .unwrap()
            .state()
            .get(),
        at
    );
}

/// A registration that is dropped before it ended leaves nothing that walks would call.
#[test]
fn a_dropped_registration_leaves_a_free_slot() {
    let (at, step) = (12, keep(both("dyn:one", 12)));
    for polls in 0..3 {
        let hp = scattered();
        with(|w| {
            w.reshape(shape_with(at, "dyn:one"));
            w.rule(None, at, Direction::Up, Act::Hang);
        });
        let guard = hp.try_write().unwrap();
        let mut op = guard.register(ONLINE_DYN, step, Calls::Run).unwrap();
        for _ in 0..polls {
            let _: Poll<_> = with(|w| w.registering(|| op.poll(&guard)));
            let (who, until) = op.awaited();
            with(|w| w.registering(|| hp.platform().wait(Who::Control(who), until)));
        }
        drop((op, guard));
        assert_eq!(hp.name(StateId::new(at)), "", "not registered");
        with(|w| {
            w.forgive();
            w.rule(None, at, Direction::Up, Act::Fail(-1));
            w.registering(World::poll_all_now);
            w.forgive();
            w.reshape(&EMPTY);
        });
        let handle = register(hp, ONLINE_DYN, at, step).unwrap();
        assert_eq!(handle.state().get(), at);
        assert_eq!(unregister(hp, handle), Ok(0));
    }
}

/// An `up` that succeeds after its registration was given up is undone by its own CPU: nobody else would.
#[test]
fn an_up_that_succeeds_too_late_is_taken_down() {
    let (at, stuck) = (12, 6);
    let step = keep(both("dyn:one", at));
    let hp = scattered();
    with(|w| {
        w.rule(Some(stuck), at, Direction::Up, Act::Hang);
        w.unanswered.set(Some(at));
    });
    assert!(register(hp, ONLINE_DYN, at, step).is_err());
    with(|w| {
        w.reshape(shape_with(at, "dyn:one"));
        w.take_log();
        w.forgive();
    });
    World::poll_all_now();
    let late = calls();
    let late: Vec<_> = late.iter().filter(|c| c.at == at).collect();
    assert!(late.iter().all(|c| c.cpu == stuck), "{late:?}");
    let last = late.last().expect("the CPU goes on with it");
    assert_eq!((last.dir, last.answer), (Direction::Down, 0));
    with(|w| {
        w.reshape(&EMPTY);
        w.unanswered.set(None);
    });
    let handle = register(hp, ONLINE_DYN, at, step).unwrap();
    assert_eq!(unregister(hp, handle), Ok(0));
}

/// While a registration runs no CPU begins to move: it would pass the new state by.
#[test]
fn no_operation_begins_under_a_registration() {
    let at = 12;
    let step = keep(both("dyn:one", at));
    let hp = scattered();
    with(|w| {
        w.reshape(shape_with(at, "dyn:one"));
        w.rule(None, at, Direction::Up, Act::Hang);
    });
    let guard = hp.try_write().unwrap();
    let mut op = guard.register(ONLINE_DYN, step, Calls::Run).unwrap();
    assert!(with(|w| w.registering(|| op.poll(&guard))).is_pending());
    let refused = guard.op(cpu(7), StateId::OFFLINE, OpFlags::AUTO);
    assert_eq!(refused.unwrap_err().why(), Some(Why::Busy));
    drop((op, guard));
    with(|w| {
        w.forgive();
        w.rule(None, at, Direction::Up, Act::Fail(-1));
        w.registering(World::poll_all_now);
        w.forgive();
        w.reshape(&EMPTY);
    });
    assert_eq!(hp.cpu_down(cpu(7)), Ok(()), "it is over with its guard");
}
