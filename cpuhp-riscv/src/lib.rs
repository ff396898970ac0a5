//! CPU hotplug backend for `riscv64`: harts are started, stopped and asked after through the SBI.
//!
//! `Riscv` is a ready [`cpuhp_core::Platform`]; a kernel that takes it writes none of its own. It is
//! made at run time by one unsafe constructor, which is given every address and function the
//! backend will ever use; all other methods are safe.
//!
//! From nothing to a running AP:
//!
//! 1. The kernel lists the harts, most often from the device tree (feature `dtoolkit`, module `dt`).
//! 2. `Riscv::new` asks the firmware after each. Those it does not serve are numbered and not present.
//! 3. A PREPARE step of the kernel calls [`BootRecord::set`] with stack, per-CPU base, page table.
//! 4. `Platform::kick` calls `sbi_hart_start` with the start value: the physical address of the hart's
//!    record, and the low 7 bits of the epoch in the bits that are always zero in it.
//! 5. The hart comes with translation off. It checks the value against its own id and the record, loads
//!    what the record says, fences what it missed while it was off, and calls [`Common::ap_main`] with
//!    interrupts off. That calls `Cpuhp::ap_run`, then `Riscv::rest`.
//! 6. While it waits for its release it polls a few times, then sleeps so that nothing but an IPI wakes
//!    it. On a hart whose interrupts are open the kernel's handler clears `sip.SSIP`, then calls
//!    `Riscv::on_wake`.
//!
//! From a running AP to one that is off, and back:
//!
//! 7. `Riscv::rest` calls `sbi_hart_stop` on the hart itself.
//! 8. `Platform::confirm` asks the firmware: `STOPPED` alone is off. The boot hart can go this way too.
//! 9. The next kick is the same as the first.
//! 10. A hart that came too late, or that the firmware refuses to stop, is parked: it stands on the entry code, the boot hart's page table and its
//!     record, off everything PREPARE made, until `Platform::unpark`.
//!
//! The firmware is never believed further than its words go: success means "kicked", and alive is what
//! the hart itself says. Every refusal keeps the raw code. A start that the firmware has lost is repeated
//! whenever the control CPU waits; see `kick`.
//!
//! Everything but the parts with assembly or registers builds and is tested on any host.
//!
//! **Spec**: RISC-V Supervisor Binary Interface Specification 1.0, "Hart State Management Extension",
//! "IPI Extension"; RISC-V Instruction Set Manual volume II, "Supervisor-Level ISA".
#![no_std]
#![cfg_attr(
    not(any(target_arch = "riscv64", test)),
    expect(
        dead_code,
        reason = "only the backend itself uses the parts that build everywhere"
    )
)]

#[cfg(test)]
extern crate std;

#[cfg(target_arch = "riscv64")]
mod backend;
pub mod clock;
mod config;
#[cfg(all(feature = "critical-section", target_arch = "riscv64"))]
mod critical_section;
#[cfg(target_arch = "riscv64")]
mod csr;
#[cfg(any(feature = "dtoolkit", test))]
pub mod dt;
#[cfg(target_arch = "riscv64")]
mod entry;
mod kick;
#[cfg(target_arch = "riscv64")]
mod platform;
mod record;
mod sbi;
mod topology;

pub use config::{
    Caps, Common, Config, CpuDesc, Mapping, Numbering, SetupError, Stop, Timeouts, Timings,
    WakeMethod,
};
pub use record::{Boot, BootRecord};

#[cfg(target_arch = "riscv64")]
pub use backend::{Rest, Riscv};
