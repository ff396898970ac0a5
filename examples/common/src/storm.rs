//! Scenario `storm`: random legal operations from a seed; after each of them everything is checked.
//!
//! Nothing is known of what an operation will do but what its documentation says: what it has to lead to
//! if nothing fails, and what it may lead to if one of the faults that were armed was met.

mod faults;
mod many;
mod one;
mod random;
mod registered;
mod whole;

use core::fmt;
use core::sync::atomic::Ordering;

use cpuhp_core::{CpuId, Platform, StateHandle, StateId, Tag, Who};

use crate::calls::{self, Tally, Task};
use crate::check;
use crate::machine::Machine;
use crate::registry::DYNAMICS;
use crate::result::Stage;
use crate::scenario::Toggle;
use crate::violation::Violation;
use faults::Armed;
use random::Random;

/// The storm: what is drawn from, what is registered, what is armed.
struct Storm<'s, 'm, M> {
    stage: &'s Stage<'m, M>,
    random: Random,
    handles: [Option<StateHandle>; DYNAMICS as usize],
    armed: Armed,
    /// What became of the calls.
    calls: Tally,
    /// Halves that had run, on all CPUs, when the operation began.
    began: u32,
}

/// One operation, for a person to read.
#[derive(Clone, Copy, Debug)]
struct Told {
    what: &'static str,
    cpu: CpuId,
    number: u32,
}

/// Calls that are sent off with each operation, and how often each goes on.
const CHAINS: u32 = 4;
const HOPS: u32 = 24;

/// Runs it.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    stage.bring_all_up();
    if let Err(why) = stage.all_come().and_then(|()| stage.can_stop()) {
        return stage.refuse(why);
    }
    stage.scene.begin_window();
    let mut storm = Storm {
        stage,
        random: Random::new(stage.scene.params.seed),
        handles: [None; DYNAMICS as usize],
        armed: Armed::default(),
        calls: Tally::default(),
        began: 0,
    };
    let (mut ops, mut injected) = (0u32, 0u32);
    for number in 0..stage.scene.params.ops {
        injected += storm.step(number);
        ops += 1;
    }
    storm.calm();
    stage.only_result(|line| {
        line.number("ops", ops)?;
        line.number("failures_injected", injected)?;
        line.number("calls", storm.calls.accepted)?;
        line.number("lost", storm.calls.lost)?;
        line.number("duplicated", storm.calls.duplicated)
    });
}

impl<M: Machine> Storm<'_, '_, M> {
    /// Draws one operation, does it and checks everything; returns how many faults were met.
    fn step(&mut self, number: u32) -> u32 {
        let scene = self.stage.scene;
        let before = scene.violations.count();
        for (_, log) in scene.cpus() {
            log.clear_list();
        }
        self.began = scene.stamps.load(Ordering::Relaxed);
        self.begin_calls();
        let told = match self.random.below(24) {
            0..=5 => self.drive(),
            6..=8 => self.up(),
            9..=11 => self.down(),
            12 | 13 => self.bring_up(),
            14 | 15 => self.take_down(),
            16..=18 => self.register(),
            19..=21 => self.instance(),
            22 => self.freeze(),
            _ => self.disable(),
        };
        let met = self.disarm();
        self.arrive();
        self.end_calls();
        check::all(self.stage.machine, scene);
        if scene.violations.count() > before && before < 8 {
            let seed = scene.params.seed;
            self.stage.machine.print(format_args!(
                "storm: seed {seed}, operation {number}: {told}"
            ));
        }
        met
    }

    /// Sends a few calls off, each of which goes from CPU to CPU while the operation runs.
    fn begin_calls(&mut self) {
        if self.stage.scene.params.calls == Toggle::Off {
            return;
        }
        for _ in 0..CHAINS {
            let to = self.any();
            // A CPU that is off refuses.
            let _ = calls::make(self.stage.scene, to, None, Task::Hop(HOPS));
        }
    }

    /// Waits for their end and counts them.
    fn end_calls(&mut self) {
        let scene = self.stage.scene;
        let tally = calls::settle(self.stage, |serial, record| {
            if scene.params.trace == Toggle::On {
                record.print(scene, serial);
            }
        });
        self.calls.accepted += tally.accepted;
        self.calls.lost += tally.lost;
        self.calls.duplicated += tally.duplicated;
    }

    /// Waits for CPUs that were kicked and have not arrived yet: one of them that is sent down is waited for
    /// in vain until it has come late. Those that were given up in between arrive, and park.
    fn arrive(&self) {
        let (hp, stage) = (self.stage.hp(), self.stage);
        let deadline = stage.now().saturating_add(stage.scene.params.timeout_ns);
        let is_missing = |cpu| matches!(hp.tag(cpu), Some(Tag::Kicked | Tag::Cancelled));
        for cpu in stage.others() {
            while is_missing(cpu) && stage.now() < deadline {
                hp.platform().wait(Who::Control(cpu), deadline);
            }
            if is_missing(cpu) {
                self.wrong(Violation::Existence, cpu, 0, 1);
            }
        }
    }

    /// Brings everything back to where it began: all CPUs online, nothing registered.
    fn calm(&mut self) {
        let stage = self.stage;
        for cpu in stage.others() {
            stage.expect_done(cpu, stage.hp().cpu_up(cpu));
        }
        self.forget_all();
        check::all(stage.machine, stage.scene);
    }

    // ---- drawing

    /// Draws a CPU that is not the driving one. The driving one if there is no other.
    fn other(&mut self) -> CpuId {
        let count = u32::try_from(self.stage.others().count()).unwrap_or(0);
        let at = self.random.below(count.max(1)) as usize;
        let other = self.stage.others().nth(at);
        other.unwrap_or(self.stage.this_cpu())
    }

    /// Draws a CPU.
    fn any(&mut self) -> CpuId {
        if self.random.below(8) == 0 {
            self.stage.this_cpu()
        } else {
            self.other()
        }
    }

    /// Draws a set of other CPUs into the driver's mask; returns how many they are.
    fn some(&mut self) -> u32 {
        let mask = self.stage.scene.empty_mask();
        let mut count = 0;
        for cpu in self.stage.others() {
            if self.random.below(2) == 0 {
                mask.insert(cpu);
                count += 1;
            }
        }
        count
    }

    /// Draws a state, one that no CPU can rest in among them.
    fn state(&mut self) -> StateId {
        let states = u32::from(self.stage.scene.table.online().get()) + 1;
        StateId::new(u16::try_from(self.random.below(states)).unwrap_or(0))
    }

    // ---- checking

    fn wrong(&self, what: Violation, cpu: CpuId, found: u32, right: u32) {
        self.stage.scene.wrong(what, cpu, found, right);
    }

    /// Whether any half of `cpu` ran since the operation began.
    fn ran(&self, cpu: CpuId) -> bool {
        let log = self.stage.scene.cpu(cpu);
        log.is_some_and(|log| log.stamp() > self.began)
    }

    /// Checks that nothing ran on any CPU but those.
    fn nobody_else(&self, may: impl Fn(CpuId) -> bool) {
        for (cpu, log) in self.stage.scene.cpus() {
            if self.ran(cpu) && !may(cpu) {
                self.wrong(Violation::WrongLog, cpu, log.stamp(), self.began);
            }
        }
    }

    fn state_of(&self, cpu: CpuId) -> StateId {
        self.stage.hp().state(cpu).unwrap_or_default()
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.what, self.cpu, self.number)
    }
}
