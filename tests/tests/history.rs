//! The bugs of other kernels that can happen here, by their numbers in the reference, and where each one's
//! property is tested. Tests that belong to no other file are here.
//!
//! | bug | property | test |
//! |---|---|---|
//! | 1, 2 | online after = min(limit, bootable); 0 kicks nobody | `whole_machine::a_limit_counts_cpus_online` |
//! | 3 | dynamic behaves as static at its number | `register::register_then_remove_is_the_identity`, `register::a_registered_state_is_walked_like_a_static_one` |
//! | 4 | a failed up is an error, the first one, whatever the undo answers | `instances::a_failed_addition_leaves_nothing_behind`, `instances_enumerated` |
//! | 9, 10 | the kick phase depends on no earlier CPU; all PREPAREs before any AP step | `bulk::all_are_prepared_then_all_are_kicked_then_they_run` |
//! | 11 | STARTING visits all its steps | excluded by type: a STARTING callback has no error to return; `round_trips::starting_visits_every_step_it_has` |
//! | 12 | idle: state == target, boot CPU too | `round_trips::a_drive_to_the_present_state_does_nothing`, and after every case of every enumeration |
//! | 14 | a round trip equals none | `round_trips::a_round_trip_equals_no_trip` |
//! | 15 | a veto restores everything, calls are balanced | `bulk::a_refuser_stays_and_the_others_go`, `whole_machine::a_refusal_means_what_the_policy_says` |
//! | 18 | guards on online minus the whole batch | `whole_machine::guards_look_at_what_stays_without_the_batch` |
//! | 19 | injection at legal points only, disarmed, used once | `control::a_fault_is_written_read_and_taken_back`, `instances_enumerated`, `trace::an_injected_fault_is_in_the_trace` |
//! | 24 | atomic callbacks see interrupts off on every path | `instances::instances_of_starting_see_interrupts_off_on_every_path`; the book checks every call |
//! | 25 | a removal frees exactly its own | `register::a_full_range_says_so_and_a_removal_frees_exactly_its_own`; a handle and a range are two types |
//! | 26 | no way down ends in a defined state | `bulk::a_failing_cpu_that_cannot_be_stopped_rests_at_ap_idle` |
//! | 27 | an operation returns after all work it caused | [`an_operation_that_has_returned_causes_nothing_more`] |
//! | 28 | an aborted freeze is an error; a thaw restores exactly the frozen | `suspend::an_aborted_freeze_is_an_error_and_undoes_itself`, `suspend::a_thaw_brings_up_exactly_what_a_freeze_took` |
//! | 29 | bulk enable touches only what it names | [`a_batch_touches_only_those_it_names`] |
//! | 30 | shutdown ignores vetoes, reports survivors | `whole_machine::a_shutdown_ignores_vetoes_and_names_survivors`, `whole_machine::a_shutdown_goes_on_past_a_stuck_cpu` |
//! | 31 | snapshots; only the control CPU changes present | [`a_cpu_that_vanishes_on_its_way_is_not_skipped`] |
//! | 32 | a reason is unaffected by other CPUs | `bulk::a_failing_cpu_goes_back_and_the_others_go_on` |
//! | 36 | after a failed add no instance is up without a down | `instances::a_failed_addition_leaves_nothing_behind` |
//! | 37 | disabling nests; underflow | `whole_machine::disabling_nests`; underflow is excluded by type: a disablement is given back by dropping it, once |
//! | 40 | a listing never overflows its buffer | `control::no_buffer_overflows_whatever_its_size` |
#![cfg(not(loom))]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cpuhp_core::{Direction, MaskStore, OpError, StateId, StepError, Which};
use cpuhp_tests::batch::{BOOT, CPUS, TABLES, aps, calls, counts, cpu, machine, rests};
use cpuhp_tests::refusal::snapshot;
use cpuhp_tests::verdict::{Bench, Way};
use cpuhp_tests::world::{Act, World, with};

/// Bug 27: whatever it ended in, short of STUCK, nothing is called and nothing moves afterwards.
#[test]
fn an_operation_that_has_returned_causes_nothing_more() {
    let mut cases = 0;
    for (table, shape) in TABLES {
        for origin in shape.resting() {
            for target in shape.resting() {
                let dir = if target < origin {
                    Direction::Down
                } else {
                    Direction::Up
                };
                let failing = shape.fallible(dir).into_iter().map(Some);
                for fails in core::iter::once(None).chain(failing) {
                    let mut bench = Bench::new(table, shape);
                    bench.clean(origin);
                    with(|_| World::poll_all_now());
                    if let Some(at) = fails {
                        with(|w| w.rule(None, at, dir, Act::Fail(3)));
                    }
                    let result = bench.go(target, Way::Drive);
                    let stuck = |e: &OpError| matches!(e, OpError::Failed(f) if f.first.err == StepError::STUCK);
                    assert!(!result.as_ref().is_err_and(stuck));
                    // A CPU that was only kicked arrives, and waits.
                    with(|_| World::poll_all_now());
                    with(World::take_log);
                    let before = snapshot(bench.hp);
                    with(|w| {
                        for _ in 0..4 {
                            w.poll_all();
                            w.pass(1_000_000_000);
                        }
                    });
                    assert_eq!(
                        snapshot(bench.hp),
                        before,
                        "{origin} to {target}, {fails:?}"
                    );
                    cases += 1;
                }
            }
        }
    }
    println!("@proof {cases} operations after which nothing happened");
    assert!(cases > 1_000);
}

