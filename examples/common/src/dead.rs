//! Scenario `dead`: CPUs that miss the deadline; some of them come late and are taken back.

use core::sync::atomic::Ordering;

use cpuhp_core::{BulkReport, CpuId, Platform, StepError, Tag, Which, Who};

use crate::check;
use crate::log::CpuLog;
use crate::machine::Machine;
use crate::result::Stage;
use crate::scenario::Toggle;
use crate::violation::Violation;

/// Runs it. `dead` in the result are all that missed the deadline, `late` those of them that came
/// after it; `waited_ns` runs from the last kick of a missing CPU to the end of the batch.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    let scene = stage.scene;
    let late = choose(stage);
    let held = late.count();
    late.iter().for_each(|cpu| stage.hp().platform().hold(cpu));
    scene.begin_window();
    let report = stage.hp().bring_up(Which::All).unwrap_or_default();
    let ended = stage.now();
    let waited = ended.saturating_sub(last_missing_kick(stage));
    let last = last_living(stage);
    let missing = held as u64 + u64::from(scene.params.absent);
    check_batch(stage, report, missing);
    let whole = ended.saturating_sub(scene.first_kick.load(Ordering::Relaxed));
    check_waits(stage, missing, [waited, whole], last);
    let is_dead = |cpu: &CpuId| !stage.hp().online().contains(*cpu);
    stage
        .others()
        .filter(is_dead)
        .for_each(|cpu| check_dead(stage, cpu));
    check::all(stage.machine, scene);
    late.iter().for_each(|cpu| come_late(stage, cpu));
    let back = stage.hp().bring_up(Which::Only(late)).unwrap_or_default();
    if back.done as usize != held || !back.is_complete() {
        let first = late.iter().next().unwrap_or_default();
        scene.wrong(Violation::Count, first, back.done, held as u64);
    }
    late.iter().for_each(|cpu| check_back(stage, cpu));
    check::all(stage.machine, scene);
    let dead = || {
        let missed = |cpu: &CpuId| late.contains(*cpu) || !stage.hp().online().contains(*cpu);
        stage.others().filter(missed).map(CpuId::get)
    };
    stage.only_result(|line| {
        line.numbers("dead", dead())?;
        line.numbers("late", late.iter().map(CpuId::get))?;
        line.number("waited_ns", waited)?;
        line.number("last_living_online_ns", last)
    });
}

/// Chooses the CPUs whose kick is held back: spread over the ids of those that exist.
fn choose<'s, M: Machine>(stage: &Stage<'s, M>) -> cpuhp_core::CpuMask<'static> {
    let mask = stage.scene.empty_mask();
    let absent = stage.scene.params.absent as usize;
    // Where nobody knows which CPUs are absent, they are taken to be listed last.
    let listed = stage.others().count().saturating_sub(absent);
    let exist = || {
        let known =
            stage
                .others()
                .enumerate()
                .filter(|(at, cpu)| match stage.machine.exists(*cpu) {
                    Some(_) => !stage.is_absent(*cpu),
                    None => *at < listed,
                });
        known.map(|(_, cpu)| cpu)
    };
    let count = exist().count();
    let wanted = (stage.scene.params.withhold as usize).min(count);
    for number in 0..wanted {
        let at = (2 * number + 1) * count / (2 * wanted);
        if let Some(cpu) = exist().nth(at) {
            mask.insert(cpu);
        }
    }
    mask.get()
}

/// When the last CPU was kicked that did not come, or the last of all if every CPU came.
fn last_missing_kick<M: Machine>(stage: &Stage<'_, M>) -> u64 {
    let online = stage.hp().online();
    let missing = stage.others().filter(|cpu| !online.contains(*cpu));
    let kicks = missing.filter_map(|cpu| stage.scene.cpu(cpu));
    let last = kicks.map(|log| log.kicked.load(Ordering::Relaxed)).max();
    last.unwrap_or_else(|| stage.scene.last_kick.load(Ordering::Relaxed))
}

/// When the last living CPU was online, from the first kick on.
fn last_living<M: Machine>(stage: &Stage<'_, M>) -> u64 {
    let first = stage.scene.first_kick.load(Ordering::Relaxed);
    let times = stage.online_others().filter_map(|cpu| stage.scene.cpu(cpu));
    let last = times.map(|log| log.online.load(Ordering::Relaxed)).max();
    last.unwrap_or(0).saturating_sub(first)
}

