//! One run of a model: all CPUs but the boot CPU, one way, in one mode.

use std::iter::repeat_with;
use std::sync::Arc;

use cpuhp_core::{
    ApNext, BootSteps, CpuId, Cpuhp, LockWord, MaskWord, OpError, Platform, Record, StateId,
    Storage, Which,
};
use cpuhp_sim::{Call, Latencies, VirtualTime};

use crate::data::{Mode, Model, Way};
use crate::trouble::{self, Trouble};
use crate::watch::Watched;
use crate::world::{self, Hp, World};

/// What is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Which way.
    pub way: Way,
    /// In which mode.
    pub mode: Mode,
    /// What is wrong.
    pub trouble: Option<Trouble>,
}

/// How it went. Times are virtual nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// From the first act of the control CPU until it knew of the last CPU.
    pub ns: u64,
    /// From the same act until the last AP was through its last step.
    pub last_ns: u64,
    /// Of the first, what the control CPU waited.
    pub wait_ns: u64,
    /// How often the control CPU asked something of the machine.
    pub asked: u64,
    /// How often a CPU looked at its own record.
    pub ap_polls: u64,
    /// CPUs at their target.
    pub done: u32,
    /// CPUs that failed.
    pub failed: u32,
}

/// A model in virtual time.
struct Bench<'m> {
    model: &'m Model,
    machine: VirtualTime,
    hp: Arc<Hp>,
}

/// Runs a model once. Storage of its CPUs is leaked: it has to outlive what the machine calls.
///
/// # Errors
/// An operation was refused, which no model asks for.
pub fn run(model: &Model, plan: Plan) -> Result<Outcome, OpError> {
    let bench = Bench::new(model, plan.trouble);
    let world = World::enter(model, plan.trouble, &bench.machine, &bench.hp);
    let outcome = bench.measure(plan, &world);
    World::leave();
    outcome
}

impl<'m> Bench<'m> {
    fn new(model: &'m Model, trouble: Option<Trouble>) -> Self {
        let latencies = Latencies {
            // Every CPU has its own: see its fate.
            arrival: 0,
            arrival_spread: 0,
            kick: model.kick.ns,
            notify: model.notify.ns,
            off: model.off.ns,
            ..Latencies::default()
        };
        let machine = VirtualTime::new(model.cpus, 1, latencies);
        trouble::set_fates(model, trouble, &machine);
        let platform = Watched::new(machine.clone(), model);
        let hp = Arc::new(Cpuhp::new(
            platform,
            world::table(model),
            storage(model.cpus),
        ));
        // Weak: the machine is inside what it calls.
        let ap = Arc::downgrade(&hp);
        machine.attach(move |cpu, call| match (ap.upgrade(), call) {
            (Some(hp), Call::Enter) => hp.ap_enter(cpu, None),
            (Some(hp), Call::Poll) => hp.poll_ap(cpu),
            (None, _) => ApNext::Off,
        });
        Self { model, machine, hp }
    }

    fn measure(&self, plan: Plan, world: &World) -> Result<Outcome, OpError> {
        self.hp.adopt_boot_cpu(BootSteps::AlreadyDone)?;
        if plan.way == Way::Down {
            let _ = self.hp.bring_up(Which::All)?;
        }
        let platform = self.hp.platform();
        let count = || {
            [
                self.machine.now(),
                platform.waited(),
                platform.asked(),
                self.machine.polls(),
            ]
        };
        let before = count();
        let (done, failed) = match plan.mode {
            Mode::Serial => self.each(&[self.target(plan.way)]),
            Mode::Split => self.each(&[self.hp.table().kick(), self.target(plan.way)]),
            Mode::Parallel => self.together(plan.way)?,
        };
        let after = count();
        let [ns, wait_ns, asked, ap_polls] = [0, 1, 2, 3].map(|i: usize| after[i] - before[i]);
        Ok(Outcome {
            ns,
            last_ns: world.last().saturating_sub(before[0]),
            wait_ns,
            asked,
            ap_polls,
            done,
            failed,
        })
    }

    fn target(&self, way: Way) -> StateId {
        match way {
            Way::Up => self.hp.table().online(),
            Way::Down => StateId::OFFLINE,
        }
    }

    /// Returns how many came to their target, and how many did not.
    fn together(&self, way: Way) -> Result<(u32, u32), OpError> {
        let report = match way {
            Way::Up => self.hp.bring_up(Which::All)?,
            Way::Down => self.hp.take_down(Which::All)?,
        };
        Ok((report.done, self.model.cpus - 1 - report.done))
    }

    /// Drives CPU by CPU to each of these states in turn: first threads before second ones.
    fn each(&self, stops: &[StateId]) -> (u32, u32) {
        let mut done = 0;
        for thread in 0..self.model.threads {
            let is_of_thread = |cpu: &u32| self.model.thread(*cpu) == thread;
            let cpus: Vec<u32> = (1..self.model.cpus).filter(is_of_thread).collect();
            for (place, stop) in (1..).zip(stops) {
                let came = |cpu: &&u32| self.hp.drive(CpuId::new(**cpu), *stop).is_ok();
                let came = cpus.iter().filter(came).count();
                if place == stops.len() {
                    done += u32::try_from(came).unwrap_or(u32::MAX);
                }
            }
        }
        (done, self.model.cpus - 1 - done)
    }
}

fn storage(cpus: u32) -> Storage<'static> {
    let cpus = cpus as usize;
    let records = Vec::leak(repeat_with(Record::new).take(cpus).collect());
    let masks = repeat_with(|| MaskWord::new(0)).take(Storage::mask_words(cpus));
    let lock = Box::leak(Box::new(LockWord::new()));
    Storage::from_parts(records, Vec::leak(masks.collect()), &[], lock)
        .unwrap_or_else(|| unreachable!("the parts were made to fit"))
}
