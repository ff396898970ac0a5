//! CPU hotplug backend for arm64: PSCI and spin-table, GIC wake-up, entry of an AP at EL1 or EL2.
//!
//! `Arm64` is a ready [`cpuhp_core::Platform`]; a kernel that takes it writes none of its own. It is
//! made at run time by one unsafe constructor, which is given every address and function the
//! backend will ever use; all other methods are safe.
//!
//! From nothing to a running AP:
//!
//! 1. The kernel lists its CPUs ([`CpuDesc`]), by itself or from a devicetree (feature `dtoolkit`,
//!    module `dt`), and says how firmware is called ([`Conduit`]) and what wakes a CPU ([`Wake`]).
//! 2. `Arm64::new` numbers them, notes the boot CPU's translation registers for the others, and sets the
//!    boot CPU up for the wake interrupt. It starts nobody.
//! 3. A PREPARE step of the kernel calls [`BootRecord::set`] with stack, per-CPU base, page table.
//! 4. `Platform::kick` cleans the record to memory and calls `CPU_ON` with its address, or writes the
//!    entry's address where a spin-table looks for it. What firmware refuses is a
//!    [`cpuhp_core::KickError`] with the raw answer.
//! 5. The AP comes with MMU and caches off, checks that the record is its own and of the last kick,
//!    turns both on as the boot CPU has them, sets its interrupt interface up, and calls
//!    [`Common::ap_main`] with interrupts off. That calls `Cpuhp::ap_run`, then `Arm64::rest`.
//! 6. While it waits it polls a few times, each with a `yield`, then sleeps in WFI with interrupts masked;
//!    the wake interrupt is taken back without a handler.
//!
//! From a running AP to one that is off, and back:
//!
//! 7. `Arm64::rest` calls `CPU_OFF`. With a [`ParkRegion`] the CPU goes to its slot there instead: MMU and
//!    caches off, no stack, asleep until it is released. A CPU that no firmware turns off, or that core only
//!    parks, sleeps in the kernel's text otherwise, off everything PREPARE made.
//! 8. `Platform::confirm` asks `AFFINITY_INFO`, several times in a row, or reads the slot. What firmware
//!    cannot say is `Running`.
//! 9. The next kick starts it again by 4, or releases the slot, and the CPU goes on at 5. The boot CPU goes
//!    this way like any other.
//!
//! Firmware's success means "kicked", never "alive"; there is no second `CPU_ON` before the first is
//! accounted for, and no way to cancel one.
//!
//! Everything but the parts with assembly or registers builds and is tested on any host.
#![no_std]
#![cfg_attr(
    not(target_arch = "aarch64"),
    expect(
        dead_code,
        reason = "only the backend itself uses the parts that build everywhere"
    )
)]

#[cfg(test)]
extern crate std;

#[cfg(target_arch = "aarch64")]
mod backend;
mod cache;
pub mod clock;
mod config;
#[cfg(all(feature = "critical-section", target_arch = "aarch64"))]
mod critical_section;
#[cfg(any(feature = "dtoolkit", test))]
pub mod dt;
#[cfg(target_arch = "aarch64")]
mod entry;
#[cfg(test)]
mod fake;
mod gic;
#[cfg(target_arch = "aarch64")]
mod hardware;
mod kick;
mod park;
#[cfg(target_arch = "aarch64")]
mod platform;
mod psci;
mod record;
mod shared;
mod topology;

pub use config::{
    Caps, Common, Conduit, Config, CpuDesc, Gic, Mapping, Numbering, ParkRegion, Redistributors,
    Resting, SetupError, Stop, Timeouts, Timings, Wake, WakeMethod,
};
pub use gic::WakeIrq;
pub use record::{Boot, BootRecord};

#[cfg(target_arch = "aarch64")]
pub use backend::{Arm64, Rest};
