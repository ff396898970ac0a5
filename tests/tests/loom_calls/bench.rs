//! What the models of calls share: a machine whose CPUs are there at once, and the count of executions.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cpuhp_core::{
    ApNext, BootSteps, Call, CallEvent, CallQueue, CallStage, Confirm, CpuId, Cpuhp, KickError,
    OpFlags, Platform, StateId, Store, Trace, Who, states, words,
};
use loom::cell::Cell;
use loom::sync::atomic::AtomicU32;
use loom::sync::{Condvar, Mutex};
use loom::thread;

states! {
    /// No steps at all.
    pub(crate) mod bare {
        prepare {}
        starting {}
        online {}
    }
}

pub(crate) const TARGET: CpuId = CpuId::new(0);
pub(crate) const OTHER: CpuId = CpuId::new(1);
pub(crate) const THIRD: CpuId = CpuId::new(2);

pub(crate) type Hotplug<'w> = Cpuhp<'w, Board, Stages>;

/// What a model is good at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    /// Missing orderings.
    Spinning,
    /// The same, with ticks.
    Ticking,
    /// Lost interrupts: a target that is told of no call sleeps for ever. Waking orders memory.
    Blocking,
}

/// The machine of one execution.
pub(crate) struct Bench {
    store: Store<3, { words(3) }, 0>,
    queues: [CallQueue; 3],
    /// Nodes with the function [`note`], which live as long as the program.
    pub(crate) nodes: [&'static Call; 3],
    /// What callers hand over, by `arg`.
    pub(crate) given: [Cell<u32>; 3],
    /// What the function wrote last.
    pub(crate) last: Cell<usize>,
    /// Which calls ran, in order.
    pub(crate) ran: Rc<RefCell<Vec<usize>>>,
    /// Which stages were traced of each call, in order.
    stages: RefCell<[Vec<CallStage>; 3]>,
    family: Family,
    ticks: AtomicU32,
    /// Whether the target has an interrupt that it has not taken yet.
    pending: Mutex<bool>,
    interrupted: Condvar,
}

std::thread_local! {
    static BENCH: RefCell<Option<Rc<Bench>>> = const { RefCell::new(None) };
}

/// The machine of this execution: loom runs all its threads on one thread of the host.
fn bench() -> Rc<Bench> {
    BENCH.with_borrow(Clone::clone).expect("a model runs")
}

/// The function of every node: reads what the caller gave, and writes what the next call may read.
fn note(_: CpuId, arg: usize) {
    let bench = bench();
    assert_eq!(bench.given[arg].get(), 7, "the caller wrote it before");
    let _before = bench.last.get();
    bench.last.set(arg);
    bench.ran.borrow_mut().push(arg);
}

fn node() -> &'static Call {
    Box::leak(Box::new(Call::new(note)))
}

/// One node per CPU, for a call to many.
pub(crate) fn row() -> &'static [Call] {
    Vec::leak((0..3).map(|_| Call::new(note)).collect())
}

impl Bench {
    fn new(family: Family) -> Self {
        Self {
            store: Store::new(),
            queues: std::array::from_fn(|_| CallQueue::new()),
            nodes: std::array::from_fn(|_| node()),
            given: std::array::from_fn(|_| Cell::new(0)),
            last: Cell::new(0),
            ran: Rc::default(),
            stages: RefCell::default(),
            family,
            ticks: AtomicU32::new(0),
            pending: Mutex::new(false),
            interrupted: Condvar::new(),
        }
    }

