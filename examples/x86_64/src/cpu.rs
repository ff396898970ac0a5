//! What every CPU of this kernel has of its own: per-CPU area, stack, GDT, TSS, top page table.
//!
//! A PREPARE step hands area, stack and page table to the backend, a STARTING step loads GDT and TSS
//! on the AP; until then it runs on the GDT of `boot`, which the entry code gave it. While a CPU is
//! off all this holds nothing but poison.
#![expect(
    unsafe_code,
    reason = "descriptor tables are loaded by instructions and read by the processor"
)]

use core::arch::asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;

use cpuhp_core::CpuId;
use cpuhp_example_kernel::{CpuMemory, MAX_CPUS, PerCpu};
use cpuhp_x86::Boot;

use crate::{boot, interrupts};

/// Bytes of an AP's stack, and of the stack for double faults and NMIs.
const STACK: usize = 16 * 1024;
const FAULT_STACK: usize = 4096;

pub(crate) const CODE: u16 = 0x08;
const DATA: u16 = 0x10;
const TSS: u16 = 0x18;
const TSS_BUSY: u64 = 1 << 41;

/// 104 bytes that the processor reads: only the first fault stack is used.
#[repr(C, packed(4))]
struct TaskState {
    reserved: u32,
    stacks: [u64; 3],
    reserved_2: u64,
    fault_stacks: [u64; 7],
    reserved_3: u64,
    io_map: u32,
}

const _: () = assert!(size_of::<TaskState>() == 104);

/// One CPU's area; GS points at it.
#[repr(C, align(64))]
struct Area {
    number: u32,
    gdt: [u64; 5],
    tss: TaskState,
}

#[repr(C, align(16))]
struct Stack<const LEN: usize>([u8; LEN]);

static AREAS: PerCpu<Area> = PerCpu::new([const { UnsafeCell::new(Area::ZERO) }; MAX_CPUS]);
static STACKS: PerCpu<Stack<STACK>> =
    PerCpu::new([const { UnsafeCell::new(Stack([0; STACK])) }; MAX_CPUS]);
static FAULT_STACKS: PerCpu<Stack<FAULT_STACK>> =
    PerCpu::new([const { UnsafeCell::new(Stack([0; FAULT_STACK])) }; MAX_CPUS]);

/// A CPU's own top page table.
#[repr(C, align(4096))]
struct Root([u64; 512]);

impl Root {
    /// Makes the first entry the only one. The rest is zero already, but after a poisoning.
    fn fill(&mut self, first: u64) {
        if self.0[1] != 0 {
            self.0 = [0; 512];
        }
        self.0[0] = first;
    }
}

static ROOTS: PerCpu<Root> = PerCpu::new([const { UnsafeCell::new(Root([0; 512])) }; MAX_CPUS]);

impl Area {
    const ZERO: Self = Self {
        number: 0,
        gdt: [0; 5],
        tss: TaskState {
            reserved: 0,
            stacks: [0; 3],
            reserved_2: 0,
            fault_stacks: [0; 7],
            reserved_3: 0,
            io_map: 0,
        },
    };

    fn new(cpu: CpuId, tss: u64, fault_stack: u64) -> Self {
        // An available 64-bit TSS descriptor: limit 103, base in three pieces.
        let low = 103 | (tss & 0xff_ffff) << 16 | 0x89 << 40 | (tss >> 24 & 0xff) << 56;
        Self {
            number: cpu.get(),
            gdt: [
                0,
                0x00af_9b00_0000_ffff,
                0x00cf_9300_0000_ffff,
                low,
                tss >> 32,
            ],
            tss: TaskState {
                fault_stacks: [fault_stack, 0, 0, 0, 0, 0, 0],
                io_map: 104,
                ..Self::ZERO.tss
            },
        }
    }
}

