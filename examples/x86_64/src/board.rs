//! This machine as the shared kernel sees it: which function does what.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use cpuhp_core::{CpuId, Entry, KickError, Platform};
use cpuhp_example_common::{Rest, Unable, Verdict};
use cpuhp_example_kernel::{Board, CpuMemory, Kernel};
use cpuhp_x86::{BootRecord, X86};

use crate::{apic, boot, console, cpu, plug, units};

/// A PC.
#[derive(Debug)]
pub(crate) struct Pc;

/// The kernel.
pub(crate) static KERNEL: Kernel<Pc> = Kernel::new();

/// 1: each CPU changes its APIC's mode before it rests.
static FLIPS: AtomicU32 = AtomicU32::new(0);

/// Begins to change the APIC's mode of each CPU that goes to rest.
pub(crate) fn turn_flips_on() {
    FLIPS.store(1, Ordering::Relaxed);
}

impl Board for Pc {
    type Backend = X86;

    const ARCH: &'static str = "x86_64";

    fn kernel() -> &'static Kernel<Self> {
        &KERNEL
    }

    fn print(args: fmt::Arguments<'_>) {
        console::print(args);
    }

    fn print_last(args: fmt::Arguments<'_>) {
        console::print_last(args);
    }

    fn typed() -> Result<Option<u8>, Unable> {
        Ok(console::typed())
    }

    fn exit(verdict: Verdict) -> ! {
        console::exit(verdict)
    }

    fn this_cpu() -> CpuId {
        cpu::this_cpu()
    }

    fn interrupts_are_on() -> bool {
        apic::interrupts_are_on()
    }

    fn interrupts_on() {
        apic::interrupts_on();
    }

    fn interrupts_off() {
        apic::interrupts_off();
    }

    fn section(work: &mut dyn FnMut()) -> Result<(), Unable> {
        critical_section::with(|_| work());
        Ok(())
    }

    fn sleep_ns(ns: u64) {
        apic::sleep_ns(ns);
    }

    fn start(cpu: CpuId, _entry: Entry) {
        cpu::load_tables(cpu);
        units::enter();
    }

    fn stop(_cpu: CpuId) {
        apic::stop_timer();
    }

    fn give(backend: &X86, cpu: CpuId) -> Option<()> {
        let boot = cpu::prepare(cpu)?;
        backend.boot_record(cpu)?.set(boot);
        Some(())
    }

    fn take_back(backend: &X86, cpu: CpuId) {
        if let Some(record) = backend.boot_record(cpu) {
            record.clear();
        }
    }

    fn memory_of(backend: &X86, cpu: CpuId) -> impl Iterator<Item = CpuMemory> {
        let first = (cpu == backend.boot_cpu()).then(boot::first_stack);
        cpu::memory_of(cpu).into_iter().chain([first]).flatten()
    }

    fn cpus(backend: &X86) -> u32 {
        backend.cpus()
    }

    fn set_present(backend: &X86, cpu: CpuId) {
        backend.set_present(cpu);
    }

    fn is_plugged(backend: &X86, cpu: CpuId) -> Option<bool> {
        Some(plug::is_plugged(apic_id(backend, cpu)))
    }

    fn cancel(backend: &X86, cpu: CpuId) -> Result<(), KickError> {
        backend.cancel(cpu)
    }

    fn polls_max(backend: &X86, cpu: CpuId) -> Option<u32> {
        backend.boot_record(cpu).map(BootRecord::polls_max)
    }

    fn rest(backend: &X86, how: Rest) -> ! {
        if FLIPS.load(Ordering::Relaxed) != 0 {
            apic::flip_mode();
        }
        backend.rest(match how {
            Rest::Core(exit) => exit.into(),
            Rest::Raw => cpuhp_x86::Rest::Off,
        })
    }

    fn wake(backend: &X86, cpu: CpuId) {
        apic::wake(apic_id(backend, cpu));
    }

    /// A wake interrupt and an NMI.
    fn disturb(backend: &X86, cpu: CpuId) {
        apic::disturb(apic_id(backend, cpu));
    }
}

/// 8 bits in xAPIC mode, 32 in x2APIC mode.
fn apic_id(backend: &X86, cpu: CpuId) -> u32 {
    u32::try_from(backend.hw_id(cpu).0).unwrap_or(u32::MAX)
}
