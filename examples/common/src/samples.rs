//! Measurements in fixed memory: thinned out evenly when there are more than fit.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many measurements are kept at most.
const KEPT: usize = 512;

/// One set of measurements. Written and read by the driving CPU only.
#[derive(Debug)]
pub struct Samples {
    seen: AtomicU32,
    stride: AtomicU32,
    len: AtomicU32,
    values: [AtomicU64; KEPT],
}

impl Samples {
    /// Makes an empty set, all zero.
    pub const fn new() -> Self {
        Self {
            seen: AtomicU32::new(0),
            stride: AtomicU32::new(0),
            len: AtomicU32::new(0),
            values: [const { AtomicU64::new(0) }; KEPT],
        }
    }

    pub(crate) fn clear(&self) {
        self.seen.store(0, Ordering::Relaxed);
        self.stride.store(0, Ordering::Relaxed);
        self.len.store(0, Ordering::Relaxed);
    }

    /// Adds a measurement. When the memory is full every second one is dropped, and from then on
    /// every second one is taken.
    pub(crate) fn add(&self, value: u64) {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        let stride = 1u32 << self.stride.load(Ordering::Relaxed).min(31);
        if !seen.is_multiple_of(stride) {
            return;
        }
        let len = self.len.load(Ordering::Relaxed) as usize;
        let len = if len < KEPT { len } else { self.thin_out() };
        if let Some(slot) = self.values.get(len) {
            slot.store(value, Ordering::Relaxed);
            self.len
                .store(u32::try_from(len + 1).unwrap_or(0), Ordering::Relaxed);
        }
    }

    fn thin_out(&self) -> usize {
        for (at, value) in self.values.iter().step_by(2).enumerate() {
            if let Some(slot) = self.values.get(at) {
                slot.store(value.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        self.stride.fetch_add(1, Ordering::Relaxed);
        KEPT / 2
    }

    /// Returns the least measurement, 0 if there is none.
    pub(crate) fn least(&self) -> u64 {
        let values = self
            .kept()
            .iter()
            .map(|value| value.load(Ordering::Relaxed));
        values.min().unwrap_or(0)
    }

    /// Returns the upper median, 0 if there is none. Sorts.
    pub(crate) fn median(&self) -> u64 {
        self.percentile(50)
    }

    /// Returns the measurement below which `percent` of them are, 0 if there is none. Sorts.
    pub(crate) fn percentile(&self, percent: usize) -> u64 {
        let kept = self.kept();
        for end in 1..kept.len() {
            for at in (1..=end).rev() {
                let (left, right) = (&kept[at - 1], &kept[at]);
                let (a, b) = (left.load(Ordering::Relaxed), right.load(Ordering::Relaxed));
                if a <= b {
                    break;
                }
                left.store(b, Ordering::Relaxed);
                right.store(a, Ordering::Relaxed);
            }
        }
        kept.get(kept.len() * percent / 100)
            .map_or(0, |value| value.load(Ordering::Relaxed))
    }

    fn kept(&self) -> &[AtomicU64] {
        let len = self.len.load(Ordering::Relaxed) as usize;
        self.values.get(..len).unwrap_or(&self.values)
    }
}

impl Default for Samples {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_least_of_a_few() {
        let samples = Samples::new();
        assert_eq!((samples.least(), samples.median()), (0, 0));
        [5, 1, 9, 7]
            .into_iter()
            .for_each(|value| samples.add(value));
        assert_eq!((samples.least(), samples.median()), (1, 7));
    }

    #[test]
    fn many_are_thinned_out_evenly() {
        let samples = Samples::new();
        (0..10_000).for_each(|value| samples.add(value));
        let median = samples.median();
        assert!((4_500..5_500).contains(&median), "{median}");
    }
}
