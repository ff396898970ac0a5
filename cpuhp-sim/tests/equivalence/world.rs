//! What the steps of a case do: take a while, fail where they are told to, and write down every answer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;

use cpuhp_core::{
    Ctx, Direction, MultiStart, MultiStep, Platform, StartFn, StepError, StepFn, StepResult,
};
use cpuhp_sim::VirtualTime;

use crate::case::{Case, Fault, MOST_STEPS, Place, Walked, scatter};

/// One finished call: step, instance, direction, whether it was a rollback, and what it answered.
pub(crate) type Call = (usize, u8, Direction, bool, i32);

/// The running case.
pub(crate) struct World {
    case: Case,
    machine: VirtualTime,
    faults: RefCell<Vec<Fault>>,
    /// Per CPU, how often its present call is still to ask to be called again.
    asks: RefCell<Vec<Option<u64>>>,
    pub(crate) log: RefCell<Vec<Vec<Call>>>,
    /// The CPU that is inside a step which takes one at a time.
    inside: Cell<Option<(u32, usize)>>,
    /// The first two that were inside at once.
    pub(crate) crowd: Cell<Option<[(u32, usize); 2]>>,
}

thread_local! {
    static RUNNING: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

impl World {
    pub(crate) fn enter(case: &Case, machine: &VirtualTime) -> Rc<Self> {
        let cpus = case.cpus as usize;
        let world = Rc::new(Self {
            case: case.clone(),
            machine: machine.clone(),
            faults: RefCell::new(case.faults.clone()),
            asks: RefCell::new(vec![None; cpus]),
            log: RefCell::new(vec![Vec::new(); cpus]),
            inside: Cell::new(None),
            crowd: Cell::new(None),
        });
        RUNNING.set(Some(Rc::clone(&world)));
        world
    }

    pub(crate) fn leave() {
        RUNNING.set(None);
    }

    fn call(&self, step: usize, instance: u8, dir: Direction, ctx: &Ctx<'_>) -> Poll<StepResult> {
        let cpu = ctx.cpu();
        // From the case, the step and the CPU alone: the same whoever else is there.
        let down = u64::from(dir == Direction::Down);
        let number =
            (((step as u64) << 8 | u64::from(instance)) << 8 | u64::from(cpu.get())) << 1 | down;
        let chance = scatter(self.case.seed << 32 ^ number);
        self.enter_alone(step, cpu.get());
        let mut asks = self.asks.borrow_mut();
        let left = asks[cpu.index()].get_or_insert(chance % 4 % 3);
        if *left > 0 {
            *left -= 1;
            drop(asks);
            self.call_again(step, ctx, self.machine.now() + 1_000 + chance % 50_000);
            return Poll::Pending;
        }
        asks[cpu.index()] = None;
        drop(asks);
        if self.inside.get() == Some((cpu.get(), step)) {
            self.inside.set(None);
        }
        let answer = self.answer(step, instance, dir, cpu.get());
        let code = answer.err().map_or(0, StepError::code);
        let entry = (step, instance, dir, ctx.is_rollback(), code);
        self.log.borrow_mut()[cpu.index()].push(entry);
        Poll::Ready(answer)
    }

    fn enter_alone(&self, step: usize, cpu: u32) {
        if self.case.steps[step].walked == Walked::Parallel {
            return;
        }
        match self.inside.replace(Some((cpu, step))) {
            Some(other) if other.0 != cpu && self.crowd.get().is_none() => {
                self.crowd.set(Some([other, (cpu, step)]));
            }
            Some(_) | None => {}
        }
    }

    fn call_again(&self, step: usize, ctx: &Ctx<'_>, at: u64) {
        if self.case.steps[step].place <= Place::ParallelDyn {
            self.machine.wake_control_at(at);
        } else {
            self.machine.wake_at(ctx.cpu(), at);
        }
    }

    fn answer(&self, step: usize, instance: u8, dir: Direction, cpu: u32) -> StepResult {
        if self.case.steps[step].place == Place::Starting {
            return Ok(());
        }
        let mut faults = self.faults.borrow_mut();
        let hits = |fault: &&mut Fault| {
            fault.times > 0
                && (fault.cpu, fault.step, fault.instance, fault.dir) == (cpu, step, instance, dir)
        };
        let Some(fault) = faults.iter_mut().find(hits) else {
            return Ok(());
        };
        fault.times -= 1;
        let code = 1 + i32::try_from(step).expect("few steps");
        Err(StepError::user(code).expect("a code of the user's"))
    }
}

fn call(step: usize, instance: u8, dir: Direction, ctx: &Ctx<'_>) -> Poll<StepResult> {
    let world = RUNNING
        .with_borrow(Clone::clone)
        .expect("a case is running");
    world.call(step, instance, dir, ctx)
}

fn fallible(step: usize, instance: u8, dir: Direction, ctx: &Ctx<'_>) -> StepResult {
    match call(step, instance, dir, ctx) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(StepError::WOULD_BLOCK),
    }
}

/// The functions of the step with one number.
#[derive(Clone, Copy)]
pub(crate) struct Halves {
    pub(crate) up: StepFn,
    pub(crate) down: StepFn,
    pub(crate) start_up: StartFn,
    pub(crate) start_down: StartFn,
}

macro_rules! halves {
    ($($step:literal)*) => {
        [$(Halves {
            up: |ctx| fallible($step, 0, Direction::Up, ctx),
            down: |ctx| fallible($step, 0, Direction::Down, ctx),
            start_up: |ctx| call($step, 0, Direction::Up, ctx).map(|_| ()),
            start_down: |ctx| call($step, 0, Direction::Down, ctx).map(|_| ()),
        }),*]
    };
}

pub(crate) const HALVES: [Halves; MOST_STEPS] =
    halves!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23);

/// One object of a step.
pub(crate) struct One {
    pub(crate) step: usize,
    pub(crate) instance: u8,
}

impl MultiStep for One {
    fn up(&self, ctx: &Ctx<'_>) -> StepResult {
        fallible(self.step, self.instance, Direction::Up, ctx)
    }

    fn down(&self, ctx: &Ctx<'_>) -> StepResult {
        fallible(self.step, self.instance, Direction::Down, ctx)
    }
}

impl MultiStart for One {
    fn up(&self, ctx: &Ctx<'_>) -> Poll<()> {
        call(self.step, self.instance, Direction::Up, ctx).map(|_| ())
    }

    fn down(&self, ctx: &Ctx<'_>) -> Poll<()> {
        call(self.step, self.instance, Direction::Down, ctx).map(|_| ())
    }
}
