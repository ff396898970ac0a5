use std::format;
use std::string::String;
use std::vec::Vec;

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
    cpus
}

/// A CPU started by PSCI, with phandle 100 + number.
fn cpu(number: u32, reg: &[u32]) -> DeviceTreeNode {
    let mut cpu = bare(number, reg);
    has(&mut cpu, "enable-method", "psci");
    cpu
}

fn bare(number: u32, reg: &[u32]) -> DeviceTreeNode {
    let mut cpu = node(&format!("cpu@{number}"));
    has(&mut cpu, "device_type", "cpu");
    has(&mut cpu, "reg", reg);
    has(&mut cpu, "phandle", 100 + number);
    cpu
}

fn tree(below: DeviceTreeNode) -> Vec<u8> {
    let mut tree = DeviceTree::new();
    has(&mut tree.root, "#address-cells", 2_u32);
    has(&mut tree.root, "#size-cells", 2_u32);
    tree.root.add_child(below);
    tree.to_dtb()
}

fn read_all(cpus: DeviceTreeNode) -> Vec<Result<CpuDesc, DtError>> {
    let bytes = tree(cpus);
    super::cpus(&Fdt::new(&bytes).unwrap()).unwrap().collect()
}

fn read(cpus: DeviceTreeNode) -> Vec<Result<(u64, u8), DtError>> {
    let row = |found: Result<CpuDesc, DtError>| found.map(|desc| (desc.hw.0, desc.wave));
    read_all(cpus).into_iter().map(row).collect()
}

#[test]
fn ids_of_one_and_of_two_cells_are_read() {
    let mut one = list(1);
    one.add_child(cpu(0, &[0x101]));
    one.add_child(cpu(1, &[0x00ff_ffff]));
    assert_eq!(read(one), [Ok((0x101, 0)), Ok((0x00ff_ffff, 0))]);
    let mut two = list(2);
    two.add_child(cpu(0, &[0, 7]));
    two.add_child(cpu(1, &[0x12, 0x0034_5678]));
    assert_eq!(read(two), [Ok((7, 0)), Ok((0x12_0034_5678, 0))]);
}

#[test]
fn bad_ids_are_errors_that_name_the_node_and_the_others_are_read() {
    let mut cpus = list(2);
    cpus.add_child(cpu(0, &[0, 4]));
    cpus.add_child(cpu(1, &[5]));
    cpus.add_child(cpu(2, &[]));
    cpus.add_child(cpu(3, &[0, 6, 0, 7]));
    cpus.add_child(cpu(4, &[0, 8]));
    let bad = |at| Err(DtError::CpuId(at));
    let right = [Ok((4, 0)), bad(1), bad(2), bad(3), Ok((8, 0))];
    assert_eq!(read(cpus), right);
    let mut three = list(3);
    three.add_child(cpu(0, &[0, 0, 1]));
    assert_eq!(read(three), [bad(0)]);
}

#[test]
fn each_way_to_start_a_cpu_is_read_and_every_other_is_an_error() {
    let mut cpus = list(1);
    cpus.add_child(cpu(0, &[0]));
    let mut spin = bare(1, &[1]);
    has(&mut spin, "enable-method", "spin-table");
    has(&mut spin, "cpu-release-addr", 0x1_0000_00d8_u64);
    cpus.add_child(spin);
    cpus.add_child(bare(2, &[2]));
    for (number, method) in [(3, "acpi-parking-protocol"), (4, ""), (5, "PSCI")] {
        let mut other = bare(number, &[number]);
        has(&mut other, "enable-method", method);
        cpus.add_child(other);
    }
    let methods: Vec<Result<WakeMethod, DtError>> = read_all(cpus)
        .into_iter()
        .map(|found| found.map(|desc| desc.method))
        .collect();
    let release = 0x1_0000_00d8;
    let unknown = |id| Err(DtError::UnknownMethod(HwId(id)));
    let right = [
        Ok(WakeMethod::Psci),
        Ok(WakeMethod::SpinTable { release }),
        Err(DtError::NoMethod(HwId(2))),
        unknown(3),
        unknown(4),
        unknown(5),
    ];
    assert_eq!(methods, right);
}

#[test]
fn a_spin_table_without_an_address_is_an_error() {
    let mut cpus = list(1);
    for number in 0..3 {
        let mut spin = bare(number, &[number]);
        has(&mut spin, "enable-method", "spin-table");
        match number {
            0 => has(&mut spin, "cpu-release-addr", 0_u64),
            1 => has(&mut spin, "cpu-release-addr", 0xd8_u32),
            _ => {}
        }
        cpus.add_child(spin);
    }
    let none = |id| Err(DtError::NoRelease(HwId(id)));
    assert_eq!(read(cpus), [none(0), none(1), none(2)]);
}

#[test]
fn only_cpus_that_are_okay_are_listed() {
    let mut cpus = list(1);
    let words = [
        "okay", "disabled", "fail", "fail-sss", "reserved", "ok", "?",
    ];
    for (number, status) in (0..).zip(words) {
        let mut cpu = cpu(number, &[number]);
        has(&mut cpu, "status", status);
        cpus.add_child(cpu);
    }
    let mut bad = cpu(8, &[8]);
    has(&mut bad, "status", &[0xff_u8, 0xfe, 0][..]);
    cpus.add_child(bad);
    cpus.add_child(node("cpu-map"));
    cpus.add_child(node("l2-cache0"));
    let bad = Err(DtError::Status(7));
    assert_eq!(read(cpus), [Ok((0, 0)), Ok((5, 0)), bad]);
}

