//! The units of the example table: every half that writes itself down belongs to one of them.
//!
//! A unit is a step, or one instance of a multi-instance state. It has a number for ever; where it is in
//! the order is decided by the table, or by a registration: see [`crate::order`].

use core::task::Poll;

use cpuhp_core::{Ctx, Instance, Instances, MultiStart, MultiStep, Step, StepResult};

use crate::steps;

/// One unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unit(u32);

/// Which part of the table a unit belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Section {
    Prepare,
    Starting,
    Online,
}

// The steps of every table, in their order.
pub(crate) const PERCPU: Unit = Unit(1);
pub(crate) const STACK: Unit = Unit(2);
pub(crate) const INTC: Unit = Unit(3);
pub(crate) const TIMER: Unit = Unit(4);
pub(crate) const SCHED: Unit = Unit(5);
pub(crate) const WORK: Unit = Unit(6);
pub(crate) const ACTIVE: Unit = Unit(7);
// Instances of the multi-instance states of the full table.
pub(crate) const POOLS: [Unit; 2] = [Unit(8), Unit(9)];
pub(crate) const CLOCKS: [Unit; 2] = [Unit(10), Unit(11)];
pub(crate) const QUEUES: [Unit; 2] = [Unit(12), Unit(13)];
// Steps that are registered.
pub(crate) const CACHE: Unit = Unit(14);
pub(crate) const MAPS: Unit = Unit(15);
pub(crate) const SLAB: Unit = Unit(16);
pub(crate) const STAT: Unit = Unit(17);
pub(crate) const PERF: Unit = Unit(18);
// Instances of multi-instance states that are registered.
pub(crate) const ZONES: [Unit; 2] = [Unit(19), Unit(20)];
pub(crate) const PROBES: [Unit; 2] = [Unit(21), Unit(22)];

/// The units of every table.
pub(crate) const STATIC: [Unit; 7] = [PERCPU, STACK, INTC, TIMER, SCHED, WORK, ACTIVE];

/// Numbers there are, 0 counted.
pub(crate) const UNITS: usize = 23;

impl Unit {
    /// Returns the unit with this number.
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns its bit in a set of units.
    pub(crate) const fn bit(self) -> u32 {
        1 << self.0
    }

    /// Returns the name of its state.
    pub(crate) const fn name(self) -> &'static str {
        match self.0 {
            1 => "percpu:prepare",
            2 => "stack:prepare",
            3 => "intc:starting",
            4 => "timer:starting",
            5 => "sched:online",
            6 => "work:online",
            7 => "sched:active",
            8 | 9 => "pool:prepare",
            10 | 11 => "clock:starting",
            12 | 13 => "queue:online",
            14 => "cache:dynamic",
            15 => "maps:dynamic",
            16 => "slab:reserved",
            17 => "stat:dynamic",
            18 => "perf:dynamic",
            19 | 20 => "zone:dynamic",
            21 | 22 => "probe:dynamic",
            _ => "",
        }
    }

    pub(crate) const fn section(self) -> Section {
        match self.0 {
            1 | 2 | 8 | 9 | 14 | 15 | 16 | 19 | 20 => Section::Prepare,
            3 | 4 | 10 | 11 => Section::Starting,
            _ => Section::Online,
        }
    }

    /// Whether its halves can fail.
    pub(crate) fn can_fail(self) -> bool {
        self.section() != Section::Starting
    }

    /// Whether it is an instance of a state that several CPUs may be in at once.
    pub(crate) fn is_parallel_state(self) -> bool {
        !POOLS.contains(&self) && !ZONES.contains(&self)
    }

    /// Returns every unit there is.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (1..).take(UNITS - 1).map(Self)
    }
}

// ---- instances

impl MultiStep for Unit {
    fn up(&self, ctx: &Ctx<'_>) -> StepResult {
        steps::run_up(ctx, *self)
    }

    fn down(&self, ctx: &Ctx<'_>) -> StepResult {
        steps::run_down(ctx, *self)
    }
}

impl MultiStart for Unit {
    fn up(&self, ctx: &Ctx<'_>) -> Poll<()> {
        steps::polled(steps::run_up(ctx, *self))
    }

    fn down(&self, ctx: &Ctx<'_>) -> Poll<()> {
        steps::polled(steps::run_down(ctx, *self))
    }
}

/// The memory of the instances, by place in [`POOLS`] and its like.
pub(crate) static POOL: [Instance; 2] = pair(&POOLS);
pub(crate) static QUEUE: [Instance; 2] = pair(&QUEUES);
pub(crate) static ZONE: [Instance; 2] = pair(&ZONES);
pub(crate) static PROBE: [Instance; 2] = pair(&PROBES);
pub(crate) static CLOCK: [Instance<dyn MultiStart>; 2] =
    [Instance::new(&CLOCKS[0]), Instance::new(&CLOCKS[1])];

const fn pair(units: &'static [Unit; 2]) -> [Instance; 2] {
    [Instance::new(&units[0]), Instance::new(&units[1])]
}

// ---- steps that are registered

/// The instances of the multi-instance states that are registered.
static ZONE_LIST: Instances = Instances::new();
static PROBE_LIST: Instances = Instances::new();

pub(crate) static CACHE_STEP: Step = single::<14>(CACHE);
pub(crate) static MAPS_STEP: Step = single::<15>(MAPS).parallel();
pub(crate) static SLAB_STEP: Step = single::<16>(SLAB).parallel();
pub(crate) static STAT_STEP: Step = single::<17>(STAT).parallel();
pub(crate) static PERF_STEP: Step = single::<18>(PERF);
pub(crate) static ZONE_STEP: Step = Step::new(ZONES[0].name()).multi(&ZONE_LIST);
pub(crate) static PROBE_STEP: Step = Step::new(PROBES[0].name()).multi(&PROBE_LIST).parallel();

const fn single<const NUMBER: u32>(unit: Unit) -> Step {
    assert!(unit.0 == NUMBER, "the step of a unit calls that unit");
    Step::new(unit.name())
        .up(steps::up::<NUMBER>)
        .down(steps::down::<NUMBER>)
}
