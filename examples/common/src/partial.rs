//! Scenario `partial`: every legal pair of a state and a target, over the whole table.

use cpuhp_core::{CpuId, OpError, StateId, Why};

use crate::check;
use crate::machine::Machine;
use crate::result::Stage;
use crate::violation::Violation;

/// Runs it. The pairs go round over the secondaries; each CPU is brought back online after its pair.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    stage.bring_all_up();
    if let Err(why) = stage.can_stop() {
        return stage.refuse(why);
    }
    stage.scene.begin_window();
    let mut pairs = 0u32;
    let mut refused = 0u32;
    for from in states(stage) {
        for target in states(stage) {
            let Some(cpu) = stage.pick(pairs + refused) else {
                continue;
            };
            let table = stage.scene.table;
            if !table.is_target(from) {
                continue;
            } else if table.is_target(target) {
                pairs += 1;
                pair(stage, cpu, from, target);
            } else {
                refused += 1;
                illegal(stage, cpu, from, target);
            }
            back(stage, cpu);
        }
    }
    check::all(stage.machine, stage.scene);
    stage.only_result(|line| {
        line.number("pairs", pairs)?;
        line.number("refused", refused)
    });
}

fn states<M: Machine>(stage: &Stage<'_, M>) -> impl Iterator<Item = StateId> + use<M> {
    (0..=stage.scene.table.online().get()).map(StateId::new)
}

fn pair<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId, from: StateId, target: StateId) {
    stage.expect_done(cpu, stage.hp().drive(cpu, from));
    settle(stage, cpu, stage.scene.table.online(), from);
    stage.expect_done(cpu, stage.hp().drive(cpu, target));
    settle(stage, cpu, from, target);
}

/// A target inside STARTING is refused, and nothing runs.
fn illegal<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId, from: StateId, target: StateId) {
    stage.expect_done(cpu, stage.hp().drive(cpu, from));
    settle(stage, cpu, stage.scene.table.online(), from);
    let why = stage.hp().drive(cpu, target).err();
    if why.as_ref().and_then(OpError::why) != Some(Why::BadTarget) {
        let scene = stage.scene;
        scene.wrong(Violation::WrongError, cpu, target.get(), from.get());
    }
    settle(stage, cpu, from, from);
}

fn back<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId) {
    let from = stage.hp().state(cpu).unwrap_or_default();
    stage.expect_done(cpu, stage.hp().cpu_up(cpu));
    settle(stage, cpu, from, stage.scene.table.online());
}

/// Checks that the CPU rests at `to`, and that exactly the steps between ran.
fn settle<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId, from: StateId, to: StateId) {
    let scene = stage.scene;
    let state = stage.hp().state(cpu).unwrap_or_default();
    if state != to {
        scene.wrong(Violation::WrongState, cpu, state.get(), to.get());
    }
    if let Some(log) = scene.cpu(cpu) {
        let way = check::way(scene, scene.order.level(from), scene.order.level(to));
        check::list(scene, cpu, log, way);
        check::one(stage.machine, scene, cpu, log);
    }
}
