//! QEMU's command line for a plan, the limits QEMU has, and what its exit status means.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::arch::Arch;
use crate::cli::Accel;
use crate::exit::usage;
use crate::machine::{Board, Level, Thread};
use crate::plan::{Plan, RASPI_SMP, Scenario};
use crate::process::{self, Ending};

#[cfg(test)]
mod tests;

/// The only exit status that is a pass; each kernel gives it through the exit device of its machine.
pub(crate) const PASS: i32 = 33;

/// CPUs of q35 without a kernel-side interrupt controller: 8-bit APIC ids.
const TCG_LIMIT: u64 = 255;

/// CPUs of q35 under KVM.
const KVM_LIMIT: u64 = 288;

/// CPUs of the machines called `virt`: with a GICv3, and of riscv64.
const VIRT_LIMIT: u64 = 512;

/// From this many harts on, threads of the host cost more than they bring.
const HARTS_ON_ONE_THREAD: u64 = 32;

/// Refuses what QEMU would refuse, in words that say what to do.
///
/// # Errors
/// More CPUs than the machine type takes, or an accelerator that does not go with it.
pub(crate) fn check_limits(plan: &Plan) -> Result<()> {
    let listed = plan
        .machine
        .topology
        .as_ref()
        .map_or(0, |topology| topology.cpus.into());
    let cpus = plan.cpus().max(listed);
    if plan.accel == Accel::Icount && plan.machine.thread == Some(Thread::Multi) {
        return Err(usage(
            "icount runs all CPUs on one thread: leave thread=multi out",
        ));
    }
    check_hotadd(plan)?;
    match (plan.arch, plan.accel) {
        (Arch::Aarch64 | Arch::Riscv64, Accel::Kvm) => Err(usage(format!(
            "kvm runs kernels of the host's own architecture only: use --accel tcg for {}",
            plan.arch.name()
        ))),
        (Arch::Aarch64, _) if plan.machine.board == Some(Board::Raspi3b) => {
            if plan.smp == RASPI_SMP {
                return Ok(());
            }
            Err(usage(format!(
                "QEMU's raspi3b has {RASPI_SMP} CPUs and no other number: use --smp {RASPI_SMP}"
            )))
        }
        (Arch::Aarch64 | Arch::Riscv64, _) if cpus > VIRT_LIMIT => Err(usage(format!(
            "{cpus} CPUs asked for: QEMU's virt takes at most {VIRT_LIMIT}; use --smp {VIRT_LIMIT}"
        ))),
        (Arch::X86_64, Accel::Tcg | Accel::Icount) if cpus > TCG_LIMIT => Err(usage(format!(
            "{cpus} CPUs asked for: QEMU's q35 takes at most {TCG_LIMIT} without KVM; use --smp {TCG_LIMIT} or --accel kvm"
        ))),
        (Arch::X86_64, Accel::Kvm) if cpus > KVM_LIMIT => Err(usage(format!(
            "{cpus} CPUs asked for: QEMU's q35 takes at most {KVM_LIMIT}; use --smp {KVM_LIMIT}"
        ))),
        (Arch::X86_64 | Arch::Aarch64 | Arch::Riscv64 | Arch::Hosted, _) => Ok(()),
    }
}

/// CPUs are plugged in by the scenario about it, and where nothing else decides which places are free.
fn check_hotadd(plan: &Plan) -> Result<()> {
    let machine = &plan.machine;
    let is_about_it = plan.scenario == Scenario::Hotadd;
    if is_about_it != (machine.hotadd > 0) {
        return Err(usage(
            "--scenario hotadd goes with --machine hotadd=N, the number of CPUs to plug in",
        ));
    }
    if machine.hotadd > 0 && (machine.absent > 0 || machine.topology.is_some()) {
        return Err(usage("hotadd=N does not go with absent=N or topology="));
    }
    Ok(())
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

/// The command that boots `kernel` as planned on `program`.
pub(crate) fn command(program: &str, plan: &Plan, kernel: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-machine", &machine(plan)]);
    command
        .args(accel(plan))
        .args(["-cpu", &cpu(plan), "-smp", &smp(plan)]);
    command.args(own(program, plan));
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
    command
}

/// The machine type, with what `--machine` says of it.
fn machine(plan: &Plan) -> String {
    let board = plan.machine.board.map_or("virt", Board::name);
    match plan.arch {
        Arch::X86_64 | Arch::Hosted => "q35".to_owned(),
        Arch::Riscv64 => "virt".to_owned(),
        Arch::Aarch64 if board == "virt" => {
            let level = match plan.machine.level {
                Some(Level::El2) => ",virtualization=on",
                Some(Level::El1) | None => "",
            };
            format!("virt,gic-version=3{level}")
        }
        Arch::Aarch64 => board.to_owned(),
    }
}

/// Memory, firmware and exit device of the architecture.
fn own(program: &str, plan: &Plan) -> Vec<&'static str> {
    match plan.arch {
        Arch::X86_64 | Arch::Hosted => {
            let mut words = vec![
                "-m",
                "256M",
                "-device",
                "isa-debug-exit,iobase=0xf4,iosize=4",
            ];
            if has_qboot(program) {
                // Starts in a third of SeaBIOS's time; without it QEMU takes SeaBIOS, which works as well.
                words.extend(["-bios", "qboot.rom"]);
            }
            words
        }
        // The board has all its memory soldered on.
        Arch::Aarch64 if plan.machine.board == Some(Board::Raspi3b) => vec!["-semihosting"],
        Arch::Aarch64 => vec!["-m", "1G", "-semihosting"],
        // The exit device is a part of the machine.
        Arch::Riscv64 => vec!["-m", "1G"],
    }
}

