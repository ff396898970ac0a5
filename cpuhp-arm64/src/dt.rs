//! What a device tree says of the CPUs: which there are, how each is started, which share a core; how PSCI
//! is called, and where the interrupt controller is.
//!
//! The tree is whatever firmware hands over: a node that makes no sense is an error that names it, never a
//! panic. Whether firmware really knows a CPU that is listed, it says when the CPU is kicked.
//!
//! **Spec**: Devicetree Specification 0.4, "`/cpus` Node Properties", "`/cpus/cpu*` Node Properties";
//! Linux devicetree bindings, `arm/cpus.yaml`, `arm/psci.yaml`, `arm,gic-v3.yaml`, `cpu/cpu-topology.txt`.

use core::fmt;

use cpuhp_core::HwId;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property, ToCellInt};

use crate::config::{Conduit, CpuDesc, Redistributors, WakeMethod};

/// Clusters in clusters that are looked into.
const DEEPEST: u32 = 8;

/// What is wrong with a device tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DtError {
    /// There is no node `/cpus`.
    NoCpus,
    /// The property `reg` of this CPU's node, counted from 0, is not one id of one or two cells.
    CpuId(u32),
    /// The property `status` of this CPU's node, counted from 0, is no string.
    Status(u32),
    /// The node of this CPU does not say how it is started. Firmware may leave it out of the boot CPU's.
    NoMethod(HwId),
    /// The node of this CPU names a way to start it that is neither PSCI nor a spin-table.
    UnknownMethod(HwId),
    /// This CPU waits on a spin-table, and its node has no address of it, or 0.
    NoRelease(HwId),
    /// The node `psci` knows only version 0.1, which hands no value to a CPU and cannot say that one is off.
    PsciTooOld,
    /// The property `method` of the node `psci` is neither `hvc` nor `smc`.
    NoConduit,
    /// No GICv3 with registers of two cells or less.
    NoGic,
}

impl fmt::Display for DtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCpus => f.write_str("the device tree has no node /cpus"),
            Self::CpuId(at) => write!(f, "cpu node {at} of the device tree has no id"),
            Self::Status(at) => write!(f, "cpu node {at} of the device tree has a bad status"),
            Self::NoMethod(id) => write!(f, "the device tree does not say how cpu {id} is started"),
            Self::UnknownMethod(id) => {
                write!(f, "cpu {id} is started neither by psci nor spin-table")
            }
            Self::NoRelease(id) => write!(f, "the spin-table of cpu {id} has no address"),
            Self::PsciTooOld => f.write_str("firmware has only psci 0.1"),
            Self::NoConduit => f.write_str("the device tree does not say how psci is called"),
            Self::NoGic => f.write_str("the device tree has no usable gicv3"),
        }
    }
}

impl core::error::Error for DtError {}

/// Lists the CPUs whose status is okay, in the order of the tree.
///
/// The wave of a CPU is 1 if `/cpus/cpu-map` lists a thread of the same core before it whose status is okay
/// as well, and 0 otherwise. A kernel that cannot use a CPU with an error leaves it out, or gives up; the
/// others are right.
///
/// Context: any; reads only the tree.
///
/// # Errors
/// [`DtError::NoCpus`]; of each CPU [`DtError::CpuId`], [`DtError::Status`], [`DtError::NoMethod`],
/// [`DtError::UnknownMethod`] or [`DtError::NoRelease`].
pub fn cpus<'a>(
    fdt: &Fdt<'a>,
) -> Result<impl Iterator<Item = Result<CpuDesc, DtError>> + Clone + use<'a>, DtError> {
    let list = fdt.find_node("/cpus").ok_or(DtError::NoCpus)?;
    // Most maps have no core with several threads, and then nobody has to search.
    let has_threads = |core: FdtNode<'a>| core.children().any(|below| is_thread(&below));
    let map = list
        .child("cpu-map")
        .filter(|map| find_core(*map, 0, &has_threads).is_some());
    let nodes = (0..).zip(list.children().filter(is_cpu));
    Ok(nodes.filter_map(move |(at, node)| match is_okay(node) {
        None => Some(Err(DtError::Status(at))),
        Some(false) => None,
        Some(true) => Some(describe(at, node).map(|(hw, method)| CpuDesc {
            hw,
            method,
            wave: map.map_or(0, |map| wave(list, map, node)),
        })),
    }))
}

