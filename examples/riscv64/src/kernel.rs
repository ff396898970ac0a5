//! The kernel's start: the device tree, the backend, then what all kernels share.
#![expect(
    unsafe_code,
    reason = "here the kernel promises what it knows of its machine"
)]

use core::fmt;

use cpuhp_core::{CpuId, HwId};
use cpuhp_example_common::{ParamError, Toggle, Verdict};
use cpuhp_example_kernel::{MAX_CPUS, Settings, StartError, ap_entry};
use cpuhp_riscv::dt::{self, DtError};
use cpuhp_riscv::{BootRecord, Common, Config, Riscv, SetupError};

use crate::board::{KERNEL, Virt};
use crate::info::Info;
use crate::options::{KEYS, Options};
use crate::{cpu, refusals, stale};

static BOOT_RECORDS: [BootRecord; MAX_CPUS] = [const { BootRecord::ZERO }; MAX_CPUS];

/// Why the kernel does not get as far as its scenario.
#[derive(Debug)]
pub(crate) enum Cause {
    NoTree,
    CommandLine,
    Tree(DtError),
    Setup(SetupError),
    Start(StartError),
}

impl From<ParamError> for Cause {
    fn from(error: ParamError) -> Self {
        Self::Start(error.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTree => f.write_str("no device tree"),
            Self::CommandLine => f.write_str("command line is not UTF-8"),
            Self::Tree(error) => error.fmt(f),
            Self::Setup(error) => error.fmt(f),
            Self::Start(error) => error.fmt(f),
        }
    }
}

/// Starts everything and runs the scenario of the command line.
pub(crate) fn run(hart: u64, tree: usize) -> Result<Verdict, Cause> {
    // Number 0 is the boot CPU by the backend's numbering.
    let boot_cpu = CpuId::new(0);
    cpu::prepare(boot_cpu);
    cpu::load_first(boot_cpu);
    let info = Info::read(tree).ok_or(Cause::NoTree)?;
    let command_line = info.command_line.ok_or(Cause::CommandLine)?;
    let settings = Settings::read(command_line, KEYS)?;
    let options = Options::read(&settings.params)?;
    KERNEL.keep(make_backend(&info, HwId(hart), &settings)?);
    let verdict = KERNEL.run(&settings).map_err(Cause::Start)?;
    if verdict == Verdict::Pass && options.stale == Toggle::On {
        return Ok(stale::run(&BOOT_RECORDS));
    }
    if verdict == Verdict::Pass && options.refusals == Toggle::On {
        return Ok(refusals::run());
    }
    Ok(verdict)
}

fn make_backend(info: &Info, boot_hart: HwId, settings: &Settings) -> Result<Riscv, Cause> {
    let hz = dt::timebase_hz(&info.tree).map_err(Cause::Tree)?;
    let cpus = dt::cpus(&info.tree).map_err(Cause::Tree)?;
    if let Some(error) = cpus.clone().find_map(Result::err) {
        return Err(Cause::Tree(error));
    }
    let mut common = Common::new(&BOOT_RECORDS, ap_entry::<Virt>, hz);
    common.this_cpu = Some(cpu::this_cpu);
    common.idle = settings.idle::<Virt>();
    if let Some(polls) = settings.spin_polls {
        common.timings.spin_polls = polls;
    }
    let config = Config {
        common,
        boot_hart,
        cpus: cpus.flatten(),
    };
    // SAFETY: 1 the records are given to nobody else, and every address is mapped at itself; 2 the tree is
    // this machine's, and its firmware gave `boot_hart` to the boot hart; 3 this is the boot CPU, `boot` and
    // `run` have loaded vector, page table and per-CPU base, and `this_cpu` reads that base, which the entry
    // code sets; 4 image and tables are static, and each CPU's table maps what the boot hart's does; 5 every
    // CPU has its own stack in `cpu`, never given back; 6 the vector clears the interrupt before it calls
    // `on_wake`, and the backend goes into a static.
    unsafe { Riscv::new(config) }.map_err(Cause::Setup)
}

/// The wake interrupt, on any CPU.
pub(crate) fn on_wake() {
    if let Some(backend) = KERNEL.backend() {
        backend.on_wake();
        cpuhp_example_common::on_interrupt();
    }
}
