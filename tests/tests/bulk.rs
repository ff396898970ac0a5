//! Many CPUs at once: order, exclusion, failures and refusers.
#![cfg(not(loom))]

use cpuhp_core::{
    Direction, KickError, KickErrorKind, MaskStore, StateId, StepError, Tag, Which, Why,
};
use cpuhp_tests::batch::{
    BOOT, CPUS, TABLES, aps, calls, counts, cpu, cycle, machine, rests, slow_steps,
};
use cpuhp_tests::refusal::snapshot;
use cpuhp_tests::shape::Section;
use cpuhp_tests::tables::{QUICK, RUNS, quick, runs};
use cpuhp_tests::world::{Act, Event, World, with};

/// P15, and what it is for: a step without PARALLEL never has two CPUs inside; the others overlap.
#[test]
fn steps_that_take_one_at_a_time_get_one_and_parallel_ones_overlap() {
    for (table, shape) in TABLES {
        let hp = machine(table, shape);
        slow_steps(shape);
        cycle(hp, shape);
        assert!(
            with(World::most_inside) >= 4,
            "parallel steps do not overlap"
        );
    }
}

/// Bugs 9, 10: PREPARE of all comes before the first kick, and all kicks before any arrival.
#[test]
fn all_are_prepared_then_all_are_kicked_then_they_run() {
    for (table, shape) in TABLES {
        let hp = machine(table, shape);
        assert!(hp.bring_up(Which::All).is_ok());
        let log = with(World::log);
        let is_kick = |event: &Event| matches!(event, Event::Kick(..));
        let first = log.iter().position(is_kick).unwrap();
        let last = log.iter().rposition(is_kick).unwrap();
        let prepares = |event: &Event| match event {
            Event::Call(call) => shape.at(call.at).section == Section::Prepare,
            Event::Kick(..) | Event::KickDone(..) | Event::Unpark(_) => false,
        };
        assert!(!log[first..].iter().any(prepares), "PREPARE after a kick");
        assert_eq!(
            last - first + 1,
            aps().count(),
            "something came between two kicks"
        );
        let kicked = log[first..=last].iter().map(|event| match event {
            Event::Kick(n, Ok(())) => *n,
            other @ (Event::Kick(..) | Event::Call(_) | Event::KickDone(..) | Event::Unpark(_)) => {
                panic!("{other:?}")
            }
        });
        assert!(kicked.eq(aps()), "kicks in index order");
    }
}

/// Lower waves are kicked first, each in index order; the numbers of the waves need not be dense.
#[test]
fn waves_are_kicked_lowest_first() {
    for (table, shape) in TABLES {
        let hp = machine(table, shape);
        let waves = |n: u32| [7, 0, 0, 255, 0, 7][n as usize];
        for n in aps() {
            with(|w| w.sim(n, |sim| sim.wave = waves(n)));
        }
        assert!(hp.bring_up(Which::All).unwrap().is_complete());
        let kicked = with(World::log);
        let kicked = kicked.iter().filter_map(|event| match event {
            Event::Kick(n, Ok(())) => Some(*n),
            Event::Kick(..) | Event::Call(_) | Event::KickDone(..) | Event::Unpark(_) => None,
        });
        let mut expected: Vec<u32> = aps().collect();
        expected.sort_by_key(|n| (waves(*n), *n));
        assert!(kicked.eq(expected));
    }
}

/// Where STARTING takes one at a time, all have arrived before the first is let go.
#[test]
fn all_arrive_before_the_first_enters_an_exclusive_starting() {
    let hp = machine(&runs::TABLE, &RUNS);
    with(|w| w.rule(None, 3, Direction::Up, Act::Hook(all_arrived)));
    assert!(hp.bring_up(Which::All).is_ok());
    let ups: Vec<u32> = calls()
        .iter()
        .filter(|c| c.at == 3)
        .map(|c| c.cpu)
        .collect();
    assert!(
        ups.into_iter().eq(aps()),
        "one after the other, in index order"
    );
}

fn all_arrived(_: u32) {
    let hp = with(World::hp);
    for id in aps().map(cpu) {
        assert!(
            matches!(hp.tag(id), Some(Tag::Alive | Tag::Go | Tag::Up)),
            "{id} has not arrived"
        );
    }
}

