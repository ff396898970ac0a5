//! What every CPU of this kernel has of its own: per-CPU area, stack, top page table.
//!
//! A PREPARE step hands all three to the backend, whose entry code loads them. While a CPU is off they hold
//! nothing but poison.
#![expect(
    unsafe_code,
    reason = "the per-CPU base is a register, and the page table is read by the processor"
)]

use core::arch::asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;

use cpuhp_core::CpuId;
use cpuhp_example_kernel::{CpuMemory, MAX_CPUS, PerCpu};
use cpuhp_riscv::Boot;

use crate::boot;

/// Bytes of an AP's stack.
const STACK: usize = 16 * 1024;

/// One CPU's area; `tp` points at it.
#[repr(C, align(64))]
struct Area {
    number: u32,
}

#[repr(C, align(16))]
struct Stack([u8; STACK]);

/// A CPU's own top page table.
#[repr(C, align(4096))]
struct Root([u64; 512]);

static AREAS: PerCpu<Area> = PerCpu::new([const { UnsafeCell::new(Area { number: 0 }) }; MAX_CPUS]);
static STACKS: PerCpu<Stack> =
    PerCpu::new([const { UnsafeCell::new(Stack([0; STACK])) }; MAX_CPUS]);
static ROOTS: PerCpu<Root> = PerCpu::new([const { UnsafeCell::new(Root([0; 512])) }; MAX_CPUS]);

impl Root {
    /// Maps what `boot` maps. The rest is zero already, but after a poisoning.
    fn fill(&mut self) {
        if self.0[511] != 0 {
            self.0 = [0; 512];
        }
        for (number, entry) in self.0.iter_mut().take(boot::GIGABYTES).enumerate() {
            *entry = boot::leaf(number);
        }
    }
}

/// Fills the area of `cpu` and answers what the CPU starts with. `None` if there is no memory.
///
/// Context: control CPU, while `cpu` is off; or the boot CPU for itself, first of all.
pub(crate) fn prepare(cpu: CpuId) -> Option<Boot> {
    let area = AREAS.get(cpu)?;
    let root = ROOTS.get(cpu)?;
    let number = cpu.get();
    // SAFETY: `cpu` is off, so nobody else uses its area.
    unsafe { area.write(Area { number }) };
    // SAFETY: as above: its page table.
    unsafe { (*root).fill() };
    Some(Boot {
        stack_top: stack_top(cpu),
        percpu: area as u64,
        root: boot::satp(root as u64),
    })
}

/// Returns the end of the stack of `cpu`, or 0 if it has none.
pub(crate) fn stack_top(cpu: CpuId) -> u64 {
    STACKS
        .get(cpu)
        .map_or(0, |stack| stack.wrapping_add(1) as u64)
}

/// Everything that `cpu` could touch while it runs and that nobody else needs.
pub(crate) fn memory_of(cpu: CpuId) -> [Option<CpuMemory>; 3] {
    [AREAS.memory(cpu), STACKS.memory(cpu), ROOTS.memory(cpu)]
}

/// Returns the stack the boot hart began on, as memory of that CPU.
pub(crate) fn first_stack() -> CpuMemory {
    let (start, len) = boot::first_stack();
    // SAFETY: it is static, aligned, and the boot hart's alone until that goes off; it comes back on the
    // stack of its own.
    unsafe { CpuMemory::new(start, len) }
}

/// Gives the boot CPU its area, and leaves it on the stack and page table of `boot`.
///
/// Context: boot CPU, after [`prepare`], interrupts off, before the backend is made.
pub(crate) fn load_first(cpu: CpuId) {
    let Some(area) = AREAS.get(cpu) else { return };
    // SAFETY: the area stays this CPU's per-CPU base for as long as it runs.
    unsafe { asm!("mv tp, {}", in(reg) area, options(nostack, preserves_flags)) };
}

/// Returns the number of the calling CPU: the first word of its area.
pub(crate) fn this_cpu() -> CpuId {
    let number: u32;
    // SAFETY: `tp` is this CPU's area from its first Rust instruction on; the number never changes.
    unsafe {
        asm!("lw {}, 0(tp)", out(reg) number, options(nostack, readonly, preserves_flags));
    }
    CpuId::new(number)
}

const _: () = assert!(offset_of!(Area, number) == 0);
