//! Command lines and limits, against what QEMU's own documentation and refusals say.

use super::*;
use crate::machine::Machine;

fn plan(words: &[&str], accel: Accel, smp: Option<u32>) -> Plan {
    plan_of(Arch::X86_64, words, accel, smp)
}

fn plan_of(arch: Arch, words: &[&str], accel: Accel, smp: Option<u32>) -> Plan {
    let mut plan = Plan::new(arch);
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    plan.machine = Machine::parse(&words, plan.arch).unwrap();
    plan.accel = accel;
    plan.set_smp(smp).unwrap();
    plan
}

#[test]
fn absent_cpus_are_listed_beyond_those_that_exist() {
    assert_eq!(
        smp(&plan(&["absent=4"], Accel::Tcg, Some(8))),
        "8,maxcpus=12"
    );
    assert_eq!(smp(&plan(&[], Accel::Tcg, Some(8))), "8");
}

#[test]
fn topology_is_handed_on() {
    let words = ["topology=sockets=3,cores=3,threads=3"];
    assert_eq!(
        smp(&plan(&words, Accel::Tcg, None)),
        "27,maxcpus=27,sockets=3,cores=3,threads=3"
    );
}

#[test]
fn cpu_model_and_features_are_joined() {
    assert_eq!(
        cpu(&plan(&["cpuid-0xb=off"], Accel::Tcg, None)),
        "max,cpuid-0xb=off"
    );
    assert_eq!(cpu(&plan(&["cpu=qemu64"], Accel::Tcg, None)), "qemu64");
    assert_eq!(
        cpu(&plan(&[], Accel::Kvm, None)),
        "host,arch-capabilities=off"
    );
}

#[test]
fn icount_runs_on_one_thread() {
    let words = accel(&plan(&[], Accel::Icount, None));
    assert_eq!(
        words,
        [
            "-accel",
            "tcg,thread=single",
            "-icount",
            "shift=0,sleep=off"
        ]
    );
}

#[test]
fn more_cpus_than_q35_takes_are_refused() {
    assert!(check_limits(&plan(&[], Accel::Tcg, Some(255))).is_ok());
    assert!(check_limits(&plan(&[], Accel::Tcg, Some(256))).is_err());
    assert!(check_limits(&plan(&["absent=4"], Accel::Tcg, Some(252))).is_err());
    assert!(check_limits(&plan(&[], Accel::Kvm, Some(288))).is_ok());
    assert!(check_limits(&plan(&[], Accel::Kvm, Some(289))).is_err());
    assert!(check_limits(&plan(&["thread=multi"], Accel::Icount, None)).is_err());
}

#[test]
fn arm_starts_at_the_level_asked_for() {
    let plan = |words: &[&str]| plan_of(Arch::Aarch64, words, Accel::Tcg, None);
    assert_eq!(machine(&plan(&[])), "virt,gic-version=3");
    assert_eq!(machine(&plan(&["el=1"])), "virt,gic-version=3");
    assert_eq!(
        machine(&plan(&["el=2"])),
        "virt,gic-version=3,virtualization=on"
    );
    assert_eq!(machine(&plan(&["board=raspi3b"])), "raspi3b");
}

#[test]
fn raspi3b_has_four_cpus() {
    let plan = |smp| plan_of(Arch::Aarch64, &["board=raspi3b"], Accel::Tcg, smp);
    assert_eq!(plan(None).smp, 4);
    assert!(check_limits(&plan(None)).is_ok());
    assert!(check_limits(&plan(Some(8))).is_err());
}

#[test]
fn many_harts_run_on_one_thread() {
    let words = |smp, words: &[&str]| accel(&plan_of(Arch::Riscv64, words, Accel::Tcg, Some(smp)));
    assert_eq!(words(31, &[]), ["-accel", "tcg,thread=multi"]);
    assert_eq!(words(32, &[]), ["-accel", "tcg,thread=single"]);
    assert_eq!(words(32, &["thread=multi"]), ["-accel", "tcg,thread=multi"]);
    let many = plan_of(Arch::Aarch64, &[], Accel::Tcg, Some(512));
    assert_eq!(accel(&many), ["-accel", "tcg,thread=multi"]);
}

#[test]
fn virt_machines_take_512_cpus_and_no_kvm() {
    for arch in [Arch::Aarch64, Arch::Riscv64] {
        assert!(check_limits(&plan_of(arch, &[], Accel::Tcg, Some(512))).is_ok());
        assert!(check_limits(&plan_of(arch, &[], Accel::Tcg, Some(513))).is_err());
        assert!(check_limits(&plan_of(arch, &[], Accel::Kvm, Some(8))).is_err());
    }
}
