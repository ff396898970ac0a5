//! Seeded random numbers: one stream per context.

/// One round of `splitmix64`.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `count`.
    pub(crate) fn below(&mut self, count: u32) -> u32 {
        self.0 = self.0.wrapping_add(1);
        u32::try_from(mix(self.0) >> 33).expect("31 bits fit") % count
    }

    /// One of these.
    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        let count = u32::try_from(all.len()).expect("few");
        all[self.below(count) as usize]
    }
}
