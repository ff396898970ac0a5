//! Scenario `disable`: hotplug disabled for now, nested; and a CPU that can never be stopped.

use core::sync::atomic::Ordering;

use cpuhp_core::{CpuId, Disabled, OpError, StateId, Which, Why};

use crate::check;
use crate::forward;
use crate::machine::Machine;
use crate::result::Stage;
use crate::violation::Violation;

/// Disablements in force at once, at most.
const DEEPEST: usize = 4;

/// Runs it.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    stage.bring_all_up();
    if let Err(why) = stage.can_stop() {
        return stage.refuse(why);
    }
    let Some(cpu) = stage.pick(0) else {
        return stage.only_result(|line| numbers(line, 0, 0));
    };
    stage.scene.begin_window();
    let mut refused = 0;
    for deepest in 1..=DEEPEST {
        refused += nest(stage, cpu, deepest);
    }
    refused += fixed(stage, cpu);
    stage.only_result(|line| numbers(line, DEEPEST, refused));
}

fn numbers(line: &mut crate::json::Object<'_>, nested: usize, refused: u32) -> core::fmt::Result {
    line.number("nested", nested as u64)?;
    line.number("refused", refused)
}

/// Disables so often, and enables as often: only after the last one CPUs move again.
fn nest<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId, deepest: usize) -> u32 {
    let hp = stage.hp();
    let mut held: [Option<Disabled<'_>>; DEEPEST] = [const { None }; DEEPEST];
    let mut refused = 0;
    for slot in held.iter_mut().take(deepest) {
        match hp.try_write().and_then(|guard| guard.disable()) {
            Ok(disabled) => *slot = Some(disabled),
            Err(error) => stage.expect_done(cpu, Err(error)),
        }
        refused += all_refused(stage, cpu, Why::Disabled);
    }
    for slot in held.iter_mut().take(deepest) {
        refused += all_refused(stage, cpu, Why::Disabled);
        *slot = None;
    }
    stage.expect_done(cpu, hp.cpu_down(cpu));
    stage.expect_done(cpu, hp.cpu_up(cpu));
    if let Some(log) = stage.scene.cpu(cpu) {
        let (scene, top) = (stage.scene, stage.scene.order.top());
        let way = check::way(scene, top, 0).chain(check::way(scene, 0, top));
        check::list(scene, cpu, log, way);
    }
    check::all(stage.machine, stage.scene);
    refused
}

/// A CPU that the platform cannot stop is no CPU that cannot be stopped just now.
fn fixed<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId) -> u32 {
    let Some(log) = stage.scene.cpu(cpu) else {
        return 0;
    };
    forward::mark();
    log.fixed.store(1, Ordering::Relaxed);
    let refused = all_refused(stage, cpu, Why::NotSupported);
    log.fixed.store(0, Ordering::Relaxed);
    stage.expect_done(cpu, stage.hp().cpu_down(cpu));
    stage.expect_done(cpu, stage.hp().cpu_up(cpu));
    log.clear_list();
    check::all(stage.machine, stage.scene);
    refused
}

/// Asks for everything that would stop `cpu`: refused for this reason, and nothing runs. Returns how often.
fn all_refused<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId, why: Why) -> u32 {
    let (hp, scene) = (stage.hp(), stage.scene);
    let mask = scene.empty_mask();
    mask.insert(cpu);
    let only = Which::Only(mask.get());
    let answers: [Option<OpError>; 4] = [
        hp.cpu_down(cpu).err(),
        hp.drive(cpu, StateId::new(1)).err(),
        hp.take_down(only).err(),
        hp.freeze().err(),
    ];
    let mut refused = 0;
    for answer in answers {
        let found = answer.and_then(|error| error.why());
        refused += u32::from(found == Some(why));
        if found != Some(why) {
            scene.wrong(
                Violation::WrongError,
                cpu,
                found.map_or(99, |why| why as u32),
                why as u32,
            );
        }
    }
    if let Some(log) = scene.cpu(cpu) {
        check::list(scene, cpu, log, core::iter::empty());
    }
    refused
}