#[test]
fn tree_without_cpus_is_named() {
    let bytes = DeviceTree::new().to_dtb();
    let fdt = Fdt::new(&bytes).unwrap();
    assert_eq!(cpus(&fdt).err(), Some(DtError::NoCpus));
    assert_eq!(conduit(&fdt), Ok(None));
    assert_eq!(gic(&fdt), Err(DtError::NoGic));
}

/// A string list as a tree holds it: each with a zero at its end.
fn strings(words: &[&str]) -> Vec<u8> {
    words
        .iter()
        .flat_map(|word| word.bytes().chain([0]))
        .collect()
}

fn psci(compatible: &[&str], method: Option<&str>) -> Result<Option<Conduit>, DtError> {
    let mut psci = node("psci");
    has(&mut psci, "compatible", &strings(compatible)[..]);
    if let Some(method) = method {
        has(&mut psci, "method", method);
    }
    conduit(&Fdt::new(&tree(psci)).unwrap())
}

#[test]
fn conduit_is_read_and_never_assumed() {
    let all = ["arm,psci-1.0", "arm,psci-0.2", "arm,psci"];
    assert_eq!(psci(&all, Some("hvc")), Ok(Some(Conduit::Hvc)));
    assert_eq!(psci(&all[1..], Some("smc")), Ok(Some(Conduit::Smc)));
    for method in [None, Some("svc"), Some("")] {
        assert_eq!(psci(&all, method), Err(DtError::NoConduit));
    }
    assert_eq!(psci(&["arm,psci"], Some("hvc")), Err(DtError::PsciTooOld));
    assert_eq!(psci(&["arm,other"], Some("hvc")), Ok(None));
}

#[test]
fn regions_of_the_interrupt_controller_are_told_apart() {
    let place = |address: u64, size: u64| {
        [address, size]
            .into_iter()
            .flat_map(|long| [(long >> 32) as u32, (long & 0xffff_ffff) as u32])
    };
    let reg: Vec<u32> = place(0x0800_0000, 0x1_0000)
        .chain(place(0x080a_0000, 0xf6_0000))
        .chain(place(0x40_0000_0000, 0x400_0000))
        .collect();
    let make = |regions: Option<u32>, reg: &[u32]| {
        let mut intc = node("intc@8000000");
        has(&mut intc, "compatible", "arm,gic-v3");
        has(&mut intc, "reg", reg);
        if let Some(regions) = regions {
            has(&mut intc, "#redistributor-regions", regions);
        }
        gic(&Fdt::new(&tree(intc)).unwrap())
    };
    let first = (0x080a_0000, 0xf6_0000);
    let found = make(None, &reg).unwrap();
    assert_eq!(found.distributor, 0x0800_0000);
    assert_eq!(found.redistributors, [first, (0, 0), (0, 0), (0, 0)]);
    let second = (0x40_0000_0000, 0x400_0000);
    let found = make(Some(2), &reg).unwrap();
    assert_eq!(found.redistributors, [first, second, (0, 0), (0, 0)]);
    assert_eq!(make(Some(3), &reg), Err(DtError::NoGic));
    assert_eq!(make(None, &reg[..4]), Err(DtError::NoGic));
    assert_eq!(make(None, &reg[..7]), Err(DtError::NoGic));
}

/// `cores` of a cluster, each a list of CPUs by number.
fn cluster(name: &str, cores: &[&[u32]]) -> DeviceTreeNode {
    let mut cluster = node(name);
    for (at, cpus) in cores.iter().enumerate() {
        let mut core = node(&format!("core{at}"));
        match cpus {
            [alone] => has(&mut core, "cpu", 100 + alone),
            _ => {
                for (thread, cpu) in cpus.iter().enumerate() {
                    let mut below = node(&format!("thread{thread}"));
                    has(&mut below, "cpu", 100 + cpu);
                    core.add_child(below);
                }
            }
        }
        cluster.add_child(core);
    }
    cluster
}

/// The waves of six CPUs, number 2 of which is disabled, under this map.
fn waves(map: Option<DeviceTreeNode>) -> String {
    let mut cpus = list(1);
    for number in 0..6 {
        let mut cpu = cpu(number, &[number]);
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
fn first_usable_thread_of_each_core_is_in_wave_0() {
    assert_eq!(waves(None), "00000");
    let mut alone = node("cpu-map");
    alone.add_child(cluster("cluster0", &[&[0], &[1], &[2], &[3], &[4], &[5]]));
    assert_eq!(waves(Some(alone)), "00000");
    // CPUs 0 and 1 share a core, 2 (disabled) and 3, 4 and 5 the other way round.
    let mut pairs = node("cpu-map");
    pairs.add_child(cluster("cluster0", &[&[0, 1], &[2, 3]]));
    let mut deep = node("socket0");
    deep.add_child(cluster("cluster0", &[&[5, 4]]));
    pairs.add_child(deep);
    assert_eq!(waves(Some(pairs)), "01010");
}

#[test]
fn map_that_lies_about_a_cpu_leaves_it_in_wave_0() {
    let mut map = node("cpu-map");
    // A CPU that is not there, one listed twice in its core, and the rest not at all.
    map.add_child(cluster("cluster0", &[&[77, 0], &[1, 1]]));
    assert_eq!(waves(Some(map)), "00000");
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
    assert_eq!(waves(Some(map)), "00000");
}
