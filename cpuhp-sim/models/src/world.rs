//! What a model's steps do: take their time, wait for what they need, fail where they are told to.
//!
//! A step of the core is a function without data, so one function per place in the model is compiled in and
//! finds the running model in this thread.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::Poll;

use cpuhp_core::{
    CpuId, Cpuhp, Ctx, Platform, Sections, StartFn, StartStep, Step, StepError, StepFn, StepResult,
    Table,
};
use cpuhp_sim::VirtualTime;

use crate::data::{MOST_STEPS, Model, Section, TimedStep, Together, Way};
use crate::trouble::Trouble;
use crate::watch::Watched;

pub(crate) type Hp = Cpuhp<'static, Watched>;

/// What a failing step answers.
const REFUSED: i32 = 5;

/// The running model.
pub(crate) struct World {
    model: Model,
    trouble: Option<Trouble>,
    machine: VirtualTime,
    hp: Weak<Hp>,
    /// When the step that a CPU is inside ends; 0 = it is inside none.
    until: Vec<Cell<u64>>,
    /// Per resource, when each of its users leaves.
    users: Vec<RefCell<BinaryHeap<Reverse<u64>>>>,
    /// When the last step of an AP ended.
    last: Cell<u64>,
}

thread_local! {
    static RUNNING: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

impl World {
    /// Makes a model the one that this thread's steps belong to.
    pub(crate) fn enter(
        model: &Model,
        trouble: Option<Trouble>,
        machine: &VirtualTime,
        hp: &Arc<Hp>,
    ) -> Rc<Self> {
        let free = |capacity| (0..capacity).map(|_| Reverse(0)).collect();
        let world = Rc::new(Self {
            model: model.clone(),
            trouble,
            machine: machine.clone(),
            hp: Arc::downgrade(hp),
            until: (0..model.cpus).map(|_| Cell::new(0)).collect(),
            users: model
                .resources
                .iter()
                .map(|r| RefCell::new(free(r.capacity)))
                .collect(),
            last: Cell::new(0),
        });
        RUNNING.set(Some(Rc::clone(&world)));
        world
    }

    /// Returns when the last step of an AP ended.
    pub(crate) fn last(&self) -> u64 {
        self.last.get()
    }

    pub(crate) fn leave() {
        RUNNING.set(None);
    }

    fn walk(&self, place: usize, way: Way, cpu: u32) -> Poll<StepResult> {
        let (Some(step), Some(until)) = (self.model.steps.get(place), self.until.get(cpu as usize))
        else {
            return Poll::Ready(Ok(()));
        };
        if step.section == Section::Prepare {
            self.machine.spend(self.takes(step, way, cpu));
            return Poll::Ready(self.result(place, way, cpu));
        }
        let now = self.machine.now();
        if until.get() == 0 {
            let takes = self.takes(step, way, cpu);
            let end = self.begin(step, now, takes);
            if end > now {
                until.set(end);
                self.machine.wake_at(CpuId::new(cpu), end);
                return Poll::Pending;
            }
        } else if now < until.get() {
            return Poll::Pending;
        }
        until.set(0);
        self.last.set(now);
        Poll::Ready(self.result(place, way, cpu))
    }

    fn takes(&self, step: &TimedStep, way: Way, cpu: u32) -> u64 {
        let grows = step.up_ns_per_available + step.down_ns_per_available > 0;
        let available = match self.hp.upgrade() {
            Some(hp) if grows => hp.available().count() as u64,
            Some(_) | None => 0,
        };
        // The control CPU is as quick as ever.
        let own = step.section != Section::Prepare;
        let slowness = self
            .trouble
            .filter(|_| own)
            .map_or(1, |trouble| trouble.slowness(cpu));
        self.model.takes(step, way, cpu, available) * slowness
    }

    /// Returns when a step ends that begins as soon as it gets what it needs.
    fn begin(&self, step: &TimedStep, now: u64, takes: u64) -> u64 {
        let name = step.resource.as_ref().filter(|_| takes > 0);
        let users = name.and_then(|name| self.users.get(self.model.resource(name)?));
        let Some(users) = users else {
            return now + takes;
        };
        let mut users = users.borrow_mut();
        let leaves = users.pop().map_or(0, |Reverse(leaves)| leaves);
        let end = now.max(leaves) + takes;
        users.push(Reverse(end));
        end
    }

    fn result(&self, place: usize, way: Way, cpu: u32) -> StepResult {
        let fails = |trouble: Trouble| way == Way::Up && trouble.fails(place, cpu);
        if self.trouble.is_some_and(fails) {
            return StepError::user(REFUSED).map_or(Ok(()), Err);
        }
        Ok(())
    }
}

fn walk(place: usize, way: Way, ctx: &Ctx<'_>) -> Poll<StepResult> {
    let world = RUNNING.with_borrow(Clone::clone);
    world.map_or(Poll::Ready(Ok(())), |world| {
        world.walk(place, way, ctx.cpu().get())
    })
}

fn fallible(place: usize, way: Way, ctx: &Ctx<'_>) -> StepResult {
    match walk(place, way, ctx) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(StepError::WOULD_BLOCK),
    }
}

