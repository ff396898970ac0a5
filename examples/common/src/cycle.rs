//! Scenarios `cycle` and `bulk`: down and up again, one CPU at a time or all together.

use cpuhp_core::{BulkReport, CpuId, OpError, Which};

use crate::check;
use crate::machine::Machine;
use crate::result::Stage;
use crate::samples::Samples;
use crate::violation::Violation;

/// Every CPU but the driving one down and up again, one at a time.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    let Some([downs, ups]) = begin(stage) else {
        return;
    };
    let rounds = stage.scene.params.rounds.unwrap_or(20);
    let top = stage.scene.order.top();
    let mut ops = 0u32;
    for _ in 0..rounds {
        for cpu in stage.others().filter(|cpu| !stage.is_given_up(*cpu)) {
            ops += 2;
            let down = timed(stage, downs, || stage.hp().cpu_down(cpu));
            settle(stage, cpu, down, top, 0);
            let up = timed(stage, ups, || stage.hp().cpu_up(cpu));
            settle(stage, cpu, up, 0, top);
        }
        check::all(stage.machine, stage.scene);
    }
    stage.only_result(|line| {
        line.number("down_ns_median", downs.median())?;
        line.number("up_ns_median", ups.median())?;
        line.number("ops", ops)
    });
}

/// All secondaries down together, then up together.
pub(crate) fn bulk<M: Machine>(stage: &Stage<'_, M>) {
    let Some([downs, ups]) = begin(stage) else {
        return;
    };
    let rounds = stage.scene.params.rounds.unwrap_or(10);
    let top = stage.scene.order.top();
    let secondaries = stage.online_others().count();
    for _ in 0..rounds {
        let down = timed(stage, downs, || stage.hp().take_down(Which::All));
        settle_all(stage, down, secondaries, top, 0);
        let up = timed(stage, ups, || stage.hp().bring_up(Which::All));
        settle_all(stage, up, secondaries, 0, top);
    }
    stage.only_result(|line| {
        line.number("cpus", secondaries as u64 + 1)?;
        line.number("down_ns_median", downs.median())?;
        line.number("up_ns_median", ups.median())
    });
}

/// Brings all up, untimed, and lends two empty sets of measurements, for down and up.
fn begin<'s, M: Machine>(stage: &Stage<'s, M>) -> Option<[&'static Samples; 2]> {
    stage.bring_all_up();
    if let Err(why) = stage.can_stop() {
        stage.refuse(why);
        return None;
    }
    check::all(stage.machine, stage.scene);
    stage.scene.begin_window();
    let [downs, ups, ..] = stage.scene.parts.samples;
    downs.clear();
    ups.clear();
    Some([downs, ups])
}

fn timed<M: Machine, R>(stage: &Stage<'_, M>, samples: &Samples, run: impl FnOnce() -> R) -> R {
    let begin = stage.now();
    let result = run();
    samples.add(stage.now().saturating_sub(begin));
    result
}

/// Checks one CPU after it was moved from `from` logged steps to `to`.
fn settle<M: Machine>(
    stage: &Stage<'_, M>,
    cpu: CpuId,
    result: Result<(), OpError>,
    from: u32,
    to: u32,
) {
    stage.expect_done(cpu, result);
    let Some(log) = stage.scene.cpu(cpu) else {
        return;
    };
    check::list(stage.scene, cpu, log, check::way(stage.scene, from, to));
    check::one(stage.machine, stage.scene, cpu, log);
    check_level(stage, cpu, to);
}

fn settle_all<M: Machine>(
    stage: &Stage<'_, M>,
    report: Result<BulkReport, OpError>,
    secondaries: usize,
    from: u32,
    to: u32,
) {
    let done = report.map_or(0, |report| report.done);
    if done as usize != secondaries {
        let first = stage.others().next().unwrap_or_default();
        let right = secondaries as u64;
        stage.scene.wrong(Violation::Count, first, done, right);
    }
    for cpu in stage.others().filter(|cpu| !stage.is_given_up(*cpu)) {
        settle(stage, cpu, Ok(()), from, to);
    }
    check::all(stage.machine, stage.scene);
}

/// The CPU is at the end of the table that has `level` logged steps up.
fn check_level<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId, level: u32) {
    let table = stage.scene.table;
    let right = if level == 0 {
        cpuhp_core::StateId::OFFLINE
    } else {
        table.online()
    };
    let state = stage.hp().state(cpu).unwrap_or_default();
    if state != right {
        let scene = stage.scene;
        scene.wrong(Violation::WrongState, cpu, state.get(), right.get());
    }
}
