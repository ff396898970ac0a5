//! The kernel's start: firmware's tables, the backend, the state machine, then the scenario.
#![expect(
    unsafe_code,
    reason = "here the kernel promises what it knows of its machine"
)]

use core::fmt;

use cpuhp_core::{BootSteps, CpuId, KickError, OpError};
use cpuhp_example_common as common;
use cpuhp_example_common::{ParamError, Params, Scene, SceneStore, Toggle};
use cpuhp_x86::acpi::TableError;
use cpuhp_x86::madt::{Entry, Madt};
use cpuhp_x86::{BootRecord, Common, Config, ParkRegion, SetupError, X86, acpi, clock};
use spin::Once;

use crate::console::Ending;
use crate::cpu::MAX_CPUS;
use crate::info::Info;
use crate::machine::{self, Kernel};
use crate::options::{KEYS, Options};
use crate::{apic, cpu, interrupts, memory, poison};

/// Room for trace events: 255 CPUs with 64 extra steps per section.
const EVENTS: usize = 1 << 16;

static BOOT_RECORDS: [BootRecord; MAX_CPUS] = [const { BootRecord::ZERO }; MAX_CPUS];
static SCENE: SceneStore<MAX_CPUS, { cpuhp_core::words(MAX_CPUS) }, EVENTS> = SceneStore::new();
static BACKEND: Once<X86> = Once::new();

/// Why the kernel does not get as far as its scenario.
#[derive(Debug)]
pub(crate) enum Cause {
    NoStartInfo,
    CommandLine,
    NoRsdp,
    NoPmTimer,
    NoLowPage,
    Table(TableError),
    Setup(SetupError),
    Param(ParamError),
    LowPage(KickError),
    Adopt(OpError),
    TooFewListed,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStartInfo => f.write_str("no PVH start info"),
            Self::CommandLine => f.write_str("command line too long, or not UTF-8"),
            Self::NoRsdp => f.write_str("no RSDP"),
            Self::NoPmTimer => f.write_str("no power-management timer to measure the TSC with"),
            Self::NoLowPage => f.write_str("no free page below 640 KiB"),
            Self::Table(error) => error.fmt(f),
            Self::Setup(error) => error.fmt(f),
            Self::Param(error) => write!(f, "parameter {error}"),
            Self::LowPage(error) => write!(f, "low page: {error}"),
            Self::Adopt(error) => error.fmt(f),
            Self::TooFewListed => {
                f.write_str("firmware lists fewer absent CPUs than `absent` says")
            }
        }
    }
}

/// Starts everything and runs the scenario of the command line.
pub(crate) fn run(start_info: usize) -> Result<Ending, Cause> {
    interrupts::fill_idt();
    // Number 0 is the boot CPU by the backend's numbering.
    let boot_cpu = CpuId::new(0);
    cpu::prepare(boot_cpu);
    cpu::load_first(boot_cpu);
    let info = Info::read(start_info).ok_or(Cause::NoStartInfo)?;
    let command_line = info.command_line.ok_or(Cause::CommandLine)?;
    let params = Params::parse(command_line, KEYS).map_err(Cause::Param)?;
    let options = Options::read(&params).map_err(Cause::Param)?;
    let backend = make_backend(&info, &options)?;
    let cpus = make_present(backend, params.absent)?;
    // This kernel has no other use for the page, so it stays open: see there what that saves in TCG.
    let _open = backend.open_low_page().map_err(Cause::LowPage)?;
    if options.poison == Toggle::On {
        poison::turn_on();
    }
    if options.noise == Toggle::On {
        machine::turn_noise_on();
    }
    if options.flip == Toggle::On {
        machine::turn_flips_on();
    }
    let kernel = machine::install(Kernel::new(backend, cpus));
    let scene = Scene::install(SCENE.get(cpus), params, kernel);
    let hp = kernel.begin(scene.table());
    apic::interrupts_on();
    hp.adopt_boot_cpu(BootSteps::Run).map_err(Cause::Adopt)?;
    Ok(match common::run(kernel) {
        common::Verdict::Pass => Ending::Pass,
        common::Verdict::Fail => Ending::Fail,
    })
}

