//! Registration while CPUs are in all kinds of states: calls, undo, slots, handles.
#![cfg(not(loom))]

use cpuhp_core::{Calls, Direction, DynRange, OpFlags, RegisterError, StateId, Step, Which, Why};
use cpuhp_tests::batch::calls;
use cpuhp_tests::fake::{Machine, TICK};
use cpuhp_tests::full::{
    EMPTY, KICK, ONLINE, ONLINE_DYN, PARALLEL_DYN, PREPARE_DYN, both, empty, keep,
};
use cpuhp_tests::refusal::snapshot;
use cpuhp_tests::scatter::{
    BOOT, CPUS, RESTS, cpu, cycle, past, register, scattered, shape_with, unregister,
};
use cpuhp_tests::world::{Act, Call, World, with};

/// A range, its first number, and a step for it, parallel or not.
fn kinds() -> Vec<(DynRange, u16, &'static Step)> {
    let mut kinds = Vec::new();
    for (range, at) in [(PREPARE_DYN, 3), (PARALLEL_DYN, 5), (ONLINE_DYN, 12)] {
        kinds.push((range, at, keep(both("dyn:one", at).parallel())));
        if range != PARALLEL_DYN {
            kinds.push((range, at, keep(both("dyn:one", at))));
        }
    }
    kinds
}

/// What a registration calls on one CPU.
fn call(number: u32, at: u16, dir: Direction, answer: i32) -> Call {
    Call {
        cpu: number,
        on: if at < KICK { BOOT } else { number },
        at,
        instance: None,
        dir,
        rollback: false,
        answer,
    }
}

/// Calls in an order that does not depend on which CPU was polled first.
fn sorted(mut calls: Vec<Call>) -> Vec<Call> {
    calls.sort_by_key(|c| (c.dir == Direction::Down, c.cpu));
    calls
}

/// No CPU moved, and each one's own book agrees with its state.
fn settled(hp: &Machine) {
    for (number, at) in (0..).zip(RESTS) {
        assert_eq!(hp.state(cpu(number)), Some(StateId::new(at)), "{number}");
        assert_eq!(hp.target(cpu(number)), hp.state(cpu(number)), "{number}");
        assert!(with(|w| w.is_truthful(number, at)), "{number}");
    }
}

/// Bug 3: every CPU that is past the number runs it, where it belongs; later walks run it like a static
/// one; and after its removal everything is as before.
#[test]
fn register_then_remove_is_the_identity() {
    for (range, at, step) in kinds() {
        let hp = scattered();
        let before = snapshot(hp);
        let handle = register(hp, range, at, step).unwrap();
        assert_eq!(handle.state(), StateId::new(at), "the first free slot");
        let ups = past(at).into_iter();
        let ups: Vec<_> = ups.map(|n| call(n, at, Direction::Up, 0)).collect();
        let log = calls();
        if !step.is_parallel() {
            assert_eq!(log, ups, "one after the other, ascending");
        }
        assert_eq!(sorted(log), ups);
        settled(hp);
        with(World::take_log);
        assert_eq!(unregister(hp, handle), Ok(0));
        let downs = past(at).into_iter();
        let downs: Vec<_> = downs.map(|n| call(n, at, Direction::Down, 0)).collect();
        let log = calls();
        if !step.is_parallel() {
            assert!(log.iter().rev().eq(&downs), "descending");
        }
        assert_eq!(sorted(log), downs);
        with(World::take_log);
        assert_eq!(snapshot(hp), before);
        settled(hp);
        cycle(hp);
    }
}

/// The same from every state a CPU can rest in, whichever half has to wait; called, or only stored and cleared.
#[test]
fn register_then_remove_is_the_identity_from_every_state() {
    let mut cases = 0;
    for (range, at, step) in kinds() {
        for rest in EMPTY.resting() {
            for waits in [None, Some(Direction::Up), Some(Direction::Down)] {
                for mode in [Calls::Run, Calls::Skip] {
                    let hp = empty(2, 1);
                    assert_eq!(hp.drive(cpu(0), StateId::new(rest)), Ok(()));
                    with(World::poll_all);
                    with(World::take_log);
                    let before = snapshot(hp);
                    if let Some(dir) = waits {
                        with(|w| w.rule(None, at, dir, Act::Pend(2)));
                    }
                    with(|w| w.reshape(shape_with(at, "dyn:one")));
                    let run = |work: &dyn Fn()| with(|w| w.registering(work));
                    let handle = core::cell::Cell::new(None);
                    run(&|| handle.set(hp.register(range, step, mode).ok()));
                    let handle = handle.get().expect("the range is empty");
                    run(&|| assert_eq!(hp.unregister(handle, mode), Ok(0)));
                    with(|w| w.reshape(&EMPTY));
                    let mut called: Vec<_> =
                        calls().into_iter().filter(|c| c.answer == 0).collect();
                    called.sort_by_key(|c| (c.cpu, c.dir == Direction::Down));
                    // CPU 1 is online, so past everything.
                    let past = [0, 1].into_iter().filter(|n| *n == 1 || rest >= at);
                    let halves = past.flat_map(|n| [(n, Direction::Up), (n, Direction::Down)]);
                    let halves = halves.filter(|_| mode == Calls::Run);
                    assert!(
                        called.iter().map(|c| (c.cpu, c.dir)).eq(halves),
                        "{called:?}"
                    );
                    with(World::take_log);
                    assert_eq!(snapshot(hp), before, "{at} with a CPU at {rest}");
                    with(World::forgive);
                    cycle(hp);
                    cases += 1;
                }
            }
        }
    }
    println!("@proof {cases} registrations and removals");
    assert_eq!(cases, 5 * EMPTY.resting().count() * 3 * 2);
}

