//! CPUs that do not do as they should.

use cpuhp_core::CpuId;
use cpuhp_sim::{Fate, VirtualTime};

use crate::data::Model;

/// What is wrong with some CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// They never come.
    Dead,
    /// They come this many nanoseconds later than the others.
    Late(u64),
    /// They take this many times as long for everything.
    Slow(u64),
    /// This step, by its place in the model, fails on them on the way up.
    Failing(usize),
}

/// Which CPUs it is wrong with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// Every so-and-so-many-th CPU.
    Every(u32),
    /// The first so-and-so-many after the boot CPU.
    First(u32),
}

/// Something that is wrong with some CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// What.
    pub kind: Kind,
    /// With whom.
    pub who: Who,
}

impl Trouble {
    /// Whether it is wrong with this CPU. Never with the boot CPU.
    pub fn hits(self, cpu: u32) -> bool {
        match self.who {
            Who::Every(nth) => cpu > 0 && cpu.is_multiple_of(nth.max(1)),
            Who::First(count) => cpu > 0 && cpu <= count,
        }
    }

    /// Returns how many of `cpus` CPUs it is wrong with.
    pub fn count(self, cpus: u32) -> u32 {
        let hit = (0..cpus).filter(|cpu| self.hits(*cpu)).count();
        u32::try_from(hit).unwrap_or(u32::MAX)
    }

    /// Returns how many times as long as usual this CPU takes.
    pub(crate) fn slowness(self, cpu: u32) -> u64 {
        match self.kind {
            Kind::Slow(times) if self.hits(cpu) => times,
            Kind::Dead | Kind::Late(_) | Kind::Slow(_) | Kind::Failing(_) => 1,
        }
    }

    /// Whether a step fails on this CPU.
    pub(crate) fn fails(self, step: usize, cpu: u32) -> bool {
        self.kind == Kind::Failing(step) && self.hits(cpu)
    }
}

/// Decides when each CPU comes.
pub(crate) fn set_fates(model: &Model, trouble: Option<Trouble>, machine: &VirtualTime) {
    for cpu in 1..model.cpus {
        let usual = model.arrival_of(cpu);
        let fate = match trouble
            .filter(|trouble| trouble.hits(cpu))
            .map(|trouble| trouble.kind)
        {
            Some(Kind::Dead) => Fate::Absent,
            Some(Kind::Late(extra)) => Fate::Late(usual + extra),
            Some(Kind::Slow(times)) => Fate::Late(usual * times),
            Some(Kind::Failing(_)) | None => Fate::Late(usual),
        };
        machine.set_fate(CpuId::new(cpu), fate);
    }
}
