//! From any state to any other and back leaves no trace, and a no-op does nothing.
#![cfg(not(loom))]

use cpuhp_core::{Direction, StateId};
use cpuhp_tests::refusal::snapshot;
use cpuhp_tests::tables::{QUICK, RUNS, WIDE, quick, runs, wide};
use cpuhp_tests::verdict::{Bench, Way};
use cpuhp_tests::world::{Call, World, with};

/// Bug 14: a -> b -> a -> ONLINE -> OFFLINE calls what a -> ONLINE -> OFFLINE calls.
#[test]
fn a_round_trip_equals_no_trip() {
    for (table, shape) in [
        (&wide::TABLE, &WIDE),
        (&runs::TABLE, &RUNS),
        (&quick::TABLE, &QUICK),
    ] {
        for a in shape.resting() {
            let mut fresh = Bench::new(table, shape);
            fresh.clean(a);
            let plain = through(&fresh, shape.online());
            for b in shape.resting() {
                let mut bench = Bench::new(table, shape);
                bench.clean(a);
                bench.clean(b);
                bench.clean(a);
                assert_eq!(through(&bench, shape.online()), plain, "{a} -> {b} -> {a}");
            }
        }
    }
}

fn through(bench: &Bench, online: u16) -> Vec<Call> {
    let mut calls = Vec::new();
    assert_eq!(bench.go(online, Way::Drive), Ok(()));
    assert_eq!(bench.go(0, Way::Drive), Ok(()));
    with(|w| w.drain_calls(&mut calls));
    calls
}

/// Bug 12: a target that is the present state runs nothing and moves nothing.
#[test]
fn a_drive_to_the_present_state_does_nothing() {
    let mut bench = Bench::new(&wide::TABLE, &WIDE);
    for at in WIDE.resting() {
        bench.clean(at);
        let before = snapshot(bench.hp);
        assert_eq!(bench.hp.drive(bench.id(), StateId::new(at)), Ok(()));
        assert_eq!(snapshot(bench.hp), before, "state {at}");
    }
    // The calling CPU too: there is nothing to refuse.
    let boot = cpuhp_core::CpuId::new(bench.control);
    assert_eq!(bench.hp.cpu_up(boot), Ok(()));
}

/// Bug 11: STARTING always visits all of its steps, both ways.
#[test]
fn starting_visits_every_step_it_has() {
    let bench = Bench::new(&wide::TABLE, &WIDE);
    let calls = through(&bench, WIDE.online());
    for dir in [Direction::Up, Direction::Down] {
        let inside = WIDE.kick + 1..WIDE.ap_idle;
        let mut expected: Vec<u16> = inside.clone().filter(|at| WIDE.at(*at).half(dir)).collect();
        if dir == Direction::Down {
            expected.reverse();
        }
        let visited = calls
            .iter()
            .filter(|c| c.dir == dir && inside.contains(&c.at));
        assert!(visited.map(|c| c.at).eq(expected));
    }
    assert!(with(World::take_log).is_empty());
}
