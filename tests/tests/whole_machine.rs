//! The whole machine: limits, policies and refusers, guards, disabling, shutdown.
#![cfg(not(loom))]

use cpuhp_core::{
    CpuId, Direction, KickError, KickErrorKind, MaskStore, OpFlags, Policy, StateId, StepError,
    Which, Why,
};
use cpuhp_tests::batch::{
    BOOT, CPUS, TABLES, aps, calls, counts, cpu, cycle, machine, rests, slow_steps,
};
use cpuhp_tests::fake::{Machine, STEP};
use cpuhp_tests::refusal::refused;
use cpuhp_tests::tables::{QUICK, RUNS, quick, runs};
use cpuhp_tests::world::{Act, Event, World, with};

fn only(cpus: &[u32]) -> MaskStore<1> {
    let mask = MaskStore::<1>::new();
    cpus.iter()
        .for_each(|n| assert!(mask.get_mut().insert(cpu(*n))));
    mask
}

fn kicks() -> usize {
    let log = with(World::log).into_iter();
    log.filter(|event| matches!(event, Event::Kick(_, Ok(()))))
        .count()
}

/// Every subset of the APs, as a list.
fn subsets() -> impl Iterator<Item = Vec<u32>> {
    let all: Vec<u32> = aps().collect();
    (0..1_u32 << all.len()).map(move |bits| {
        let chosen = (0..).zip(&all).filter(|(n, _)| bits & 1 << n != 0);
        chosen.map(|(_, cpu)| *cpu).collect()
    })
}

/// Bugs 1, 2: online after = min(limit, bootable), the boot CPU's share counted, for every limit and
/// every set of CPUs that cannot be booted; 0 kicks nobody.
#[test]
fn a_limit_counts_cpus_online() {
    let mut cases = 0;
    for (table, shape) in TABLES {
        for bad in subsets() {
            for limit in 0..=CPUS + 1 {
                let hp = machine(table, shape);
                with(|w| {
                    for n in &bad {
                        // Three ways not to come up.
                        match n % 3 {
                            0 => w.sim(*n, |sim| {
                                let kind = KickErrorKind::Denied;
                                sim.refusal = Some(KickError::new(kind));
                            }),
                            1 => w.rule(Some(*n), shape.online() - 1, Direction::Up, Act::Fail(5)),
                            _ => w.sim(*n, |sim| sim.present = false),
                        }
                    }
                });
                let report = hp.bring_up_to(Which::All, limit).unwrap();
                let bootable = CPUS - u32::try_from(bad.len()).unwrap();
                let expected = limit.max(1).min(bootable);
                let online = u32::try_from(hp.online().count()).unwrap();
                assert_eq!(online, expected, "limit {limit}, bad {bad:?}: {report}");
                assert_eq!(
                    report.done,
                    expected - 1,
                    "limit {limit}, bad {bad:?}: {report}"
                );
                if limit <= 1 {
                    assert_eq!((kicks(), calls().len()), (0, 0), "limit {limit}");
                }
                let seen = report.done + report.failed + report.beyond_limit;
                let there = aps().filter(|n| !bad.contains(n) || n % 3 != 2).count();
                assert_eq!(seen as usize, there, "{report}");
                cases += 1;
            }
        }
    }
    println!("@proof {cases} limits and sets of bad CPUs");
    assert_eq!(cases, 3 * 32 * 8);
}

/// CPUs that are online already have their place; a limit that is reached stops nothing that runs.
#[test]
fn a_limit_counts_those_that_are_online_already() {
    for up in subsets() {
        for limit in 0..=CPUS {
            let hp = machine(&quick::TABLE, &QUICK);
            let mask = only(&up);
            assert!(hp.bring_up(Which::Only(mask.get())).is_ok());
            let before = 1 + u32::try_from(up.len()).unwrap();
            let _ = hp.bring_up_to(Which::All, limit).unwrap();
            let online = u32::try_from(hp.online().count()).unwrap();
            assert_eq!(
                online,
                limit.clamp(before, CPUS),
                "limit {limit}, up {up:?}"
            );
        }
    }
}

