//! A complete bootable `riscv64` kernel that runs every scenario.
//!
//! Booted by QEMU behind OpenSBI ([`boot`]); finds its harts in the device tree ([`info`], [`memory`]), makes
//! the backend ([`kernel`]), and hands itself to what all kernels share ([`board`]). What a hart has of its
//! own is in [`cpu`], its timer in [`sbi`].
#![no_std]
#![no_main]

mod board;
mod boot;
mod console;
mod cpu;
mod info;
mod interrupts;
mod kernel;
mod memory;
mod options;
mod refusals;
mod sbi;
mod stale;
mod units;

use core::panic::PanicInfo;

use crate::board::Virt;

/// Entered by `boot`, on the boot hart, interrupts off.
fn main(hart: u64, tree: usize) -> ! {
    cpuhp_example_kernel::end::<Virt>(kernel::run(hart, tree))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    cpuhp_example_kernel::panic::<Virt>(&info.message())
}
