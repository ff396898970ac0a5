//! Many CPUs at once, some of which never come, never go, or never end a step.
#![cfg(not(loom))]

use cpuhp_core::{Direction, StateId, StepError, Tag, Which};
use cpuhp_tests::batch::{CPUS, TABLES, aps, counts, cpu, cycle, machine, rests};
use cpuhp_tests::fake::{ALIVE, DIE, TICK};
use cpuhp_tests::tables::{RUNS, runs};
use cpuhp_tests::world::{Act, Event, Exclusion, World, with};

/// k dead CPUs cost one time-out, not k, and delay nobody.
#[test]
fn the_dead_cost_one_timeout_together() {
    for (table, shape) in TABLES {
        for dead in [vec![0], vec![0, 1, 3], vec![3, 4, 5], aps().collect()] {
            let hp = machine(table, shape);
            with(|w| {
                dead.iter()
                    .for_each(|n| w.sim(*n, |sim| sim.comes_at = u64::MAX))
            });
            let begun = with(World::time);
            let count = u32::try_from(dead.len()).unwrap();
            let report = hp.bring_up(Which::All).map(counts);
            let took = with(World::time) - begun;
            assert_eq!(
                report,
                Ok([CPUS - 1 - count, count, 0, 0, 0]),
                "dead: {dead:?}"
            );
            assert!(
                (ALIVE..ALIVE + ALIVE / 2).contains(&took),
                "{dead:?} took {took}"
            );
            for n in aps() {
                if !dead.contains(&n) {
                    rests(hp, shape, n, shape.online());
                    continue;
                }
                rests(hp, shape, n, shape.kick - 1);
                let error = hp.last_error(cpu(n)).unwrap();
                assert_eq!(error.first.err, StepError::TIMEOUT);
                assert_eq!(error.first.at.get(), shape.kick);
            }
            // They come after all; the next batch takes them back, nobody is kicked again.
            with(|w| dead.iter().for_each(|n| w.sim(*n, |sim| sim.comes_at = 0)));
            with(World::poll_all);
            with(World::take_log);
            assert_eq!(
                hp.bring_up(Which::All).map(counts),
                Ok([CPUS - 1, 0, 0, 0, 0])
            );
            assert!(
                !with(World::log)
                    .iter()
                    .any(|e| matches!(e, Event::Kick(..)))
            );
            assert!(hp.take_down(Which::All).is_ok());
            cycle(hp, shape);
        }
    }
}

#[test]
fn those_that_never_confirm_cost_one_timeout_and_keep_their_memory() {
    for (table, shape) in TABLES {
        let hp = machine(table, shape);
        assert!(hp.bring_up(Which::All).is_ok());
        with(|w| {
            [0, 4]
                .iter()
                .for_each(|n| w.sim(*n, |sim| sim.lingers = u32::MAX))
        });
        let begun = with(World::time);
        assert_eq!(hp.take_down(Which::All).map(counts), Ok([3, 0, 2, 0, 0]));
        let took = with(World::time) - begun;
        // Where STARTING takes one at a time, each of them is waited for.
        let most = if shape == &RUNS { 2 * DIE } else { DIE };
        assert!((DIE..most + DIE / 2).contains(&took), "took {took}");
        for n in [0, 4] {
            assert_eq!(hp.tag(cpu(n)), Some(Tag::Gone));
            assert!(with(|w| w.is_truthful(n, shape.kick - 1)));
        }
        [1, 3, 5].into_iter().for_each(|n| rests(hp, shape, n, 0));
        with(|w| [0, 4].iter().for_each(|n| w.sim(*n, |sim| sim.lingers = 1)));
        (0..3).for_each(|_| with(World::poll_all));
        assert_eq!(
            hp.take_down(Which::All).map(counts),
            Ok([0, 0, 0, 0, 0]),
            "none is online"
        );
        cycle(hp, shape);
    }
}

/// A CPU stuck inside a step that takes one at a time still occupies it.
#[test]
fn behind_a_stuck_cpu_nobody_is_tried() {
    let hp = machine(&runs::TABLE, &RUNS);
    with(|w| w.exclude(Exclusion::Steps));
    with(|w| w.rule(Some(1), 7, Direction::Up, Act::Hang));
    assert_eq!(hp.bring_up(Which::All).map(counts), Ok([1, 0, 1, 0, 3]));
    rests(hp, &RUNS, 0, RUNS.online());
    for n in [3, 4, 5] {
        rests(hp, &RUNS, n, 6);
        assert_eq!(hp.last_error(cpu(n)), None);
    }
    let error = hp.last_error(cpu(1)).unwrap();
    assert_eq!(
        (error.first.at.get(), error.first.err),
        (7, StepError::STUCK)
    );
    with(World::forgive);
    cycle(hp, &RUNS);
    with(|w| w.rule(Some(3), 7, Direction::Down, Act::Hang));
    assert!(hp.bring_up(Which::All).is_ok());
    assert_eq!(hp.take_down(Which::All).map(counts), Ok([2, 0, 1, 0, 2]));
    [4, 5].into_iter().for_each(|n| {
        assert_eq!(
            hp.state(cpu(n)),
            Some(StateId::new(7)),
            "above the step that is occupied"
        );
        assert_eq!(hp.target(cpu(n)), hp.state(cpu(n)));
    });
    with(World::forgive);
    assert!(hp.bring_up(Which::All).is_ok());
    assert!(hp.take_down(Which::All).is_ok());
    cycle(hp, &RUNS);
}

/// It occupies its step in the next batch too, until it has answered.
#[test]
fn a_batch_collects_a_cpu_in_flight_before_it_enters_its_step() {
    let hp = machine(&runs::TABLE, &RUNS);
    assert!(hp.bring_up(Which::All).is_ok());
    with(|w| {
        w.exclude(Exclusion::Steps);
        w.rule(Some(3), 7, Direction::Down, Act::Hang);
    });
    assert_eq!(hp.take_down(Which::All).map(counts), Ok([2, 0, 1, 0, 2]));
    with(|w| {
        w.forgive();
        // Its step ends in a while, as a step that was late does.
        w.rule(Some(3), 7, Direction::Down, Act::Take(80 * TICK));
    });
    assert_eq!(
        hp.bring_up(Which::All).map(counts),
        Ok([CPUS - 1, 0, 0, 0, 0])
    );
    with(World::forgive);
    cycle(hp, &RUNS);
}

#[test]
fn a_stuck_cpu_in_a_parallel_step_holds_nobody_up() {
    let hp = machine(&runs::TABLE, &RUNS);
    with(|w| w.rule(Some(0), 6, Direction::Up, Act::Hang));
    assert_eq!(hp.bring_up(Which::All).map(counts), Ok([4, 0, 1, 0, 0]));
    [1, 3, 4, 5]
        .into_iter()
        .for_each(|n| rests(hp, &RUNS, n, RUNS.online()));
    with(World::forgive);
    cycle(hp, &RUNS);
}
