//! What every CPU of this kernel has of its own: per-CPU area, stack, translation table; and its interrupt
//! mask.
//!
//! A PREPARE step hands all three to the backend. While a CPU is off they hold nothing but poison. The table is
//! a copy of the boot CPU's: for the upper half at EL1, for everything at EL2.
#![expect(
    unsafe_code,
    reason = "the per-CPU base and the interrupt mask are reached by instructions only"
)]

use core::arch::asm;
use core::cell::UnsafeCell;

use cpuhp_arm64::Boot;
use cpuhp_core::CpuId;
use cpuhp_example_kernel::{CpuMemory, MAX_CPUS, PerCpu};

use crate::{boot, memory};

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

/// Entries of a table.
const ENTRIES: usize = 512;

/// A CPU's own translation table.
#[repr(C, align(4096))]
struct Root([u64; ENTRIES]);

static ROOTS: PerCpu<Root> = PerCpu::new([const { UnsafeCell::new(Root([0; ENTRIES])) }; MAX_CPUS]);

/// Bits of a table register that are no address, and where the upper half begins.
const NO_ADDRESS: u64 = 0xffff_0000_0000_0fff;
const UPPER: usize = 0xffff_ff80_0000_0000;

/// Fills the area of `cpu` and answers what the CPU starts with. `None` if there is no memory.
///
/// Context: control CPU, while `cpu` is off; or the boot CPU for itself, first of all.
pub(crate) fn prepare(cpu: CpuId) -> Option<Boot> {
    let area = AREAS.get(cpu)?;
    let stack = STACKS.get(cpu)?.wrapping_add(1);
    let root = ROOTS.get(cpu)?;
    // SAFETY: `cpu` is off, so nobody else uses its area.
    unsafe { area.write(Area { number: cpu.get() }) };
    let from = core::ptr::from_ref(boot::table()).cast::<Root>();
    // SAFETY: as above: its table. What is copied is one, and never written.
    unsafe { root.copy_from_nonoverlapping(from, 1) };
    Some(Boot {
        stack_top: stack.expose_provenance() as u64,
        percpu: area.expose_provenance() as u64,
        root: memory::to_phys(root.expose_provenance() as u64),
    })
}

/// Checks that the calling CPU, an AP, translates by its own table. Context: STARTING.
///
/// # Panics
/// If it does not.
pub(crate) fn check_root(cpu: CpuId) {
    let (Some(area), Some(root)) = (AREAS.get(cpu), ROOTS.get(cpu)) else {
        return;
    };
    let (level, table) = own_table();
    let right = memory::to_phys(root.expose_provenance() as u64);
    assert_eq!(table & !NO_ADDRESS, right, "{cpu} has another table");
    if level == 1 {
        let number = core::ptr::with_exposed_provenance::<u32>(area.addr() + UPPER);
        // SAFETY: the upper half shows the CPU's area, whose first word is its number.
        let number = unsafe { number.read_volatile() };
        assert_eq!(number, cpu.get(), "{cpu} in the upper half");
    }
}

/// The exception level, and the register that has the calling CPU's own table at it.
fn own_table() -> (u64, u64) {
    let (level, table): (u64, u64);
    // SAFETY: reading the registers of the calling level changes nothing.
    unsafe {
        asm!("mrs {0}, CurrentEL", "lsr {0}, {0}, #2", "cmp {0}, #2", "b.eq 2f",
            "mrs {1}, ttbr1_el1", "b 3f", "2: mrs {1}, ttbr0_el2", "3:",
            out(reg) level, out(reg) table, options(nostack));
    }
    (level, table)
}

/// Everything here that `cpu` could touch while it runs.
pub(crate) fn memory_of(cpu: CpuId) -> [Option<CpuMemory>; 3] {
    [AREAS.memory(cpu), STACKS.memory(cpu), ROOTS.memory(cpu)]
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
