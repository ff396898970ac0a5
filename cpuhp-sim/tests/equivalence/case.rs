//! One random case: a table, who is named, what fails, and when CPUs come.

use cpuhp_core::Direction;

/// Most steps of a case: one pair of functions each is compiled in.
pub(crate) const MOST_STEPS: usize = 24;

/// Where a step is declared, in the order of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    Prepare,
    PrepareDyn,
    ParallelDyn,
    Starting,
    Online,
    OnlineDyn,
    Late,
}

const PLACES: [Place; 7] = [
    Place::Prepare,
    Place::PrepareDyn,
    Place::ParallelDyn,
    Place::Starting,
    Place::Online,
    Place::OnlineDyn,
    Place::Late,
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Has {
    Both,
    Up,
    Down,
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Walked {
    Parallel,
    OneByOne,
}

/// A step. `instances` of 0: it has halves of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StepSpec {
    pub(crate) place: Place,
    pub(crate) has: Has,
    pub(crate) walked: Walked,
    pub(crate) instances: u8,
}

/// A half that fails, so many times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) cpu: u32,
    pub(crate) step: usize,
    /// 0 in a step without instances.
    pub(crate) instance: u8,
    pub(crate) dir: Direction,
    pub(crate) times: u32,
}

/// What becomes of the kicks of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Coming {
    /// After so many nanoseconds.
    After(u64),
    Never,
    Refused,
}

/// One operation on many CPUs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Operation {
    pub(crate) dir: Direction,
    /// `None` = all that can go this way.
    pub(crate) named: Option<Vec<u32>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) cpus: u32,
    pub(crate) steps: Vec<StepSpec>,
    /// CPUs that are driven somewhere first, to the so-and-so-many-th state where one can rest.
    pub(crate) before: Vec<(u32, usize)>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) faults: Vec<Fault>,
    /// Of CPU 1, CPU 2, …
    pub(crate) coming: Vec<Coming>,
}

/// How long a CPU may take to come.
pub(crate) const TIMEOUT_NS: u64 = 5_000_000;

impl Case {
    pub(crate) fn random(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let r = &mut random;
        let cpus = 2 + r.number(5);
        let steps = steps(r);
        let mut operations = Vec::new();
        let mut dir = if r.one_in(4) {
            Direction::Down
        } else {
            Direction::Up
        };
        for _ in 0..=r.below(3) {
            let named = (1..cpus).filter(|_| !r.one_in(4)).collect();
            let named = if r.one_in(4) { None } else { Some(named) };
            operations.push(Operation { dir, named });
            dir = dir.opposite();
        }
        let mut before = Vec::new();
        for cpu in 1..cpus {
            if r.one_in(3) {
                before.push((cpu, r.below(40)));
            }
        }
        let mut coming: Vec<Coming> = (1..cpus).map(|_| coming(r)).collect();
        if steps.iter().all(|step| step.place > Place::ParallelDyn) {
            // Without PREPARE a CPU that was given up on is at `OFFLINE` already: a single operation finds it
            // there, a batch asks in vain whether it is off. What is left is the same, what is reported is not.
            coming.fill(Coming::After(10_000));
        }
        let mut faults: Vec<Fault> = (0..r.below(5)).map(|_| fault(r, cpus, &steps)).collect();
        if let Some(first) = faults.first().copied().filter(|_| r.one_in(4)) {
            // Everybody fails in the same step, so that all go back from there.
            faults.extend((1..cpus).map(|cpu| Fault { cpu, ..first }));
        }
        if operations
            .iter()
            .any(|operation| operation.dir == Direction::Down)
        {
            // By design different: a batch that has committed stays where PREPARE refuses to go down, since
            // nothing can come up again; a single CPU does come up again.
            faults.retain(|fault| fault.dir == Direction::Up || !is_prepared(&steps, fault));
        }
        Self {
            seed,
            cpus,
            steps,
            before,
            operations,
            faults,
            coming,
        }
    }
}

fn is_prepared(steps: &[StepSpec], fault: &Fault) -> bool {
    let step = steps.get(fault.step);
    step.is_some_and(|step| step.place <= Place::ParallelDyn)
}

fn steps(r: &mut Random) -> Vec<StepSpec> {
    let mut steps = Vec::new();
    for place in PLACES {
        let most = match place {
            Place::Prepare | Place::Starting | Place::Online => 4,
            Place::PrepareDyn | Place::ParallelDyn => 2,
            Place::OnlineDyn | Place::Late => 3,
        };
        for _ in 0..r.below(most) {
            steps.push(step(r, place));
        }
    }
    steps
}

fn step(r: &mut Random, place: Place) -> StepSpec {
    let has = match r.below(8) {
        0 => Has::Up,
        1 => Has::Down,
        2 => Has::Nothing,
        _ => Has::Both,
    };
    let parallel = place == Place::ParallelDyn || !r.one_in(3);
    StepSpec {
        place,
        has,
        walked: if parallel {
            Walked::Parallel
        } else {
            Walked::OneByOne
        },
        instances: if r.one_in(4) { 1 + r.small(3) } else { 0 },
    }
}

fn fault(r: &mut Random, cpus: u32, steps: &[StepSpec]) -> Fault {
    let step = r.below(steps.len().max(1));
    let instances = steps.get(step).map_or(0, |step| step.instances);
    Fault {
        cpu: 1 + r.number(cpus - 1),
        step,
        instance: r.small(instances.max(1)),
        dir: if r.one_in(3) {
            Direction::Down
        } else {
            Direction::Up
        },
        times: if r.one_in(2) { 1 } else { u32::MAX },
    }
}

fn coming(r: &mut Random) -> Coming {
    let usual = 10_000 + u64::from(r.number(200_000));
    match r.below(16) {
        0 => Coming::Never,
        1 => Coming::Refused,
        2 => Coming::After(TIMEOUT_NS / 2),
        3 => Coming::After(TIMEOUT_NS * 3),
        _ => Coming::After(usual),
    }
}

/// `splitmix64`: the same seed gives the same case everywhere.
struct Random(u64);

impl Random {
    fn step(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        scatter(self.0)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.step() >> 33).expect("31 bits fit") % count
    }

    fn number(&mut self, count: u32) -> u32 {
        u32::try_from(self.step() >> 33).expect("31 bits fit") % count
    }

    fn small(&mut self, count: u8) -> u8 {
        u8::try_from(self.number(u32::from(count))).expect("below a small number")
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// Makes one number of another: what depends on it alone looks like chance.
pub(crate) fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
