//! The callbacks of the example table: each checks where and when it runs, then does its little work.

use core::sync::atomic::Ordering;
use core::task::Poll;

use cpuhp_core::{CpuId, Ctx, Direction, StateId, StepError, StepResult, Table};

use crate::log::{CpuLog, Entry, Went};
use crate::machine::Slept;
use crate::params::{Params, Toggle};
use crate::scene::{self, Scene};
use crate::tables;
use crate::violation::Violation;

/// How many steps write themselves down.
pub(crate) const LOGGED: usize = 7;

/// What an armed step answers.
pub(crate) const FAULT: StepError = match StepError::user(-5) {
    Some(error) => error,
    None => panic!("-5 is a step author's code"),
};

// Places of the steps that do more than be logged.
const STACK: u32 = 2;
const INTC: u32 = 3;
const TIMER: u32 = 4;
const SCHED: u32 = 5;
const WORK: u32 = 6;
const ACTIVE: u32 = 7;

/// Returns the table that the parameters ask for.
pub(crate) fn table(params: &Params) -> &'static Table {
    tables::choose(params)
}

/// Returns the state of each logged step by its place, `OFFLINE` first.
pub(crate) fn states(table: &Table) -> [StateId; LOGGED + 1] {
    let mut states = [StateId::OFFLINE; LOGGED + 1];
    for (state, name) in states.iter_mut().skip(1).zip(tables::NAMES) {
        *state = table.find(name).unwrap_or_default();
    }
    states
}

/// Whether a step can fail: it is not in STARTING.
pub(crate) fn can_fail(step: u32) -> bool {
    !(INTC..=TIMER).contains(&step)
}

pub(crate) fn up<const STEP: u32>(ctx: &Ctx<'_>) -> StepResult {
    run(ctx, STEP, Direction::Up)
}

pub(crate) fn down<const STEP: u32>(ctx: &Ctx<'_>) -> StepResult {
    run(ctx, STEP, Direction::Down)
}

pub(crate) fn start_up<const STEP: u32>(ctx: &Ctx<'_>) -> Poll<()> {
    run_start(ctx, STEP, Direction::Up)
}

pub(crate) fn start_down<const STEP: u32>(ctx: &Ctx<'_>) -> Poll<()> {
    run_start(ctx, STEP, Direction::Down)
}

fn run_start(ctx: &Ctx<'_>, step: u32, dir: Direction) -> Poll<()> {
    match run(ctx, step, dir) {
        Ok(()) => Poll::Ready(()),
        Err(_) => Poll::Pending,
    }
}

fn run(ctx: &Ctx<'_>, step: u32, dir: Direction) -> StepResult {
    let Some(scene) = scene::get() else {
        return Ok(());
    };
    let Some(log) = scene.cpu(ctx.cpu()) else {
        return Ok(());
    };
    let run = Run {
        scene,
        log,
        cpu: ctx.cpu(),
        step,
        dir,
        entry: ctx.entry(),
    };
    run.whole()
}

/// One call of one half.
struct Run {
    scene: &'static Scene,
    log: &'static CpuLog,
    cpu: CpuId,
    step: u32,
    dir: Direction,
    /// Whether the CPU has been through this section before.
    entry: cpuhp_core::Entry,
}

impl Run {
    fn whole(&self) -> StepResult {
        let (step, dir) = (self.step, self.dir);
        let begins = self.log.until.load(Ordering::Relaxed) == 0;
        if begins {
            self.check_place();
            let went = Went::Wrong;
            let entry = Entry { step, dir, went };
            if self.log.takes_fault(entry) {
                self.log.push(entry);
                return Err(FAULT);
            }
            self.enter_solo();
        }
        if self.sleep() == Slept::CallAgain {
            return Err(StepError::WOULD_BLOCK);
        }
        let worked = self.work();
        self.leave_solo();
        worked?;
        self.note();
        Ok(())
    }

    /// PREPARE runs on the control CPU, the rest on the CPU itself, STARTING with interrupts off.
    fn check_place(&self) {
        let on = self.scene.host.this_cpu();
        let right = if self.step < INTC {
            self.scene.control.load(Ordering::Relaxed)
        } else {
            self.cpu.get()
        };
        if on.get() != right {
            self.scene
                .wrong(Violation::WrongCpu, self.cpu, on.get(), right);
        }
        let closed = self.log.closed.load(Ordering::Relaxed);
        let right = u32::from(!can_fail(self.step));
        if self.step >= INTC && closed != right {
            self.scene
                .wrong(Violation::Interrupts, self.cpu, closed, right);
        }
    }

    fn is_solo(&self) -> bool {
        self.step == WORK && self.scene.params.solo == Toggle::On
    }

    fn enter_solo(&self) {
        if self.is_solo() {
            let inside = self.scene.inside.fetch_add(1, Ordering::Relaxed);
            if inside > 0 {
                self.scene
                    .wrong(Violation::Overlap, self.cpu, inside + 1, 1u32);
            }
        }
    }

    fn leave_solo(&self) {
        if self.is_solo() {
            self.scene.inside.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Spends the simulated latency of this half.
    fn sleep(&self) -> Slept {
        let params = &self.scene.params;
        let time = match (self.step, self.dir) {
            (TIMER, Direction::Up) => params.starting_sleep_ns,
            (SCHED, Direction::Up) => params.online_sleep_ns,
            (SCHED, Direction::Down) => params.down_sleep_ns,
            _ => 0,
        };
        // The solo step gives others a chance to be inside as well, if anything lets them.
        if time == 0 && !self.is_solo() {
            return Slept::Over;
        }
        let host = self.scene.host;
        let now = host.now().max(1);
        let mut until = self.log.until.load(Ordering::Relaxed);
        if until == 0 {
            until = now.saturating_add(time);
            self.log.until.store(until, Ordering::Relaxed);
        } else if now >= until {
            self.log.until.store(0, Ordering::Relaxed);
            return Slept::Over;
        }
        let slept = host.sleep(self.cpu, until);
        if slept == Slept::Over {
            self.log.until.store(0, Ordering::Relaxed);
        }
        slept
    }

    /// What the kernel does in this half.
    fn work(&self) -> StepResult {
        let host = self.scene.host;
        match (self.step, self.dir) {
            (STACK, Direction::Up) => return host.prepare(self.cpu),
            (STACK, Direction::Down) => host.unprepare(self.cpu),
            (TIMER, Direction::Up) => host.start(self.cpu, self.entry),
            (TIMER, Direction::Down) => host.stop(self.cpu),
            (ACTIVE, Direction::Up) => {
                self.log.online.store(host.now().max(1), Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes the half down, and checks that it is the next in the order.
    fn note(&self) {
        let (log, step) = (self.log, self.step);
        let level = log.level.load(Ordering::Relaxed);
        let (before, after, counter) = match self.dir {
            Direction::Up => (step - 1, step, &log.ups),
            Direction::Down => (step, step - 1, &log.downs),
        };
        if level != before {
            self.scene.wrong(Violation::Order, self.cpu, level, before);
        }
        log.level.store(after, Ordering::Relaxed);
        counter.fetch_add(1, Ordering::Relaxed);
        let (dir, went) = (self.dir, Went::Well);
        log.push(Entry { step, dir, went });
    }
}
