//! This machine as the shared kernel sees it: which function does what.

use core::fmt;

use cpuhp_arm64::{Arm64, BootRecord, WakeIrq};
use cpuhp_core::{CpuId, Entry, KickError, KickErrorKind, Platform};
use cpuhp_example_common::{Rest, Unable, Verdict};
use cpuhp_example_kernel::{Board, CpuMemory, Kernel};

use crate::{absent, boot, console, cpu, gic, kernel, raspi, timer, units};

/// An arm64 machine.
#[derive(Debug)]
pub(crate) struct Arm;

/// The kernel.
pub(crate) static KERNEL: Kernel<Arm> = Kernel::new();

impl Board for Arm {
    type Backend = Arm64;

    const ARCH: &'static str = "aarch64";

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
        cpu::interrupts_are_on()
    }

    fn interrupts_on() {
        cpu::interrupts_on();
    }

    fn interrupts_off() {
        cpu::interrupts_off();
    }

    fn sleep_ns(ns: u64) {
        timer::sleep_ns(ns);
    }

    /// WFI ends by a pending interrupt though interrupts are closed. A wake interrupt would end every sleep
    /// from now on, so it is taken back; whoever sent it has left its word as well.
    fn pause_ns(ns: u64) {
        timer::sleep_ns(ns);
        if kernel::ack_wake() {
            kernel::on_wake();
        }
    }

    fn start(cpu: CpuId, _entry: Entry) {
        if KERNEL
            .backend()
            .is_some_and(|backend| backend.boot_cpu() != cpu)
        {
            cpu::check_root(cpu);
        }
        units::enter();
    }

    fn stop(_cpu: CpuId) {
        timer::stop();
    }

    fn give(backend: &Arm64, cpu: CpuId) -> Option<()> {
        let boot = cpu::prepare(cpu)?;
        backend.boot_record(cpu)?.set(boot);
        Some(())
    }

    fn take_back(backend: &Arm64, cpu: CpuId) {
        if let Some(record) = backend.boot_record(cpu) {
            record.clear();
        }
    }

    fn memory_of(backend: &Arm64, cpu: CpuId) -> impl Iterator<Item = CpuMemory> {
        let first = (cpu == backend.boot_cpu()).then(boot::first_stack);
        cpu::memory_of(cpu).into_iter().chain([first]).flatten()
    }

    fn cpus(backend: &Arm64) -> u32 {
        backend.cpus()
    }

    fn set_present(backend: &Arm64, cpu: CpuId) {
        backend.set_present(cpu);
    }

    fn refusal(backend: &Arm64, cpu: CpuId) -> Option<i64> {
        absent::refusal(backend, cpu)
    }

    fn cancel(_backend: &Arm64, _cpu: CpuId) -> Result<(), KickError> {
        Err(KickError::new(KickErrorKind::NotSupported))
    }

    fn polls_max(backend: &Arm64, cpu: CpuId) -> Option<u32> {
        backend.boot_record(cpu).map(BootRecord::polls_max)
    }

    fn rest(backend: &Arm64, how: Rest) -> ! {
        backend.rest(match how {
            Rest::Core(exit) => exit.into(),
            Rest::Raw => cpuhp_arm64::Rest::Off,
        })
    }

    fn section(work: &mut dyn FnMut()) -> Result<(), Unable> {
        critical_section::with(|_| work());
        Ok(())
    }

    fn wake(backend: &Arm64, cpu: CpuId) {
        let id = backend.hw_id(cpu);
        if raspi::is_here() {
            raspi::Mailboxes.send(0, id);
        } else {
            gic::send_wake(id.0);
        }
    }
}
