//! A step that never ends, at every step and in both directions: STUCK names it in time and undoes
//! nothing; then the operation is resumed, or another one turns the CPU round.
#![cfg(not(loom))]

use cpuhp_core::{Direction, Failure, Left, OpError, OpFlags, StateId, StepError, Table};
use cpuhp_tests::fake::{DIE, STEP, TICK};
use cpuhp_tests::model::{Ap, Kind, expect};
use cpuhp_tests::shape::{Section, Shape};
use cpuhp_tests::tables::{QUICK, RUNS, WIDE, quick, runs, wide};
use cpuhp_tests::verdict::{Bench, Way};
use cpuhp_tests::world::{Act, Call, Event, World, with};

const TABLES: [(&Table, &Shape); 3] = [
    (&wide::TABLE, &WIDE),
    (&runs::TABLE, &RUNS),
    (&quick::TABLE, &QUICK),
];

/// One step that hangs.
#[derive(Clone, Copy, Debug)]
struct Case {
    table: &'static Table,
    shape: &'static Shape,
    at: u16,
    dir: Direction,
    flags: OpFlags,
}

fn each_case(mut run: impl FnMut(Case)) -> u32 {
    let mut cases = 0;
    for (table, shape) in TABLES {
        for dir in [Direction::Up, Direction::Down] {
            for at in shape.with_half(dir) {
                for flags in [OpFlags::empty(), OpFlags::AUTO] {
                    run(Case {
                        table,
                        shape,
                        at,
                        dir,
                        flags,
                    });
                    cases += 1;
                }
            }
        }
    }
    cases
}

impl Case {
    fn ends(&self) -> (u16, u16) {
        match self.dir {
            Direction::Up => (0, self.shape.online()),
            Direction::Down => (self.shape.online(), 0),
        }
    }

    fn is_prepare(&self) -> bool {
        self.shape.at(self.at).section == Section::Prepare
    }

    /// Brings a CPU to where it hangs, and checks the report.
    fn hang(&self) -> Bench {
        let (from, to) = self.ends();
        let mut bench = Bench::new(self.table, self.shape);
        bench.clean(from);
        with(|w| w.rule(None, self.at, self.dir, Act::Hang));
        let begun = with(World::time);
        let failure = self.stuck(&bench, bench.go(to, Way::Op(self.flags)));
        let took = with(World::time) - begun;
        assert!(
            (STEP..=STEP + DIE + 60 * TICK).contains(&took),
            "{self:?} took {took}"
        );
        assert_eq!(bench.hp.last_error(bench.id()), Some(failure), "{self:?}");
        let text = failure.to_string();
        let name = self.shape.at(self.at).name;
        assert!(
            text.contains("cpu 0") && text.contains(name) && text.contains("stuck"),
            "{text}"
        );
        bench
    }

    /// The failure, which says STUCK at the hanging step and in flight on the AP.
    fn stuck(&self, bench: &Bench, result: Result<(), OpError>) -> Failure {
        let Err(OpError::Failed(failure)) = result else {
            panic!("{self:?}: {result:?}");
        };
        assert_eq!(failure.first.err, StepError::STUCK, "{self:?}");
        assert_eq!(failure.first.at.get(), self.at, "{self:?}");
        assert_eq!((failure.rollback, failure.kick), (None, None), "{self:?}");
        let state = StateId::new(bench.state());
        if self.is_prepare() {
            assert!(matches!(failure.left, Left::At(s) | Left::InFlight(s) if s == state));
        } else {
            assert_eq!(failure.left, Left::InFlight(state), "{self:?}");
        }
        failure
    }
}

/// Calls without the answers that asked for another call.
fn finished(log: &[Event]) -> Vec<Call> {
    let calls = log.iter().filter_map(|event| match event {
        Event::Call(call) => Some(*call),
        Event::Kick(..) | Event::KickDone(..) | Event::Unpark(_) => None,
    });
    calls
        .filter(|call| call.answer != StepError::WOULD_BLOCK.code())
        .collect()
}

#[test]
fn a_stuck_operation_is_resumed_to_its_target() {
    let cases = each_case(|case| {
        let (from, to) = case.ends();
        let bench = case.hang();
        // Resumed while it still hangs, it is stuck again, and nothing else happened.
        let before = finished(&with(World::log));
        let guard = bench.hp.try_write().unwrap();
        let mut op = guard.resume(bench.id()).unwrap();
        case.stuck(&bench, bench.finish(&guard, &mut op));
        assert_eq!(finished(&with(World::log)), before, "{case:?}");
        with(World::forgive);
        let mut op = guard.resume(bench.id()).unwrap();
        let result = bench.finish(&guard, &mut op);
        drop(guard);
        bench.check_clean_rest(to, result, "a resumed operation");
        let mut task = bench.task(to);
        (task.origin, task.ap) = (
            from,
            match case.dir {
                Direction::Up => Ap::Off,
                Direction::Down => Ap::On,
            },
        );
        let expected = expect(case.shape, &task, Kind::Single, (bench.cpu, bench.control));
        let log = finished(&with(World::take_log));
        let walk = &log[log.len() - expected.calls.len()..];
        assert_eq!(walk, expected.calls, "{case:?}");
        turn(bench, case.shape);
    });
    println!("@proof {cases} cases");
    assert_eq!(cases, 96);
}

