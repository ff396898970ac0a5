//! Every (origin, target, failing up, failing down, pend position) of a table with steps in every
//! section, each held against the reference model: calls, kicks, result, masks, tag, target.
//!
//! A case whose fault or pend is never met equals the case without it and is not run again, so every
//! case counted here is a different behaviour.
#![cfg(not(loom))]

use std::time::Instant;

use cpuhp_core::{CpuId, Direction, OpFlags, StateId, Table, Tag};
use cpuhp_tests::model::{Ap, Expect, Task, expect};
use cpuhp_tests::shape::Shape;
use cpuhp_tests::tables::{QUICK, RUNS, WIDE, quick, runs, wide};
use cpuhp_tests::verdict::{Bench, Way};
use cpuhp_tests::world::{World, with};

#[derive(Default, Debug)]
struct Tally {
    cases: u32,
    failed: u32,
    double: u32,
    waited: u32,
}

/// One table, gone through by one way.
struct Sweep {
    bench: Bench,
    shape: &'static Shape,
    way: Way,
    tally: Tally,
}

/// Runs all cases of a table by one way; or, if `first` is coming, those from KICK with a CPU
/// that has not arrived yet.
fn enumerate(table: &'static Table, shape: &'static Shape, way: Way, first: Ap) -> Tally {
    let mut sweep = Sweep {
        bench: Bench::new(table, shape),
        shape,
        way,
        tally: Tally::default(),
    };
    let some = |dir| core::iter::once(None).chain(shape.fallible(dir).into_iter().map(Some));
    for origin in shape.resting() {
        let ap = match origin {
            0.. if origin < shape.kick => Ap::Off,
            _ if origin == shape.kick => first,
            _ => Ap::On,
        };
        if first == Ap::Coming && ap != first {
            continue;
        }
        for target in shape.resting() {
            for up_fails in some(Direction::Up) {
                for down_fails in some(Direction::Down) {
                    sweep.pends(Task {
                        origin,
                        target,
                        up_fails,
                        down_fails,
                        pends: None,
                        ap,
                    });
                }
            }
        }
    }
    sweep.tally
}

impl Sweep {
    /// Runs `task` if it meets its faults, then with each of its calls asking to be called again.
    fn pends(&mut self, task: Task) {
        if self.way == Way::Bulk && !is_batch(self.shape, &task) {
            return;
        }
        let (kind, cpus) = (
            self.way.kind(task.target),
            (self.bench.cpu, self.bench.control),
        );
        let expected = expect(self.shape, &task, kind, cpus);
        if expected.met(Direction::Up) != task.up_fails.is_some()
            || expected.met(Direction::Down) != task.down_fails.is_some()
        {
            return;
        }
        self.case(&task, &expected);
        for call in &expected.calls {
            let pends = Some((call.at, call.dir));
            self.case(&Task { pends, ..task }, &expected);
        }
    }

    fn case(&mut self, task: &Task, expected: &Expect) {
        one_case(&mut self.bench, self.shape, task, self.way);
        self.tally.cases += 1;
        self.tally.failed += u32::from(expected.first.is_some());
        self.tally.double += u32::from(expected.second.is_some());
        self.tally.waited += u32::from(task.pends.is_some());
    }
}

/// Whether a batch can be asked for this, and the design says what comes of it: a refusal in PREPARE
/// of a CPU that was not up when its batch began is neither W2 nor W9.
fn is_batch(shape: &Shape, task: &Task) -> bool {
    let refused = task.down_fails.is_some_and(|at| at < shape.kick);
    match task.target {
        0 => task.origin >= shape.ap_idle || !refused,
        target => target == shape.online(),
    }
}

fn one_case(bench: &mut Bench, shape: &Shape, task: &Task, way: Way) {
    bench.clean(task.origin);
    if task.origin == shape.kick && task.ap == Ap::On {
        with(World::poll_all);
    }
    assert_eq!(bench.ap(), task.ap, "what the cpu is at before {task:?}");
    bench.run(task, way);
    // Drivable afterwards, both ways; but PREPARE of a CPU that was given up on goes down only once
    // it has come and parked (H1). A CPU that was parked goes off for good on its way down.
    if bench.hp.tag(CpuId::new(bench.cpu)) == Some(Tag::Cancelled) {
        (0..3).for_each(|_| with(World::poll_all));
    }
    bench.clean(0);
    bench.clean(shape.online());
    bench.clean(0);
}

/// One table, one way, both arrivals where the machine tells them apart.
fn run(table: &'static Table, shape: &'static Shape, way: Way) -> u32 {
    let begun = Instant::now();
    let tallies = [Ap::On, Ap::Coming].map(|first| enumerate(table, shape, way, first));
    let [all, late] = &tallies;
    println!(
        "{way:?}: {all:?}, not arrived: {late:?}, {:?}",
        begun.elapsed()
    );
    assert!(all.double > 0 && all.waited > 0 && late.failed > 0);
    all.cases + late.cases
}

const WAYS: [Way; 5] = [
    Way::Drive,
    Way::Op(OpFlags::empty()),
    Way::Op(OpFlags::AUTO),
    Way::Resumed(OpFlags::empty()),
    Way::Resumed(OpFlags::AUTO),
];

#[test]
fn every_walk_of_the_wide_table_is_as_the_model_says() {
    let begun = Instant::now();
    let ways = WAYS.map(|way| run(&wide::TABLE, &WIDE, way));
    let cases: u32 = ways.iter().sum();
    println!(
        "@proof {cases} walks of the wide table in {:.1?}",
        begun.elapsed()
    );
    assert!(cases >= 80_000, "{cases} cases");
}

#[test]
fn every_walk_of_a_batch_of_one_is_as_the_model_says() {
    let tables = [
        (&wide::TABLE, &WIDE),
        (&runs::TABLE, &RUNS),
        (&quick::TABLE, &QUICK),
    ];
    let cases: u32 = tables
        .map(|(table, shape)| run(table, shape, Way::Bulk))
        .iter()
        .sum();
    println!("@proof {cases} walks of batches of one");
    assert!(cases >= 2_000, "{cases} cases");
}

#[test]
fn every_walk_of_the_smaller_tables_is_as_the_model_says() {
    let tables = [(&runs::TABLE, &RUNS), (&quick::TABLE, &QUICK)];
    let cases = tables.map(|(table, shape)| WAYS.map(|way| run(table, shape, way)));
    let cases: u32 = cases.iter().flatten().sum();
    println!("@proof {cases} walks of the smaller tables");
    assert!(cases >= 20_000, "{cases} cases");
}

#[test]
fn the_shapes_say_what_the_tables_say() {
    for (table, shape) in [
        (&wide::TABLE, &WIDE),
        (&runs::TABLE, &RUNS),
        (&quick::TABLE, &QUICK),
    ] {
        assert_eq!(table.kick().get(), shape.kick);
        assert_eq!(table.ap_idle().get(), shape.ap_idle);
        assert_eq!(table.online().get(), shape.online());
        for (number, state) in (0..).zip(shape.states) {
            assert_eq!(table.name(StateId::new(number)), state.name);
        }
    }
}
