//! What the numbers of a model mean for one CPU: where it sits, when it arrives, how long a step takes it.

use crate::data::{Model, On, TimedStep, Way};

impl Model {
    /// Returns how many cores there are: at least one.
    pub(crate) fn cores(&self) -> u32 {
        (self.cpus / self.threads.max(1)).max(1)
    }

    /// Returns which thread of its core a CPU is.
    pub fn thread(&self, cpu: u32) -> u32 {
        cpu / self.cores()
    }

    /// Whether a CPU is the first of a package other than the boot CPU's.
    fn opens_package(&self, cpu: u32) -> bool {
        let cores_of_package = (self.cores() / self.packages.max(1)).max(1);
        cpu > 0 && cpu < self.cores() && cpu.is_multiple_of(cores_of_package)
    }

    /// Returns how long a CPU takes from its kick to its first look, in nanoseconds.
    pub fn arrival_of(&self, cpu: u32) -> u64 {
        let of_primary = self
            .arrival_of_primaries
            .as_ref()
            .map_or(0, |extra| extra.ns);
        let extra = if self.thread(cpu) == 0 { of_primary } else { 0 };
        let spread = self.arrival_spread.as_ref().map_or(0, |spread| spread.ns);
        self.arrival.ns + extra + scatter(cpu) % (spread + 1)
    }

    /// Returns how long a step takes a CPU, in nanoseconds, while `available` CPUs are available.
    pub(crate) fn takes(&self, step: &TimedStep, way: Way, cpu: u32, available: u64) -> u64 {
        if step.on == On::FirstOfPackage && !self.opens_package(cpu) {
            return 0;
        }
        match way {
            Way::Up => step.up_ns + step.up_ns_per_available * available,
            Way::Down => step.down_ns + step.down_ns_per_available * available,
        }
    }
}

/// A number that looks like chance and is the same for the same CPU: the finaliser of splitmix64.
fn scatter(cpu: u32) -> u64 {
    let mut z = (u64::from(cpu) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
