//! Running a case on a machine of its own, and what there is to see afterwards.

use std::iter::repeat_with;
use std::sync::Arc;

use cpuhp_core::{
    ApNext, BootSteps, Calls, CpuId, Cpuhp, Direction, DynRange, DynSlot, Instance, Instances,
    KickError, KickErrorKind, LockWord, MaskStore, MaskWord, MultiStart, MultiStep, Platform,
    Record, Sections, StartStep, StateId, Step, StepError, Storage, Table, Tag, Which, Who, words,
};
use cpuhp_sim::{Call as Look, Fate, Latencies, VirtualTime};

use crate::case::{Case, Coming, Has, Operation, Place, StepSpec, TIMEOUT_NS, Walked};
use crate::world::{Call, HALVES, One, World};

/// The code of a CPU that did not come.
pub(crate) const TIMEOUT: i32 = StepError::TIMEOUT.code();

type Hp = Cpuhp<'static, VirtualTime>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    OneByOne,
    Together,
}

/// Where one CPU stands after an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct End {
    state: Option<StateId>,
    target: Option<StateId>,
    tag: Option<Tag>,
    /// Whether it is available, online and dying.
    masks: [bool; 3],
    pub(crate) first: Option<(StateId, i32)>,
    pub(crate) second: Option<(StateId, i32)>,
}

impl End {
    /// Whether the CPU is neither off nor online.
    pub(crate) fn is_in_between(&self) -> bool {
        self.state != Some(StateId::OFFLINE) && self.masks != [true, true, false]
    }
}

/// All there is to see of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    /// After each operation, of each CPU.
    pub(crate) ends: Vec<Vec<End>>,
    /// Of each CPU.
    pub(crate) log: Vec<Vec<Call>>,
    /// Two CPUs that were inside steps which take one at a time, and the steps, if that happened.
    crowd: Option<[(u32, usize); 2]>,
}

impl Trace {
    /// Says what is wrong with two runs of a case, or not the same, if anything.
    pub(crate) fn differs(&self, other: &Self) -> Option<String> {
        if let Some(crowd) = self.crowd.or(other.crowd) {
            return Some(format!("(cpu, step) that were not alone: {crowd:?}"));
        }
        for (at, (ours, theirs)) in self.ends.iter().zip(&other.ends).enumerate() {
            for (cpu, (one, two)) in ours.iter().zip(theirs).enumerate() {
                if one != two {
                    return Some(format!(
                        "after operation {at}, cpu {cpu}:\n  {one:?}\n  {two:?}"
                    ));
                }
            }
        }
        for (cpu, (ours, theirs)) in self.log.iter().zip(&other.log).enumerate() {
            if ours != theirs {
                return Some(format!("callbacks of cpu {cpu}:\n  {ours:?}\n  {theirs:?}"));
            }
        }
        None
    }
}

/// Runs a case on a new machine. Its tables and records are leaked: they live as long as statics.
pub(crate) fn run(case: &Case, how: How) -> Trace {
    let latencies = Latencies {
        arrival: 0,
        arrival_spread: 0,
        ..Latencies::default()
    };
    let machine = VirtualTime::new(case.cpus, case.seed, latencies).timeout_ns(TIMEOUT_NS);
    let world = World::enter(case, &machine);
    let laid_out = LaidOut::new(case);
    let storage = storage(case.cpus as usize, laid_out.table.dynamic_states());
    let hp = Arc::new(Cpuhp::new(machine.clone(), laid_out.table, storage));
    let ap = Arc::downgrade(&hp);
    machine.attach(move |cpu, look| match (ap.upgrade(), look) {
        (Some(hp), Look::Enter) => hp.ap_enter(cpu, None),
        (Some(hp), Look::Poll) => hp.poll_ap(cpu),
        (None, _) => ApNext::Off,
    });
    hp.adopt_boot_cpu(BootSteps::AlreadyDone)
        .expect("it runs no step");
    laid_out.fill(&hp);
    let mut ends = Vec::new();
    for (cpu, place) in &case.before {
        let resting: Vec<StateId> = resting(laid_out.table).collect();
        // All kicks are prompt so far, but steps may fail.
        let _ = hp.drive(CpuId::new(*cpu), resting[place % resting.len()]);
    }
    set_fates(case, &machine);
    for operation in &case.operations {
        operate(&hp, case, operation, how);
        settle(&machine);
        ends.push(
            (0..case.cpus)
                .map(|cpu| end(&hp, CpuId::new(cpu)))
                .collect(),
        );
    }
    World::leave();
    let log = world.log.borrow().clone();
    let crowd = world.crowd.get();
    Trace { ends, log, crowd }
}