/// The way back of a failing CPU is refused as well, wherever it is then: it rests there, dying no more.
#[test]
fn a_cpu_that_refuses_its_way_back_rests_where_it_refused() {
    for (table, shape) in TABLES {
        for at in shape.fallible(Direction::Up) {
            for second in shape
                .fallible(Direction::Down)
                .into_iter()
                .filter(|n| *n < at)
            {
                let hp = machine(table, shape);
                with(|w| {
                    w.rule(Some(4), at, Direction::Up, Act::Fail(-7));
                    w.rule(Some(4), second, Direction::Down, Act::Fail(-8));
                });
                let report = hp.bring_up(Which::All).map(counts);
                assert_eq!(report, Ok([CPUS - 2, 1, 0, 0, 0]), "{at}, then {second}");
                rests(hp, shape, 4, second);
                let error = hp.last_error(cpu(4)).unwrap();
                assert_eq!(error.first.at.get(), at);
                assert_eq!(error.rollback.map(|second| second.at.get()), Some(second));
                with(World::forgive);
                cycle(hp, shape);
            }
        }
    }
}

#[test]
fn a_failing_cpu_goes_back_and_the_others_go_on() {
    for (table, shape) in TABLES {
        for at in shape.fallible(Direction::Up) {
            for failing in [vec![0], vec![5], vec![1, 4], aps().collect()] {
                let hp = machine(table, shape);
                slow_steps(shape);
                with(|w| {
                    for n in &failing {
                        // Bug 32: each is blamed for its own failure.
                        w.rule(
                            Some(*n),
                            at,
                            Direction::Up,
                            Act::Fail(100 + i32::try_from(*n).unwrap()),
                        );
                    }
                });
                let count = u32::try_from(failing.len()).unwrap();
                let report = hp.bring_up(Which::All).map(counts);
                assert_eq!(
                    report,
                    Ok([CPUS - 1 - count, count, 0, 0, 0]),
                    "{at} fails on {failing:?}"
                );
                for n in aps() {
                    let error = hp.last_error(cpu(n));
                    if failing.contains(&n) {
                        rests(hp, shape, n, 0);
                        let error = error.unwrap();
                        assert_eq!((error.cpu, error.first.at.get()), (cpu(n), at));
                        assert_eq!(error.first.err.code(), 100 + i32::try_from(n).unwrap());
                        assert_eq!(error.rollback, None);
                    } else {
                        rests(hp, shape, n, shape.online());
                        assert_eq!(error, None);
                    }
                }
                with(World::forgive);
                cycle(hp, shape);
            }
        }
    }
}

/// Best effort: a refuser in ONLINE stays online; one in PREPARE stays there (W9). Bug 15: every down
/// is matched by an up, which the machine's own book checks at each call.
#[test]
fn a_refuser_stays_and_the_others_go() {
    for (table, shape) in TABLES {
        for at in shape.fallible(Direction::Down) {
            for refusing in [vec![0], vec![5], vec![1, 4], aps().collect()] {
                let hp = machine(table, shape);
                assert!(hp.bring_up(Which::All).is_ok());
                slow_steps(shape);
                with(|w| {
                    refusing
                        .iter()
                        .for_each(|n| w.rule(Some(*n), at, Direction::Down, Act::Fail(7)))
                });
                let count = u32::try_from(refusing.len()).unwrap();
                let report = hp.take_down(Which::All).map(counts);
                assert_eq!(
                    report,
                    Ok([CPUS - 1 - count, count, 0, 0, 0]),
                    "{at} refuses on {refusing:?}"
                );
                for n in aps() {
                    if !refusing.contains(&n) {
                        rests(hp, shape, n, 0);
                        continue;
                    }
                    rests(
                        hp,
                        shape,
                        n,
                        if at < shape.kick { at } else { shape.online() },
                    );
                    let error = hp.last_error(cpu(n)).unwrap();
                    assert_eq!((error.first.at.get(), error.first.err.code()), (at, 7));
                }
                with(World::forgive);
                cycle(hp, shape);
            }
        }
    }
}

#[test]
fn a_batch_begins_from_every_mix_of_states() {
    for (table, shape) in TABLES {
        let resting: Vec<u16> = shape.resting().collect();
        for (shift, _) in resting.iter().enumerate() {
            for up in [true, false] {
                let hp = machine(table, shape);
                for (index, n) in aps().enumerate() {
                    let at = resting[(shift + index * 3) % resting.len()];
                    assert_eq!(hp.drive(cpu(n), StateId::new(at)), Ok(()));
                }
                (0..3).for_each(|_| with(World::poll_all));
                slow_steps(shape);
                let mask = MaskStore::<1>::new();
                aps().for_each(|n| assert!(mask.get_mut().insert(cpu(n))));
                let which = Which::Only(mask.get());
                let report = if up {
                    hp.bring_up(which)
                } else {
                    hp.take_down(which)
                };
                assert_eq!(
                    report.map(counts),
                    Ok([CPUS - 1, 0, 0, 0, 0]),
                    "shift {shift}"
                );
                let end = if up { shape.online() } else { 0 };
                aps().for_each(|n| rests(hp, shape, n, end));
                with(World::forgive);
                cycle(hp, shape);
            }
        }
    }
}

