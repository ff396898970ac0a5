//! Physical memory, as the boot CPU's page tables show it: everything below 4 GiB at its own
//! address, from the first instruction to the last.
#![expect(
    unsafe_code,
    reason = "firmware's tables and the low page are known by address only"
)]

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use cpuhp_example_kernel::MAX_CPUS;
use cpuhp_x86::{LowPage, ParkRegion, Resting};

/// End of what `boot` maps.
const END: u64 = 1 << 32;

/// Bytes of the park region.
const PARK: usize = ParkRegion::len_for(MAX_CPUS);

/// Memory where CPUs rest that are off.
#[repr(C, align(4096))]
struct Park(UnsafeCell<[u8; PARK]>);

// SAFETY: only its address is used, by the backend, which it is lent to for ever.
unsafe impl Sync for Park {}

static REGION: Park = Park(UnsafeCell::new([0; PARK]));

/// The park region: part of the image here, mapped at its own address like all else.
pub(crate) fn park_region() -> ParkRegion {
    ParkRegion {
        phys: REGION.0.get() as u64,
        len: PARK,
        resting: Resting::default(),
    }
}

/// Views `len` bytes at `phys`, or `None` if they are not mapped.
///
/// For memory that firmware wrote and nobody changes: tables, the command line.
pub(crate) fn bytes(phys: u64, len: usize) -> Option<&'static [u8]> {
    let end = phys.checked_add(len as u64)?;
    if phys == 0 || end > END {
        return None;
    }
    let start = core::ptr::with_exposed_provenance::<u8>(usize::try_from(phys).ok()?);
    // SAFETY: mapped by `boot` for ever, and never written while such a view is in use: the kernel
    // writes its own image and the low page, and takes the latter from free RAM.
    Some(unsafe { core::slice::from_raw_parts(start, len) })
}

/// The low page at `phys`. It is always mapped here, so opening and closing it is nothing.
pub(crate) fn low_page(phys: u32) -> LowPage {
    LowPage {
        phys,
        open: |phys| {
            let address = usize::try_from(phys).ok()?;
            NonNull::new(core::ptr::with_exposed_provenance_mut(address))
        },
        close: |_| {},
    }
}