/// Bug 3: dynamic behaves as static at its number, on the way up and down.
#[test]
fn a_registered_state_is_walked_like_a_static_one() {
    for (range, at, step) in kinds() {
        let hp = scattered();
        let handle = register(hp, range, at, step).unwrap();
        cycle(hp);
        let walked = calls().into_iter().filter(|c| c.at == at);
        // Registered on those past it; the way up calls the others, the way down all but the boot CPU.
        let count = past(at).len() + (CPUS as usize - past(at).len()) + CPUS as usize - 1;
        assert_eq!(walked.count(), count);
        assert_eq!(hp.name(handle.state()), "dyn:one");
        // From OFFLINE to just below it and to it.
        with(World::take_log);
        for target in [at - 1, at] {
            assert_eq!(hp.drive(cpu(0), StateId::new(target)), Ok(()));
            let met = calls().iter().any(|c| c.at == at);
            assert_eq!(met, target == at);
        }
    }
}

/// Those that have done it when the failing CPU has failed: all others of a parallel step.
fn did_it(at: u16, step: &Step, failing: u32) -> Vec<u32> {
    let mut done = past(at);
    done.retain(|n| *n < failing || step.is_parallel() && *n != failing);
    done
}

/// The k-th CPU fails: exactly those that did it undo it, in reverse; the slot is free again.
#[test]
fn a_failure_undoes_exactly_what_was_done() {
    let mut cases = 0;
    for (range, at, step) in kinds() {
        for failing in past(at) {
            for undo_fails in [None].into_iter().chain(past(at).into_iter().map(Some)) {
                let hp = scattered();
                let before = snapshot(hp);
                with(|w| {
                    w.rule(Some(failing), at, Direction::Up, Act::Fail(-7));
                    if undo_fails.is_some() {
                        w.rule(undo_fails, at, Direction::Down, Act::Fail(9));
                    }
                });
                let result = register(hp, range, at, step);
                let Err(RegisterError::Failed {
                    cpu: at_cpu,
                    first,
                    undo,
                }) = result
                else {
                    panic!("{result:?}");
                };
                assert_eq!((at_cpu, first.at.get()), (cpu(failing), at));
                assert_eq!((first.err.code(), first.name), (-7, "dyn:one"));
                let done = did_it(at, step, failing);
                let met = undo_fails.filter(|n| done.contains(n));
                assert_eq!(
                    undo.map(|(c, second)| (c.get(), second.err.code())),
                    met.map(|n| (n, 9))
                );
                let log = calls();
                let undone = log
                    .iter()
                    .filter(|c| c.dir == Direction::Down)
                    .map(|c| c.cpu);
                assert!(undone.eq(done.iter().rev().copied()), "{log:?}");
                let ups = log
                    .iter()
                    .filter(|c| c.dir == Direction::Up && c.answer == 0);
                assert_eq!(ups.count(), done.len());
                with(World::forgive);
                with(World::take_log);
                assert_eq!(snapshot(hp), before);
                cases += 1;
                if met.is_some() {
                    continue;
                }
                settled(hp);
                // The slot is free: the same number again.
                let handle = register(hp, range, at, step).unwrap();
                assert_eq!(handle.state().get(), at);
                assert_eq!(unregister(hp, handle), Ok(0));
                cycle(hp);
            }
        }
    }
    println!("@proof {cases} failed registrations");
    assert!(cases >= 100, "{cases}");
}

/// A removal that began succeeds: errors are counted, everybody is asked.
#[test]
fn a_removal_counts_errors_and_goes_on() {
    for (range, at, step) in kinds() {
        let hp = scattered();
        let handle = register(hp, range, at, step).unwrap();
        with(|w| w.rule(None, at, Direction::Down, Act::Fail(9)));
        with(World::take_log);
        let count = u32::try_from(past(at).len()).unwrap();
        assert_eq!(unregister(hp, handle), Ok(count));
        assert_eq!(calls().len(), past(at).len());
        assert_eq!(unregister(hp, handle), Err(RegisterError::Stale(handle)));
    }
}