fn make_backend(info: &Info, options: &Options) -> Result<&'static X86, Cause> {
    let rsdp = info.rsdp.ok_or(Cause::NoRsdp)?;
    let table = |name| acpi::find_table(rsdp, name, memory::bytes).map_err(Cause::Table);
    let timer = acpi::pm_timer_port(table(*b"FACP")?).ok_or(Cause::NoPmTimer)?;
    // SAFETY: promise 1: the FADT says that this is the timer's port.
    let hz = unsafe { clock::calibrate(timer) }.ok_or(Cause::NoPmTimer)?;
    let madt = table(*b"APIC")?;
    let has_large_ids = Madt::parse(madt)
        .map_err(Cause::Table)?
        .entries()
        .any(|entry| matches!(entry, Ok(Entry::Cpu { id: 255.., .. })));
    if has_large_ids || options.x2apic == Toggle::On {
        apic::enable_x2apic();
    }
    let mut common = Common::new(&BOOT_RECORDS, ap_entry, hz);
    common.this_cpu = Some(cpu::this_cpu);
    if options.idle == Toggle::On {
        common.idle = Some(machine::idle);
    }
    if let Some(us) = options.init_us {
        common.timings.init_us = us;
    }
    if let Some(polls) = options.spin_polls {
        common.timings.spin_polls = polls;
    }
    let config = Config {
        common,
        madt,
        low_page: Some(memory::low_page(info.low_page().ok_or(Cause::NoLowPage)?)),
        wake_vector: interrupts::WAKE,
        apic: None,
        park: Some(ParkRegion {
            resting: options.resting,
            ..memory::park_region()
        }),
    };
    // SAFETY: 1 the records are given to nobody else, and `boot` maps 4 GiB at their own addresses,
    // devices uncached; 2 the tables are this machine's, and the low page is free RAM; 3 this is the
    // boot CPU, `run` has loaded its tables and per-CPU base, and `this_cpu` reads that base, which
    // the entry code sets; 4 image, tables and page tables are static; 5 every CPU has its own
    // stack in `cpu`, never given back; 6 all 256 gates are in place, only NMI and double fault use
    // an IST, and the backend goes into a static.
    let backend = unsafe { X86::new(config) }.map_err(Cause::Setup)?;
    apic::calibrate(hz.get());
    Ok(BACKEND.call_once(|| backend))
}

/// Makes the first `absent` CPUs present that firmware lists as not there, and returns how many
/// CPUs there are with them: the numbering puts them behind the others.
fn make_present(backend: &X86, absent: u32) -> Result<usize, Cause> {
    let cpus = || (0..backend.cpus()).map(CpuId::new);
    let listed = cpus().filter(|cpu| backend.is_present(*cpu)).count();
    let mut added = 0;
    for cpu in cpus().skip(listed).take(absent as usize) {
        machine::mark_absent(cpu);
        backend.set_present(cpu);
        added += 1;
    }
    if added == absent {
        Ok(listed + added as usize)
    } else {
        Err(Cause::TooFewListed)
    }
}

/// Where every AP begins: its own stack and area, interrupts off.
fn ap_entry(cpu: CpuId) -> ! {
    let kernel = machine::get();
    let backend = kernel.backend();
    let rest = match common::ap_main(kernel, cpu) {
        common::Rest::Core(exit) => exit.into(),
        common::Rest::Raw => cpuhp_x86::Rest::Off,
    };
    kernel.before_rest();
    backend.rest(rest)
}

/// The wake interrupt, on any CPU.
pub(crate) fn on_wake() {
    if let Some(backend) = BACKEND.get() {
        backend.on_wake();
        backend.eoi();
    }
}

/// The timer interrupt: it ends a sleep, which is all it is for.
pub(crate) fn on_timer() {
    if let Some(backend) = BACKEND.get() {
        backend.eoi();
    }
}
