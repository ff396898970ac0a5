//! The scenarios on threads: real concurrency and the host's clock.

use std::fmt;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use cpuhp_core::{BootSteps, Call, CallError, CpuId, Cpuhp, Platform};
use cpuhp_example_common::{
    Existence, Forward, Host, Hp, Machine, Plugged, Rest, Scene, Slept, Tracer, Unable, Verdict,
    ap_main,
};
use cpuhp_sim::{Fate, Threads};

use crate::Plan;
use crate::machine;

/// The one machine of the program.
static MACHINE: OnceLock<OnThreads> = OnceLock::new();

/// A platform that the core and the host side both hold.
type Shared = &'static Threads;

struct OnThreads {
    plan: Plan,
    threads: Shared,
    hp: OnceLock<Hp<Shared>>,
    scene: OnceLock<&'static Scene>,
}

/// Runs the planned scenario.
pub(crate) fn run(plan: &Plan) -> Verdict {
    let threads: Shared = Box::leak(Box::new(Threads::new(plan.listed)));
    let machine = MACHINE.get_or_init(|| OnThreads {
        plan: *plan,
        threads,
        hp: OnceLock::new(),
        scene: OnceLock::new(),
    });
    for cpu in (0..plan.listed).filter(|cpu| plan.is_absent(*cpu)) {
        threads.set_fate(CpuId::new(cpu), Fate::Absent);
    }
    threads.run(
        |cpu| match ap_main(machine, cpu) {
            Rest::Core(exit) => exit,
            Rest::Raw => unreachable!("the plan has no mode `raw`"),
        },
        || machine.boot(),
    )
}

impl OnThreads {
    fn boot(&'static self) -> Verdict {
        let parts = machine::scene_parts(&self.plan);
        let scene = Scene::install(parts, self.plan.params, self);
        self.plan.hotadd().for_each(|cpu| scene.unplug(cpu));
        let scene = self.scene.get_or_init(|| scene);
        let forward = Forward::new(self.threads);
        let storage = machine::storage(&self.plan);
        let hp = Cpuhp::with_trace(forward, Tracer, scene.table(), storage);
        let hp = hp.with_calls(machine::queues(&self.plan));
        let hp = self.hp.get_or_init(|| hp);
        if let Err(error) = hp.adopt_boot_cpu(BootSteps::Run) {
            eprintln!("error: the boot CPU was not adopted: {error}");
            return Verdict::Fail;
        }
        cpuhp_example_common::run(self)
    }
}

impl Host for OnThreads {
    fn now(&self) -> u64 {
        self.threads.now()
    }

    fn this_cpu(&self) -> CpuId {
        self.threads.this_cpu()
    }

    fn print(&self, line: fmt::Arguments<'_>) {
        machine::print(line);
    }

    fn echo(&self, text: &str) {
        machine::echo(text);
    }

    fn typed(&self) -> Result<Option<u8>, Unable> {
        Ok(machine::typed())
    }

    fn call(&self, cpu: CpuId, node: &'static Call, arg: usize) -> Result<(), CallError> {
        self.hp().call(cpu, node, arg)
    }

    fn poll_calls(&self, cpu: CpuId) -> usize {
        self.hp.get().map_or(0, |hp| hp.poll_calls(cpu))
    }

    fn takes_calls(&self, cpu: CpuId) -> bool {
        self.hp().online().contains(cpu)
    }

    fn section(&self, work: &mut dyn FnMut()) -> Result<(), Unable> {
        critical_section::with(|_| work());
        Ok(())
    }

    fn sleep(&self, _cpu: CpuId, until: u64) -> Slept {
        thread::sleep(Duration::from_nanos(until.saturating_sub(self.now())));
        Slept::Over
    }
}

impl Machine for OnThreads {
    type Backend = Shared;

    fn hp(&self) -> &Hp<Shared> {
        self.hp
            .get()
            .unwrap_or_else(|| unreachable!("it is set before the driver runs"))
    }

    fn arch(&self) -> &'static str {
        "hosted"
    }

    fn exists(&self, cpu: CpuId) -> Option<Existence> {
        Some(machine::exists(&self.plan, cpu))
    }

    /// Whoever asks gets it: here the machine is one's own.
    fn plugged(&self, cpu: CpuId) -> Result<Plugged, Unable> {
        if let Some(scene) = self.scene.get() {
            scene.plug(cpu);
        }
        Ok(Plugged::Yes)
    }

    fn run_on(&self, cpu: CpuId, job: fn(&Self)) -> Result<(), Unable> {
        self.threads.run_on(self.hp(), cpu, move || {
            if let Some(machine) = MACHINE.get() {
                job(machine);
            }
        });
        Ok(())
    }
}
