//! The scenarios in virtual time: one thread, thousands of CPUs, the same output for the same seed.

use std::fmt;
use std::sync::OnceLock;

use cpuhp_core::{ApNext, BootSteps, CallError, CpuId, Cpuhp, Platform};
use cpuhp_example_common::{
    Existence, Forward, Host, Hp, Machine, Plugged, Scene, Slept, Tracer, Unable, Verdict,
};
use cpuhp_sim::{Call, Fate, Latencies, VirtualTime};

use crate::Plan;
use crate::machine;

/// The one machine of the program.
static MACHINE: OnceLock<InVirtualTime> = OnceLock::new();

struct InVirtualTime {
    plan: Plan,
    time: VirtualTime,
    hp: OnceLock<Hp<VirtualTime>>,
    scene: OnceLock<&'static Scene>,
}

/// Runs the planned scenario.
pub(crate) fn run(plan: &Plan) -> Verdict {
    let usual = Latencies::default();
    let latencies = Latencies {
        // The delay before arrival is the hardware's here: nobody can sleep on the way in.
        arrival: usual.arrival + plan.params.alive_delay_ns,
        ..usual
    };
    let time = VirtualTime::new(plan.listed, plan.params.seed, latencies);
    for cpu in (0..plan.listed).filter(|cpu| plan.is_absent(*cpu)) {
        time.set_fate(CpuId::new(cpu), Fate::Absent);
    }
    let machine = MACHINE.get_or_init(|| InVirtualTime {
        plan: *plan,
        time,
        hp: OnceLock::new(),
        scene: OnceLock::new(),
    });
    machine.boot()
}

impl InVirtualTime {
    fn boot(&'static self) -> Verdict {
        let parts = machine::scene_parts(&self.plan);
        let scene = Scene::install(parts, self.plan.params, self);
        self.plan.hotadd().for_each(|cpu| scene.unplug(cpu));
        let scene = self.scene.get_or_init(|| scene);
        let forward = Forward::new(self.time.clone());
        let storage = machine::storage(&self.plan);
        let hp = Cpuhp::with_trace(forward, Tracer, scene.table(), storage);
        let hp = hp.with_calls(machine::queues(&self.plan));
        let hp = self.hp.get_or_init(|| hp);
        self.time.attach(|cpu, call| {
            let next: ApNext = match call {
                Call::Enter => hp.ap_enter(cpu, None),
                Call::Poll => hp.poll_ap(cpu),
            };
            hp.poll_calls(cpu);
            next
        });
        if let Err(error) = hp.adopt_boot_cpu(BootSteps::Run) {
            eprintln!("error: the boot CPU was not adopted: {error}");
            return Verdict::Fail;
        }
        cpuhp_example_common::run(self)
    }
}

impl Host for InVirtualTime {
    fn now(&self) -> u64 {
        self.time.now()
    }

    fn this_cpu(&self) -> CpuId {
        self.time.this_cpu()
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

    fn call(
        &self,
        cpu: CpuId,
        node: &'static cpuhp_core::Call,
        arg: usize,
    ) -> Result<(), CallError> {
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

    fn sleep(&self, cpu: CpuId, until: u64) -> Slept {
        self.time.wake_at(cpu, until);
        Slept::CallAgain
    }
}

impl Machine for InVirtualTime {
    type Backend = VirtualTime;

    fn hp(&self) -> &Hp<VirtualTime> {
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
        self.time.run_on(cpu, || job(self));
        Ok(())
    }
}
