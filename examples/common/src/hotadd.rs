//! Scenario `hotadd`: CPUs that firmware lists and that are plugged in while the kernel runs.

use cpuhp_core::{CpuId, OpError, Platform, StateId, Which, Who, Why};

use crate::check;
use crate::machine::{Machine, Plugged, Unable};
use crate::result::Stage;
use crate::violation::Violation;

/// How long it waits at most between two looks.
const PAUSE_NS: u64 = 1_000_000;

/// Runs it. The printed line tells whoever runs the machine that CPUs can be plugged in now.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    stage.bring_all_up();
    check::all(stage.machine, stage.scene);
    let wanted = stage.scene.params.hotadd;
    refuse_all(stage);
    stage.scene.begin_window();
    stage
        .machine
        .print(format_args!("hotadd: waiting for {wanted} CPUs"));
    let (added, deadline) = (
        stage.scene.empty_mask(),
        stage.now() + stage.scene.params.timeout_ns,
    );
    for _ in 0..wanted {
        match wait_for_one(stage, deadline) {
            Ok(Some(cpu)) => {
                added.insert(cpu);
                welcome(stage, cpu);
            }
            Ok(None) => {
                let missing = stage.not_present().next().unwrap_or_default();
                stage.scene.wrong(Violation::Deadline, missing, 0u32, 1u32);
            }
            Err(why) => return stage.refuse(why),
        }
    }
    check::all(stage.machine, stage.scene);
    let online = stage.hp().online().iter().count() as u64;
    stage.only_result(|line| {
        line.numbers("added", added.get().iter().map(CpuId::get))?;
        line.number("online", online)
    });
}

/// Before it is plugged in a CPU is nobody: every operation on it is refused, and nothing runs.
fn refuse_all<M: Machine>(stage: &Stage<'_, M>) {
    let (hp, scene) = (stage.hp(), stage.scene);
    for cpu in stage.not_present() {
        let answers: [Option<OpError>; 2] =
            [hp.cpu_up(cpu).err(), hp.drive(cpu, StateId::new(1)).err()];
        for why in answers.map(|answer| answer.and_then(|error| error.why())) {
            if why != Some(Why::NotPresent) {
                scene.wrong(Violation::WrongError, cpu, 0u32, Why::NotPresent as u32);
            }
        }
        if let Some(log) = scene.cpu(cpu) {
            check::list(scene, cpu, log, core::iter::empty());
        }
    }
}

/// Waits for any CPU that is listed and not present, until the deadline.
fn wait_for_one<M: Machine>(stage: &Stage<'_, M>, deadline: u64) -> Result<Option<CpuId>, Unable> {
    loop {
        for cpu in stage.not_present() {
            if stage.machine.plugged(cpu)? == Plugged::Yes {
                return Ok(Some(cpu));
            }
        }
        let Some(missing) = stage.not_present().next() else {
            return Ok(None);
        };
        if stage.now() >= deadline {
            return Ok(None);
        }
        // Nobody notifies for it.
        let until = deadline.min(stage.now() + PAUSE_NS);
        stage.hp().platform().wait(Who::Control(missing), until);
    }
}

/// A CPU that is there goes all the way up, down where CPUs can be stopped, and comes up again with all
/// the others.
fn welcome<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId) {
    let (hp, scene) = (stage.hp(), stage.scene);
    let (Some(log), top) = (scene.cpu(cpu), scene.order.top()) else {
        return;
    };
    stage.expect_done(cpu, hp.cpu_up(cpu));
    check::list(scene, cpu, log, check::way(scene, 0, top));
    if !hp.present().contains(cpu) {
        scene.wrong(Violation::Masks, cpu, 0u32, 1u32);
    }
    if hp.platform().can_off(cpu) {
        stage.expect_done(cpu, hp.cpu_down(cpu));
        check::list(scene, cpu, log, check::way(scene, top, 0));
        let report = hp.bring_up(Which::All).unwrap_or_default();
        // With those that were online already.
        let right = stage.others().count() as u64;
        if u64::from(report.done) != right || report.failed != 0 {
            scene.wrong(Violation::Count, cpu, report.done, right);
        }
        check::list(scene, cpu, log, check::way(scene, 0, top));
    }
    check::one(stage.machine, scene, cpu, log);
}