/// A CPU that hangs on its way to ONLINE holds a place: it may come there by itself.
#[test]
fn a_stuck_cpu_holds_its_place() {
    let hp = machine(&quick::TABLE, &QUICK);
    with(|w| w.rule(Some(0), 9, Direction::Up, Act::Hang));
    let report = hp.bring_up_to(Which::All, 3).unwrap();
    assert_eq!(report.stuck, 1, "{report}");
    with(World::forgive);
    (0..4).for_each(|_| with(World::poll_all));
    assert_eq!(hp.online().count(), 3, "{report}");
}

/// Every set of refusers, every refusing step, every policy.
#[test]
fn a_refusal_means_what_the_policy_says() {
    let mut cases = 0;
    for (table, shape) in TABLES {
        for at in shape.fallible(Direction::Down) {
            for refusing in subsets().filter(|set| !set.is_empty()) {
                for policy in [Policy::AllOrNothing, Policy::BestEffort, Policy::Force] {
                    let hp = machine(table, shape);
                    assert!(hp.bring_up(Which::All).is_ok());
                    with(|w| {
                        for n in &refusing {
                            w.rule(Some(*n), at, Direction::Down, Act::Fail(7));
                        }
                    });
                    let report = hp.take_down_with(Which::All, policy).unwrap();
                    policy_held(hp, shape, (at, &refusing, policy), report);
                    with(World::forgive);
                    assert!(hp.bring_up(Which::All).is_ok_and(|r| r.is_complete()));
                    cases += 1;
                }
            }
        }
    }
    println!("@proof {cases} refusers, steps and policies");
    assert!(cases >= 1_000);
}

fn policy_held(
    hp: &Machine,
    shape: &cpuhp_tests::shape::Shape,
    (at, refusing, policy): (u16, &[u32], Policy),
    report: cpuhp_core::BulkReport,
) {
    let what = format!("{at} refuses on {refusing:?} under {policy:?}: {report}");
    let refused = u32::try_from(refusing.len()).expect("few");
    let others = CPUS - 1 - refused;
    let after_commit = at < shape.kick;
    let all_back = policy == Policy::AllOrNothing && !after_commit;
    let (done, failed, back) = if policy == Policy::Force {
        (CPUS - 1, 0, 0)
    } else if all_back {
        (0, refused, others)
    } else {
        (others, refused, 0)
    };
    assert_eq!(
        (report.done, report.failed, report.rolled_back),
        (done, failed, back),
        "{what}"
    );
    for n in aps() {
        let refuses = refusing.contains(&n);
        let end = if policy == Policy::Force || !refuses && !all_back {
            0
        } else if refuses && after_commit {
            at
        } else {
            shape.online()
        };
        rests(hp, shape, n, end);
        if policy == Policy::Force {
            assert_eq!(hp.ignored(cpu(n)), Some(u32::from(refuses)), "{what}");
        } else {
            let error = hp.last_error(cpu(n));
            assert_eq!(
                error.map(|e| e.first.at.get()),
                refuses.then_some(at),
                "{what}"
            );
        }
    }
}

/// Bug 18: guards look at online minus the whole batch, and nothing moves if one says no.
#[test]
fn guards_look_at_what_stays_without_the_batch() {
    for policy in [Policy::AllOrNothing, Policy::BestEffort, Policy::Force] {
        let hp = machine(&quick::TABLE, &QUICK);
        assert!(hp.bring_up(Which::All).is_ok());
        let all = only(&(0..CPUS).collect::<Vec<_>>());
        refused(hp, Why::LastCpu, &["last"], || {
            hp.take_down_with(Which::Only(all.get()), policy)
        });
        let own = only(&[BOOT, 0]);
        refused(hp, Why::OnSelf, &["cpu 2"], || {
            hp.take_down_with(Which::Only(own.get()), policy)
        });
        if policy != Policy::Force {
            with(|w| w.sim(4, |sim| sim.can_off = Some(false)));
            let fixed = only(&[0, 4]);
            refused(hp, Why::NotSupported, &["cpu 4"], || {
                hp.take_down_with(Which::Only(fixed.get()), policy)
            });
        }
    }
}

