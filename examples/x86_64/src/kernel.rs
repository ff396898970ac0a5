//! The kernel's start: firmware's tables, the backend, then what all kernels share.
#![expect(
    unsafe_code,
    reason = "here the kernel promises what it knows of its machine"
)]

use core::fmt;

use cpuhp_core::{CpuId, KickError};
use cpuhp_example_common::{ParamError, Toggle, Verdict};
use cpuhp_example_kernel::{MAX_CPUS, Settings, StartError, ap_entry};
use cpuhp_x86::acpi::TableError;
use cpuhp_x86::madt::{Entry, Madt};
use cpuhp_x86::{BootRecord, Common, Config, ParkRegion, SetupError, X86, acpi, clock};

use crate::board::{self, KERNEL, Pc};
use crate::info::Info;
use crate::options::{KEYS, Options};
use crate::{apic, cpu, interrupts, memory};

static BOOT_RECORDS: [BootRecord; MAX_CPUS] = [const { BootRecord::ZERO }; MAX_CPUS];

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
    LowPage(KickError),
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
            Self::NoStartInfo => f.write_str("no PVH start info"),
            Self::CommandLine => f.write_str("command line too long, or not UTF-8"),
            Self::NoRsdp => f.write_str("no RSDP"),
            Self::NoPmTimer => f.write_str("no power-management timer to measure the TSC with"),
            Self::NoLowPage => f.write_str("no free page below 640 KiB"),
            Self::Table(error) => error.fmt(f),
            Self::Setup(error) => error.fmt(f),
            Self::LowPage(error) => write!(f, "low page: {error}"),
            Self::Start(error) => error.fmt(f),
        }
    }
}

/// Starts everything and runs the scenario of the command line.
pub(crate) fn run(start_info: usize) -> Result<Verdict, Cause> {
    interrupts::fill_idt();
    // Number 0 is the boot CPU by the backend's numbering.
    let boot_cpu = CpuId::new(0);
    cpu::prepare(boot_cpu);
    cpu::load_first(boot_cpu);
    let info = Info::read(start_info).ok_or(Cause::NoStartInfo)?;
    let command_line = info.command_line.ok_or(Cause::CommandLine)?;
    let settings = Settings::read(command_line, KEYS)?;
    let options = Options::read(&settings.params)?;
    let backend = KERNEL.keep(make_backend(&info, &settings, &options)?);
    // This kernel has no other use for the page, so it stays open: see there what that saves in TCG.
    let _open = backend.open_low_page().map_err(Cause::LowPage)?;
    if options.flip == Toggle::On {
        board::turn_flips_on();
    }
    KERNEL.run(&settings).map_err(Cause::Start)
}

fn make_backend(info: &Info, settings: &Settings, options: &Options) -> Result<X86, Cause> {
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
    let mut common = Common::new(&BOOT_RECORDS, ap_entry::<Pc>, hz);
    common.this_cpu = Some(cpu::this_cpu);
    common.idle = settings.idle::<Pc>();
    if let Some(us) = options.init_us {
        common.timings.init_us = us;
    }
    if let Some(polls) = settings.spin_polls {
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
    Ok(backend)
}

/// The wake interrupt, on any CPU.
pub(crate) fn on_wake() {
    if let Some(backend) = KERNEL.backend() {
        backend.on_wake();
        cpuhp_example_common::on_interrupt();
        backend.eoi();
    }
}

/// The timer interrupt: it ends a sleep, which is all it is for.
pub(crate) fn on_timer() {
    if let Some(backend) = KERNEL.backend() {
        backend.eoi();
    }
}
