use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use dtoolkit::ToPropertyValue;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use super::*;

fn node(name: &str) -> DeviceTreeNode {
    DeviceTreeNode::new(name).unwrap()
}

fn has<T: ToPropertyValue>(node: &mut DeviceTreeNode, name: &str, value: T) {
    node.add_property(DeviceTreeProperty::new(name, value).unwrap());
}

/// `/cpus` with ids of `cells` cells.
fn list(cells: u32) -> DeviceTreeNode {
    let mut cpus = node("cpus");
    has(&mut cpus, "#address-cells", cells);
    has(&mut cpus, "#size-cells", 0_u32);
    has(&mut cpus, "timebase-frequency", 10_000_000_u32);
    cpus
}

/// A hart with phandle 100 + number.
fn hart(number: u32, reg: &[u32]) -> DeviceTreeNode {
    let mut cpu = node(&format!("cpu@{number}"));
    has(&mut cpu, "device_type", "cpu");
    has(&mut cpu, "reg", reg);
    has(&mut cpu, "phandle", 100 + number);
    cpu
}

fn tree(cpus: DeviceTreeNode) -> Vec<u8> {
    let mut tree = DeviceTree::new();
    tree.root.add_child(cpus);
    tree.to_dtb()
}

fn read(cpus: DeviceTreeNode) -> Vec<Result<(u64, u8), DtError>> {
    let bytes = tree(cpus);
    let fdt = Fdt::new(&bytes).unwrap();
    let row = |found: Result<CpuDesc, DtError>| found.map(|desc| (desc.hw.0, desc.wave));
    super::cpus(&fdt).unwrap().map(row).collect()
}

#[test]
fn ids_of_one_and_of_two_cells_are_read() {
    let mut one = list(1);
    one.add_child(hart(0, &[7]));
    one.add_child(hart(1, &[0xffff_fffe]));
    assert_eq!(read(one), [Ok((7, 0)), Ok((0xffff_fffe, 0))]);
    let mut two = list(2);
    two.add_child(hart(0, &[0, 7]));
    two.add_child(hart(1, &[0x12, 0x3456_789a]));
    assert_eq!(read(two), [Ok((7, 0)), Ok((0x12_3456_789a, 0))]);
}

#[test]
fn bad_ids_are_errors_that_name_the_node_and_the_others_are_read() {
    let mut cpus = list(2);
    cpus.add_child(hart(0, &[0, 4]));
    cpus.add_child(hart(1, &[5]));
    cpus.add_child(hart(2, &[]));
    cpus.add_child(hart(3, &[0, 6, 0, 7]));
    cpus.add_child(hart(4, &[0, 8]));
    let mut without = node("cpu@5");
    has(&mut without, "device_type", "cpu");
    cpus.add_child(without);
    let bad = |at| Err(DtError::HartId(at));
    let right = [Ok((4, 0)), bad(1), bad(2), bad(3), Ok((8, 0)), bad(5)];
    assert_eq!(read(cpus), right);
}

#[test]
fn ids_of_no_and_of_three_cells_are_errors() {
    for (cells, reg) in [(0, vec![]), (3, vec![0, 0, 1])] {
        let mut cpus = list(cells);
        cpus.add_child(hart(0, &reg));
        assert_eq!(read(cpus), [Err(DtError::HartId(0))], "{cells} cells");
    }
    // No cells for the id, and one for a size that a hart has not.
    let mut cpus = node("cpus");
    has(&mut cpus, "#address-cells", 0_u32);
    has(&mut cpus, "#size-cells", 1_u32);
    cpus.add_child(hart(0, &[3]));
    assert_eq!(read(cpus), [Err(DtError::HartId(0))]);
}

#[test]
fn harts_that_are_okay_or_disabled_are_listed() {
    let mut cpus = list(1);
    for (number, status) in [
        (0, Some("okay")),
        (1, Some("disabled")),
        (2, None),
        (3, Some("fail")),
        (4, Some("fail-sss")),
        (5, Some("reserved")),
        (6, Some("ok")),
        (7, Some("perhaps")),
    ] {
        let mut cpu = hart(number, &[number]);
        if let Some(status) = status {
            has(&mut cpu, "status", status);
        }
        cpus.add_child(cpu);
    }
    // No text, and other nodes that stand beside the harts.
    let mut cpu = hart(8, &[8]);
    has(&mut cpu, "status", &[0xff_u8, 0xfe, 0][..]);
    cpus.add_child(cpu);
    cpus.add_child(node("cpu-map"));
    cpus.add_child(node("l2-cache"));
    let bad = Err(DtError::Status(8));
    let right = [Ok((0, 0)), Ok((1, 0)), Ok((2, 0)), Ok((6, 0)), bad];
    assert_eq!(read(cpus.clone()), right);
    let bytes = tree(cpus);
    let fdt = Fdt::new(&bytes).unwrap();
    let disabled = super::cpus(&fdt).unwrap().flatten();
    let disabled = disabled.filter(|desc| desc.method == WakeMethod::Disabled);
    assert_eq!(disabled.map(|desc| desc.hw.0).collect::<Vec<_>>(), [1]);
}

