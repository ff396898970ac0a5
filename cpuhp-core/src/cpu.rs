//! CPU numbers: the logical [`CpuId`] and the hardware's [`HwId`], two types that never mix.

use core::fmt;

/// Logical CPU number: dense, from 0, the index into every per-CPU slice.
///
/// Any CPU may be the boot CPU; number 0 has no special role.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct CpuId(u32);

impl CpuId {
    /// Names the CPU with logical number `number`.
    #[inline]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Returns the logical number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the logical number as a slice index.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for CpuId {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu {}", self.0)
    }
}

/// Hardware CPU number: APIC id, MPIDR affinity, hart id. Sparse, 64 bits wide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct HwId(pub u64);

impl fmt::Display for HwId {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hardware id {:#x}", self.0)
    }
}