#[test]
fn the_missing_are_passed_over_and_the_named_counted() {
    let hp = machine(&quick::TABLE, &QUICK);
    with(|w| w.sim(3, |sim| sim.present = false));
    assert_eq!(hp.bring_up(Which::All).map(counts), Ok([4, 0, 0, 0, 0]));
    rests(hp, &QUICK, 3, 0);
    let mask = MaskStore::<1>::new();
    (0..CPUS).for_each(|n| assert!(mask.get_mut().insert(cpu(n))));
    let report = hp.bring_up(Which::Only(mask.get())).unwrap();
    assert_eq!(
        counts(report),
        [4, 0, 0, 2, 0],
        "the missing one and the calling one"
    );
    assert!(!report.is_complete());
    assert_eq!(report.to_string(), "4 done, 2 skipped");
    // Bug 31: only the control CPU changes the mask, and a batch is a snapshot.
    assert!(!hp.present().contains(cpu(3)));
    mask.get_mut().remove(cpu(BOOT));
    assert_eq!(
        hp.take_down(Which::Only(mask.get())).map(counts),
        Ok([5, 0, 0, 0, 0])
    );
    assert_eq!(hp.take_down(Which::All).map(counts), Ok([0, 0, 0, 0, 0]));
    with(|w| w.sim(3, |sim| sim.present = true));
    cycle(hp, &QUICK);
}

#[test]
fn a_named_cpu_out_of_range_refuses_the_batch() {
    let hp = machine(&quick::TABLE, &QUICK);
    for wrong in [CPUS, 63] {
        let mask = MaskStore::<1>::new();
        mask.get_mut().insert(cpu(1));
        mask.get_mut().insert(cpu(wrong));
        let before = snapshot(hp);
        let which = Which::Only(mask.get());
        for result in [hp.bring_up(which), hp.take_down(which)] {
            let error = result.unwrap_err();
            assert_eq!(
                (error.cpu(), error.why()),
                (cpu(wrong), Some(Why::NoSuchCpu))
            );
            assert_eq!(snapshot(hp), before);
        }
    }
}

#[test]
fn refused_kicks_are_each_their_own() {
    let hp = machine(&quick::TABLE, &QUICK);
    let error = |n: u32| KickError::with_code(KickErrorKind::Firmware, i64::from(n) - 100);
    with(|w| {
        [1, 4]
            .iter()
            .for_each(|n| w.sim(*n, |sim| sim.refusal = Some(error(*n))))
    });
    assert_eq!(hp.bring_up(Which::All).map(counts), Ok([3, 2, 0, 0, 0]));
    for n in [1, 4] {
        rests(hp, &QUICK, n, 0);
        assert_eq!(hp.last_error(cpu(n)).unwrap().kick, Some(error(n)));
    }
    with(|w| {
        [1, 4]
            .iter()
            .for_each(|n| w.sim(*n, |sim| sim.refusal = None))
    });
    cycle(hp, &QUICK);
}

/// Bug 26: a CPU that fails in ONLINE and cannot be stopped rests in a defined state.
#[test]
fn a_failing_cpu_that_cannot_be_stopped_rests_at_ap_idle() {
    for batch in [true, false] {
        let hp = machine(&quick::TABLE, &QUICK);
        with(|w| {
            w.sim(1, |sim| sim.can_off = Some(false));
            w.rule(Some(1), 8, Direction::Up, Act::Fail(3));
        });
        if batch {
            assert_eq!(hp.bring_up(Which::All).map(counts), Ok([4, 1, 0, 0, 0]));
        } else {
            assert!(hp.cpu_up(cpu(1)).is_err());
        }
        rests(hp, &QUICK, 1, QUICK.ap_idle);
        let error = hp.last_error(cpu(1)).unwrap();
        assert_eq!((error.first.at.get(), error.first.err.code()), (8, 3));
        assert_eq!(
            error.rollback.map(|r| r.err),
            Some(StepError::NOT_SUPPORTED)
        );
        with(World::forgive);
        assert_eq!(hp.cpu_up(cpu(1)), Ok(()));
    }
}
