//! Scenario `fault`: a failing half at every place, both ways, and a second one in the rollback.
//!
//! Plays on the full table with every kind of unit in it: static and dynamic steps, instances of static
//! and of dynamic states; failing on the control CPU (PREPARE), on the AP, and on the AP inside the
//! control CPU's walk. Faults are answered by the callback itself, or injected by the core.

mod case;

use cpuhp_core::{
    Calls, CpuId, Direction, Failure, FaultAt, Left, OpError, Policy, StepError, Which, Why,
};

use crate::check;
use crate::log::CpuLog;
use crate::machine::Machine;
use crate::registry;
use crate::result::Stage;
use crate::steps::FAULT;
use crate::violation::Violation;
use case::{By, Case};

/// Runs it. The cases go round over the secondaries.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    stage.bring_all_up();
    if let Err(why) = stage.can_stop() {
        return stage.refuse(why);
    }
    registry::fill(stage, Calls::Run);
    stage.scene.begin_window();
    let (mut cases, mut rolled_back) = (0u32, 0u32);
    for case in Case::all(stage.scene) {
        let Some(cpu) = stage.pick(cases) else {
            continue;
        };
        cases += 1;
        if let Some(log) = stage.scene.cpu(cpu) {
            rolled_back += u32::from(play(stage, cpu, log, case));
        }
    }
    check::all(stage.machine, stage.scene);
    stage.only_result(|line| {
        line.number("cases", cases)?;
        line.number("rolled_back", rolled_back)
    });
}

/// Plays one case on `cpu`, which is online; returns whether the CPU went back to its origin.
fn play<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId, log: &CpuLog, case: Case) -> bool {
    let (hp, scene) = (stage.hp(), stage.scene);
    let top = scene.order.top();
    if case.dir == Direction::Up {
        stage.expect_done(cpu, hp.cpu_down(cpu));
        check::list(scene, cpu, log, check::way(scene, top, 0));
    }
    let origin = hp.state(cpu);
    arm(stage, cpu, log, case);
    let result = match case.dir {
        Direction::Up => hp.cpu_up(cpu),
        Direction::Down => hp.cpu_down(cpu),
    };
    log.disarm();
    let is_back = hp.state(cpu) == origin;
    check_error(stage, cpu, case, result);
    check::list(scene, cpu, log, case.callbacks(scene));
    let level = if case.is_torn(scene) {
        mend(stage, cpu, log);
        0
    } else {
        check::one(stage.machine, scene, cpu, log);
        scene.order.level(case.left(scene))
    };
    // Drivable afterwards, all the way both ways.
    for (from, to) in [(level, top), (top, 0), (0, top)] {
        let moved = if to == top {
            hp.cpu_up(cpu)
        } else {
            hp.cpu_down(cpu)
        };
        stage.expect_done(cpu, moved);
        check::list(scene, cpu, log, check::way(scene, from, to));
    }
    check::one(stage.machine, scene, cpu, log);
    is_back
}

fn arm<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId, log: &CpuLog, case: Case) {
    let order = &stage.scene.order;
    match (case.by, order.at(case.first)) {
        (By::Callback, Some(unit)) => log.arm(0, unit, case.dir),
        (By::Core, Some(unit)) => {
            let side = match case.dir {
                Direction::Up => FaultAt::Up,
                Direction::Down => FaultAt::Down,
            };
            let armed = stage.hp().try_write();
            let armed = armed.and_then(|guard| guard.arm_fault(cpu, order.state(unit), side));
            stage.expect_done(cpu, armed);
        }
        (_, None) => {}
    }
    if let Some(unit) = case.second.and_then(|second| order.at(second)) {
        log.arm(1, unit, case.dir.opposite());
    }
}

/// A CPU with a step half up refuses everything but a forced teardown, which mends it.
fn mend<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId, log: &CpuLog) {
    let (hp, scene) = (stage.hp(), stage.scene);
    for moved in [hp.cpu_up(cpu), hp.cpu_down(cpu)] {
        if moved.err().and_then(|error| error.why()) != Some(Why::Torn) {
            scene.wrong(Violation::WrongError, cpu, 0u32, Why::Torn as u32);
        }
    }
    let mask = scene.empty_mask();
    mask.insert(cpu);
    let report = hp.take_down_with(Which::Only(mask.get()), Policy::Force);
    let done = report.map_or(0, |report| report.done);
    if done != 1 || log.up_units() != 0 {
        scene.wrong(Violation::OperationFailed, cpu, done, 1u32);
    }
    check::one(stage.machine, scene, cpu, log);
    log.clear_list();
}

/// The error names the first fault, the second beside it, and where the CPU was left.
fn check_error<M: Machine>(
    stage: &Stage<'_, M>,
    cpu: CpuId,
    case: Case,
    result: Result<(), OpError>,
) {
    let (scene, order) = (stage.scene, &stage.scene.order);
    let Err(OpError::Failed(failure)) = result else {
        return scene.wrong(Violation::WrongError, cpu, 0u32, case.first);
    };
    let of = |place: u32| order.at(place).map(|unit| order.state(unit));
    let Failure {
        first, rollback, ..
    } = failure;
    let cause = match case.by {
        By::Callback => FAULT,
        By::Core => StepError::INJECTED,
    };
    let is_first = Some(first.at) == of(case.first) && first.err == cause;
    let is_second = match (rollback, case.second) {
        (None, None) => true,
        (Some(rollback), Some(second)) => Some(rollback.at) == of(second) && rollback.err == FAULT,
        (None, Some(_)) | (Some(_), None) => false,
    };
    let is_named = first.name == stage.hp().name(first.at) && failure.cpu == cpu;
    if !is_first || !is_second || !is_named {
        scene.wrong(Violation::WrongError, cpu, first.at.get(), case.first);
    }
    let left = case.left(scene);
    if failure.left != Left::At(left) || stage.hp().last_error(cpu) != Some(failure) {
        let state = stage.hp().state(cpu).unwrap_or_default();
        scene.wrong(Violation::WrongState, cpu, state.get(), left.get());
    }
}