/// Every state in which a CPU may rest.
fn resting(table: &'static Table) -> impl Iterator<Item = StateId> {
    let all = (0..=table.online().get()).map(StateId::new);
    all.filter(|at| table.is_target(*at))
}

fn set_fates(case: &Case, machine: &VirtualTime) {
    for (cpu, coming) in (1..).zip(&case.coming) {
        let fate = match coming {
            Coming::After(nanoseconds) => Fate::Late(*nanoseconds),
            Coming::Never => Fate::Absent,
            Coming::Refused => Fate::Refused(KickError::new(KickErrorKind::Denied)),
        };
        machine.set_fate(CpuId::new(cpu), fate);
    }
}

/// Lets everybody come who is going to.
fn settle(machine: &VirtualTime) {
    let until = machine.now() + 4 * TIMEOUT_NS;
    while machine.now() < until {
        machine.wait(Who::Control(CpuId::new(1)), until);
    }
}

fn operate(hp: &Hp, case: &Case, operation: &Operation, how: How) {
    match how {
        How::OneByOne => one_by_one(hp, case, operation),
        How::Together => together(hp, operation),
    }
}

fn one_by_one(hp: &Hp, case: &Case, operation: &Operation) {
    let cpus: Vec<u32> = match (&operation.named, operation.dir) {
        (Some(named), _) => named.clone(),
        (None, Direction::Up) => (1..case.cpus).collect(),
        (None, Direction::Down) => hp
            .online()
            .iter()
            .map(CpuId::get)
            .filter(|cpu| *cpu > 0)
            .collect(),
    };
    for cpu in cpus.into_iter().map(CpuId::new) {
        // What came of it is seen afterwards.
        let _ = match operation.dir {
            Direction::Up => hp.cpu_up(cpu),
            Direction::Down => hp.cpu_down(cpu),
        };
    }
}

fn together(hp: &Hp, operation: &Operation) {
    let mask: MaskStore<{ words(64) }> = MaskStore::new();
    for cpu in operation.named.iter().flatten() {
        assert!(mask.get_mut().insert(CpuId::new(*cpu)));
    }
    let which = match operation.named {
        Some(_) => Which::Only(mask.get()),
        None => Which::All,
    };
    let report = match operation.dir {
        Direction::Up => hp.bring_up(which),
        Direction::Down => hp.take_down(which),
    };
    let _ = report.expect("the boot CPU is never named");
}

fn end(hp: &Hp, cpu: CpuId) -> End {
    let (state, error) = (hp.state(cpu), hp.last_error(cpu));
    End {
        state,
        target: hp.target(cpu),
        tag: hp.tag(cpu),
        masks: [hp.available(), hp.online(), hp.dying()].map(|mask| mask.contains(cpu)),
        first: error.map(|error| (error.first.at, error.first.err.code())),
        second: error.and_then(|error| error.rollback.map(|second| (second.at, second.err.code()))),
    }
}

fn storage(cpus: usize, slots: usize) -> Storage<'static> {
    let records = Vec::leak(repeat_with(Record::new).take(cpus).collect());
    let masks = repeat_with(|| MaskWord::new(0)).take(Storage::mask_words(cpus));
    let slots = Vec::leak(repeat_with(DynSlot::new).take(slots).collect());
    let lock = Box::leak(Box::new(LockWord::new()));
    let parts = Storage::from_parts(records, Vec::leak(masks.collect()), slots, lock);
    parts.expect("the parts were made to fit")
}

// ---- the table

