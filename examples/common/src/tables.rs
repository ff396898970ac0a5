//! The tables of the example: the same steps, with any number of no-op steps more per section.
//!
//! A table is laid out once, when the command line is known: its rows are the first so many steps of
//! static rows. There are two: the plain one, and the full one with multi-instance states and with
//! dynamic ranges, for the scenarios about them. With `solo=1`, `work:online` takes one CPU at a time.

use cpuhp_core::{DynRange, Instances, MultiStart, Sections, StartStep, StateId, Step, Table};

use crate::params::Params;
use crate::scenario::Toggle;
use crate::steps::{down, start_down, start_up, up};
use crate::units;

/// Most no-op steps more per section.
pub(crate) const MOST_EXTRA: u32 = 64;

/// Steps of the longest row: the example's own and the no-op ones.
const LONGEST: usize = 3 + MOST_EXTRA as usize;

/// Slots of each dynamic range of the full table.
pub(crate) const DYNAMIC: u16 = 4;
/// Slots of its range of states that are prepared for all CPUs first: one, so it is as good as reserved.
pub(crate) const RESERVED: u16 = 1;

/// Instances of the static multi-instance states.
pub(crate) static POOL: Instances = Instances::new();
pub(crate) static CLOCK: Instances<dyn MultiStart> = Instances::new();
pub(crate) static QUEUE: Instances = Instances::new();

const PERCPU: Step = step::<{ units::PERCPU.number() }>("percpu:prepare").parallel();
const STACK: Step = step::<{ units::STACK.number() }>("stack:prepare");
const INTC: StartStep = start_step::<{ units::INTC.number() }>("intc:starting");
const TIMER: StartStep = start_step::<{ units::TIMER.number() }>("timer:starting");
const SCHED: Step = step::<{ units::SCHED.number() }>("sched:online").parallel();
const WORK: Step = step::<{ units::WORK.number() }>("work:online");
const ACTIVE: Step = step::<{ units::ACTIVE.number() }>("sched:active").parallel();

static PREPARE: [Step; LONGEST] = row([PERCPU, STACK]);
static STARTING: [StartStep; LONGEST] = start_row([INTC, TIMER]);
static ONLINE: [Step; LONGEST] = row([SCHED, WORK.parallel()]);
static ONLINE_SOLO: [Step; LONGEST] = row([SCHED, WORK]);
static LATE: [Step; 1] = [ACTIVE];

static FULL_PREPARE: [Step; LONGEST] = row([PERCPU, STACK, Step::new("pool:prepare").multi(&POOL)]);
static FULL_STARTING: [StartStep; LONGEST] = start_row([
    INTC,
    TIMER,
    StartStep::new("clock:starting").multi(&CLOCK).parallel(),
]);
static FULL_ONLINE: [Step; LONGEST] = row([
    SCHED,
    WORK.parallel(),
    Step::new("queue:online").multi(&QUEUE).parallel(),
]);
static FULL_SOLO: [Step; LONGEST] = row([
    SCHED,
    WORK,
    Step::new("queue:online").multi(&QUEUE).parallel(),
]);

/// The dynamic ranges of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranges {
    pub(crate) prepare: DynRange,
    /// Prepared for all CPUs before the first kick; one slot.
    pub(crate) reserved: DynRange,
    pub(crate) online: DynRange,
}

/// Lays the table out that the parameters ask for.
pub(crate) fn build(params: &Params) -> (Table, Ranges) {
    let is_full = params.scenario.needs_full_table();
    let solo = params.solo == Toggle::On;
    let extra = params.steps.min(MOST_EXTRA) as usize;
    let (own, dynamic, reserved) = if is_full {
        (3, DYNAMIC, RESERVED)
    } else {
        (2, 0, 0)
    };
    let prepare = if is_full { &FULL_PREPARE } else { &PREPARE };
    let starting = if is_full { &FULL_STARTING } else { &STARTING };
    let online = match (is_full, solo) {
        (false, false) => &ONLINE,
        (false, true) => &ONLINE_SOLO,
        (true, false) => &FULL_ONLINE,
        (true, true) => &FULL_SOLO,
    };
    let len = own + extra;
    let table = Table::new(Sections {
        prepare: prepare.get(..len).unwrap_or(prepare),
        prepare_dynamic: dynamic,
        parallel_dynamic: reserved,
        starting: starting.get(..len).unwrap_or(starting),
        online: online.get(..len).unwrap_or(online),
        online_dynamic: dynamic,
        late: &LATE,
    });
    let ranges = ranges(&table, dynamic, reserved);
    (table, ranges)
}

