//! Scenario `suspend`: all but one CPU frozen and thawed, given up half-way in between.

use core::sync::atomic::Ordering;

use cpuhp_core::{CpuId, StateId, Which, Why};

use crate::check;
use crate::log::CpuLog;
use crate::machine::Machine;
use crate::result::Stage;
use crate::violation::Violation;

/// What the rounds came to.
#[derive(Clone, Copy, Default)]
struct Totals {
    frozen: u32,
    thawed: u32,
    aborted: u32,
}

/// Runs it. In every second round one CPU is off before: it is not frozen, and stays off.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    stage.bring_all_up();
    if let Err(why) = stage.can_stop() {
        return stage.refuse(why);
    }
    stage.scene.begin_window();
    let mut totals = Totals::default();
    for round in 0..stage.scene.params.rounds.unwrap_or(10) {
        let has_more = stage.online_others().nth(1).is_some();
        let off = stage.pick(round).filter(|_| has_more && round % 2 == 1);
        if let Some(cpu) = off {
            stage.expect_done(cpu, stage.hp().cpu_down(cpu));
        }
        give_up(stage, &mut totals);
        freeze(stage, &mut totals);
        refused(stage);
        thaw(stage, &mut totals);
        if let Some(cpu) = off {
            check_state(stage, cpu, StateId::OFFLINE);
            stage.expect_done(cpu, stage.hp().cpu_up(cpu));
        }
    }
    stage.only_result(|line| {
        line.number("frozen", totals.frozen)?;
        line.number("thawed", totals.thawed)?;
        line.number("aborted", totals.aborted)
    });
}

/// Gives a freeze up half-way: as soon as a CPU has taken a step down, and before the last point of return.
fn give_up<M: Machine>(stage: &Stage<'_, M>, totals: &mut Totals) {
    let (hp, scene) = (stage.hp(), stage.scene);
    let batch = online(stage);
    clear_lists(stage);
    let before = scene.stamps.load(Ordering::Relaxed);
    scene.abort_after.store(before + 1, Ordering::Relaxed);
    let result = hp.freeze();
    scene.abort_after.store(0, Ordering::Relaxed);
    match result {
        Err(error) if error.why() == Some(Why::Aborted) => totals.aborted += 1,
        // With nobody to freeze there is no half-way.
        Ok(_) if batch == 0 => stage.expect_done(stage.this_cpu(), hp.thaw().map(|_| ())),
        Ok(_) | Err(_) => scene.wrong(Violation::WrongError, stage.this_cpu(), 0u32, 1u32),
    }
    // Every CPU that went is back: as many downs as ups, and at least one of each.
    let ran = scene.stamps.load(Ordering::Relaxed) - before;
    if batch > 0 && (ran < 2 || ran % 2 == 1) {
        scene.wrong(Violation::Count, stage.this_cpu(), ran, 2u32);
    }
    if online(stage) != batch || !hp.frozen().is_empty() {
        scene.wrong(Violation::Masks, stage.this_cpu(), online(stage), batch);
    }
    let thaw = hp.thaw().err().and_then(|error| error.why());
    if thaw != Some(Why::NotFrozen) {
        scene.wrong(Violation::WrongError, stage.this_cpu(), 0u32, 2u32);
    }
    check::all(stage.machine, scene);
}

/// Freezes: exactly the CPUs that were online are off and in the mask.
fn freeze<M: Machine>(stage: &Stage<'_, M>, totals: &mut Totals) {
    let (hp, scene) = (stage.hp(), stage.scene);
    let batch = online(stage);
    let mask = scene.empty_mask();
    for cpu in stage.online_others() {
        mask.insert(cpu);
    }
    clear_lists(stage);
    let done = hp.freeze().map_or(u32::MAX, |report| report.done);
    totals.frozen = totals.frozen.saturating_add(done);
    if done != batch || online(stage) != 0 {
        scene.wrong(Violation::Count, stage.this_cpu(), done, batch);
    }
    if !hp.frozen().iter().eq(mask.get().iter()) {
        let found = hp.frozen().iter().count() as u64;
        scene.wrong(Violation::Masks, stage.this_cpu(), found, u64::from(batch));
    }
    check_moved(stage, scene.order.top(), 0);
}

/// While the machine is frozen nothing moves: transient, so it is `Disabled`.
fn refused<M: Machine>(stage: &Stage<'_, M>) {
    let hp = stage.hp();
    let first = stage.others().next();
    let up = first.and_then(|cpu| hp.cpu_up(cpu).err());
    let answers = [
        first.map(|_| up.and_then(|error| error.why())),
        Some(hp.bring_up(Which::All).err().and_then(|error| error.why())),
        Some(hp.freeze().err().and_then(|error| error.why())),
    ];
    for why in answers.into_iter().flatten() {
        if why != Some(Why::Disabled) {
            let scene = stage.scene;
            scene.wrong(Violation::WrongError, stage.this_cpu(), 0u32, 3u32);
        }
    }
}

/// Thaws: exactly the frozen CPUs are back.
fn thaw<M: Machine>(stage: &Stage<'_, M>, totals: &mut Totals) {
    let (hp, scene) = (stage.hp(), stage.scene);
    let batch = u32::try_from(hp.frozen().iter().count()).unwrap_or(u32::MAX);
    let mask = scene.empty_mask();
    for cpu in hp.frozen().iter() {
        mask.insert(cpu);
    }
    clear_lists(stage);
    let done = hp.thaw().map_or(u32::MAX, |report| report.done);
    totals.thawed = totals.thawed.saturating_add(done);
    if done != batch || !hp.frozen().is_empty() {
        scene.wrong(Violation::Count, stage.this_cpu(), done, batch);
    }
    if !stage.online_others().eq(mask.get().iter()) {
        scene.wrong(Violation::Masks, stage.this_cpu(), online(stage), batch);
    }
    check_moved(stage, 0, scene.order.top());
}

/// Exactly the CPUs in the driver's mask walked from `from` units to `to`, and no other CPU anything.
fn check_moved<M: Machine>(stage: &Stage<'_, M>, from: u32, to: u32) {
    let scene = stage.scene;
    let batch = scene.mask();
    for (cpu, log) in scene.cpus() {
        let to = if batch.contains(cpu) { to } else { from };
        check::list(scene, cpu, log, check::way(scene, from, to));
    }
    check::all(stage.machine, scene);
}

fn check_state<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId, right: StateId) {
    let state = stage.hp().state(cpu).unwrap_or_default();
    if state != right {
        let scene = stage.scene;
        scene.wrong(Violation::WrongState, cpu, state.get(), right.get());
    }
}

fn clear_lists<M: Machine>(stage: &Stage<'_, M>) {
    stage
        .scene
        .cpus()
        .map(|(_, log)| log)
        .for_each(CpuLog::clear_list);
}

/// How many other CPUs are online.
fn online<M: Machine>(stage: &Stage<'_, M>) -> u32 {
    u32::try_from(stage.online_others().count()).unwrap_or(u32::MAX)
}
