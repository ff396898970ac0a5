//! Physical memory, as every page table here shows it: everything below 4 GiB at its own address, from the
//! first instruction to the last.
#![expect(unsafe_code, reason = "firmware's tables are known by address only")]

use crate::boot::GIGABYTES;

/// End of what `boot` maps.
const END: usize = GIGABYTES << 30;

/// Views `len` bytes at `address`, or `None` if they are not mapped.
///
/// For memory that firmware wrote and nobody changes: the device tree.
pub(crate) fn bytes(address: usize, len: usize) -> Option<&'static [u8]> {
    let end = address.checked_add(len)?;
    if address == 0 || end > END {
        return None;
    }
    let start = core::ptr::with_exposed_provenance::<u8>(address);
    // SAFETY: mapped by `boot` for ever, and never written: the kernel writes its own image only, which
    // firmware does not put the tree into.
    Some(unsafe { core::slice::from_raw_parts(start, len) })
}