/// Bug 29: the others are where they were, and nothing is called for them.
#[test]
fn a_batch_touches_only_those_it_names() {
    for (table, shape) in TABLES {
        for bits in 1..1_u32 << CPUS {
            if bits & 1 << BOOT != 0 {
                continue;
            }
            let hp = machine(table, shape);
            assert_eq!(hp.drive(cpu(5), StateId::new(1)), Ok(()));
            assert_eq!(hp.cpu_up(cpu(4)), Ok(()));
            with(World::take_log);
            let mask = MaskStore::<1>::new();
            let named = |n: u32| bits & 1 << n != 0;
            aps()
                .filter(|n| named(*n))
                .for_each(|n| assert!(mask.get_mut().insert(cpu(n))));
            for (up, end) in [(true, shape.online()), (false, 0)] {
                let which = Which::Only(mask.get());
                let report = if up {
                    hp.bring_up(which)
                } else {
                    hp.take_down(which)
                };
                assert_eq!(report.map(counts), Ok([bits.count_ones(), 0, 0, 0, 0]));
                for n in aps() {
                    let other = match n {
                        4 => shape.online(),
                        5 => 1,
                        _ => 0,
                    };
                    rests(hp, shape, n, if named(n) { end } else { other });
                }
            }
            assert!(calls().iter().all(|c| named(c.cpu)));
        }
    }
}

/// Bug 31: one that firmware no longer lists while it is on its way is collected all the same, and does not
/// take itself out of any mask.
#[test]
fn a_cpu_that_vanishes_on_its_way_is_not_skipped() {
    fn vanish(number: u32) {
        with(|w| w.sim(number, |sim| sim.present = false));
    }
    for (table, shape) in TABLES {
        for at in shape.with_half(Direction::Up) {
            for n in aps() {
                let hp = machine(table, shape);
                with(|w| w.rule(Some(n), at, Direction::Up, Act::Hook(vanish)));
                let report = hp.bring_up(Which::All).map(counts);
                assert_eq!(report, Ok([CPUS - 1, 0, 0, 0, 0]), "{n} vanishes at {at}");
                assert!(
                    hp.present().contains(cpu(n)),
                    "only an operation looks again"
                );
                rests(hp, shape, n, shape.online());
                with(World::forgive);
                assert_eq!(
                    hp.take_down(Which::All).map(counts),
                    Ok([CPUS - 1, 0, 0, 0, 0])
                );
                assert_eq!(
                    hp.bring_up(Which::All).map(counts),
                    Ok([CPUS - 2, 0, 0, 0, 0])
                );
                assert!(!hp.present().contains(cpu(n)));
            }
        }
    }
}

/// Bugs of the reference that can happen to a core like this one.
#[rustfmt::skip]
const BUGS: [u32; 24] = [
    1, 2, 3, 4, 9, 10, 11, 12, 14, 15, 18, 19, 24, 25, 26, 27, 28, 29, 30, 31, 32, 36, 37, 40,
];

/// The table above is the index: every bug has a row, and every test that a row names is there.
#[test]
fn every_bug_has_a_row_and_every_test_it_names_exists() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let source = |name: &str| fs::read_to_string(folder.join(name).with_extension("rs"));
    let own = source("history").expect("this file");
    let rows = own.lines().filter_map(|line| line.strip_prefix("//! | "));
    let (mut seen, mut tests) = (BTreeSet::new(), 0);
    for row in rows.skip(1) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [bugs, _, named] = cells[..] else {
            panic!("{row}");
        };
        seen.extend(bugs.split(", ").map(|bug| bug.parse::<u32>().expect(row)));
        let named: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{row}");
        for test in named {
            let (file, name) = test.split_once("::").unwrap_or(("history", test));
            let is_file = !test.contains("::") && source(test).is_ok();
            let text = source(if is_file { test } else { file }).expect(test);
            let mark = format!("#[test]\nfn {name}()");
            assert!(is_file || text.contains(&mark), "no test `{test}`");
            tests += 1;
        }
    }
    let all = BTreeSet::from(BUGS);
    assert_eq!(seen, all);
    println!("@proof {tests} tests named for {} bugs", seen.len());
}
