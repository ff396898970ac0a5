//! Every (origin, target, failing up, failing down, pend position) of a table with steps in every
//! section, each held against the reference model: calls, kicks, result, masks, tag, target.
//!
//! A case whose fault or pend is never met equals the case without it and is not run again, so every
//! case counted here is a different behaviour.
#![cfg(not(loom))]

use std::time::Instant;

use cpuhp_core::{CpuId, Direction, OpFlags, StateId, Table, Tag};
use cpuhp_tests::model::{Ap, Task, expect};
use cpuhp_tests::shape::Shape;
use cpuhp_tests::tables::{QUICK, RUNS, WIDE, quick, runs, wide};
use cpuhp_tests::verdict::{Bench, Way};
use cpuhp_tests::world::{World, with};

/// What there is to go wrong.
struct Faults {
    up: Vec<Option<u16>>,
    down: Vec<Option<u16>>,
    pends: Vec<Option<(u16, Direction)>>,
}

impl Faults {
    fn of(shape: &Shape) -> Self {
        let some = |all: Vec<u16>| core::iter::once(None).chain(all.into_iter().map(Some));
        let halves = [Direction::Up, Direction::Down];
        let pends = halves.into_iter().flat_map(|dir| {
            shape
                .with_half(dir)
                .into_iter()
                .map(move |at| Some((at, dir)))
        });
        Self {
            up: some(shape.fallible(Direction::Up)).collect(),
            down: some(shape.fallible(Direction::Down)).collect(),
            pends: core::iter::once(None).chain(pends).collect(),
        }
    }

    fn each(&self, mut run: impl FnMut(Option<u16>, Option<u16>, Option<(u16, Direction)>)) {
        for up in &self.up {
            for down in &self.down {
                self.pends.iter().for_each(|pends| run(*up, *down, *pends));
            }
        }
    }
}

#[derive(Default, Debug)]
struct Tally {
    cases: u32,
    failed: u32,
    double: u32,
    waited: u32,
}

/// Runs all cases of a table by one way; or, if `first` is coming, those from KICK with a CPU
/// that has not arrived yet.
fn enumerate(table: &'static Table, shape: &'static Shape, way: Way, first: Ap) -> Tally {
    let (faults, mut bench, mut tally) = (
        Faults::of(shape),
        Bench::new(table, shape),
        Tally::default(),
    );
    for origin in shape
        .resting()
        .filter(|at| first == Ap::On || *at == shape.kick)
    {
        for target in shape.resting() {
            faults.each(|up_fails, down_fails, pends| {
                let ap = match origin {
                    0.. if origin < shape.kick => Ap::Off,
                    _ if origin == shape.kick => first,
                    _ => Ap::On,
                };
                let task = Task {
                    origin,
                    target,
                    up_fails,
                    down_fails,
                    pends,
                    ap,
                };
                if way == Way::Bulk && !is_batch(shape, &task) {
                    return;
                }
                let expected = expect(shape, &task, way.kind(target), (bench.cpu, bench.control));
                let met = expected.waited() == pends.is_some()
                    && expected.met(Direction::Up) == up_fails.is_some()
                    && expected.met(Direction::Down) == down_fails.is_some();
                if met {
                    one_case(&mut bench, shape, &task, way);
                    tally.cases += 1;
                    tally.failed += u32::from(expected.first.is_some());
                    tally.double += u32::from(expected.second.is_some());
                    tally.waited += u32::from(pends.is_some());
                }
            });
        }
    }
    tally
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
    println!("{cases} cases in {:?}", begun.elapsed());
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
    println!("{cases} cases");
    assert!(cases >= 2_000, "{cases} cases");
}

#[test]
fn every_walk_of_the_smaller_tables_is_as_the_model_says() {
    let tables = [(&runs::TABLE, &RUNS), (&quick::TABLE, &QUICK)];
    let cases = tables.map(|(table, shape)| WAYS.map(|way| run(table, shape, way)));
    let cases: u32 = cases.iter().flatten().sum();
    println!("{cases} cases");
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