#[test]
fn an_id_listed_twice_is_handed_on_twice() {
    // `Riscv::new` counts it once.
    let mut cpus = list(1);
    cpus.add_child(hart(0, &[3]));
    cpus.add_child(hart(1, &[3]));
    assert_eq!(read(cpus), [Ok((3, 0)), Ok((3, 0))]);
}

#[test]
fn tree_without_harts_is_named() {
    let bytes = DeviceTree::new().to_dtb();
    let fdt = Fdt::new(&bytes).unwrap();
    assert_eq!(cpus(&fdt).err(), Some(DtError::NoCpus));
    assert_eq!(timebase_hz(&fdt), Err(DtError::NoCpus));
    assert_eq!(read(list(1)), []);
}

#[test]
fn timebase_is_read_wherever_it_stands() {
    let hz = |cpus| {
        let bytes = tree(cpus);
        timebase_hz(&Fdt::new(&bytes).unwrap()).map(NonZeroU64::get)
    };
    assert_eq!(hz(list(1)), Ok(10_000_000));
    let mut long = node("cpus");
    has(&mut long, "timebase-frequency", 5_000_000_000_u64);
    assert_eq!(hz(long), Ok(5_000_000_000));
    let mut below = node("cpus");
    let mut cpu = node("cpu@0");
    has(&mut cpu, "timebase-frequency", 1_000_000_u32);
    below.add_child(cpu);
    assert_eq!(hz(below), Ok(1_000_000));
    // The last is 2^40 Hz: 1,100 ticks of it would be one nanosecond.
    for value in [vec![], vec![0_u32], vec![1, 2, 3], vec![0x100, 0]] {
        let mut bad = node("cpus");
        has(&mut bad, "timebase-frequency", value);
        assert_eq!(hz(bad), Err(DtError::NoTimebase));
    }
    assert_eq!(hz(node("cpus")), Err(DtError::NoTimebase));
}

/// `cores` of a cluster, each a list of harts by number.
fn cluster(name: &str, cores: &[&[u32]]) -> DeviceTreeNode {
    let mut cluster = node(name);
    for (at, harts) in cores.iter().enumerate() {
        let mut core = node(&format!("core{at}"));
        match harts {
            [alone] => has(&mut core, "cpu", 100 + alone),
            _ => {
                for (thread, hart) in harts.iter().enumerate() {
                    let mut below = node(&format!("thread{thread}"));
                    has(&mut below, "cpu", 100 + hart);
                    core.add_child(below);
                }
            }
        }
        cluster.add_child(core);
    }
    cluster
}

/// The waves of six harts, number 2 of which is disabled, under this map.
fn waves(map: Option<DeviceTreeNode>) -> String {
    let mut cpus = list(1);
    for number in 0..6 {
        let mut cpu = hart(number, &[number]);
        if number == 2 {
            has(&mut cpu, "status", "disabled");
        }
        cpus.add_child(cpu);
    }
    map.into_iter().for_each(|map| cpus.add_child(map));
    let digits = read(cpus).into_iter().map(|row| row.unwrap().1);
    digits.map(|wave| char::from(b'0' + wave)).collect()
}

#[test]
fn first_usable_hart_of_each_core_is_in_wave_0() {
    assert_eq!(waves(None), "000000");
    let mut alone = node("cpu-map");
    alone.add_child(cluster("cluster0", &[&[0], &[1], &[2], &[3], &[4], &[5]]));
    assert_eq!(waves(Some(alone)), "000000");
    // Harts 0 and 1 share a core, 2 (disabled) and 3, 4 and 5 the other way round.
    let mut pairs = node("cpu-map");
    pairs.add_child(cluster("cluster0", &[&[0, 1], &[2, 3]]));
    let mut deep = node("socket0");
    deep.add_child(cluster("cluster0", &[&[5, 4]]));
    pairs.add_child(deep);
    assert_eq!(waves(Some(pairs)), "011010");
}

#[test]
fn map_that_lies_about_a_hart_leaves_it_in_wave_0() {
    let mut map = node("cpu-map");
    // A hart that is not there, one listed twice in its core, and the rest not at all.
    map.add_child(cluster("cluster0", &[&[77, 0], &[1, 1]]));
    assert_eq!(waves(Some(map)), "000000");
}

#[test]
fn map_without_end_is_cut_off() {
    let mut level = cluster("cluster0", &[&[0, 1]]);
    for _ in 0..40 {
        let mut above = node("cluster0");
        above.add_child(level);
        level = above;
    }
    let mut map = node("cpu-map");
    map.add_child(level);
    assert_eq!(waves(Some(map)), "000000");
}
