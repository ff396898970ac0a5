//! Freeze and thaw: all or none, exactly those, and an abort at any point is an error (bug 28).
#![cfg(not(loom))]

use cpuhp_core::{Direction, OpError, StateId, Which, Why};
use cpuhp_tests::batch::{BOOT, TABLES, aps, calls, cpu, cycle, machine, rests, slow_steps};
use cpuhp_tests::fake::{DIE, Machine};
use cpuhp_tests::refusal::refused;
use cpuhp_tests::shape::Shape;
use cpuhp_tests::tables::{QUICK, quick};
use cpuhp_tests::world::{Act, World, with};

/// A machine on which these are online besides the boot CPU, and 5 rests at 1.
fn running(
    table: &'static cpuhp_core::Table,
    shape: &'static Shape,
    up: &[u32],
) -> &'static Machine {
    let hp = machine(table, shape);
    for n in up {
        assert_eq!(hp.cpu_up(cpu(*n)), Ok(()));
    }
    if !up.contains(&5) {
        assert_eq!(hp.drive(cpu(5), StateId::new(1)), Ok(()));
    }
    with(World::take_log);
    hp
}

fn frozen(hp: &Machine) -> Vec<u32> {
    hp.frozen().iter().map(|id| id.get()).collect()
}

/// Every CPU is where it was before the freeze, hotplug works, nothing is frozen.
fn untouched(hp: &Machine, shape: &Shape, up: &[u32]) {
    for n in aps() {
        let at = match n {
            _ if up.contains(&n) => shape.online(),
            5 => 1,
            _ => 0,
        };
        rests(hp, shape, n, at);
    }
    assert_eq!(frozen(hp), []);
    refused(hp, Why::NotFrozen, &["not frozen"], || hp.thaw());
    with(|w| w.suspends.set(None));
    assert!(
        hp.bring_up(Which::All).is_ok_and(|r| r.is_complete()),
        "hotplug works"
    );
    cycle(hp, shape);
}

const SETS: [&[u32]; 4] = [&[], &[4], &[0, 3], &[0, 1, 3, 4, 5]];

#[test]
fn a_thaw_brings_up_exactly_what_a_freeze_took() {
    for (table, shape) in TABLES {
        for up in SETS {
            let hp = running(table, shape, up);
            slow_steps(shape);
            // Every callback is told; the ones of other operations are told no.
            with(|w| w.suspends.set(Some(true)));
            let report = hp.freeze().unwrap();
            assert_eq!(report.done as usize, up.len());
            assert_eq!(frozen(hp), up);
            assert_eq!(hp.online().count(), 1);
            refused(hp, Why::Disabled, &[], || hp.cpu_up(cpu(0)));
            refused(hp, Why::Disabled, &[], || hp.freeze());
            let report = hp.thaw().unwrap();
            assert_eq!(report.done as usize, up.len());
            with(|w| w.suspends.set(Some(false)));
            assert!(hp.cpu_up(cpu(5)).is_ok());
            assert!(
                hp.drive(
                    cpu(5),
                    StateId::new(if up.contains(&5) { shape.online() } else { 1 })
                )
                .is_ok()
            );
            with(World::forgive);
            untouched(hp, shape, up);
        }
    }
}

/// Bug 28: given up at the n-th question, whichever that is; with nobody to freeze as well.
#[test]
fn an_aborted_freeze_is_an_error_and_undoes_itself() {
    let mut aborted = 0;
    for (table, shape) in TABLES {
        for up in SETS {
            for point in 0.. {
                let hp = running(table, shape, up);
                with(|w| w.aborts.set(Some(point)));
                let result = hp.freeze();
                with(|w| w.aborts.set(None));
                if result.is_ok() {
                    assert_eq!(frozen(hp), up);
                    assert!(point > 0, "an abort that is pending from the start is seen");
                    assert!(hp.thaw().is_ok_and(|r| r.is_complete()));
                    untouched(hp, shape, up);
                    break;
                }
                assert_eq!(
                    result.unwrap_err().why(),
                    Some(Why::Aborted),
                    "point {point}"
                );
                untouched(hp, shape, up);
                aborted += 1;
            }
        }
    }
    println!("@proof {aborted} aborts of a freeze");
    assert!(aborted >= 20);
}

