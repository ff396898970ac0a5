//! What a kernel needs that moves one CPU at a time: the boot CPU, up, down, and the AP's side.

use core::hint::black_box;

use cpuhp_core::{BootSteps, CpuId};

use crate::machine::Machine;

/// Calls each of them.
#[inline(never)]
pub(crate) fn call_all(machine: &Machine, word: usize) {
    let cpu = CpuId::new(word as u32);
    black_box(machine.adopt_boot_cpu(BootSteps::Run).is_ok());
    black_box(machine.cpu_up(cpu).is_ok());
    black_box(machine.cpu_down(cpu).is_ok());
    let _ = black_box(machine.ap_run(cpu));
}