/// Steps that ask to be called again, on every CPU in turn.
#[test]
fn a_step_that_waits_is_waited_for() {
    for (range, at, step) in kinds() {
        for waits in past(at) {
            let hp = scattered();
            with(|w| {
                w.rule(Some(waits), at, Direction::Up, Act::Take(3 * TICK));
                w.rule(Some(waits), at, Direction::Down, Act::Pend(2));
            });
            let handle = register(hp, range, at, step).unwrap();
            settled(hp);
            assert_eq!(unregister(hp, handle), Ok(0));
            settled(hp);
            cycle(hp);
        }
    }
}

/// Capacity is an exact count; the lowest free slot is taken; bug 25: a removal frees exactly its own.
#[test]
fn a_full_range_says_so_and_a_removal_frees_exactly_its_own() {
    for (range, count) in [(PREPARE_DYN, 2), (PARALLEL_DYN, 1), (ONLINE_DYN, 3)] {
        let hp = empty(2, 1);
        let step = keep(Step::new("dyn:any").parallel());
        let add = || hp.register(range, step, Calls::Skip);
        let mut handles: Vec<_> = (0..count).map(|_| add().unwrap()).collect();
        for (number, handle) in handles.iter().enumerate() {
            let first = usize::from(range.first().get());
            assert_eq!(usize::from(handle.state().get()), first + number);
        }
        assert_eq!(add(), Err(RegisterError::Full(count)));
        assert!(add().unwrap_err().to_string().contains(&count.to_string()));
        for freed in 0..handles.len() {
            let old = handles[freed];
            assert_eq!(hp.unregister(old, Calls::Skip), Ok(0));
            assert_eq!(hp.name(old.state()), "");
            let mut others = handles.iter().filter(|h| **h != old);
            assert!(others.all(|h| hp.name(h.state()) == "dyn:any"));
            let stale = Err(RegisterError::Stale(old));
            assert_eq!(hp.unregister(old, Calls::Skip), stale, "removed twice");
            handles[freed] = add().unwrap();
            assert_eq!(handles[freed].state(), old.state(), "the first free slot");
            assert_ne!(handles[freed], old);
            assert_eq!(hp.unregister(old, Calls::Skip), stale, "an older one");
            assert_eq!(hp.name(old.state()), "dyn:any", "and it removed nothing");
        }
    }
}

#[test]
fn wrong_registrations_are_refused_and_change_nothing() {
    let hp = scattered();
    let before = snapshot(hp);
    let serial = keep(both("dyn:one", 5));
    let result = hp.register(PARALLEL_DYN, serial, Calls::Run);
    assert_eq!(result, Err(RegisterError::NotParallel("dyn:one")));
    for name in ["", "a:up", "b:down"] {
        let result = hp.register(ONLINE_DYN, keep(Step::new(name)), Calls::Run);
        assert_eq!(result, Err(RegisterError::BadName(name)));
    }
    assert_eq!(snapshot(hp), before);
    let guard = hp.try_write().unwrap();
    let step = keep(both("dyn:one", 12));
    let op = guard.register(ONLINE_DYN, step, Calls::Run).unwrap();
    // One at a time, and nothing else that moves CPUs in bulk.
    let busy = RegisterError::Refused;
    let second = guard.register(ONLINE_DYN, step, Calls::Skip).map(|_| ());
    assert!(matches!(second, Err(RegisterError::Refused(e)) if e.why() == Some(Why::Busy)));
    assert_eq!(
        guard.bring_up(Which::All).unwrap_err().why(),
        Some(Why::Busy)
    );
    drop((op, guard));
    let _ = busy;
    assert_eq!(
        hp.register(ONLINE_DYN, step, Calls::Skip)
            .unwrap()
            .state()
            .get(),
        12
    );
}

/// From inside a step it would wait for itself.
#[test]
fn a_step_that_registers_is_refused() {
    fn attempt(_: u32) {
        let hp = with(World::hp);
        let step = keep(Step::new("dyn:any"));
        let result = hp.register(ONLINE_DYN, step, Calls::Run);
        let Err(RegisterError::Refused(error)) = result else {
            panic!("{result:?}");
        };
        assert_eq!(error.why(), Some(Why::WouldDeadlock));
    }
    let hp = empty(2, 1);
    // In PREPARE on the control CPU, in ONLINE on the moved one.
    for at in [1, 10] {
        with(|w| {
            w.rule(None, at, Direction::Up, Act::Hook(attempt));
            w.rule(None, at, Direction::Down, Act::Hook(attempt));
        });
    }
    cycle(hp);
    assert_eq!(hp.name(StateId::new(12)), "");
}

/// A forgotten operation under the guard holds a CPU: refused, naming it.
#[test]
fn a_cpu_in_flight_is_named() {
    let hp = scattered();
    let guard = hp.try_write().unwrap();
    let op = guard
        .op(cpu(0), StateId::new(ONLINE), OpFlags::AUTO)
        .unwrap();
    let result = guard.register(ONLINE_DYN, keep(Step::new("dyn:any")), Calls::Run);
    let Err(RegisterError::Refused(error)) = result else {
        panic!("{result:?}");
    };
    assert_eq!((error.cpu(), error.why()), (cpu(0), Some(Why::Busy)));
    drop(op);
}