/// A refuser anywhere, before and after the last point of return: everybody is back, the error names it.
#[test]
fn a_refused_freeze_brings_everybody_back() {
    for (table, shape) in TABLES {
        for at in shape.fallible(Direction::Down) {
            for n in aps() {
                let all: Vec<u32> = aps().collect();
                let hp = running(table, shape, &all);
                with(|w| w.rule(Some(n), at, Direction::Down, Act::Fail(6)));
                let result = hp.freeze();
                let Err(OpError::Failed(failure)) = result else {
                    panic!("{at} refuses on {n}: {result:?}");
                };
                assert_eq!((failure.cpu, failure.first.at.get()), (cpu(n), at));
                with(World::forgive);
                untouched(hp, shape, &all);
            }
        }
    }
}

/// A CPU that does not go off is an error too; the others are back, and it is once it has gone.
#[test]
fn a_cpu_that_does_not_die_fails_the_freeze() {
    let hp = running(&quick::TABLE, &QUICK, &[0, 1, 3]);
    with(|w| w.sim(1, |sim| sim.lingers = u32::MAX));
    let begun = with(World::time);
    let result = hp.freeze();
    assert!(with(World::time) - begun < 4 * DIE);
    let Err(OpError::Failed(failure)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(failure.cpu, cpu(1));
    for n in [0, 3] {
        rests(hp, &QUICK, n, QUICK.online());
    }
    assert_eq!(frozen(hp), []);
    with(|w| w.sim(1, |sim| sim.lingers = 1));
    assert_eq!(hp.cpu_up(cpu(1)), Ok(()));
    assert_eq!(hp.cpu_down(cpu(1)), Ok(()));
}

/// A CPU that fails to come back is reported and skipped; the thaw is over all the same.
#[test]
fn a_thaw_skips_who_fails() {
    let hp = running(&quick::TABLE, &QUICK, &[0, 1, 3]);
    assert!(hp.freeze().is_ok());
    with(|w| {
        w.rule(Some(1), 7, Direction::Up, Act::Fail(-3));
        w.sim(3, |sim| sim.present = false);
    });
    let report = hp.thaw().unwrap();
    assert_eq!(
        (report.done, report.failed, report.skipped),
        (1, 1, 1),
        "{report}"
    );
    assert_eq!(frozen(hp), []);
    assert_eq!(hp.last_error(cpu(1)).unwrap().first.at, quick::O2);
    with(World::forgive);
    with(|w| w.sim(3, |sim| sim.present = true));
    cycle(hp, &QUICK);
}

/// Somebody else's disablement outlives the thaw: refused, still frozen, and then thawed.
#[test]
fn a_thaw_under_another_disablement_changes_nothing() {
    let hp = running(&quick::TABLE, &QUICK, &[0, 4]);
    let held = hp.try_write().unwrap().disable().unwrap();
    refused(hp, Why::Disabled, &[], || hp.freeze());
    drop(held);
    assert!(hp.freeze().is_ok());
    // Whoever could disable a frozen machine does not end the freeze.
    let held = hp.try_write().unwrap().disable().unwrap();
    refused(hp, Why::Disabled, &[], || hp.thaw());
    assert_eq!(frozen(hp), [0, 4]);
    drop(held);
    refused(hp, Why::Disabled, &[], || hp.cpu_up(cpu(1)));
    assert!(hp.thaw().is_ok_and(|r| r.is_complete()));
    assert_eq!(hp.cpu_up(cpu(1)), Ok(()));
}

/// The calling CPU keeps running, whichever it is; the boot CPU goes like any other.
#[test]
fn a_freeze_keeps_the_calling_cpu() {
    let hp = running(&quick::TABLE, &QUICK, &[0, 4]);
    with(|w| w.as_cpu(4, || assert!(hp.freeze().is_ok())));
    assert_eq!(frozen(hp), [0, BOOT]);
    assert!(hp.online().iter().eq([cpu(4)]));
    assert!(calls().iter().all(|c| c.cpu != 4));
    with(|w| w.as_cpu(4, || assert!(hp.thaw().is_ok_and(|r| r.is_complete()))));
    assert_eq!(hp.online().count(), 3);
}