/// Finds the dynamic ranges from the built-in states and the last one: they lie right below `KICK`, and
/// right below the late states.
fn ranges(table: &Table, dynamic: u16, reserved: u16) -> Ranges {
    let kick = table.kick().get();
    let late = table.find(units::ACTIVE.name()).unwrap_or_default().get();
    let prepare = StateId::new(kick - reserved - dynamic);
    Ranges {
        prepare: DynRange::new(prepare, dynamic, 0),
        reserved: DynRange::new(StateId::new(kick - reserved), reserved, dynamic),
        online: DynRange::new(StateId::new(late - dynamic), dynamic, dynamic + reserved),
    }
}

const fn step<const UNIT: u32>(name: &'static str) -> Step {
    Step::new(name).up(up::<UNIT>).down(down::<UNIT>)
}

const fn start_step<const UNIT: u32>(name: &'static str) -> StartStep {
    let step = StartStep::new(name);
    step.up(start_up::<UNIT>)
        .down(start_down::<UNIT>)
        .parallel()
}

/// A row of these steps and of ones that do nothing but be called.
const fn row<const OWN: usize>(own: [Step; OWN]) -> [Step; LONGEST] {
    let extra = Step::new("extra").up(|_| Ok(())).down(|_| Ok(()));
    let mut row = [extra.parallel(); LONGEST];
    let mut at = 0;
    while at < OWN {
        row[at] = own[at];
        at += 1;
    }
    row
}

/// As [`row`].
const fn start_row<const OWN: usize>(own: [StartStep; OWN]) -> [StartStep; LONGEST] {
    use core::task::Poll::Ready;
    let extra = StartStep::new("extra")
        .up(|_| Ready(()))
        .down(|_| Ready(()));
    let mut row = [extra.parallel(); LONGEST];
    let mut at = 0;
    while at < OWN {
        row[at] = own[at];
        at += 1;
    }
    row
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;
    use std::string::String;

    use super::*;

    fn built(words: String) -> (Table, Ranges) {
        build(&Params::parse(words.leak(), &[]).unwrap())
    }

    #[test]
    fn every_table_has_its_steps_in_their_order_and_the_extra_ones_in_each_section() {
        for steps in 0..=64 {
            for solo in [0, 1] {
                let (table, _) = built(format!("steps={steps} solo={solo}"));
                let at = |name| table.find(name).unwrap().get();
                assert_eq!([at("percpu:prepare"), at("stack:prepare")], [1, 2]);
                assert_eq!(table.kick().get(), 3 + steps);
                assert_eq!(
                    [at("intc:starting"), at("timer:starting")],
                    [4 + steps, 5 + steps]
                );
                assert_eq!(table.ap_idle().get(), 6 + 2 * steps);
                assert_eq!(at("sched:online"), 7 + 2 * steps);
                assert_eq!(at("work:online"), 8 + 2 * steps);
                assert_eq!(at("sched:active"), 9 + 3 * steps);
                assert_eq!(table.online().get(), 10 + 3 * steps);
            }
        }
    }

    #[test]
    fn the_full_table_has_multi_instance_states_and_dynamic_ranges() {
        for steps in [0, 1, 64] {
            let (table, ranges) = built(format!("scenario=register steps={steps}"));
            let at = |name| table.find(name).unwrap().get();
            assert_eq!(at("pool:prepare"), 3);
            assert_eq!(ranges.prepare.first().get(), 4 + steps);
            assert_eq!(ranges.reserved.first().get(), 8 + steps);
            assert_eq!(table.kick().get(), 9 + steps);
            assert_eq!(at("clock:starting"), 12 + steps);
            assert_eq!(table.ap_idle().get(), 13 + 2 * steps);
            assert_eq!(at("queue:online"), 16 + 2 * steps);
            assert_eq!(ranges.online.first().get(), 17 + 3 * steps);
            assert_eq!(at("sched:active"), 21 + 3 * steps);
            let slots = [ranges.prepare, ranges.reserved, ranges.online];
            let slots: u16 = slots.map(DynRange::capacity).iter().sum();
            assert_eq!(table.dynamic_states(), usize::from(slots));
        }
    }
}
