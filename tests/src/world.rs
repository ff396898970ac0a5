//! The thread's fake machine: its clock, its CPUs, its log, and what its steps answer.
//!
//! Every callback comes in through [`up`], [`down`] and their STARTING forms. Before it answers it
//! is checked on the spot, by `book`: the right CPU, interrupts as its section has them, nothing called
//! twice, no gap, and a state that says the truth.

use core::cell::{Cell, RefCell};
use core::task::Poll;
use std::collections::BTreeMap;

use cpuhp_core::{Ctx, Direction, KickError, KickOutcome, StepError, StepResult, Storage};

use crate::book::Book;
use crate::fake::{Life, Machine, Sim};
use crate::shape::Shape;

/// One call of one half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// The CPU that is moved.
    pub cpu: u32,
    /// The CPU that runs the callback.
    pub on: u32,
    /// Number of the state.
    pub at: u16,
    /// Which instance of it, or `None` for the step itself.
    pub instance: Option<u8>,
    /// Which half.
    pub dir: Direction,
    /// What the context said of the walk.
    pub rollback: bool,
    /// What it answered; 0 is success.
    pub answer: i32,
}

/// What the machine saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A callback ran.
    Call(Call),
    /// A kick was accepted or refused.
    Kick(u32, Result<(), KickError>),
    /// The outcome of a kick was told.
    KickDone(u32, KickOutcome),
    /// A resting CPU was told to look at its record.
    Unpark(u32),
}

/// What a half does when it is called.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Fails with this code, every time.
    Fail(i32),
    /// Asks to be called again this many times in all, then goes on with the next rule.
    Pend(u32),
    /// Asks to be called again until this much time has passed since the first call.
    Take(u64),
    /// Asks to be called again for ever.
    Hang,
    /// Calls this first, then goes on with the next rule.
    Hook(fn(u32)),
}

/// A half of a state on one CPU or on all, and what it does.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The CPU, or all of them.
    pub cpu: Option<u32>,
    /// The state.
    pub at: u16,
    /// The instance, or any of them and the step itself.
    pub instance: Option<u8>,
    /// The half.
    pub dir: Direction,
    /// What it does.
    pub act: Act,
}

/// Who may be inside steps without PARALLEL at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Exclusion {
    /// Anybody: operations on single CPUs keep it themselves.
    #[default]
    Unchecked,
    /// Two CPUs in two steps, where one of them is stuck and its batch is over.
    Steps,
    /// One CPU in all.
    All,
}

/// The machine of this thread.
#[derive(Debug, Default)]
pub struct World {
    pub(crate) shape: Cell<Option<&'static Shape>>,
    hp: Cell<Option<&'static Machine>>,
    pub(crate) now: Cell<u64>,
    pub(crate) here: Cell<u32>,
    pub(crate) waits: Cell<u64>,
    pub(crate) sims: RefCell<Vec<Sim>>,
    pub(crate) books: RefCell<Vec<Book>>,
    log: RefCell<Vec<Event>>,
    rules: RefCell<Vec<Rule>>,
    pub(crate) exclusive: Cell<Exclusion>,
    pub(crate) overlap: Cell<usize>,
    /// The instances of each multi-instance state, in the order of their addition.
    pub(crate) lists: RefCell<BTreeMap<u16, Vec<u8>>>,
    /// Paired steps, one bit each.
    pub(crate) paired: Cell<u64>,
    /// Whether calls come from a registration, which moves no state.
    pub(crate) registers: Cell<bool>,
    /// The state of a registration that a CPU did not answer.
    pub unanswered: Cell<Option<u16>>,
    /// A step of a CPU that is half up.
    pub(crate) torn: Cell<Option<(u32, u16)>>,
    /// Who at least may take work in the eyes of every callback of a CPU going down, one bit each; none of
    /// the others may but one that has refused.
    pub takers: Cell<Option<u32>>,
    /// What every callback must be told of a suspend.
    pub suspends: Cell<Option<bool>>,
    /// Whether a suspend is to be given up: asked with how often it was asked before.
    pub aborts: Cell<Option<u32>>,
    /// How long an unreleased CPU waits before it parks itself.
    pub patience: Cell<Option<u64>>,
}

