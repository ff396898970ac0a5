//! The time base: TSC ticks to nanoseconds, and how to find out how fast the TSC runs.
//!
//! Relies on a TSC that runs at one constant rate on all CPUs ("invariant TSC") and is in step
//! between them.
//!
//! Spec: Intel SDM vol. 3B, "Time-Stamp Counter"; ACPI 6.5, "Power Management Timer".

use core::num::NonZeroU64;

#[cfg(target_arch = "x86_64")]
mod tsc;
#[cfg(target_arch = "x86_64")]
pub use tsc::{calibrate, ticks};

const NS_PER_S: u64 = 1_000_000_000;
/// Frequency of the ACPI power-management timer.
const PM_HZ: u64 = 3_579_545;
/// Bits every PM timer has; some have 32, the upper 8 are then ignored.
const PM_MASK: u32 = 0x00ff_ffff;
/// How long to measure: 20 ms keeps the error below 0.1 %.
const PM_TICKS: u32 = 71_591;
/// Reads before a timer that does not move is given up. A port read takes 0.1 us and more.
const PM_READS: u32 = 4_000_000;

/// Converts counter ticks to nanoseconds since it was made.
///
/// ```
/// use core::num::NonZeroU64;
/// use cpuhp_x86::clock::Clock;
/// let hz = NonZeroU64::new(2_000_000_000).expect("not zero");
/// let clock = Clock::new(hz, 1_000);
/// assert_eq!(clock.ns(1_000 + 2_000), 1_000);
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
    #[cfg(target_arch = "x86_64")]
    pub fn now(&self) -> u64 {
        self.ns(ticks())
    }
}

/// Returns the ticks per second of `read_tsc` in terms of a PM timer, with a bound on the reads.
fn measure(mut read_pm: impl FnMut() -> u32, read_tsc: impl Fn() -> u64) -> Option<NonZeroU64> {
    let first = read_pm() & PM_MASK;
    let (mut start, mut start_tsc) = (first, 0);
    for _ in 0..PM_READS {
        let now = read_pm() & PM_MASK;
        if start_tsc == 0 {
            // Begin at an edge, or the first tick counts whole where only a part was waited for.
            if now != first {
                (start, start_tsc) = (now, read_tsc());
            }
            continue;
        }
        let ticks = now.wrapping_sub(start) & PM_MASK;
        if ticks >= PM_TICKS {
            let tsc = u128::from(read_tsc().checked_sub(start_tsc)?);
            let hz = tsc * u128::from(PM_HZ) / u128::from(ticks);
            return u64::try_from(hz).ok().and_then(NonZeroU64::new);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    fn hz(value: u64) -> NonZeroU64 {
        NonZeroU64::new(value).unwrap()
    }

    #[test]
    fn conversion_is_exact_enough_for_years() {
        let clock = Clock::new(hz(3_000_000_000), 500);
        assert_eq!(clock.ns(500), 0);
        assert_eq!(clock.ns(400), 0, "from before the base");
        let year = 365 * 24 * 3_600;
        let ns = clock.ns(500 + 10 * year * 3_000_000_000);
        let error = ns.abs_diff(10 * year * NS_PER_S);
        assert!(error < ns / 1_000_000_000, "off by {error} ns in ten years");
    }

    #[test]
    fn slow_and_fast_counters_convert() {
        assert_eq!(Clock::new(hz(1), 0).ns(7), 7 * NS_PER_S);
        let fast = Clock::new(hz(10_000_000_000), 0).ns(10_000_000_000);
        assert!(fast.abs_diff(NS_PER_S) <= 1, "{fast}");
    }

    /// A PM timer and a TSC of 2.5 GHz that move by `step` PM ticks per read.
    fn measured(start: u32, step: u32) -> Option<u64> {
        let reads = Cell::new(0_u32);
        let pm = || {
            reads.set(reads.get() + 1);
            start.wrapping_add(reads.get() * step)
        };
        let tsc = || 1 + u64::from(reads.get() * step) * 2_500_000_000 / PM_HZ;
        measure(pm, tsc).map(NonZeroU64::get)
    }

    #[test]
    fn measures_across_the_wrap_of_24_bits() {
        for start in [0, 0x00ff_fff0, 0xffff_fff0] {
            let hz = measured(start, 4).unwrap();
            assert!(
                hz.abs_diff(2_500_000_000) < 2_500_000,
                "{hz} from {start:#x}"
            );
        }
    }

    #[test]
    fn measuring_begins_at_an_edge() {
        // Time in hundredths of a PM tick, 5 per read; the first two reads are late in their tick.
        let time = Cell::new(85_u64);
        let pm = || {
            let ticks = u32::try_from(time.get() / 100).unwrap();
            time.set(time.get() + 5);
            ticks
        };
        let tsc = || time.get() * 7;
        let hz = measure(pm, tsc).unwrap().get();
        let error = hz.abs_diff(700 * PM_HZ);
        assert!(error * 100_000 < hz, "off by {error} in {hz}");
    }

    #[test]
    fn a_timer_that_stands_still_is_given_up() {
        assert_eq!(measured(0xffff_ffff, 0), None);
        assert_eq!(measure(|| 5, || 1), None);
    }

    #[test]
    fn a_counter_that_stands_still_is_refused() {
        let pm = Cell::new(0_u32);
        let read = || {
            pm.set(pm.get() + 100);
            pm.get()
        };
        assert_eq!(measure(read, || 9), None);
    }
}
