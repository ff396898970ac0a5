//! The time base: the system counter, which every CPU reads alike, and ticks to nanoseconds.
//!
//! Spec: Arm ARM, "The Generic Timer", "CNTVCT_EL0", "CNTPCT_EL0", "CNTFRQ_EL0".

use core::num::NonZeroU64;

#[cfg(target_arch = "aarch64")]
mod counter;
#[cfg(target_arch = "aarch64")]
pub use counter::{frequency, ticks};

const NS_PER_S: u64 = 1_000_000_000;

/// Converts counter ticks to nanoseconds since it was made.
///
/// ```
/// use core::num::NonZeroU64;
/// use cpuhp_arm64::clock::Clock;
/// let hz = NonZeroU64::new(62_500_000).expect("not zero");
/// let clock = Clock::new(hz, 1_000);
/// assert_eq!(clock.ns(1_000 + 2_000), 32_000);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: u64,
    /// Nanoseconds per tick, times 2^32.
    scale: u64,
}

impl Clock {
    /// Starts at the tick `base` of a counter with frequency `hz`.
    pub const fn new(hz: NonZeroU64, base: u64) -> Self {
        Self {
            base,
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

    /// Returns the time now.
    #[cfg(target_arch = "aarch64")]
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
        let clock = Clock::new(hz(1_000_000_000), 500);
        assert_eq!(clock.ns(500), 0);
        assert_eq!(clock.ns(400), 0, "from before the base");
        let year = 365 * 24 * 3_600;
        let ns = clock.ns(500 + 10 * year * 1_000_000_000);
        let error = ns.abs_diff(10 * year * NS_PER_S);
        assert!(error < ns / 1_000_000_000, "off by {error} ns in ten years");
    }

    #[test]
    fn slow_and_fast_counters_convert() {
        assert_eq!(Clock::new(hz(1), 0).ns(7), 7 * NS_PER_S);
        // 62.5 MHz, the counter of QEMU: 16 ns a tick, to the last one.
        assert_eq!(Clock::new(hz(62_500_000), 0).ns(123_456_789), 1_975_308_624);
    }
}