thread_local! {
    static WORLD: World = World::default();
}

/// Lends the machine of this thread.
pub fn with<R>(run: impl FnOnce(&World) -> R) -> R {
    WORLD.with(run)
}

/// Makes a fresh machine of `cpus` CPUs for this thread, not yet adopted; CPU `boot` calls.
///
/// # Panics
/// If the storage does not fit.
pub fn fresh(
    cpus: usize,
    boot: u32,
    table: &'static cpuhp_core::Table,
    shape: &'static Shape,
) -> &'static Machine {
    let records: Vec<_> = (0..cpus).map(|_| cpuhp_core::Record::new()).collect();
    let words = Storage::mask_words(cpus);
    let masks: Vec<_> = (0..words).map(|_| cpuhp_core::MaskWord::new(0)).collect();
    let slots: Vec<_> = (0..table.dynamic_states())
        .map(|_| cpuhp_core::DynSlot::new())
        .collect();
    let lock = Box::leak(Box::new(cpuhp_core::LockWord::new()));
    let storage = Storage::from_parts(records.leak(), masks.leak(), slots.leak(), lock);
    let storage = storage.expect("the storage was made to fit");
    let hp = Box::leak(Box::new(Machine::new(crate::fake::Fake, table, storage)));
    with(|w| w.restart(cpus, boot, shape, hp));
    hp
}

impl World {
    fn restart(&self, cpus: usize, boot: u32, shape: &'static Shape, hp: &'static Machine) {
        self.shape.set(Some(shape));
        self.hp.set(Some(hp));
        self.now.set(1);
        self.here.set(boot);
        self.waits.set(0);
        self.sims.replace(vec![Sim::default(); cpus]);
        self.sim(boot, |sim| sim.life = Life::On);
        self.books.replace(vec![Book::default(); cpus]);
        self.log.take();
        self.rules.take();
        self.exclusive.set(Exclusion::Unchecked);
        self.overlap.set(0);
        self.patience.set(None);
        self.lists.take();
        self.registers.set(false);
        self.unanswered.set(None);
        self.torn.set(None);
        self.aborts.set(None);
        self.suspends.set(None);
        self.takers.set(None);
        self.count_pairs();
    }

