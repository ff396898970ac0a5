//! The machine with counters on it: how often the control CPU asks it something, and how long it waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cpuhp_core::{Confirm, CpuId, KickError, KickOutcome, Platform, Who};
use cpuhp_sim::VirtualTime;

use crate::data::Model;

/// The CPU that drives every operation here.
pub(crate) const CONTROL: CpuId = CpuId::new(0);

/// Longest that a CPU may take to come, to die or to walk one step, in nanoseconds: the core's own default.
pub const TIMEOUT_NS: u64 = 10_000_000_000;

/// A platform that counts.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    machine: VirtualTime,
    counts: Arc<Counts>,
    look_ns: u64,
    /// First threads of cores; the CPUs above them are their siblings.
    cores: u32,
}

#[derive(Default, Debug)]
struct Counts {
    asked: AtomicU64,
    waited: AtomicU64,
}

impl Watched {
    pub(crate) fn new(machine: VirtualTime, model: &Model) -> Self {
        let counts = Arc::default();
        Self {
            machine,
            counts,
            look_ns: model.look.ns,
            cores: model.cores(),
        }
    }

    /// Returns how often the control CPU asked something of the machine so far: the clock, once per look at
    /// a CPU that had nothing to say and once per wait; whether a CPU is there, or off; to kick, to notify, to
    /// clear up after a kick.
    pub(crate) fn asked(&self) -> u64 {
        self.counts.asked.load(Ordering::Relaxed)
    }

    fn count(&self) {
        if self.machine.this_cpu() == CONTROL {
            self.counts.asked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many nanoseconds the control CPU has waited so far.
    pub(crate) fn waited(&self) -> u64 {
        self.counts.waited.load(Ordering::Relaxed)
    }
}

impl Platform for Watched {
    fn now(&self) -> u64 {
        if self.machine.this_cpu() == CONTROL {
            self.count();
            self.machine.spend(self.look_ns);
        }
        self.machine.now()
    }

    fn this_cpu(&self) -> CpuId {
        self.machine.this_cpu()
    }

    fn kick(&self, cpu: CpuId, epoch: u16) -> Result<(), KickError> {
        self.count();
        self.machine.kick(cpu, epoch)
    }

    fn confirm(&self, cpu: CpuId) -> Confirm {
        self.count();
        self.machine.confirm(cpu)
    }

    fn present(&self, _cpu: CpuId) -> bool {
        self.count();
        true
    }

    fn wave(&self, cpu: CpuId) -> u8 {
        u8::try_from(cpu.get() / self.cores).unwrap_or(u8::MAX)
    }

    fn kick_done(&self, _cpu: CpuId, _how: KickOutcome) {
        self.count();
    }

    fn wait(&self, who: Who, deadline: u64) {
        let before = self.machine.now();
        self.machine.wait(who, deadline);
        if matches!(who, Who::Control(_)) {
            let waited = self.machine.now() - before;
            self.counts.waited.fetch_add(waited, Ordering::Relaxed);
        }
    }

    fn relax(&self) {
        self.machine.relax();
    }

    fn notify_ap(&self, cpu: CpuId) {
        self.count();
        self.machine.notify_ap(cpu);
    }

    fn notify_ctl(&self, cpu: CpuId) {
        self.machine.notify_ctl(cpu);
    }

    fn alive_timeout(&self) -> u64 {
        TIMEOUT_NS
    }

    fn die_timeout(&self) -> u64 {
        TIMEOUT_NS
    }

    fn step_timeout(&self) -> u64 {
        TIMEOUT_NS
    }
}
