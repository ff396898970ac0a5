//! This machine as the shared kernel sees it: which function does what.

use core::fmt;

use cpuhp_core::{CpuId, Entry, KickError, KickErrorKind, Platform};
use cpuhp_example_common::{Rest, Unable, Verdict};
use cpuhp_example_kernel::{Board, CpuMemory, Kernel};
use cpuhp_riscv::{BootRecord, Riscv};

use crate::{console, cpu, sbi, units};

/// QEMU's machine `virt`.
#[derive(Debug)]
pub(crate) struct Virt;

/// The kernel.
pub(crate) static KERNEL: Kernel<Virt> = Kernel::new();

impl Board for Virt {
    type Backend = Riscv;

    const ARCH: &'static str = "riscv64";

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
        sbi::interrupts_are_on()
    }

    fn interrupts_on() {
        sbi::interrupts_on();
    }

    fn interrupts_off() {
        sbi::interrupts_off();
    }

    fn section(work: &mut dyn FnMut()) -> Result<(), Unable> {
        critical_section::with(|_| work());
        Ok(())
    }

    fn sleep_ns(ns: u64) {
        sbi::sleep_ns(ns);
    }

    fn pause_ns(ns: u64) {
        sbi::pause_ns(ns);
    }

    fn start(_cpu: CpuId, _entry: Entry) {
        units::enter();
    }

    fn stop(_cpu: CpuId) {
        units::leave();
    }

    fn give(backend: &Riscv, cpu: CpuId) -> Option<()> {
        let boot = cpu::prepare(cpu)?;
        backend.boot_record(cpu)?.set(boot);
        Some(())
    }

    fn take_back(backend: &Riscv, cpu: CpuId) {
        if let Some(record) = backend.boot_record(cpu) {
            record.clear();
        }
    }

    fn memory_of(backend: &Riscv, cpu: CpuId) -> impl Iterator<Item = CpuMemory> {
        let first = (cpu == backend.boot_cpu()).then(cpu::first_stack);
        cpu::memory_of(cpu).into_iter().chain([first]).flatten()
    }

    fn cpus(backend: &Riscv) -> u32 {
        backend.cpus()
    }

    fn set_present(backend: &Riscv, cpu: CpuId) {
        backend.set_present(cpu);
    }

    /// No call of the firmware takes a start back.
    fn cancel(_backend: &Riscv, _cpu: CpuId) -> Result<(), KickError> {
        Err(KickError::new(KickErrorKind::NotSupported))
    }

    fn polls_max(backend: &Riscv, cpu: CpuId) -> Option<u32> {
        backend.boot_record(cpu).map(BootRecord::polls_max)
    }

    fn rest(backend: &Riscv, how: Rest) -> ! {
        backend.rest(match how {
            Rest::Core(exit) => exit.into(),
            Rest::Raw => cpuhp_riscv::Rest::Off,
        })
    }

    fn wake(backend: &Riscv, cpu: CpuId) {
        sbi::wake(backend.hw_id(cpu));
    }
}
