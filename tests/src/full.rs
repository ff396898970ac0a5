//! A table with static and multi-instance steps in every section, and with everything that can be
//! registered while it runs: made anew for each test, since instance lists live in their steps.

use core::task::Poll;
use cpuhp_core::{
    Calls, Ctx, Direction, DynRange, Instance, Instances, MultiStart, MultiStep, Sections,
    StartStep, StateHandle, StateId, Step, StepError, StepResult, Table,
};

use crate::fake::Machine;
use crate::shape::Section::{BuiltIn, Online, Prepare, Starting};
use crate::shape::{Section, Shape, State};
use crate::world::{down, fresh, start_down, start_up, up, with};

/// One object of a multi-instance state, which knows where it is.
#[derive(Clone, Copy, Debug)]
pub struct Object {
    at: u16,
    index: u8,
}

impl Object {
    fn call(&self, dir: Direction, ctx: &Ctx<'_>) -> StepResult {
        with(|w| w.step(self.at, Some(self.index), dir, ctx))
    }

    fn start(&self, dir: Direction, ctx: &Ctx<'_>) -> Poll<()> {
        match self.call(dir, ctx) {
            Ok(()) => Poll::Ready(()),
            Err(StepError::WOULD_BLOCK) => Poll::Pending,
            Err(error) => panic!(
                "a rule makes STARTING instance of {} fail: {error}",
                self.at
            ),
        }
    }
}

impl MultiStep for Object {
    fn up(&self, ctx: &Ctx<'_>) -> StepResult {
        self.call(Direction::Up, ctx)
    }
    fn down(&self, ctx: &Ctx<'_>) -> StepResult {
        self.call(Direction::Down, ctx)
    }
}

impl MultiStart for Object {
    fn up(&self, ctx: &Ctx<'_>) -> Poll<()> {
        self.start(Direction::Up, ctx)
    }
    fn down(&self, ctx: &Ctx<'_>) -> Poll<()> {
        self.start(Direction::Down, ctx)
    }
}

/// Makes an instance of a state of PREPARE or ONLINE.
pub fn instance(at: u16, index: u8) -> &'static Instance {
    let object: &'static Object = Box::leak(Box::new(Object { at, index }));
    Box::leak(Box::new(Instance::<dyn MultiStep>::new(object)))
}

/// Makes an instance of a state of STARTING.
pub fn start_instance(at: u16, index: u8) -> &'static Instance<dyn MultiStart> {
    let object: &'static Object = Box::leak(Box::new(Object { at, index }));
    Box::leak(Box::new(Instance::<dyn MultiStart>::new(object)))
}

fn list() -> &'static Instances {
    Box::leak(Box::new(Instances::new()))
}

/// A step with both halves.
///
/// # Panics
/// If no functions are written down for this number.
pub fn both(name: &'static str, number: u16) -> Step {
    match number {
        1 => Step::new(name).up(up::<1>).down(down::<1>),
        3 => Step::new(name).up(up::<3>).down(down::<3>),
        4 => Step::new(name).up(up::<4>).down(down::<4>),
        5 => Step::new(name).up(up::<5>).down(down::<5>),
        10 => Step::new(name).up(up::<10>).down(down::<10>),
        12 => Step::new(name).up(up::<12>).down(down::<12>),
        13 => Step::new(name).up(up::<13>).down(down::<13>),
        14 => Step::new(name).up(up::<14>).down(down::<14>),
        15 => Step::new(name).up(up::<15>).down(down::<15>),
        _ => panic!("no function for this number"),
    }
}

/// A step that lives for ever.
pub fn keep(step: Step) -> &'static Step {
    Box::leak(Box::new(step))
}

/// Number of `KICK`.
pub const KICK: u16 = 6;
/// Number of `AP_IDLE`.
pub const IDLE: u16 = 9;
/// Number of `ONLINE`.
pub const ONLINE: u16 = 17;
/// Dynamic states of PREPARE.
pub const PREPARE_DYN: DynRange = DynRange::new(StateId::new(3), 2, 0);
/// Those that are prepared for all CPUs before the first kick.
pub const PARALLEL_DYN: DynRange = DynRange::new(StateId::new(5), 1, 2);
/// Dynamic states of ONLINE.
pub const ONLINE_DYN: DynRange = DynRange::new(StateId::new(12), 3, 3);
/// The static multi-instance states of PREPARE and ONLINE.
pub const MULTI: [u16; 3] = [2, 11, 16];
/// The static multi-instance state of STARTING.
pub const MULTI_START: u16 = 8;

/// Every state of the table, with nothing registered.
const STATES: [State; 18] = [
    State::new("offline", BuiltIn, ""),
    State::new("p1:prepare", Prepare, "ud"),
    State::new("p2:prepare", Prepare, "udp"),
    State::new("", Prepare, ""),
    State::new("", Prepare, ""),
    State::new("", Prepare, ""),
    State::new("kick", BuiltIn, ""),
    State::new("s1:starting", Starting, "udp"),
    State::new("s2:starting", Starting, "udp"),
    State::new("ap-idle", BuiltIn, ""),
    State::new("o1:online", Online, "udp"),
    State::new("o2:online", Online, "ud"),
    State::new("", Online, ""),
    State::new("", Online, ""),
    State::new("", Online, ""),
    State::new("l1:late", Online, "udp"),
    State::new("l2:late", Online, "udp"),
    State::new("online", BuiltIn, ""),
];