fn check_batch<M: Machine>(stage: &Stage<'_, M>, report: BulkReport, missing: u64) {
    let living = stage.others().count() as u64 - missing;
    for (found, right) in [
        (u64::from(report.done), living),
        (u64::from(report.failed), missing),
        (
            u64::from(report.stuck + report.skipped + report.not_tried),
            0,
        ),
    ] {
        if found != right {
            let first = stage.others().next().unwrap_or_default();
            stage.scene.wrong(Violation::Count, first, found, right);
        }
    }
}

/// However many are missing, they cost one deadline, and living CPUs none.
///
/// The times run from the last kick of a missing CPU, and from the first kick of all.
fn check_waits<M: Machine>(
    stage: &Stage<'_, M>,
    missing: u64,
    [waited, whole]: [u64; 2],
    last: u64,
) {
    let (scene, timeout) = (stage.scene, stage.scene.params.timeout_ns);
    let first = stage.others().next().unwrap_or_default();
    if missing > 0 && waited < timeout {
        scene.wrong(Violation::Deadline, first, waited, timeout);
    }
    if missing > 1 && whole >= 2 * timeout {
        scene.wrong(Violation::Deadline, first, whole, timeout);
    }
    // A step that takes one CPU at a time is a barrier: the batch is collected before it.
    if scene.params.solo == Toggle::Off && last >= timeout {
        scene.wrong(Violation::HeldUp, first, last, timeout);
    }
}

/// It failed because it did not come, and what PREPARE made is still there.
fn check_dead<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId) {
    let (hp, scene) = (stage.hp(), stage.scene);
    let first = hp.last_error(cpu).map(|failure| failure.first);
    let kick = scene.table.kick();
    if !first.is_some_and(|first| first.err == StepError::TIMEOUT && first.at == kick) {
        scene.wrong(Violation::WrongError, cpu, 0u32, kick.get());
    }
    let state = hp.state(cpu).unwrap_or_default();
    let is_quarantined = hp.tag(cpu) == Some(Tag::Cancelled);
    if is_quarantined && state.get() + 1 != kick.get() {
        scene.wrong(Violation::WrongState, cpu, state.get(), kick.get() - 1);
    }
}

/// Lets the kick through; the CPU parks itself, and no callback runs.
fn come_late<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId) {
    let (hp, scene) = (stage.hp(), stage.scene);
    if let Err(error) = hp.platform().let_go(cpu) {
        scene.wrong(Violation::Kicks, cpu, error.kind as u32, 0u32);
    }
    let deadline = stage.now().saturating_add(scene.params.timeout_ns);
    while hp.tag(cpu) != Some(Tag::Parked) && stage.now() < deadline {
        hp.platform().wait(Who::Control(cpu), deadline);
    }
    let tag = hp.tag(cpu).unwrap_or(Tag::Dead);
    if tag != Tag::Parked {
        scene.wrong(Violation::Tag, cpu, tag as u32, Tag::Parked as u32);
    }
    if let Some(log) = scene.cpu(cpu) {
        check::list(scene, cpu, log, check::way(scene, 0, prepared(stage)));
    }
}

/// How many logged steps PREPARE has.
fn prepared<M: Machine>(stage: &Stage<'_, M>) -> u32 {
    stage.scene.order.level(stage.scene.table.kick())
}

/// Taken back without a second kick, and the rest of the way up ran once.
fn check_back<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId) {
    let scene = stage.scene;
    let Some(log) = scene.cpu(cpu) else { return };
    check::list(
        scene,
        cpu,
        log,
        check::way(scene, prepared(stage), scene.order.top()),
    );
    check_single_kick(stage, cpu, log);
}

fn check_single_kick<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId, log: &CpuLog) {
    let kicks = log.kicks.load(Ordering::Relaxed);
    if kicks != 1 {
        stage.scene.wrong(Violation::Kicks, cpu, kicks, 1u32);
    }
    if log.alive.load(Ordering::Relaxed) == 0 {
        stage.scene.wrong(Violation::Time, cpu, 0u32, 1u32);
    }
}
