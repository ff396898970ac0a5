//! A machine for bulk operations, and what is checked of all its CPUs.

use cpuhp_core::{BulkReport, CpuId, Direction, StateId, Table, Which};

use crate::fake::{Machine, TICK};
use crate::shape::Shape;
use crate::tables::{QUICK, RUNS, WIDE, quick, runs, wide};
use crate::verdict::adopted;
use crate::world::{Act, Call, Event, Exclusion, World, with};

/// The tables with steps, each with its shape.
pub const TABLES: [(&Table, &Shape); 3] = [
    (&wide::TABLE, &WIDE),
    (&runs::TABLE, &RUNS),
    (&quick::TABLE, &QUICK),
];
/// How many CPUs the machine has.
pub const CPUS: u32 = 6;
/// In the middle, so that others come before and after it.
pub const BOOT: u32 = 2;

/// Names a CPU.
pub fn cpu(number: u32) -> CpuId {
    CpuId::new(number)
}

/// Every CPU but the one that drives.
pub fn aps() -> impl Iterator<Item = u32> {
    (0..CPUS).filter(|n| *n != BOOT)
}

/// A machine on which at most one CPU may be inside a step without PARALLEL.
pub fn machine(table: &'static Table, shape: &'static Shape) -> &'static Machine {
    let hp = adopted(CPUS as usize, BOOT, table, shape);
    with(|w| w.exclude(Exclusion::All));
    hp
}

/// Done, failed, stuck, skipped, not tried.
pub fn counts(report: BulkReport) -> [u32; 5] {
    [
        report.done,
        report.failed,
        report.stuck,
        report.skipped,
        report.not_tried,
    ]
}

/// The calls in the log.
pub fn calls() -> Vec<Call> {
    let log = with(World::log).into_iter();
    log.filter_map(|event| match event {
        Event::Call(call) => Some(call),
        Event::Kick(..) | Event::KickDone(..) | Event::Unpark(_) => None,
    })
    .collect()
}

/// Every CPU at rest is where it should be, by its own word, the machine's and the masks'.
///
/// # Panics
/// If it is not.
pub fn rests(hp: &Machine, shape: &Shape, number: u32, at: u16) {
    let id = cpu(number);
    assert_eq!(hp.state(id), Some(StateId::new(at)), "{id}");
    assert_eq!(hp.target(id), hp.state(id), "{id} (bug 12)");
    assert!(
        with(|w| w.is_truthful(number, at)),
        "{id}: steps that are up"
    );
    assert_eq!(hp.online().contains(id), at == shape.online(), "{id}");
    assert_eq!(hp.available().contains(id), at >= shape.ap_idle, "{id}");
    assert!(!hp.dying().contains(id), "{id} is dying at rest");
}

/// All up, all down, twice; so nothing that happened before left anything behind.
///
/// # Panics
/// If it did.
pub fn cycle(hp: &Machine, shape: &Shape) {
    let all = CPUS - 1;
    for _ in 0..2 {
        assert_eq!(hp.bring_up(Which::All).map(counts), Ok([all, 0, 0, 0, 0]));
        aps().for_each(|n| rests(hp, shape, n, shape.online()));
        assert_eq!(hp.take_down(Which::All).map(counts), Ok([all, 0, 0, 0, 0]));
        aps().for_each(|n| rests(hp, shape, n, 0));
    }
}

/// Gives every half of every step a duration, other for each CPU.
pub fn slow_steps(shape: &Shape) {
    with(|w| {
        for dir in [Direction::Up, Direction::Down] {
            for at in shape.with_half(dir) {
                for n in aps() {
                    w.rule(
                        Some(n),
                        at,
                        dir,
                        Act::Take(u64::from(1 + (n * 3) % 5) * TICK),
                    );
                }
            }
        }
    });
}