#[test]
fn a_stuck_cpu_is_turned_round_by_another_operation() {
    let cases = each_case(|case| {
        let (from, _) = case.ends();
        for still in [true, false] {
            let bench = case.hang();
            if still && !case.is_prepare() {
                let result = bench.go(from, Way::Op(case.flags));
                assert!(
                    matches!(result, Err(OpError::Failed(f)) if f.first.err == StepError::STUCK),
                    "{case:?}: {result:?}"
                );
                with(World::forgive);
                let guard = bench.hp.try_write().unwrap();
                let mut op = guard.resume(bench.id()).unwrap();
                let result = bench.finish(&guard, &mut op);
                bench.check_clean_rest(from, result, "an operation resumed in the other direction");
            } else {
                with(World::forgive);
                let result = bench.go(from, Way::Op(case.flags));
                bench.check_clean_rest(from, result, "an operation in the other direction");
            }
            turn(bench, case.shape);
        }
    });
    println!("@proof {cases} cases");
    assert_eq!(cases, 96);
}

/// The deadline bounds a step, not a section: it is armed anew whenever the state moves.
#[test]
fn a_long_row_of_slow_steps_is_not_a_stuck_one() {
    for (table, shape) in TABLES {
        for flags in [OpFlags::empty(), OpFlags::AUTO] {
            let bench = Bench::new(table, shape);
            with(|w| {
                for dir in [Direction::Up, Direction::Down] {
                    for at in shape.with_half(dir) {
                        // On its way out a CPU has one deadline from the order to die until it is off.
                        let leaves = shape.at(at).section == Section::Starting;
                        if dir == Direction::Up || !leaves {
                            w.rule(None, at, dir, Act::Take(STEP * 3 / 4));
                        }
                    }
                }
            });
            for target in [shape.online(), 0, shape.online()] {
                let result = bench.go(target, Way::Op(flags));
                bench.check_clean_rest(target, result, "slow steps");
            }
        }
    }
}

/// Bug 35: the late answer of one direction must not satisfy, or fail, a wait of the other.
#[test]
fn the_late_failure_of_a_stuck_request_is_not_the_failure_of_the_next_operation() {
    let bench = Bench::new(&wide::TABLE, &WIDE);
    with(|w| w.rule(None, 17, Direction::Up, Act::Hang));
    assert!(bench.go(WIDE.online(), Way::Drive).is_err());
    with(|w| {
        w.forgive();
        w.rule(None, 17, Direction::Up, Act::Fail(-5));
    });
    let result = bench.go(0, Way::Drive);
    bench.check_clean_rest(0, result, "a teardown over a late failure");
    with(World::forgive);
    turn(bench, &WIDE);
}

/// The origin of an operation is where the CPU was, and a CPU in flight is nowhere: a refusal must not
/// make the same operation ask the same step again.
#[test]
fn a_refusal_after_a_stuck_bringup_stays_where_it_is() {
    let bench = Bench::new(&wide::TABLE, &WIDE);
    with(|w| w.rule(None, 17, Direction::Up, Act::Hang));
    assert!(bench.go(WIDE.online(), Way::Drive).is_err());
    with(|w| {
        w.forgive();
        w.rule(None, 22, Direction::Down, Act::Fail(5));
        w.take_log();
    });
    let result = bench.go(0, Way::Drive);
    let log = finished(&with(World::log));
    let asked = log
        .iter()
        .filter(|c| c.at == 22 && c.dir == Direction::Down);
    assert_eq!(asked.count(), 1, "{log:?}");
    let Err(OpError::Failed(failure)) = result else {
        panic!("{result:?}");
    };
    assert_eq!((failure.first.at.get(), failure.rollback), (22, None));
    assert!(bench.state() >= 22, "k counts as up");
    assert_eq!(bench.hp.target(bench.id()), bench.hp.state(bench.id()));
    with(World::forgive);
    turn(bench, &WIDE);
}

/// Whatever happened, the CPU can be driven both ways.
fn turn(mut bench: Bench, shape: &Shape) {
    with(World::take_log);
    bench.clean(0);
    bench.clean(shape.online());
    bench.clean(0);
}
