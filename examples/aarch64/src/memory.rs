//! Physical memory, as the tables of `boot` show it; the same on every CPU from its first Rust instruction.
#![expect(
    unsafe_code,
    reason = "what the loader left is known by address only, and the region is lent out by address"
)]

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use cpuhp_arm64::{Mapping, ParkRegion, Resting};
use cpuhp_example_kernel::MAX_CPUS;

use crate::raspi;

const GIB: u64 = 1 << 30;
/// Where `boot` maps what lies above the first GiB of a `raspi3b`: its CPUs' own devices.
const RASPI_LOCAL: u64 = 3 * GIB;

/// Bytes of the park region.
const PARK: usize = ParkRegion::len_for(MAX_CPUS);

/// Memory where CPUs rest that are down and not off.
#[repr(C, align(4096))]
struct Park(UnsafeCell<[u8; PARK]>);

// SAFETY: only its address is used, by the backend, which it is lent to for ever.
unsafe impl Sync for Park {}

static REGION: Park = Park(UnsafeCell::new([0; PARK]));

/// What is mapped where, for the backend.
pub(crate) const MAPPING: Mapping = Mapping {
    to_virt: |phys, len| {
        let at = usize::try_from(to_virt(phys, len as u64)?).ok()?;
        NonNull::new(core::ptr::with_exposed_provenance_mut(at))
    },
    to_phys: |virt| Some(to_phys(virt as u64)),
};

/// The park region, part of the image here.
pub(crate) fn park_region(resting: Resting) -> ParkRegion {
    ParkRegion {
        phys: to_phys(REGION.0.get() as u64),
        len: PARK,
        resting,
    }
}

fn to_virt(phys: u64, len: u64) -> Option<u64> {
    let end = phys.checked_add(len)?;
    if !raspi::is_here() {
        let is_mapped = end <= 4 * GIB || (256 * GIB <= phys && end <= 257 * GIB);
        return is_mapped.then_some(phys);
    }
    if end <= GIB {
        return Some(phys);
    }
    let is_local = GIB <= phys && end <= 2 * GIB;
    is_local.then(|| phys - GIB + RASPI_LOCAL)
}

/// Returns the physical address of a virtual one.
pub(crate) fn to_phys(virt: u64) -> u64 {
    if !raspi::is_here() || virt < GIB {
        virt
    } else if virt < RASPI_LOCAL {
        virt - GIB
    } else {
        virt - RASPI_LOCAL + GIB
    }
}

/// Views `len` bytes at `phys`, or `None` if they are not mapped.
///
/// For memory that the loader wrote and nobody changes.
pub(crate) fn bytes(phys: u64, len: usize) -> Option<&'static [u8]> {
    let start = (MAPPING.to_virt)(phys, len)?;
    // SAFETY: mapped for ever, and never written: the loader puts it outside the image, and this kernel
    // writes nothing else.
    Some(unsafe { core::slice::from_raw_parts(start.as_ptr(), len) })
}