/// The table with nothing registered, and its shape.
pub static EMPTY: Shape = Shape {
    kick: KICK,
    ap_idle: IDLE,
    states: &STATES,
};

fn table() -> &'static Table {
    let start = |name, up, down| StartStep::new(name).up(up).down(down).parallel();
    let starts: &'static Instances<dyn MultiStart> = Box::leak(Box::new(Instances::new()));
    let sections = Sections {
        prepare: vec![
            both("p1:prepare", 1),
            Step::new("p2:prepare").multi(list()).parallel(),
        ]
        .leak(),
        prepare_dynamic: 2,
        parallel_dynamic: 1,
        starting: vec![
            start("s1:starting", start_up::<7>, start_down::<7>),
            StartStep::new("s2:starting").multi(starts).parallel(),
        ]
        .leak(),
        online: vec![
            both("o1:online", 10).parallel(),
            Step::new("o2:online").multi(list()),
        ]
        .leak(),
        online_dynamic: 3,
        late: vec![
            both("l1:late", 15).parallel(),
            Step::new("l2:late").multi(list()).parallel(),
        ]
        .leak(),
    };
    Box::leak(Box::new(Table::new(sections)))
}

/// A machine with this table, nothing registered and no instance added; the boot CPU is adopted.
///
/// # Panics
/// If it cannot be adopted.
pub fn empty(cpus: usize, boot: u32) -> &'static Machine {
    let hp = fresh(cpus, boot, table(), &EMPTY);
    with(|w| {
        for at in MULTI.into_iter().chain([MULTI_START]) {
            w.set_instances(at, &[]);
        }
        w.assume_up(boot);
    });
    let adopted = hp.adopt_boot_cpu(cpuhp_core::BootSteps::AlreadyDone);
    assert_eq!(adopted, Ok(()), "the boot cpu is adopted");
    hp
}

/// What [`populated`] registered.
#[derive(Clone, Copy, Debug)]
pub struct Populated {
    /// The machine.
    pub hp: &'static Machine,
    /// Handles of the dynamic states, by number.
    pub handles: [(u16, StateHandle); 5],
}

/// The shape of a populated table.
pub static FULL: Shape = Shape {
    kick: KICK,
    ap_idle: IDLE,
    states: &full_states(),
};

const fn full_states() -> [State; 18] {
    let mut states = STATES;
    states[3] = State::new("d3:prepare", Prepare, "ud");
    states[4] = State::new("d4:prepare", Prepare, "ud");
    states[5] = State::new("d5:prepare", Prepare, "udp");
    states[12] = State::new("d12:online", Online, "udp");
    states[14] = State::new("d14:online", Online, "ud");
    states
}

/// How many instances a state of a populated table has; 0 for one without.
pub const fn instances(at: u16) -> u8 {
    match at {
        2 | 11 => 3,
        4 | 8 | 12 | 16 => 2,
        _ => 0,
    }
}

/// A machine with this table, with dynamic steps 3, 5, 14, dynamic multi-instance steps 4 and 12, a hole
/// at 13, and instances everywhere.
///
/// # Panics
/// If anything cannot be registered.
pub fn populated(cpus: usize, boot: u32) -> Populated {
    let hp = empty(cpus, boot);
    with(|w| w.reshape(&FULL));
    let add = |range, step| {
        let handle = hp.register(range, keep(step), Calls::Skip);
        handle.expect("a slot is free")
    };
    let handles = [
        (3, add(PREPARE_DYN, both("d3:prepare", 3))),
        (4, add(PREPARE_DYN, Step::new("d4:prepare").multi(list()))),
        (5, add(PARALLEL_DYN, both("d5:prepare", 5).parallel())),
        (
            12,
            add(ONLINE_DYN, Step::new("d12:online").multi(list()).parallel()),
        ),
        (13, add(ONLINE_DYN, both("d13:online", 13))),
    ];
    let last = add(ONLINE_DYN, both("d14:online", 14));
    let hole = handles[4].1;
    assert_eq!(hp.unregister(hole, Calls::Skip), Ok(0), "13 is a hole");
    let mut handles = handles;
    handles[4] = (14, last);
    for (at, handle) in handles {
        assert_eq!(handle.state().get(), at, "the first free slot is taken");
    }
    for at in 1..ONLINE {
        for index in 0..instances(at) {
            let state = StateId::new(at);
            let added = if at == MULTI_START {
                start_add(hp, state, index)
            } else {
                hp.add_instance(state, instance(at, index), Calls::Skip)
            };
            assert_eq!(added, Ok(()), "instance {index} of {at}");
        }
        if instances(at) > 0 {
            let all: Vec<u8> = (0..instances(at)).collect();
            with(|w| w.set_instances(at, &all));
        }
    }
    with(|w| w.assume_up(boot));
    Populated { hp, handles }
}

fn start_add(hp: &Machine, at: StateId, index: u8) -> Result<(), cpuhp_core::RegisterError> {
    let guard = hp.try_write()?;
    let mut op = guard.add_start_instance(at, start_instance(at.get(), index), Calls::Skip)?;
    match op.poll(&guard) {
        Poll::Ready(done) => done.map(|_| ()),
        Poll::Pending => panic!("nothing is called"),
    }
}

/// The section of a state of this table.
pub fn section(at: u16) -> Section {
    STATES[usize::from(at)].section
}
