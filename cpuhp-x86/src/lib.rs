//! CPU hotplug backend for `x86_64`: ACPI tables, local APIC, INIT and SIPI, entry of an AP.
//!
//! `X86` is a ready [`cpuhp_core::Platform`]; a kernel that takes it writes none of its own. It is
//! made at run time by one unsafe constructor, which is given every address and function the
//! backend will ever use; all other methods are safe.
//!
//! From nothing to a running AP:
//!
//! 1. [`acpi::find_table`] finds the MADT, [`clock::Clock`] needs the speed of the TSC.
//! 2. `X86::new` numbers the CPUs ([`madt`]), chooses the CPUID leaf that names them, and takes over
//!    the boot CPU's APIC mode. It sends nothing.
//! 3. A PREPARE step of the kernel calls [`BootRecord::set`] with stack, per-CPU base, page table.
//! 4. `Platform::kick` opens the [`LowPage`], writes the trampoline, and sends INIT.
//! 5. The engine sends SIPI when its time has come, to every CPU that waits for one, whenever core
//!    calls `wait` or `kick`, or the kernel calls `X86::service`.
//! 6. The AP runs the trampoline, finds its record by APIC id, loads what the record says, brings
//!    its APIC into the system's mode, and calls [`Common::ap_main`] with interrupts off. That calls
//!    `Cpuhp::ap_run`, then `X86::rest`.
//! 7. While it waits for its release it polls a few times, then sleeps so that nothing but the wake
//!    interrupt wakes it; the kernel's handler for that calls `X86::on_wake`, then `X86::eoi`.
//!
//! From a running AP to one that is off, and back. No x86 register says that a CPU is off, so the
//! proof is a word that the CPU writes when it stands on memory of its own:
//!
//! 8. With a [`ParkRegion`], `X86::rest` brings the CPU into its slot there: own page tables, own
//!    descriptor tables, own stack, everything masked but the wake interrupt. The last store says so.
//! 9. `Platform::confirm` reads that word: `Parked`, or `Off` where only INIT starts the CPU again.
//!    Of any other CPU that was kicked it says `Running`; `X86::cancel` resets one that never came.
//! 10. The next kick releases the slot, and the CPU goes on at 6. The boot CPU can go this way too;
//!     it is never sent INIT, which would reset the machine.
//!
//! Without a region `Platform::can_off` is false, and nothing goes off.
//!
//! Everything but the parts with assembly or registers builds and is tested on any host.
#![no_std]
#![cfg_attr(
    not(any(target_arch = "x86_64", test)),
    expect(
        dead_code,
        reason = "only the backend itself uses the parts that build everywhere"
    )
)]

#[cfg(test)]
extern crate std;

pub mod acpi;
mod apic;
#[cfg(target_arch = "x86_64")]
mod backend;
pub mod clock;
mod config;
#[cfg(all(feature = "critical-section", target_arch = "x86_64"))]
mod critical_section;
#[cfg(target_arch = "x86_64")]
mod entry;
mod kick;
mod low_page;
pub mod madt;
mod park;
#[cfg(target_arch = "x86_64")]
mod platform;
mod record;
mod topology;

pub use apic::{Ipi, IpiError, LocalApic};
pub use config::{
    Caps, Common, Config, LowPage, Mapping, Numbering, ParkRegion, Resting, SetupError, Stop,
    Timeouts, Timings, WakeMethod,
};
pub use record::{Boot, BootRecord};

#[cfg(target_arch = "x86_64")]
pub use backend::{OpenPage, Rest, X86};
