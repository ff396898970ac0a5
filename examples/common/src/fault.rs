//! Scenario `fault`: a failing step at every position, both ways, and a second one in the rollback.

use cpuhp_core::{CpuId, Direction, Failure, Left, OpError, StateId};

use crate::check::{self, TOP};
use crate::log::{CpuLog, Entry, Went};
use crate::machine::Machine;
use crate::result::Stage;
use crate::steps::{FAULT, can_fail};
use crate::violation::Violation;

/// One case: which half fails, and which half of the way back fails as well.
#[derive(Clone, Copy, Debug)]
struct Case {
    dir: Direction,
    first: u32,
    second: Option<u32>,
}

/// Runs it. The cases go round over the secondaries.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    stage.bring_all_up();
    if let Err(why) = stage.can_stop() {
        return stage.refuse(why);
    }
    stage.scene.begin_window();
    let (mut cases, mut rolled_back) = (0u32, 0u32);
    for dir in [Direction::Up, Direction::Down] {
        for first in (1..=TOP).filter(|step| can_fail(*step)) {
            let seconds = (1..=TOP).filter(|second| match dir {
                Direction::Up => *second < first,
                Direction::Down => *second > first,
            });
            let seconds = seconds.filter(|second| can_fail(*second)).map(Some);
            for second in core::iter::once(None).chain(seconds) {
                let Some(cpu) = stage.pick(cases) else {
                    continue;
                };
                cases += 1;
                let case = Case { dir, first, second };
                if let Some(log) = stage.scene.cpu(cpu) {
                    rolled_back += u32::from(play(stage, cpu, log, case));
                }
            }
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
    if case.dir == Direction::Up {
        stage.expect_done(cpu, hp.cpu_down(cpu));
        check::list(scene, cpu, log, check::way(TOP, 0));
    }
    let origin = hp.state(cpu);
    log.arm(0, case.first, case.dir);
    if let Some(second) = case.second {
        log.arm(1, second, case.back());
    }
    let result = match case.dir {
        Direction::Up => hp.cpu_up(cpu),
        Direction::Down => hp.cpu_down(cpu),
    };
    log.disarm();
    let is_back = hp.state(cpu) == origin;
    let left = case.left(stage);
    check_error(stage, cpu, case, result, left);
    check::list(scene, cpu, log, case.callbacks());
    check::one(stage.machine, scene, cpu, log);
    // Drivable afterwards, all the way both ways.
    let level = scene.level_of(left);
    stage.expect_done(cpu, hp.cpu_up(cpu));
    check::list(scene, cpu, log, check::way(level, TOP));
    stage.expect_done(cpu, hp.cpu_down(cpu));
    check::list(scene, cpu, log, check::way(TOP, 0));
    stage.expect_done(cpu, hp.cpu_up(cpu));
    check::list(scene, cpu, log, check::way(0, TOP));
    check::one(stage.machine, scene, cpu, log);
    is_back
}

impl Case {
    /// The direction of the rollback.
    fn back(self) -> Direction {
        match self.dir {
            Direction::Up => Direction::Down,
            Direction::Down => Direction::Up,
        }
    }

    /// Where the CPU is left: at its origin, or where the second fault stopped the way back.
    fn left<M: Machine>(self, stage: &Stage<'_, M>) -> StateId {
        let scene = stage.scene;
        let of = |step: u32| scene.states.get(step as usize).copied().unwrap_or_default();
        match (self.dir, self.second) {
            (Direction::Up, None) => StateId::OFFLINE,
            (Direction::Up, Some(second)) => of(second),
            (Direction::Down, None) => scene.table.online(),
            // A failing up leaves nothing behind: the state below it.
            (Direction::Down, Some(second)) => StateId::new(of(second).get() - 1),
        }
    }

    /// The callbacks that have to run: up to the fault, the fault, and back.
    fn callbacks(self) -> impl Iterator<Item = Entry> {
        let wrong = |step, dir| Entry {
            step,
            dir,
            went: Went::Wrong,
        };
        let (begin, short, end) = match self.dir {
            // Up: what is below the failing step went up and comes down again.
            Direction::Up => (0, self.first - 1, self.second.unwrap_or(0)),
            // Down: a refused `down` counts as up; what is above it goes up again.
            Direction::Down => {
                let top = self.second.map_or(TOP, |second| second - 1);
                (TOP, self.first, top)
            }
        };
        check::way(begin, short)
            .chain(core::iter::once(wrong(self.first, self.dir)))
            .chain(check::way(short, end))
            .chain(self.second.map(|second| wrong(second, self.back())))
    }
}

/// The error names the first fault, the second beside it, and where the CPU was left.
fn check_error<M: Machine>(
    stage: &Stage<'_, M>,
    cpu: CpuId,
    case: Case,
    result: Result<(), OpError>,
    left: StateId,
) {
    let scene = stage.scene;
    let Err(OpError::Failed(failure)) = result else {
        return scene.wrong(Violation::WrongError, cpu, 0u32, case.first);
    };
    let of = |step: u32| scene.states.get(step as usize).copied();
    let Failure {
        first, rollback, ..
    } = failure;
    let is_first = Some(first.at) == of(case.first) && first.err == FAULT;
    let is_second = match (rollback, case.second) {
        (None, None) => true,
        (Some(rollback), Some(second)) => Some(rollback.at) == of(second) && rollback.err == FAULT,
        (None, Some(_)) | (Some(_), None) => false,
    };
    let is_named = first.name == scene.table.name(first.at) && failure.cpu == cpu;
    if !is_first || !is_second || !is_named {
        scene.wrong(Violation::WrongError, cpu, first.at.get(), case.first);
    }
    if failure.left != Left::At(left) || stage.hp().last_error(cpu) != Some(failure) {
        let state = stage.hp().state(cpu).unwrap_or_default();
        scene.wrong(Violation::WrongState, cpu, state.get(), left.get());
    }
}