fn describe(at: u32, node: FdtNode<'_>) -> Result<(HwId, WakeMethod), DtError> {
    let hw = cpu_id(node).ok_or(DtError::CpuId(at))?;
    let method = node.property("enable-method");
    let method = method.ok_or(DtError::NoMethod(hw))?;
    match method.value_as::<&str>() {
        Ok("psci") => Ok((hw, WakeMethod::Psci)),
        Ok("spin-table") => {
            let release = node.property("cpu-release-addr");
            let release = release.and_then(|property| property.value_as::<u64>().ok());
            let release = release.filter(|release| *release != 0);
            let release = release.ok_or(DtError::NoRelease(hw))?;
            Ok((hw, WakeMethod::SpinTable { release }))
        }
        _ => Err(DtError::UnknownMethod(hw)),
    }
}

/// Returns how PSCI is called, or `None` if the tree has no PSCI.
///
/// # Errors
/// [`DtError::PsciTooOld`], [`DtError::NoConduit`].
pub fn conduit(fdt: &Fdt<'_>) -> Result<Option<Conduit>, DtError> {
    let versions = ["arm,psci-1.0", "arm,psci-0.2"];
    let is_new = |node: &FdtNode<'_>| versions.iter().any(|name| node.is_compatible(name));
    let nodes = || fdt.root().children();
    let Some(node) = nodes().find(is_new) else {
        let is_old = |node: FdtNode<'_>| node.is_compatible("arm,psci");
        return if nodes().any(is_old) {
            Err(DtError::PsciTooOld)
        } else {
            Ok(None)
        };
    };
    let method = node.property("method").ok_or(DtError::NoConduit)?;
    match method.value_as::<&str>() {
        Ok("hvc") => Ok(Some(Conduit::Hvc)),
        Ok("smc") => Ok(Some(Conduit::Smc)),
        _ => Err(DtError::NoConduit),
    }
}

/// Where a GICv3 is, physical addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GicV3 {
    /// The distributor, which is the kernel's.
    pub distributor: u64,
    /// The redistributors; what exceeds the four regions is left out.
    pub redistributors: Redistributors,
}

/// Finds the interrupt controller.
///
/// # Errors
/// [`DtError::NoGic`].
pub fn gic(fdt: &Fdt<'_>) -> Result<GicV3, DtError> {
    let mut nodes = fdt.root().children();
    let node = nodes.find(|node| node.is_compatible("arm,gic-v3"));
    let node = node.ok_or(DtError::NoGic)?;
    let regions = node.property("#redistributor-regions");
    let regions = regions.and_then(|property| property.value_as::<u32>().ok());
    let regions = regions.unwrap_or(1) as usize;
    let mut entries = node.reg().ok().flatten().ok_or(DtError::NoGic)?;
    let mut next = || {
        let entry = entries.next().ok_or(DtError::NoGic)?;
        let address = entry.address::<u64>().map_err(|_| DtError::NoGic)?;
        let size = entry.size::<u64>().map_err(|_| DtError::NoGic)?;
        Ok((address, size))
    };
    let (distributor, _) = next()?;
    let mut redistributors = Redistributors::default();
    for place in redistributors.iter_mut().take(regions) {
        *place = next()?;
    }
    Ok(GicV3 {
        distributor,
        redistributors,
    })
}

fn is_cpu(node: &FdtNode<'_>) -> bool {
    node.name_without_address() == "cpu"
}

/// Whether the CPU is usable; `None` if the tree does not say it in words.
fn is_okay(node: FdtNode<'_>) -> Option<bool> {
    let Some(status) = node.property("status") else {
        return Some(true);
    };
    let word = status.value_as::<&str>().ok()?;
    // Some trees write the short word, which every kernel takes.
    Some(matches!(word, "okay" | "ok"))
}

fn cpu_id(node: FdtNode<'_>) -> Option<HwId> {
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

/// The wave of the CPU `node`: 0 for the first usable one of its core.
fn wave<'a>(list: FdtNode<'a>, map: FdtNode<'a>, node: FdtNode<'a>) -> u8 {
    let Some(own) = phandle(node, "phandle") else {
        return 0;
    };
    let Some(core) = core_of(map, own) else {
        return 0;
    };
    let is_usable = |wanted: u32| {
        let mut cpus = list.children().filter(is_cpu);
        let cpu = cpus.find(|cpu| phandle(*cpu, "phandle") == Some(wanted));
        cpu.is_some_and(|cpu| is_okay(cpu) == Some(true))
    };
    let mut threads = core.children().filter(is_thread);
    let first = threads.find_map(|thread| phandle(thread, "cpu").filter(|cpu| is_usable(*cpu)));
    u8::from(first.is_some_and(|first| first != own))
}

/// Finds the core whose threads name the CPU.
fn core_of(map: FdtNode<'_>, cpu: u32) -> Option<FdtNode<'_>> {
    let names_it = |thread: FdtNode<'_>| phandle(thread, "cpu") == Some(cpu);
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
