//! A complete bootable `x86_64` kernel that runs every scenario.
//!
//! Booted by QEMU through a PVH note ([`boot`]); finds its CPUs in the firmware's ACPI tables
//! ([`info`], [`memory`]), makes the backend ([`kernel`]), and hands itself to what all kernels share
//! ([`board`]). What a CPU has of its own is in [`cpu`], its timer in [`apic`].
#![no_std]
#![no_main]

mod apic;
mod board;
mod boot;
mod console;
mod cpu;
mod info;
mod interrupts;
mod kernel;
mod memory;
mod options;
mod plug;
mod units;

use core::panic::PanicInfo;

use crate::board::Pc;

/// Entered by `boot`, on the boot CPU, interrupts off.
fn main(start_info: usize) -> ! {
    cpuhp_example_kernel::end::<Pc>(kernel::run(start_info))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    cpuhp_example_kernel::panic::<Pc>(&info.message())
}