fn accel(plan: &Plan) -> Vec<String> {
    let words: &[&str] = match plan.accel {
        Accel::Kvm => &["-accel", "kvm"],
        Accel::Icount => &[
            "-accel",
            "tcg,thread=single",
            "-icount",
            "shift=0,sleep=off",
        ],
        Accel::Tcg => match thread(plan) {
            Thread::Single => &["-accel", "tcg,thread=single"],
            Thread::Multi => &["-accel", "tcg,thread=multi"],
        },
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// How the CPUs are spread over host threads.
pub(crate) fn thread(plan: &Plan) -> Thread {
    let is_one = plan.arch == Arch::Riscv64 && plan.cpus() >= HARTS_ON_ONE_THREAD;
    plan.machine.thread.unwrap_or(if is_one {
        Thread::Single
    } else {
        Thread::Multi
    })
}

fn cpu(plan: &Plan) -> String {
    let default = match (plan.arch, plan.accel) {
        // Some hosts list that model register and refuse to set it; QEMU then aborts.
        (_, Accel::Kvm) => "host,arch-capabilities=off",
        (Arch::X86_64 | Arch::Hosted, Accel::Tcg | Accel::Icount) => "max",
        (Arch::Aarch64, _) if plan.machine.board == Some(Board::Raspi3b) => "cortex-a53",
        (Arch::Aarch64, _) => "cortex-a72",
        (Arch::Riscv64, _) => "rv64",
    };
    let mut words = vec![plan.machine.cpu.as_deref().unwrap_or(default)];
    words.extend(plan.machine.features.iter().map(String::as_str));
    words.join(",")
}

fn smp(plan: &Plan) -> String {
    match &plan.machine.topology {
        Some(topology) => format!("{},maxcpus={},{}", plan.smp, topology.cpus, topology.text),
        None if plan.cpus() > plan.smp.into() => {
            let there = plan.smp + plan.machine.taken;
            format!("{there},maxcpus={}", plan.cpus())
        }
        None => plan.smp.to_string(),
    }
}

/// Whether QEMU's data folders hold the small firmware.
fn has_qboot(program: &str) -> bool {
    let folders = process::capture(Command::new(program).args(["-L", "help"])).unwrap_or_default();
    folders
        .lines()
        .any(|folder| Path::new(folder.trim()).join("qboot.rom").is_file())
}

/// What the ending of a program that runs a kernel of `arch` means, if it is not the pass.
pub(crate) fn explain(arch: Arch, ending: Ending) -> Option<String> {
    let meaning = match ending.code() {
        Some(PASS) => return None,
        Some(0) if arch == Arch::X86_64 => {
            "exit status 0: the guest reset itself (triple fault or reboot)"
        }
        Some(0) if arch != Arch::Hosted => {
            "exit status 0: the guest reset itself or switched the machine off"
        }
        Some(1) if arch == Arch::X86_64 => {
            "exit status 1: QEMU refused its command line, or the guest wrote 0 to the exit device"
        }
        Some(1) if arch != Arch::Hosted => {
            "exit status 1: QEMU refused its command line, or the guest ended with another reason"
        }
        Some(255) if arch != Arch::Hosted => {
            "exit status 255: the kernel reported a failure or a panic"
        }
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