/// Bug 37: disabling nests, and cannot be undone more often than it was done.
#[test]
fn disabling_nests() {
    let hp = machine(&quick::TABLE, &QUICK);
    let disable = || hp.try_write().unwrap().disable().unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(disable());
        refused(hp, Why::Disabled, &["disabled"], || hp.cpu_up(cpu(0)));
        refused(hp, Why::Disabled, &["disabled"], || hp.bring_up(Which::All));
        refused(hp, Why::Disabled, &["disabled"], || hp.freeze());
    }
    while let Some(one) = held.pop() {
        assert_eq!(hp.cpu_up(cpu(0)).unwrap_err().why(), Some(Why::Disabled));
        drop(one);
    }
    assert_eq!(hp.cpu_up(cpu(0)), Ok(()));
    // Not to be had while something moves: it takes the write lock.
    let guard = hp.try_write().unwrap();
    let op = guard.op(cpu(0), StateId::OFFLINE, OpFlags::AUTO).unwrap();
    assert_eq!(hp.try_write().unwrap_err().why(), Some(Why::Busy));
    drop((op, guard));
}

/// Whoever forgot a disablement does not keep the machine from going down.
#[test]
fn a_shutdown_goes_over_disablements() {
    let hp = machine(&quick::TABLE, &QUICK);
    assert!(hp.bring_up(Which::All).is_ok());
    let _leaked = hp.try_write().unwrap().disable().unwrap();
    assert_eq!(hp.cpu_down(cpu(0)).unwrap_err().why(), Some(Why::Disabled));
    assert!(hp.shutdown_nonboot().unwrap().is_complete());
    assert_eq!(hp.survivors().count(), 0);
}

/// Bug 30: a shutdown passes over vetoes, and names who would not go.
#[test]
fn a_shutdown_ignores_vetoes_and_names_survivors() {
    for (table, shape) in TABLES {
        let hp = machine(table, shape);
        assert!(hp.bring_up(Which::All).is_ok());
        // Somebody rests in the middle, somebody in PREPARE.
        assert_eq!(hp.drive(cpu(4), StateId::new(shape.ap_idle)), Ok(()));
        assert_eq!(hp.drive(cpu(5), StateId::new(1)), Ok(()));
        with(|w| {
            for at in shape.fallible(Direction::Down) {
                w.rule(None, at, Direction::Down, Act::Fail(1));
            }
            w.sim(3, |sim| sim.can_off = Some(false));
        });
        let report = hp.shutdown_nonboot().unwrap();
        let survivors: Vec<CpuId> = hp.survivors().collect();
        assert_eq!(survivors, [cpu(3)], "{report}");
        assert_eq!(counts(report), [4, 1, 0, 0, 0], "{report}");
        for n in [0, 1, 4, 5] {
            rests(hp, shape, n, 0);
        }
        // For good.
        refused(hp, Why::Disabled, &[], || hp.cpu_up(cpu(0)));
    }
}

/// Bug 30, as it was: one CPU hangs in a step that takes one at a time; the others go all the same.
#[test]
fn a_shutdown_goes_on_past_a_stuck_cpu() {
    for (at, table, shape) in [(7, &runs::TABLE, &RUNS), (8, &quick::TABLE, &QUICK)] {
        for stuck in [0, 3, 5] {
            let hp = machine(table, shape);
            assert!(hp.bring_up(Which::All).is_ok());
            with(|w| {
                w.exclude(cpuhp_tests::world::Exclusion::Unchecked);
                w.rule(Some(stuck), at, Direction::Down, Act::Hang);
            });
            let begun = with(World::time);
            let report = hp.shutdown_nonboot().unwrap();
            assert_eq!(counts(report), [4, 0, 1, 0, 0], "stuck {stuck}: {report}");
            assert!(hp.survivors().eq([cpu(stuck)]));
            assert!(with(World::time) - begun < 4 * STEP, "one deadline");
            let error = hp.last_error(cpu(stuck)).unwrap();
            assert_eq!(error.first.err, StepError::STUCK);
        }
    }
}

/// P16: no CPU of a batch that goes down may take work, from its first call on.
#[test]
fn no_cpu_of_a_leaving_batch_may_take_work() {
    for (table, shape) in TABLES {
        let hp = machine(table, shape);
        slow_steps(shape);
        cycle(hp, shape);
        with(World::forgive);
        assert!(hp.bring_up(Which::All).is_ok());
        let stays = only(&[0, 1, 4]);
        with(|w| {
            w.takers.set(Some(0b10_1100));
            w.rule(Some(1), shape.online() - 1, Direction::Down, Act::Fail(3));
        });
        let report = hp.take_down(Which::Only(stays.get())).unwrap();
        assert_eq!(counts(report)[..2], [2, 1], "{report}");
        with(|w| w.takers.set(None));
        rests(hp, shape, 1, shape.online());
    }
}