    /// The hotplug machine as CPU `here` has it, in a context of its own.
    pub(crate) fn hotplug(self: &Rc<Self>, here: CpuId, context: u32) -> Hotplug<'_> {
        let board = Board {
            here,
            context,
            now: AtomicU64::new(0),
        };
        Cpuhp::with_trace(board, Stages, &bare::TABLE, self.store.get()).with_calls(&self.queues)
    }

    /// Gives what call `arg` hands over, and makes it.
    pub(crate) fn call(&self, hp: &Hotplug<'_>, cpu: CpuId, arg: usize) -> bool {
        self.given[arg].set(7);
        hp.call(cpu, self.nodes[arg], arg).is_ok()
    }

    /// Brings the first two CPUs up, with both sides on this thread.
    pub(crate) fn bring_up(self: &Rc<Self>) {
        let control = self.hotplug(TARGET, 0);
        let adopted = control.adopt_boot_cpu(BootSteps::AlreadyDone);
        adopted.expect("nothing else runs yet");
        self.drive_other(&control, bare::ONLINE);
    }

    /// Moves the second CPU with both sides on this thread.
    pub(crate) fn drive_other(self: &Rc<Self>, control: &Hotplug<'_>, target: StateId) {
        let other = self.hotplug(OTHER, 1);
        let guard = control.try_write().expect("nobody else has it");
        let mut op = guard.op(OTHER, target, OpFlags::AUTO).expect("legal");
        while op.poll(&guard).is_pending() {
            let _: ApNext = other.ap_enter(OTHER, None);
            let _: ApNext = other.poll_ap(OTHER);
        }
    }

    /// A point at which any thread may go on.
    pub(crate) fn tick(&self) {
        if self.family == Family::Ticking {
            self.ticks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each accepted call has one set of events, and no run of it begins before it is queued.
    fn check_stages(&self) {
        for stages in self.stages.borrow().iter() {
            let at = |stage: &dyn Fn(&CallStage) -> bool| -> Vec<usize> {
                let stages = stages.iter().enumerate();
                let found = stages.filter(|(_, one)| stage(one)).map(|(at, _)| at);
                found.collect()
            };
            let pushed = at(&|one| matches!(one, CallStage::Pushed(_)));
            let entries = at(&|one| *one == CallStage::Entry);
            let exits = at(&|one| *one == CallStage::Exit);
            assert!(
                pushed.len() == entries.len() && entries.len() == exits.len(),
                "{stages:?}"
            );
            let mut queued = at(&|one| *one == CallStage::Queued);
            queued.truncate(entries.len());
            let in_order = |one: &[usize], then: &[usize]| {
                one.len() == then.len() && one.iter().zip(then).all(|(one, then)| one < then)
            };
            assert!(
                in_order(&queued, &entries) && in_order(&entries, &exits),
                "{stages:?}"
            );
            assert!(in_order(&queued, &pushed), "{stages:?}");
        }
    }

    /// Waits for an interrupt of the target, and takes it.
    pub(crate) fn sleep(&self) {
        let mut pending = self.pending.lock().expect("nobody panics");
        while !*pending {
            pending = self.interrupted.wait(pending).expect("nobody panics");
        }
        *pending = false;
    }

    fn interrupt(&self) {
        *self.pending.lock().expect("nobody panics") = true;
        self.interrupted.notify_one();
    }
}

/// A machine on which everything asked for is done at once.
pub(crate) struct Board {
    here: CpuId,
    context: u32,
    now: AtomicU64,
}

impl Platform for Board {
    /// As many steps as it was asked for.
    fn now(&self) -> u64 {
        self.now.fetch_add(1, Ordering::Relaxed)
    }
    fn this_cpu(&self) -> CpuId {
        self.here
    }
    fn context(&self) -> u32 {
        bench().tick();
        self.context
    }
    fn kick(&self, _: CpuId, _: u16) -> Result<(), KickError> {
        Ok(())
    }
    fn confirm(&self, _: CpuId) -> Confirm {
        Confirm::Off
    }
    fn wait(&self, _: Who, _: u64) {
        thread::yield_now();
    }
    fn step_timeout(&self) -> u64 {
        6
    }
    fn ipi(&self, cpu: CpuId) {
        if cpu != TARGET {
            // It does not sleep.
            return;
        }
        bench().interrupt();
    }
}

/// Writes down the stages of every call; each is a tick.
pub(crate) struct Stages;

impl Trace for Stages {
    const ON: bool = true;

    fn call(&self, event: &CallEvent) {
        let bench = bench();
        bench.stages.borrow_mut()[event.arg].push(event.stage);
        bench.tick();
    }
}

/// Explores every execution of `run` and prints what was explored.
pub(crate) fn check(name: &'static str, family: Family, threads: u32, run: fn(&Rc<Bench>)) {
    let long = std::env::var_os("CPUHP_LOOM_LONG").is_some();
    let bound = name.ends_with("_bounded").then_some(2 + usize::from(long));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.max_branches = 100_000;
    builder.max_permutations = None;
    builder.max_duration = None;
    let executions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&executions);
    let began = Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let bench = Rc::new(Bench::new(family));
        BENCH.set(Some(Rc::clone(&bench)));
        run(&bench);
        bench.check_stages();
        BENCH.set(None);
    });
    let family = match family {
        Family::Spinning | Family::Ticking => "spinning",
        Family::Blocking => "blocking",
    };
    let bound = bound.map_or("null".to_owned(), |bound| bound.to_string());
    println!(
        "@loom {{\"model\":\"{name}\",\"family\":\"{family}\",\"threads\":{threads},\"bound\":{bound},\"executions\":{},\"seconds\":{:.2}}}",
        executions.load(Ordering::Relaxed),
        began.elapsed().as_secs_f64(),
    );
}
