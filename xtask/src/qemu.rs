//! QEMU's command line for a plan, the limits QEMU has, and what its exit status means.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::cli::Accel;
use crate::exit::usage;
use crate::machine::{Arch, Thread};
use crate::plan::Plan;
use crate::process::{self, Ending};

/// The emulator of the x86_64 kernels.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";

/// The only exit status that is a pass: the kernel wrote 0x10 to the exit device.
pub(crate) const PASS: i32 = 33;

/// CPUs of q35 without a kernel-side interrupt controller: 8-bit APIC ids.
const TCG_LIMIT: u64 = 255;

/// CPUs of q35 under KVM.
const KVM_LIMIT: u64 = 288;

/// Refuses what QEMU would refuse, in words that say what to do.
///
/// # Errors
/// More CPUs than the machine type takes.
pub(crate) fn check_limits(plan: &Plan) -> Result<()> {
    let listed = plan
        .machine
        .topology
        .as_ref()
        .map_or(0, |topology| topology.cpus.into());
    let cpus = plan.cpus().max(listed);
    match plan.accel {
        Accel::Tcg | Accel::Icount if cpus > TCG_LIMIT => Err(usage(format!(
            "{cpus} CPUs asked for: QEMU's q35 takes at most {TCG_LIMIT} without KVM; use --smp {TCG_LIMIT} or --accel kvm"
        ))),
        Accel::Kvm if cpus > KVM_LIMIT => Err(usage(format!(
            "{cpus} CPUs asked for: QEMU's q35 takes at most {KVM_LIMIT}; use --smp {KVM_LIMIT}"
        ))),
        Accel::Icount if plan.machine.thread == Some(Thread::Multi) => Err(usage(
            "icount runs all CPUs on one thread: leave thread=multi out",
        )),
        Accel::Tcg | Accel::Icount | Accel::Kvm => Ok(()),
    }
}

/// Why the accelerator cannot be used here, if so.
pub(crate) fn missing_accel(accel: Accel) -> Option<String> {
    if accel != Accel::Kvm {
        return None;
    }
    let error = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .err()?;
    Some(format!(
        "KVM cannot be used: /dev/kvm does not open ({error}); use --accel tcg"
    ))
}

/// The command that boots `kernel` as planned.
pub(crate) fn command(plan: &Plan, kernel: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["-machine", "q35"]);
    command
        .args(accel(plan))
        .args(["-cpu", &cpu(plan), "-smp", &smp(plan), "-m", "256M"]);
    if has_qboot() {
        // Starts in a third of SeaBIOS's time; without it QEMU takes SeaBIOS, which works as well.
        command.args(["-bios", "qboot.rom"]);
    }
    command
        .arg("-kernel")
        .arg(kernel)
        .args(["-append", &plan.arguments()]);
    command.args([
        "-display",
        "none",
        "-nodefaults",
        "-no-reboot",
        "-serial",
        "stdio",
    ]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    command
}

fn accel(plan: &Plan) -> Vec<String> {
    let words: &[&str] = match (plan.accel, plan.machine.thread) {
        (Accel::Kvm, _) => &["-accel", "kvm"],
        (Accel::Icount, _) => &[
            "-accel",
            "tcg,thread=single",
            "-icount",
            "shift=0,sleep=off",
        ],
        (Accel::Tcg, Some(Thread::Single)) => &["-accel", "tcg,thread=single"],
        (Accel::Tcg, Some(Thread::Multi) | None) => &["-accel", "tcg,thread=multi"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn cpu(plan: &Plan) -> String {
    let default = match plan.accel {
        // Some hosts list that model register and refuse to set it; QEMU then aborts.
        Accel::Kvm => "host,arch-capabilities=off",
        Accel::Tcg | Accel::Icount => "max",
    };
    let mut words = vec![plan.machine.cpu.as_deref().unwrap_or(default)];
    words.extend(plan.machine.features.iter().map(String::as_str));
    words.join(",")
}

fn smp(plan: &Plan) -> String {
    match &plan.machine.topology {
        Some(topology) => format!("{},maxcpus={},{}", plan.smp, topology.cpus, topology.text),
        None if plan.machine.absent > 0 => format!("{},maxcpus={}", plan.smp, plan.cpus()),
        None => plan.smp.to_string(),
    }
}

/// Whether QEMU's data folders hold the small firmware.
fn has_qboot() -> bool {
    let folders = process::capture(Command::new(PROGRAM).args(["-L", "help"])).unwrap_or_default();
    folders
        .lines()
        .any(|folder| Path::new(folder.trim()).join("qboot.rom").is_file())
}

/// What the ending of a program that runs a kernel of `arch` means, if it is not the pass.
pub(crate) fn explain(arch: Arch, ending: Ending) -> Option<String> {
    let meaning = match ending.code() {
        Some(PASS) => return None,
        Some(code) if arch == Arch::Hosted => {
            return Some(format!("exit status {code}, only {PASS} is a pass"));
        }
        Some(0) => "exit status 0: the guest reset itself (triple fault or reboot)",
        Some(1) => {
            "exit status 1: QEMU refused its command line, or the guest wrote 0 to the exit device"
        }
        Some(255) => "exit status 255: the kernel reported a failure or a panic",
        Some(code) => return Some(format!("exit status {code}, only {PASS} is a pass")),
        None if matches!(ending, Ending::TimedOut) => {
            "did not end within its time limit and was killed"
        }
        None => "was ended by a signal",
    };
    Some(meaning.to_owned())
}

/// Drops what KVM says about CPU numbers on every start.
pub(crate) fn is_noise(line: &str) -> bool {
    line.contains("exceeds the recommended cpus supported by KVM")
        || line.contains("hotpluggable cpus requested")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    fn plan(words: &[&str], accel: Accel, smp: Option<u32>) -> Plan {
        let mut plan = Plan::new(Arch::X86_64);
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
}
