//! A complete bootable `x86_64` kernel that runs every scenario.
//!
//! Booted by QEMU through a PVH note ([`boot`]); finds its CPUs in the firmware's ACPI tables
//! ([`info`], [`memory`]), makes the backend, and hands itself as a machine to the portable scenario
//! driver ([`kernel`]). What a CPU has of its own is in [`cpu`], its timer in [`apic`].
#![no_std]
#![no_main]

mod apic;
mod boot;
mod console;
mod cpu;
mod info;
mod interrupts;
mod kernel;
mod machine;
mod memory;
mod options;
mod poison;
mod units;

use core::panic::PanicInfo;

use crate::console::Ending;

/// Entered by `boot`, on the boot CPU, interrupts off.
fn main(start_info: usize) -> ! {
    console::exit(match kernel::run(start_info) {
        Ok(ending) => ending,
        Err(cause) => {
            console::print(format_args!("error: {cause}\n"));
            Ending::Fail
        }
    })
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    machine::print_panic(&info.message());
    console::exit(Ending::Fail)
}