    /// The shape of the table in use.
    ///
    /// # Panics
    /// Before [`fresh`].
    pub fn shape(&self) -> &'static Shape {
        self.shape.get().expect("the machine is made")
    }

    /// The hotplug machine in use.
    ///
    /// # Panics
    /// Before [`fresh`].
    pub fn hp(&self) -> &'static Machine {
        self.hp.get().expect("the machine is made")
    }

    /// Adds a rule. Earlier rules are asked first.
    pub fn rule(&self, cpu: Option<u32>, at: u16, dir: Direction, act: Act) {
        self.rule_on(cpu, (at, None), dir, act);
    }

    /// Adds a rule for one instance of a state.
    pub fn rule_on(
        &self,
        cpu: Option<u32>,
        (at, instance): (u16, Option<u8>),
        dir: Direction,
        act: Act,
    ) {
        let rule = Rule {
            cpu,
            at,
            instance,
            dir,
            act,
        };
        self.rules.borrow_mut().push(rule);
    }

    /// Drops all rules.
    pub fn forgive(&self) {
        self.rules.borrow_mut().clear();
    }

    /// Takes the log, leaving it empty.
    pub fn take_log(&self) -> Vec<Event> {
        self.log.take()
    }

    /// Looks at the log.
    pub fn log(&self) -> Vec<Event> {
        self.log.borrow().clone()
    }

    /// Copies the calls of the log into `to` and empties the log; returns how many kicks were in it.
    pub fn drain_calls(&self, to: &mut Vec<Call>) -> usize {
        to.clear();
        let mut kicks = 0;
        for event in self.log.borrow_mut().drain(..) {
            match event {
                Event::Call(call) => to.push(call),
                Event::Kick(_, Ok(())) => kicks += 1,
                Event::Kick(..) | Event::KickDone(..) | Event::Unpark(_) => {}
            }
        }
        kicks
    }

    /// Says which CPUs inside steps without PARALLEL end the test (P15).
    pub fn exclude(&self, what: Exclusion) {
        self.exclusive.set(what);
    }

    /// The most CPUs that were inside a step at once since the machine was made.
    pub fn most_inside(&self) -> usize {
        self.overlap.get()
    }

    pub(crate) fn note(&self, event: Event) {
        self.log.borrow_mut().push(event);
    }

    pub(crate) fn step(
        &self,
        at: u16,
        instance: Option<u8>,
        dir: Direction,
        ctx: &Ctx<'_>,
    ) -> StepResult {
        let cpu = ctx.cpu().get();
        self.check_side(at, cpu);
        if self.is_registering(at) {
            self.check_half(at, instance, dir, cpu);
        } else {
            self.check_state(at, instance, dir, cpu);
            self.check_order(at, instance, dir, ctx);
            self.check_entry(at, dir, ctx);
        }
        self.check_takers(dir, ctx);
        let suspends = self.suspends.get();
        assert!(
            suspends.is_none_or(|told| told == ctx.is_suspend()),
            "{dir:?} of {at}: suspend"
        );
        self.enter(at, dir, cpu);
        let result = self.answer(at, instance, dir, cpu);
        self.note(Event::Call(Call {
            cpu,
            on: self.here.get(),
            at,
            instance,
            dir,
            rollback: ctx.is_rollback(),
            answer: result.err().map_or(0, StepError::code),
        }));
        if result != Err(StepError::WOULD_BLOCK) {
            let passed = dir == Direction::Down && ctx.is_forced();
            self.leave(at, instance, dir, cpu, if passed { Ok(()) } else { result });
        }
        result
    }

    fn answer(&self, at: u16, instance: Option<u8>, dir: Direction, cpu: u32) -> StepResult {
        let mut hooks = Vec::new();
        let result = self.ask((at, instance), dir, cpu, &mut hooks);
        hooks.into_iter().for_each(|hook| hook(cpu));
        result
    }

    fn ask(
        &self,
        (at, instance): (u16, Option<u8>),
        dir: Direction,
        cpu: u32,
        hooks: &mut Vec<fn(u32)>,
    ) -> StepResult {
        let since = self.books.borrow()[cpu as usize]
            .inside
            .map_or(0, |(.., t)| t);
        for rule in self.rules.borrow_mut().iter_mut() {
            let other = rule.cpu.is_some_and(|only| only != cpu)
                || rule.instance.is_some() && rule.instance != instance;
            if rule.at != at || rule.dir != dir || other {
                continue;
            }
            match &mut rule.act {
                Act::Fail(code) => return StepError::user(*code).map_or(Ok(()), Err),
                Act::Hook(run) => hooks.push(*run),
                Act::Pend(0) => {}
                Act::Pend(left) => {
                    *left -= 1;
                    return Err(StepError::WOULD_BLOCK);
                }
                Act::Take(time) if self.now.get() >= since + *time => {}
                Act::Take(_) | Act::Hang => return Err(StepError::WOULD_BLOCK),
            }
        }
        Ok(())
    }
}

/// The up half of state `S`.
///
/// # Errors
/// What the rules say.
pub fn up<const S: u16>(ctx: &Ctx<'_>) -> StepResult {
    with(|w| w.step(S, None, Direction::Up, ctx))
}

/// The down half of state `S`.
///
/// # Errors
/// What the rules say.
pub fn down<const S: u16>(ctx: &Ctx<'_>) -> StepResult {
    with(|w| w.step(S, None, Direction::Down, ctx))
}

/// The up half of a STARTING state.
pub fn start_up<const S: u16>(ctx: &Ctx<'_>) -> Poll<()> {
    start(S, Direction::Up, ctx)
}

/// The down half of a STARTING state.
pub fn start_down<const S: u16>(ctx: &Ctx<'_>) -> Poll<()> {
    start(S, Direction::Down, ctx)
}

fn start(at: u16, dir: Direction, ctx: &Ctx<'_>) -> Poll<()> {
    match with(|w| w.step(at, None, dir, ctx)) {
        Ok(()) => Poll::Ready(()),
        Err(StepError::WOULD_BLOCK) => Poll::Pending,
        Err(error) => panic!("a rule makes STARTING step {at} fail: {error}"),
    }
}
