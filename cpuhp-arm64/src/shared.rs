//! What the entry code reads before its CPU has caches: [`Shared`], filled once and cleaned to memory.
//!
//! Builds everywhere, so that the model of a cache in the tests boots through it.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::cache::{Area, Cache};
use crate::config::{Conduit, WakeMethod};
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
    /// How firmware is called, if there is any.
    pub(crate) conduit: Option<Conduit>,
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
    /// How a CPU that nobody wants turns itself off: 0 it cannot, or a number of [`OFF_BY_HVC`], [`OFF_BY_SMC`].
    pub(crate) off: AtomicU64,
}

// The `off` word.
pub(crate) const OFF_BY_HVC: u64 = 1;
pub(crate) const OFF_BY_SMC: u64 = 2;

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
        off: AtomicU64::new(0),
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
            (&self.off, way_off(image.conduit, records)),
        ] {
            word.store(value, Ordering::Relaxed);
        }
        cache.publish(Area::of(self));
        cache.publish(image.code);
    }
}

/// The `off` word. Off only where firmware starts every CPU: of a CPU that a spin-table lets go nobody knows
/// whether firmware would start it again.
fn way_off(conduit: Option<Conduit>, records: &[BootRecord]) -> u64 {
    let by_firmware = |record: &BootRecord| record.method() == WakeMethod::Psci;
    match conduit {
        Some(Conduit::Hvc) if records.iter().all(by_firmware) => OFF_BY_HVC,
        Some(Conduit::Smc) if records.iter().all(by_firmware) => OFF_BY_SMC,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use cpuhp_core::{CpuId, HwId};

    use super::*;
    use crate::config::CpuDesc;

    #[test]
    fn a_cpu_turns_itself_off_only_where_firmware_starts_them_all() {
        let hw = HwId(0);
        let records = [BootRecord::ZERO, BootRecord::ZERO];
        let (psci, table) = (WakeMethod::Psci, WakeMethod::SpinTable { release: 8 });
        for (conduit, method, right) in [
            (Some(Conduit::Hvc), psci, OFF_BY_HVC),
            (Some(Conduit::Smc), psci, OFF_BY_SMC),
            (None, psci, 0),
            (Some(Conduit::Hvc), table, 0),
            (Some(Conduit::Smc), table, 0),
            (None, table, 0),
        ] {
            let desc = CpuDesc {
                hw,
                method,
                wave: 0,
            };
            records[1].list(CpuId::new(1), desc);
            assert_eq!(way_off(conduit, &records), right, "{conduit:?} {method:?}");
        }
    }
}