/// Fills the area of `cpu` and answers what the CPU starts with. `None` if there is no memory.
///
/// Context: control CPU, while `cpu` is off; or the boot CPU for itself, first of all.
pub(crate) fn prepare(cpu: CpuId) -> Option<Boot> {
    let area = AREAS.get(cpu)?;
    let stack = STACKS.get(cpu)?.wrapping_add(1) as u64;
    let fault_stack = FAULT_STACKS.get(cpu)?.wrapping_add(1) as u64;
    let root = ROOTS.get(cpu)?;
    let tss = area as u64 + offset_of!(Area, tss) as u64;
    // SAFETY: `cpu` is off, so nobody else uses its area.
    unsafe { area.write(Area::new(cpu, tss, fault_stack)) };
    // SAFETY: as above: its page table.
    unsafe { (*root).fill(boot::lower_table()) };
    Some(Boot {
        stack_top: stack,
        percpu: area as u64,
        root: root as u64,
    })
}

/// Everything here that `cpu` could touch while it runs.
pub(crate) fn memory_of(cpu: CpuId) -> [Option<CpuMemory>; 4] {
    [
        AREAS.memory(cpu),
        STACKS.memory(cpu),
        FAULT_STACKS.memory(cpu),
        ROOTS.memory(cpu),
    ]
}

/// Loads GDT, TSS and IDT of the calling CPU.
///
/// Context: the CPU itself, after [`prepare`], interrupts off.
pub(crate) fn load_tables(cpu: CpuId) {
    let Some(area) = AREAS.get(cpu) else { return };
    // SAFETY: the area is filled, and this CPU's own.
    let gdt = unsafe { &mut (*area).gdt };
    // A CPU that comes back without a new PREPARE finds its TSS busy: `ltr` would fault.
    gdt[3] &= !TSS_BUSY;
    load_gdt(gdt.as_ptr() as u64);
    load_base(area as u64);
    interrupts::load_idt();
}

/// Gives the boot CPU its area and the IDT, and leaves it on the GDT of `boot`: that is the one each
/// AP enters on, so it has to stay as it is when the boot CPU is off.
///
/// Context: boot CPU, after [`prepare`], interrupts off, before the backend is made.
pub(crate) fn load_first(cpu: CpuId) {
    if let Some(area) = AREAS.get(cpu) {
        load_base(area as u64);
    }
    interrupts::load_idt();
}

fn load_base(base: u64) {
    let (low, high) = (base & 0xffff_ffff, base >> 32);
    // SAFETY: loading the data segments may clear the GS base, so it is written after them. The
    // area stays this CPU's per-CPU base for as long as it runs.
    unsafe {
        asm!("wrmsr", in("ecx") 0xc000_0101_u32, in("rax") low, in("rdx") high,
            options(nostack, preserves_flags));
    }
}

fn load_gdt(base: u64) {
    let pointer = [(5_u64 * 8 - 1) << 48, base];
    // SAFETY: the descriptors at `base` are flat code, flat data and this CPU's TSS; the far return
    // goes to the next line with the same code as before. Uses two words of stack.
    unsafe {
        asm!(
            "lgdt [{pointer} + 6]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ds, {data:e}",
            "mov es, {data:e}",
            "mov ss, {data:e}",
            "ltr {tss:x}",
            pointer = in(reg) &raw const pointer,
            code = in(reg) u64::from(CODE),
            data = in(reg) u64::from(DATA),
            tss = in(reg) u64::from(TSS),
            scratch = out(reg) _,
        );
    }
}

/// Returns the number of the calling CPU: the first word of its area.
pub(crate) fn this_cpu() -> CpuId {
    let number: u32;
    // SAFETY: GS is this CPU's area from its first Rust instruction on; the number never changes.
    unsafe {
        asm!("mov {:e}, gs:[0]", out(reg) number,
            options(nostack, readonly, preserves_flags));
    }
    CpuId::new(number)
}

const _: () = assert!(offset_of!(Area, number) == 0);
