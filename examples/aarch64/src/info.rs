//! What the loader says: command line, CPUs, interrupt controller. A device tree in, values out.
//!
//! Spec: Devicetree Specification 0.4; for a loader without one, the tagged list of older Arm kernels.

use cpuhp_arm64::dt::{self, DtError};
use cpuhp_arm64::{Conduit, CpuDesc};
use dtoolkit::fdt::Fdt;

use crate::memory;

/// Where QEMU's `virt` has its device tree if it hands no address over.
const VIRT_MEMORY: u64 = 0x4000_0000;
/// Offset of a device tree's length, and the most that is believed.
const LENGTH_AT: usize = 4;
const LONGEST: usize = 4 << 20;

const TAG_CORE: u32 = 0x5441_0001;
const TAG_COMMAND_LINE: u32 = 0x5441_0009;
/// Tags that are looked at, and bytes of the list that are.
const MOST_TAGS: usize = 32;
const TAG_BYTES: usize = 4096;

/// The device tree at `loader`, or where the machine has it.
pub(crate) fn tree(loader: u64) -> Option<Fdt<'static>> {
    let at = if loader == 0 { VIRT_MEMORY } else { loader };
    let head = memory::bytes(at, LENGTH_AT + 4)?;
    let len = u32::from_be_bytes(*head.get(LENGTH_AT..)?.first_chunk()?) as usize;
    let bytes = memory::bytes(at, len).filter(|_| len < LONGEST)?;
    Fdt::new(bytes).ok()
}

/// The command line of a device tree.
pub(crate) fn command_line(tree: Fdt<'static>) -> Option<&'static str> {
    use dtoolkit::{Node, Property};
    let chosen = tree.find_node("/chosen")?;
    chosen.property("bootargs")?.value_as::<&'static str>().ok()
}

/// The command line of a tagged list.
pub(crate) fn command_line_of_tags(loader: u64) -> Option<&'static str> {
    let bytes = memory::bytes(loader, TAG_BYTES)?;
    let word = |at: usize| {
        let word = bytes.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*word))
    };
    if word(4)? != TAG_CORE {
        return None;
    }
    let mut at = 0;
    for _ in 0..MOST_TAGS {
        let len = word(at)? as usize * 4;
        if word(at + 4)? == TAG_COMMAND_LINE {
            let text = bytes.get(at + 8..at + len)?;
            let text = text.split(|byte| *byte == 0).next()?;
            return core::str::from_utf8(text).ok();
        }
        at = at.checked_add(len).filter(|_| len >= 8)?;
    }
    None
}

/// The CPUs of a device tree. A tree of one CPU does not say how it is started, nor has it to.
pub(crate) fn cpus(
    tree: &Fdt<'static>,
) -> Result<impl Iterator<Item = CpuDesc> + Clone + use<>, DtError> {
    let all = dt::cpus(tree)?;
    if let Some(error) = all.clone().find_map(|cpu| match cpu {
        Err(DtError::NoMethod(_)) | Ok(_) => None,
        Err(error) => Some(error),
    }) {
        return Err(error);
    }
    Ok(all.filter_map(|cpu| match cpu {
        Ok(desc) => Some(desc),
        Err(DtError::NoMethod(hw)) => Some(CpuDesc {
            hw,
            method: cpuhp_arm64::WakeMethod::Psci,
            wave: 0,
        }),
        Err(_) => None,
    }))
}

/// How PSCI is called.
pub(crate) fn conduit(tree: &Fdt<'static>) -> Result<Option<Conduit>, DtError> {
    dt::conduit(tree)
}