/// A case's table, what goes into its dynamic ranges, and the objects of its steps.
struct LaidOut {
    table: &'static Table,
    dynamic: Vec<(DynRange, &'static Step)>,
    objects: Vec<(StateId, &'static Instance)>,
    start_objects: Vec<(StateId, &'static Instance<dyn MultiStart>)>,
}

impl LaidOut {
    fn new(case: &Case) -> Self {
        let at = |place| {
            case.steps
                .iter()
                .enumerate()
                .filter(move |(_, step)| step.place == place)
        };
        let count = |place| u16::try_from(at(place).count()).expect("few steps");
        let all = |place| -> &'static [Step] {
            Vec::leak(at(place).map(|(n, spec)| step(n, *spec)).collect())
        };
        let starting = at(Place::Starting).map(|(n, spec)| start_step(n, *spec));
        let [prepare, parallel, online] =
            [Place::PrepareDyn, Place::ParallelDyn, Place::OnlineDyn].map(count);
        let table: &'static Table = Box::leak(Box::new(Table::new(Sections {
            prepare: all(Place::Prepare),
            prepare_dynamic: prepare,
            parallel_dynamic: parallel,
            starting: Vec::leak(starting.collect()),
            online: all(Place::Online),
            online_dynamic: online,
            late: all(Place::Late),
        })));
        let kick = table.kick().get();
        let ranges = [
            (
                Place::PrepareDyn,
                DynRange::new(StateId::new(kick - parallel - prepare), prepare, 0),
            ),
            (
                Place::ParallelDyn,
                DynRange::new(StateId::new(kick - parallel), parallel, prepare),
            ),
            (
                Place::OnlineDyn,
                DynRange::new(
                    StateId::new(table.ap_idle().get() + 1 + count(Place::Online)),
                    online,
                    prepare + parallel,
                ),
            ),
        ];
        let mut laid_out = Self {
            table,
            dynamic: Vec::new(),
            objects: Vec::new(),
            start_objects: Vec::new(),
        };
        for (place, range) in ranges {
            for step in all(place) {
                laid_out.dynamic.push((range, step));
            }
        }
        laid_out.add_objects(case);
        laid_out
    }

    /// Notes the objects of every step under the number that the step has once all are registered.
    fn add_objects(&mut self, case: &Case) {
        let mut number = 0;
        let mut before = Place::Prepare;
        for (n, spec) in case.steps.iter().enumerate() {
            // KICK and AP_IDLE stand between the sections.
            number += 1;
            for divides in [Place::ParallelDyn, Place::Starting] {
                number += u16::from(before <= divides && spec.place > divides);
            }
            before = spec.place;
            for instance in 0..spec.instances {
                let object = One { step: n, instance };
                let object: &'static One = Box::leak(Box::new(object));
                let at = StateId::new(number);
                if spec.place == Place::Starting {
                    let one: &'static dyn MultiStart = object;
                    self.start_objects
                        .push((at, Box::leak(Box::new(Instance::new(one)))));
                } else {
                    let one: &'static dyn MultiStep = object;
                    self.objects
                        .push((at, Box::leak(Box::new(Instance::new(one)))));
                }
            }
        }
    }

    /// Registers what is dynamic; no AP is up yet.
    fn fill(&self, hp: &Hp) {
        for (range, step) in &self.dynamic {
            hp.register(*range, step, Calls::Skip)
                .expect("there is room");
        }
        for (at, one) in &self.objects {
            hp.add_instance(*at, one, Calls::Skip)
                .expect("it is in no list");
        }
        for (at, one) in &self.start_objects {
            let guard = hp.try_write().expect("nobody else is here");
            let mut op = guard
                .add_start_instance(*at, one, Calls::Skip)
                .expect("it is in no list");
            assert!(op.poll(&guard).is_ready());
        }
    }
}

fn step(number: usize, spec: StepSpec) -> Step {
    let halves = HALVES[number];
    let plain = Step::new(name(number));
    let step = match spec.has {
        _ if spec.instances > 0 => plain.multi(Box::leak(Box::new(Instances::new()))),
        Has::Both => plain.up(halves.up).down(halves.down),
        Has::Up => plain.up(halves.up),
        Has::Down => plain.down(halves.down),
        Has::Nothing => plain,
    };
    match spec.walked {
        Walked::Parallel => step.parallel(),
        Walked::OneByOne => step,
    }
}

fn start_step(number: usize, spec: StepSpec) -> StartStep {
    let halves = HALVES[number];
    let plain = StartStep::new(name(number));
    let step = match spec.has {
        _ if spec.instances > 0 => plain.multi(Box::leak(Box::new(Instances::new()))),
        Has::Both => plain.up(halves.start_up).down(halves.start_down),
        Has::Up => plain.up(halves.start_up),
        Has::Down => plain.down(halves.start_down),
        Has::Nothing => plain,
    };
    match spec.walked {
        Walked::Parallel => step.parallel(),
        Walked::OneByOne => step,
    }
}

fn name(number: usize) -> &'static str {
    String::leak(format!("step{number}:any"))
}
