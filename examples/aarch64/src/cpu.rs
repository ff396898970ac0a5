//! What every CPU of this kernel has of its own: per-CPU area and stack; and its interrupt mask.
//!
//! A PREPARE step hands area and stack to the backend. While a CPU is off they hold nothing but poison.
#![expect(
    unsafe_code,
    reason = "the per-CPU base and the interrupt mask are reached by instructions only"
)]

use core::arch::asm;
use core::cell::UnsafeCell;

use cpuhp_arm64::Boot;
use cpuhp_core::CpuId;
use cpuhp_example_kernel::{CpuMemory, MAX_CPUS, PerCpu};

/// Bytes of an AP's stack.
const STACK: usize = 16 * 1024;

/// One CPU's area; its per-CPU base points at it.
#[repr(C, align(64))]
struct Area {
    number: u32,
}

#[repr(C, align(16))]
struct Stack([u8; STACK]);

static AREAS: PerCpu<Area> = PerCpu::new([const { UnsafeCell::new(Area { number: 0 }) }; MAX_CPUS]);
static STACKS: PerCpu<Stack> =
    PerCpu::new([const { UnsafeCell::new(Stack([0; STACK])) }; MAX_CPUS]);

/// Fills the area of `cpu` and answers what the CPU starts with. `None` if there is no memory.
///
/// Context: control CPU, while `cpu` is off; or the boot CPU for itself, first of all.
pub(crate) fn prepare(cpu: CpuId) -> Option<Boot> {
    let area = AREAS.get(cpu)?;
    let stack = STACKS.get(cpu)?.wrapping_add(1);
    // SAFETY: `cpu` is off, so nobody else uses its area.
    unsafe { area.write(Area { number: cpu.get() }) };
    Some(Boot {
        stack_top: stack.expose_provenance() as u64,
        percpu: area.expose_provenance() as u64,
        root: 0,
    })
}

/// Everything here that `cpu` could touch while it runs.
pub(crate) fn memory_of(cpu: CpuId) -> [Option<CpuMemory>; 2] {
    [AREAS.memory(cpu), STACKS.memory(cpu)]
}

/// Makes the area of `cpu` the calling CPU's base: that of EL1, at EL2 too, where this kernel has no guest
/// that would need it.
///
/// Context: the CPU itself, after [`prepare`], before anything asks for its number.
pub(crate) fn load_base(cpu: CpuId) {
    if let Some(area) = AREAS.get(cpu) {
        // SAFETY: the register has no other use here; the area stays this CPU's for as long as it runs.
        unsafe {
            asm!("msr tpidr_el1, {}", in(reg) area.expose_provenance(),
                options(nostack, preserves_flags));
        }
    }
}

/// Returns the number of the calling CPU: the first word of its area.
pub(crate) fn this_cpu() -> CpuId {
    let number: u32;
    // SAFETY: the base is this CPU's area from the first instruction of `kernel::ap_main` on; the number
    // never changes.
    unsafe {
        asm!("mrs {0:x}, tpidr_el1", "ldr {0:w}, [{0:x}]", out(reg) number,
            options(nostack, readonly, preserves_flags));
    }
    CpuId::new(number)
}

/// Opens interrupts on the calling CPU.
pub(crate) fn interrupts_on() {
    // SAFETY: every vector has a handler.
    unsafe { asm!("msr daifclr, #3", options(nostack, preserves_flags)) };
}

/// Closes interrupts on the calling CPU.
pub(crate) fn interrupts_off() {
    // SAFETY: changes the mask only.
    unsafe { asm!("msr daifset, #3", options(nostack, preserves_flags)) };
}

/// Whether interrupts are open on the calling CPU.
pub(crate) fn interrupts_are_on() -> bool {
    let mask: u64;
    // SAFETY: reading the mask changes nothing.
    unsafe { asm!("mrs {}, daif", out(reg) mask, options(nomem, nostack, preserves_flags)) };
    mask & 1 << 7 == 0
}
