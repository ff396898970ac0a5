//! The time base: ticks of the `time` counter to nanoseconds, and back for the timer.
//!
//! All harts read one counter, so there is nothing to bring in step.
//!
//! **Spec**: RISC-V Instruction Set Manual volume I, "Base Counters and Timers"; volume II,
//! "Machine Timer Registers (mtime and mtimecmp)".

use core::num::NonZeroU64;

#[cfg(target_arch = "riscv64")]
pub use crate::csr::ticks;

const NS_PER_S: u64 = 1_000_000_000;

/// Converts counter ticks to nanoseconds since it was made.
///
/// ```
/// use core::num::NonZeroU64;
/// use cpuhp_riscv::clock::Clock;
/// let hz = NonZeroU64::new(10_000_000).expect("not zero");
/// let clock = Clock::new(hz, 1_000);
/// assert_eq!(clock.ns(1_000 + 20), 2_000);
/// assert_eq!(clock.ticks_at(2_000), 1_000 + 20);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: u64,
    hz: NonZeroU64,
    /// Nanoseconds per tick, times 2^32.
    scale: u64,
}

impl Clock {
    /// Starts at the tick `base` of a counter with frequency `hz`.
    pub const fn new(hz: NonZeroU64, base: u64) -> Self {
        Self {
            base,
            hz,
            // To the nearest; the sum stays below 2^64, since 10^9 x 2^32 is below 2^62.
            scale: ((NS_PER_S << 32) + hz.get() / 2) / hz.get(),
        }
    }

    /// Converts a counter value. One from before the base is 0.
    ///
    /// The product has 128 bits, so it does not overflow in the lifetime of a machine.
    pub const fn ns(&self, ticks: u64) -> u64 {
        let product = ticks.saturating_sub(self.base) as u128 * self.scale as u128;
        // 2^64 ns are 584 years.
        #[expect(clippy::cast_possible_truncation, reason = "const: `try_from` is not")]
        let ns = (product >> 32) as u64;
        ns
    }

    /// Returns the first counter value at which it is `ns` or later; the largest if that is too far.
    pub const fn ticks_at(&self, ns: u64) -> u64 {
        let hz = self.hz.get() as u128;
        let ticks = (ns as u128 * hz).div_ceil(NS_PER_S as u128) + self.base as u128;
        if ticks > u64::MAX as u128 {
            return u64::MAX;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "compared in the line above"
        )]
        let ticks = ticks as u64;
        ticks
    }

    /// Returns the time now.
    #[cfg(target_arch = "riscv64")]
    pub fn now(&self) -> u64 {
        self.ns(ticks())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hz(value: u64) -> NonZeroU64 {
        NonZeroU64::new(value).unwrap()
    }

    #[test]
    fn conversion_is_exact_enough_for_years() {
        let clock = Clock::new(hz(10_000_000), 500);
        assert_eq!(clock.ns(500), 0);
        assert_eq!(clock.ns(400), 0, "from before the base");
        let year = 365 * 24 * 3_600;
        let ns = clock.ns(500 + 10 * year * 10_000_000);
        let error = ns.abs_diff(10 * year * NS_PER_S);
        assert!(error < ns / 1_000_000_000, "off by {error} ns in ten years");
    }

    #[test]
    fn slow_and_fast_counters_convert() {
        assert_eq!(Clock::new(hz(1), 0).ns(7), 7 * NS_PER_S);
        let fast = Clock::new(hz(10_000_000_000), 0).ns(10_000_000_000);
        assert!(fast.abs_diff(NS_PER_S) <= 1, "{fast}");
    }

    #[test]
    fn timer_is_never_early_and_at_most_a_tick_late() {
        for frequency in [1_000_000, 10_000_000, 62_500_000, 1_000_000_000] {
            let clock = Clock::new(hz(frequency), 77);
            for ns in [0, 1, 99, 100, 101, 1_000_000_007] {
                let ticks = clock.ticks_at(ns);
                assert!(clock.ns(ticks) + 1 >= ns, "{ns} at {frequency} Hz");
                assert!(
                    ticks == 77 || clock.ns(ticks - 1) < ns,
                    "{ns} at {frequency} Hz"
                );
            }
        }
    }

    #[test]
    fn a_time_beyond_the_counter_is_its_end() {
        assert_eq!(
            Clock::new(hz(10_000_000_000), 5).ticks_at(u64::MAX),
            u64::MAX
        );
    }
}
