//! The callbacks of the example table: each checks where and when it runs, then does its little work.

use core::sync::atomic::Ordering;
use core::task::Poll;

use cpuhp_core::{CpuId, Ctx, Direction, StepError, StepResult};

use crate::log::{CpuLog, Entry, Went};
use crate::machine::Slept;
use crate::scenario::Toggle;
use crate::scene::{self, Scene};
use crate::units::{ACTIVE, SCHED, STACK, Section, TIMER, Unit, WORK};
use crate::violation::Violation;

/// What an armed step answers.
pub(crate) const FAULT: StepError = match StepError::user(-5) {
    Some(error) => error,
    None => panic!("-5 is a step author's code"),
};

pub(crate) fn up<const UNIT: u32>(ctx: &Ctx<'_>) -> StepResult {
    run_up(ctx, Unit::new(UNIT))
}

pub(crate) fn down<const UNIT: u32>(ctx: &Ctx<'_>) -> StepResult {
    run_down(ctx, Unit::new(UNIT))
}

pub(crate) fn start_up<const UNIT: u32>(ctx: &Ctx<'_>) -> Poll<()> {
    polled(run_up(ctx, Unit::new(UNIT)))
}

pub(crate) fn start_down<const UNIT: u32>(ctx: &Ctx<'_>) -> Poll<()> {
    polled(run_down(ctx, Unit::new(UNIT)))
}

/// The `up` of a unit.
#[inline(always)]
pub(crate) fn run_up(ctx: &Ctx<'_>, unit: Unit) -> StepResult {
    run(ctx, unit, Direction::Up)
}

/// The `down` of a unit.
#[inline(always)]
pub(crate) fn run_down(ctx: &Ctx<'_>, unit: Unit) -> StepResult {
    run(ctx, unit, Direction::Down)
}

/// What a half of STARTING answers: the only thing it can say but "done" is "call me again".
pub(crate) fn polled(result: StepResult) -> Poll<()> {
    match result {
        Ok(()) => Poll::Ready(()),
        Err(_) => Poll::Pending,
    }
}

// Inlined, and with it most of what it calls: for a unit that is known when this is compiled little is left
// to be asked, and what the callbacks cost is part of every time that is measured.
#[inline(always)]
fn run(ctx: &Ctx<'_>, unit: Unit, dir: Direction) -> StepResult {
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
        unit,
        dir,
        entry: ctx.entry(),
        is_forced: ctx.is_forced(),
    };
    run.whole()
}

/// One call of one half. Its methods take it whole: it comes to lie in memory only where one is called that
/// is not inlined.
#[derive(Clone, Copy)]
struct Run {
    scene: &'static Scene,
    log: &'static CpuLog,
    cpu: CpuId,
    unit: Unit,
    dir: Direction,
    /// Whether the CPU has been through this section before.
    entry: cpuhp_core::Entry,
    /// Whether errors are passed over: what fails is gone all the same.
    is_forced: bool,
}

impl Run {
    #[inline(always)]
    fn whole(self) -> StepResult {
        if self.log.until.load(Ordering::Relaxed) == 0 {
            if self.is_forced && self.dir == Direction::Down && !self.log.has(self.unit) {
                // An instance of a state that was left half up: a forced teardown calls it too.
                return Ok(());
            }
            self.check_place();
            if self.log.takes_fault(self.unit, self.dir) {
                return self.fail();
            }
            self.enter_solo();
        }
        if self.sleep() == Slept::CallAgain {
            return Err(StepError::WOULD_BLOCK);
        }
        let worked = self.work();
        self.leave_solo();
        worked?;
        self.note(Went::Well);
        Ok(())
    }

    /// Fails as it was told to. Where nobody turns back for it, it does its work and then complains.
    #[cold]
    fn fail(self) -> StepResult {
        self.scene.hits.fetch_add(1, Ordering::Relaxed);
        let passed_over = self.is_forced || self.scene.order.is_moving(self.unit);
        if self.dir == Direction::Down && passed_over {
            self.note(Went::Wrong);
        } else {
            self.log.push(Entry {
                unit: self.unit,
                dir: self.dir,
                went: Went::Wrong,
            });
        }
        Err(FAULT)
    }

    /// PREPARE runs on the control CPU, the rest on the CPU itself, STARTING with interrupts off.
    #[inline(always)]
    fn check_place(self) {
        let on = self.scene.host.this_cpu();
        let section = self.unit.section();
        let right = if section == Section::Prepare {
            self.scene.control.load(Ordering::Relaxed)
        } else {
            self.cpu.get()
        };
        if on.get() != right {
            self.scene
                .wrong(Violation::WrongCpu, self.cpu, on.get(), right);
        }
        let closed = self.log.closed.load(Ordering::Relaxed);
        let right = u32::from(section == Section::Starting);
        if section != Section::Prepare && closed != right {
            self.scene
                .wrong(Violation::Interrupts, self.cpu, closed, right);
        }
    }

    #[inline(always)]
    fn is_solo(self) -> bool {
        self.unit == WORK && self.scene.params.solo == Toggle::On
    }

    #[inline(always)]
    fn enter_solo(self) {
        if self.is_solo() {
            let inside = self.scene.inside.fetch_add(1, Ordering::Relaxed);
            if inside > 0 {
                self.scene
                    .wrong(Violation::Overlap, self.cpu, inside + 1, 1u32);
            }
        }
    }

    #[inline(always)]
    fn leave_solo(self) {
        if self.is_solo() {
            self.scene.inside.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Spends the simulated latency of this half.
    #[inline(always)]
    fn sleep(self) -> Slept {
        let params = &self.scene.params;
        let time = match (self.unit, self.dir) {
            (TIMER, Direction::Up) => params.starting_sleep_ns,
            (SCHED, Direction::Up) => params.online_sleep_ns,
            (SCHED, Direction::Down) => params.down_sleep_ns,
            _ => 0,
        };
        // The solo step gives others a chance to be inside as well, if anything lets them.
        if time == 0 && !self.is_solo() {
            return Slept::Over;
        }
        self.sleep_for(time)
    }

    #[cold]
    fn sleep_for(self, time: u64) -> Slept {
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
    #[inline(always)]
    fn work(self) -> StepResult {
        let host = self.scene.host;
        match (self.unit, self.dir) {
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

    /// Writes the half down, and checks that it is the next in the order: everything before it is up,
    /// and nothing behind it, unless it is called by itself for a registration.
    #[inline(always)]
    fn note(self, went: Went) {
        let (log, unit, order) = (self.log, self.unit, &self.scene.order);
        let up = log.up.load(Ordering::Relaxed);
        let (right, after, counter) = match self.dir {
            Direction::Up => (order.before(unit), up | unit.bit(), &log.ups),
            Direction::Down => (
                order.before(unit) | unit.bit(),
                up & !unit.bit(),
                &log.downs,
            ),
        };
        let there = if order.is_moving(unit) {
            up & (right | unit.bit())
        } else {
            up
        };
        if there != right {
            self.scene.wrong(Violation::Order, self.cpu, there, right);
        }
        log.up.store(after, Ordering::Relaxed);
        // Only whoever walks the CPU counts.
        counter.store(
            counter.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Relaxed,
        );
        let stamp = self.scene.stamps.fetch_add(1, Ordering::Relaxed) + 1;
        log.stamp.store(stamp, Ordering::Relaxed);
        let dir = self.dir;
        log.push(Entry { unit, dir, went });
    }
}
