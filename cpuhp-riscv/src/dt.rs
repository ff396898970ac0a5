//! What a device tree says of the harts: which there are, which share a core, and how fast time runs.
//!
//! The tree is whatever firmware hands over: a node that makes no sense is an error that names it, never a
//! panic. Whether a hart that is listed can be started, the firmware says when `Riscv::new` asks it.
//!
//! **Spec**: Devicetree Specification 0.4, "`/cpus` Node Properties", "`/cpus/cpu*` Node Properties";
//! Linux devicetree bindings, `riscv/cpus.yaml`, `cpu/cpu-topology.txt`.

use core::fmt;
use core::num::NonZeroU64;

use cpuhp_core::HwId;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property, ToCellInt};

use crate::config::{CpuDesc, WakeMethod};

/// Ticks per second that no counter has: a time base so fast is a mistake, and time would stand still.
const MOST_HZ: u64 = 100_000_000_000;

/// Clusters in clusters that are looked into.
const DEEPEST: u32 = 8;

/// What is wrong with a device tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DtError {
    /// There is no node `/cpus`.
    NoCpus,
    /// The property `reg` of this node of a hart, counted from 0, is not one id of one or two cells.
    HartId(u32),
    /// The property `status` of this node of a hart, counted from 0, is no string.
    Status(u32),
    /// Nothing says how fast time runs, or it says 0, or more than any counter does.
    NoTimebase,
}

impl fmt::Display for DtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCpus => f.write_str("the device tree has no node /cpus"),
            Self::HartId(at) => write!(f, "cpu node {at} of the device tree has no hart id"),
            Self::Status(at) => write!(f, "cpu node {at} of the device tree has a bad status"),
            Self::NoTimebase => f.write_str("the device tree has no usable timebase-frequency"),
        }
    }
}

impl core::error::Error for DtError {}

/// Lists the harts, in the order of the tree: those whose status is okay, and as
/// [`WakeMethod::Disabled`] those whose status is disabled. Any other status means that there is no hart.
///
/// The wave of a hart is 1 if `/cpus/cpu-map` lists a hart of the same core before it whose status is okay
/// as well, and 0 otherwise. A kernel that cannot use a hart with an error leaves it out, or gives up; the
/// others are right.
///
/// Context: any; reads only the tree.
///
/// # Errors
/// [`DtError::NoCpus`]; of each hart [`DtError::HartId`] or [`DtError::Status`].
pub fn cpus<'a>(
    fdt: &Fdt<'a>,
) -> Result<impl Iterator<Item = Result<CpuDesc, DtError>> + Clone + use<'a>, DtError> {
    let list = fdt.find_node("/cpus").ok_or(DtError::NoCpus)?;
    // Most maps have no core with several harts, and then nobody has to search.
    let has_threads = |core: FdtNode<'a>| core.children().any(|below| is_thread(&below));
    let map = list
        .child("cpu-map")
        .filter(|map| find_core(*map, 0, &has_threads).is_some());
    let nodes = (0..).zip(list.children().filter(is_cpu));
    let describe = move |at, node, method| {
        let hw = hart_id(node).ok_or(DtError::HartId(at))?;
        let wave = map.map_or(0, |map| wave(list, map, node));
        Ok(CpuDesc { hw, method, wave })
    };
    Ok(nodes.filter_map(move |(at, node)| match status(node) {
        Status::Okay => Some(describe(at, node, WakeMethod::SbiHsm)),
        Status::Disabled => Some(describe(at, node, WakeMethod::Disabled)),
        Status::Other => None,
        Status::Bad => Some(Err(DtError::Status(at))),
    }))
}

/// Returns the frequency of the `time` counter in Hz.
///
/// # Errors
/// [`DtError::NoCpus`], [`DtError::NoTimebase`].
pub fn timebase_hz(fdt: &Fdt<'_>) -> Result<NonZeroU64, DtError> {
    let list = fdt.find_node("/cpus").ok_or(DtError::NoCpus)?;
    let read = |node: FdtNode<'_>| {
        let property = node.property("timebase-frequency")?;
        let short = property.value_as::<u32>().map(u64::from);
        let value = short.or_else(|_| property.value_as::<u64>()).ok()?;
        NonZeroU64::new(value).filter(|hz| hz.get() <= MOST_HZ)
    };
    // Older trees say it of each hart.
    let first = || list.children().find(is_cpu).and_then(read);
    read(list).or_else(first).ok_or(DtError::NoTimebase)
}

fn is_cpu(node: &FdtNode<'_>) -> bool {
    node.name_without_address() == "cpu"
}

/// What the tree says of a hart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Okay,
    Disabled,
    Other,
    /// Not in words.
    Bad,
}

fn status(node: FdtNode<'_>) -> Status {
    let Some(status) = node.property("status") else {
        return Status::Okay;
    };
    match status.value_as::<&str>() {
        // Some trees write the short word, which every kernel takes.
        Ok("okay" | "ok") => Status::Okay,
        Ok("disabled") => Status::Disabled,
        Ok(_) => Status::Other,
        Err(_) => Status::Bad,
    }
}

fn hart_id(node: FdtNode<'_>) -> Option<HwId> {
    let mut entries = node.reg().ok()??;
    let cells = entries.next()?.address;
    let is_one = entries.next().is_none() && matches!(cells.as_ref().len(), 1 | 2);
    if !is_one {
        return None;
    }
    cells.to_int::<u64>().ok().map(HwId)
}

fn is_thread(node: &FdtNode<'_>) -> bool {
    node.name().starts_with("thread")
}

fn phandle(node: FdtNode<'_>, name: &str) -> Option<u32> {
    node.property(name)?.value_as::<u32>().ok()
}

/// The wave of the hart `node`: 0 for the first usable one of its core.
fn wave<'a>(list: FdtNode<'a>, map: FdtNode<'a>, node: FdtNode<'a>) -> u8 {
    let Some(own) = phandle(node, "phandle") else {
        return 0;
    };
    let Some(core) = core_of(map, own) else {
        return 0;
    };
    let is_usable = |wanted: u32| {
        let mut harts = list.children().filter(is_cpu);
        let hart = harts.find(|hart| phandle(*hart, "phandle") == Some(wanted));
        hart.is_some_and(|hart| status(hart) == Status::Okay)
    };
    let mut threads = core.children().filter(is_thread);
    let first = threads.find_map(|thread| phandle(thread, "cpu").filter(|hart| is_usable(*hart)));
    u8::from(first.is_some_and(|first| first != own))
}

/// Finds the core whose threads name the hart.
fn core_of(map: FdtNode<'_>, hart: u32) -> Option<FdtNode<'_>> {
    let names_it = |thread: FdtNode<'_>| phandle(thread, "cpu") == Some(hart);
    find_core(map, 0, &|core| {
        core.children().filter(is_thread).any(names_it)
    })
}

/// Finds a core for which `is_it` holds, in clusters and sockets down to some depth.
fn find_core<'a>(
    level: FdtNode<'a>,
    depth: u32,
    is_it: &dyn Fn(FdtNode<'a>) -> bool,
) -> Option<FdtNode<'a>> {
    if depth == DEEPEST {
        return None;
    }
    level.children().find_map(|child| {
        if is_it(child) {
            return Some(child);
        }
        find_core(child, depth + 1, is_it)
    })
}

#[cfg(test)]
mod tests;
