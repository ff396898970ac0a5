//! A complete bootable arm64 kernel that runs every scenario.
//!
//! Booted by QEMU's `virt` at EL1 or EL2, and by its `raspi3b`, whose CPUs wait on a spin-table, through the
//! Linux boot protocol ([`boot`]). Finds its CPUs in the device tree ([`info`]) or knows them ([`raspi`]),
//! makes the backend ([`kernel`]), adds CPUs that firmware refuses ([`absent`]) if it is told to, and hands itself to what all kernels share ([`board`]). What a CPU has of
//! its own is in [`cpu`], its timer and interrupts in [`gic`] and [`interrupts`].
#![no_std]
#![no_main]

mod absent;
mod board;
mod boot;
mod console;
mod cpu;
mod gic;
mod info;
mod interrupts;
mod kernel;
mod memory;
mod options;
mod raspi;
mod timer;
mod units;

use core::panic::PanicInfo;

use crate::board::Arm;

/// Entered by `boot`, on the boot CPU, interrupts off.
fn main(loader: usize) -> ! {
    cpuhp_example_kernel::end::<Arm>(kernel::run(loader))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    cpuhp_example_kernel::panic::<Arm>(&info.message())
}
