//! What the entry code reads before its CPU has caches: [`Shared`], filled once and cleaned to memory.
//!
//! Builds everywhere, so that the model of a cache in the tests boots through it.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::cache::{Area, Cache};
use crate::record::BootRecord;

/// The boot CPU's registers that an AP takes over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    /// Exception level, 1 or 2.
    pub(crate) level: u64,
    pub(crate) sctlr: u64,
    pub(crate) tcr: u64,
    pub(crate) mair: u64,
    pub(crate) ttbr0: u64,
    pub(crate) ttbr1: u64,
    pub(crate) vbar: u64,
    /// CPACR_EL1 or CPTR_EL2.
    pub(crate) traps: u64,
    pub(crate) hcr: u64,
    pub(crate) cnthctl: u64,
}

/// Where the parts of the image are that a starting CPU goes through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    /// The code that runs with caches off, its vectors among it.
    pub(crate) code: Area,
    /// Physical address of the first record.
    pub(crate) records: u64,
    /// Virtual address of the first Rust of an AP.
    pub(crate) start: u64,
}

/// What the entry code reads, at offsets the assembly knows. Written before any kick; read with caches off.
#[repr(C, align(256))]
pub(crate) struct Shared {
    /// Physical address of the first record, and the one the kernel uses.
    pub(crate) records: AtomicU64,
    pub(crate) records_virt: AtomicU64,
    pub(crate) cpus: AtomicU64,
    /// Exception level of the boot CPU.
    pub(crate) level: AtomicU64,
    pub(crate) sctlr: AtomicU64,
    pub(crate) tcr: AtomicU64,
    pub(crate) mair: AtomicU64,
    pub(crate) ttbr0: AtomicU64,
    pub(crate) ttbr1: AtomicU64,
    pub(crate) vbar: AtomicU64,
    /// CPACR_EL1, or CPTR_EL2.
    pub(crate) traps: AtomicU64,
    pub(crate) hcr: AtomicU64,
    pub(crate) cnthctl: AtomicU64,
    /// Virtual address of `ap_start`.
    pub(crate) start: AtomicU64,
}

impl Shared {
    /// Nothing is known yet.
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "the initial value of a static"
    )]
    pub(crate) const EMPTY: Self = Self {
        records: AtomicU64::new(0),
        records_virt: AtomicU64::new(0),
        cpus: AtomicU64::new(0),
        level: AtomicU64::new(0),
        sctlr: AtomicU64::new(0),
        tcr: AtomicU64::new(0),
        mair: AtomicU64::new(0),
        ttbr0: AtomicU64::new(0),
        ttbr1: AtomicU64::new(0),
        vbar: AtomicU64::new(0),
        traps: AtomicU64::new(0),
        hcr: AtomicU64::new(0),
        cnthctl: AtomicU64::new(0),
        start: AtomicU64::new(0),
    };

    /// Fills it, and cleans it and the code to memory. Context: boot CPU, before any kick.
    pub(crate) fn fill(
        &self,
        boot: &Snapshot,
        records: &'static [BootRecord],
        image: Image,
        cache: &impl Cache,
    ) {
        let first = records.as_ptr().expose_provenance() as u64;
        for (word, value) in [
            (&self.records, image.records),
            (&self.records_virt, first),
            (&self.cpus, records.len() as u64),
            (&self.level, boot.level),
            (&self.sctlr, boot.sctlr),
            (&self.tcr, boot.tcr),
            (&self.mair, boot.mair),
            (&self.ttbr0, boot.ttbr0),
            (&self.ttbr1, boot.ttbr1),
            (&self.vbar, boot.vbar),
            (&self.traps, boot.traps),
            (&self.hcr, boot.hcr),
            (&self.cnthctl, boot.cnthctl),
            (&self.start, image.start),
        ] {
            word.store(value, Ordering::Relaxed);
        }
        cache.publish(Area::of(self));
        cache.publish(image.code);
    }
}
