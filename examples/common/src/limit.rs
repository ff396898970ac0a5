//! Scenario `limit`: CPUs brought up to each number, none and more than there are among them.

use core::sync::atomic::Ordering;

use cpuhp_core::Which;

use crate::check;
use crate::machine::Machine;
use crate::result::Stage;
use crate::violation::Violation;

/// Numbers beyond the last CPU that are tried.
const BEYOND: u32 = 2;

/// Runs it: to each number from one CPU online, and once more from there.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    stage.bring_all_up();
    if let Err(why) = stage.all_come().and_then(|()| stage.can_stop()) {
        return stage.refuse(why);
    }
    let able = count(stage.online_others().count()) + 1;
    let (mut limits, mut most) = (0u32, 0u32);
    for limit in 0..=able + BEYOND {
        for from in [Start::Alone, Start::There] {
            if from == Start::Alone {
                take_all_down(stage);
            }
            limits += 1;
            most = most.max(bring_up_to(stage, limit, able));
        }
    }
    stage.only_result(|line| {
        line.number("limits", limits)?;
        line.number("most", most)
    });
}

/// What is online before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Start {
    /// The driving CPU alone.
    Alone,
    /// As many as are asked for: nobody is kicked.
    There,
}

fn take_all_down<M: Machine>(stage: &Stage<'_, M>) {
    let down = stage.hp().take_down(Which::All);
    if !down.is_ok_and(|report| report.is_complete()) {
        let scene = stage.scene;
        scene.wrong(Violation::OperationFailed, stage.this_cpu(), 0u32, 1u32);
    }
    check::all(stage.machine, stage.scene);
}

/// Brings up to `limit` CPUs, counted in CPUs online, and kicks not one more; returns how many are.
fn bring_up_to<M: Machine>(stage: &Stage<'_, M>, limit: u32, able: u32) -> u32 {
    let (hp, scene) = (stage.hp(), stage.scene);
    let begin = count(hp.online().iter().count());
    let kicks = kicks(stage);
    let right = limit.clamp(begin, able.max(begin));
    let report = hp.bring_up_to(Which::All, limit).unwrap_or_default();
    let online = count(hp.online().iter().count());
    let kicked = self::kicks(stage) - kicks;
    let counts = [
        (online, right),
        (kicked, right - begin),
        (report.beyond_limit, able - right),
        (report.failed + report.stuck + report.skipped, 0),
    ];
    for (found, right) in counts {
        if found != right {
            scene.wrong(Violation::Count, stage.this_cpu(), found, right);
        }
    }
    check::all(stage.machine, scene);
    online
}

/// How often any CPU was kicked.
fn kicks<M: Machine>(stage: &Stage<'_, M>) -> u32 {
    let logs = stage.scene.cpus();
    logs.map(|(_, log)| log.kicks.load(Ordering::Relaxed)).sum()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
