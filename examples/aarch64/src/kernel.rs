//! The kernel's start: the loader's tables, the backend, then what all kernels share.
#![expect(
    unsafe_code,
    reason = "here the kernel promises what it knows of its machine"
)]

use core::fmt;
use core::num::NonZeroU64;

use cpuhp_arm64::dt::{self, DtError};
use cpuhp_arm64::{
    Arm64, BootRecord, Common, Config, CpuDesc, Gic, SetupError, Wake, WakeIrq, clock,
};
use cpuhp_core::CpuId;
use cpuhp_example_common::{ParamError, Verdict, on_interrupt};
use cpuhp_example_kernel::{MAX_CPUS, Settings, StartError, ap_entry};
use dtoolkit::fdt::Fdt;

use crate::absent::Absent;
use crate::board::{Arm, KERNEL};
use crate::options::{KEYS, Options};
use crate::{console, cpu, gic, info, interrupts, memory, raspi, timer};

static BOOT_RECORDS: [BootRecord; MAX_CPUS] = [const { BootRecord::ZERO }; MAX_CPUS];

/// Why the kernel does not get as far as its scenario.
#[derive(Debug)]
pub(crate) enum Cause {
    NoTree,
    NoCommandLine,
    NoClock,
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
            Self::NoCommandLine => f.write_str("no command line, or it is not UTF-8"),
            Self::NoClock => f.write_str("nothing says how fast the counter runs"),
            Self::Tree(error) => error.fmt(f),
            Self::Setup(error) => error.fmt(f),
            Self::Start(error) => error.fmt(f),
        }
    }
}

/// Starts everything and runs the scenario of the command line.
pub(crate) fn run(loader: usize) -> Result<Verdict, Cause> {
    raspi::notice(loader);
    console::start();
    interrupts::load();
    // Number 0 is the boot CPU by the backend's numbering.
    let boot_cpu = CpuId::new(0);
    cpu::prepare(boot_cpu);
    cpu::load_base(boot_cpu);
    let loader = loader as u64;
    if raspi::is_here() {
        let command_line = info::command_line_of_tags(loader).ok_or(Cause::NoCommandLine)?;
        let settings = Settings::read(command_line, KEYS)?;
        let gic = Gic::Custom(&raspi::Mailboxes);
        return go_on(&settings, raspi::cpus(), None, gic);
    }
    let tree = info::tree(loader).ok_or(Cause::NoTree)?;
    let command_line = info::command_line(tree).ok_or(Cause::NoCommandLine)?;
    let settings = Settings::read(command_line, KEYS)?;
    on_virt(&settings, &tree)
}

fn on_virt(settings: &Settings, tree: &Fdt<'static>) -> Result<Verdict, Cause> {
    let found = dt::gic(tree).map_err(Cause::Tree)?;
    gic::init_distributor(found.distributor);
    let redistributors = found.redistributors;
    let cpus = info::cpus(tree).map_err(Cause::Tree)?;
    let conduit = info::conduit(tree).map_err(Cause::Tree)?;
    go_on(settings, cpus, conduit, Gic::V3 { redistributors })
}

/// Makes the backend and runs the scenario.
fn go_on(
    settings: &Settings,
    cpus: impl Iterator<Item = CpuDesc> + Clone,
    conduit: Option<cpuhp_arm64::Conduit>,
    gic: Gic,
) -> Result<Verdict, Cause> {
    let options = Options::read(&settings.params)?;
    let hz = NonZeroU64::new(clock::frequency()).ok_or(Cause::NoClock)?;
    timer::calibrate(hz.get());
    let mut common = Common::new(&BOOT_RECORDS, ap_main, hz);
    common.this_cpu = Some(cpu::this_cpu);
    common.idle = settings.idle::<Arm>();
    common.map = memory::MAPPING;
    if let Some(polls) = settings.spin_polls {
        common.timings.spin_polls = polls;
    }
    let absent = Absent::new(settings.params.absent, options.taken);
    absent.take(cpus.clone(), conduit);
    let config = Config {
        common,
        cpus: cpus.chain(absent.unknown()),
        conduit,
        wake: Wake {
            sgi: gic::WAKE,
            gic,
        },
        park: options.resting.map(memory::park_region),
    };
    // SAFETY: 1 the records are given to nobody else, and `memory` answers as `boot` maps; 2 the loader
    // says, or the machine is known to have, these CPUs, of which only this one runs; 3 this is the boot
    // CPU, `run` has loaded its vectors and per-CPU base, and `this_cpu` reads that base, which `ap_main`
    // sets first; 4 image and page tables are static, and map everything at its physical address too; 5
    // every CPU has its own stack in `cpu`, never given back; 6 the distributor is on, the vectors serve
    // the interrupt, and the backend goes into a static.
    let backend = unsafe { Arm64::new(config) }.map_err(Cause::Setup)?;
    let backend = KERNEL.keep(backend);
    absent.note(backend);
    init_timer(backend.boot_cpu());
    KERNEL.run(settings).map_err(Cause::Start)
}

/// Opens the timer's interrupt of the calling CPU. Context: on every entry, after the backend.
fn init_timer(cpu: CpuId) {
    let frame = KERNEL
        .backend()
        .and_then(|backend| backend.redistributor(cpu));
    if let Some(frame) = frame {
        gic::init_cpu(frame);
    }
}

/// Where every AP begins: its own stack, interrupts off.
fn ap_main(cpu: CpuId) -> ! {
    cpu::load_base(cpu);
    init_timer(cpu);
    ap_entry::<Arm>(cpu)
}

/// The wake interrupt, on any CPU.
pub(crate) fn on_wake() {
    if let Some(backend) = KERNEL.backend() {
        backend.on_wake();
    }
    on_interrupt();
}

/// Takes the wake interrupt back if it is pending.
pub(crate) fn ack_wake() -> bool {
    if raspi::is_here() {
        raspi::Mailboxes.ack()
    } else {
        gic::ack_wake()
    }
}