fn up<const PLACE: usize>(ctx: &Ctx<'_>) -> StepResult {
    fallible(PLACE, Way::Up, ctx)
}

fn down<const PLACE: usize>(ctx: &Ctx<'_>) -> StepResult {
    fallible(PLACE, Way::Down, ctx)
}

fn start_up<const PLACE: usize>(ctx: &Ctx<'_>) -> Poll<()> {
    walk(PLACE, Way::Up, ctx).map(|_| ())
}

fn start_down<const PLACE: usize>(ctx: &Ctx<'_>) -> Poll<()> {
    walk(PLACE, Way::Down, ctx).map(|_| ())
}

/// What the core calls for the step at one place in the model.
#[derive(Clone, Copy)]
struct Halves {
    up: StepFn,
    down: StepFn,
    start_up: StartFn,
    start_down: StartFn,
}

macro_rules! halves {
    ($($place:literal)*) => {
        [$(Halves {
            up: up::<$place>,
            down: down::<$place>,
            start_up: start_up::<$place>,
            start_down: start_down::<$place>,
        }),*]
    };
}

const HALVES: [Halves; MOST_STEPS] = halves!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);

/// Lays a model's steps out as a table, which lives as long as the program.
pub(crate) fn table(model: &Model) -> &'static Table {
    let in_section = |section| {
        let places = HALVES.iter().zip(&model.steps);
        places.filter(move |(_, step)| step.section == section)
    };
    let steps = |section| in_section(section).map(|(halves, step)| fallible_step(step, halves));
    let starting = in_section(Section::Starting).map(|(halves, step)| start_step(step, halves));
    let sections = Sections {
        prepare: Vec::leak(steps(Section::Prepare).collect()),
        prepare_dynamic: 0,
        parallel_dynamic: 0,
        starting: Vec::leak(starting.collect()),
        online: Vec::leak(steps(Section::Online).collect()),
        online_dynamic: 0,
        late: &[],
    };
    Box::leak(Box::new(Table::new(sections)))
}

fn name(step: &TimedStep) -> &'static str {
    String::leak(step.name.clone())
}

fn fallible_step(step: &TimedStep, halves: &Halves) -> Step {
    let made = Step::new(name(step)).up(halves.up).down(halves.down);
    match step.walked {
        Together::Parallel => made.parallel(),
        Together::OneByOne => made,
    }
}

fn start_step(step: &TimedStep, halves: &Halves) -> StartStep {
    let made = StartStep::new(name(step))
        .up(halves.start_up)
        .down(halves.start_down);
    match step.walked {
        Together::Parallel => made.parallel(),
        Together::OneByOne => made,
    }
}
