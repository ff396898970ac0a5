//! What every CPU of this kernel has of its own: per-CPU area, stack, GDT, TSS; and the IDT they
//! share.
//!
//! A PREPARE step hands area and stack to the backend, a STARTING step loads GDT and TSS on the AP;
//! until then it runs on the boot CPU's GDT, which the entry code gave it.
#![expect(
    unsafe_code,
    reason = "descriptor tables are loaded by instructions and read by the processor"
)]

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::mem::offset_of;

use cpuhp_core::CpuId;
use cpuhp_x86::Boot;

use crate::console;

/// CPUs this kernel has memory for.
pub(crate) const MAX_CPUS: usize = 320;
/// Bytes of an AP's stack, and of the stack for double faults and NMIs.
const STACK: usize = 16 * 1024;
const FAULT_STACK: usize = 4096;

/// The wake interrupt, in the highest priority class.
pub(crate) const WAKE: u8 = 0xf0;
/// The one-shot timer.
pub(crate) const TIMER: u8 = 0xe0;
/// Local APIC's spurious interrupt: no EOI.
const SPURIOUS: u8 = 0xff;

const CODE: u16 = 0x08;
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

/// Memory that one CPU writes at a time: the control CPU while its owner is off, then the owner.
struct PerCpu<T>([UnsafeCell<T>; MAX_CPUS]);

// SAFETY: each element is one CPU's; `get` gives an address only, and every use names its reason.
unsafe impl<T> Sync for PerCpu<T> {}

impl<T> PerCpu<T> {
    fn get(&self, cpu: CpuId) -> Option<*mut T> {
        self.0.get(cpu.index()).map(UnsafeCell::get)
    }
}

static AREAS: PerCpu<Area> = PerCpu([const { UnsafeCell::new(Area::ZERO) }; MAX_CPUS]);
static STACKS: PerCpu<Stack<STACK>> =
    PerCpu([const { UnsafeCell::new(Stack([0; STACK])) }; MAX_CPUS]);
static FAULT_STACKS: PerCpu<Stack<FAULT_STACK>> =
    PerCpu([const { UnsafeCell::new(Stack([0; FAULT_STACK])) }; MAX_CPUS]);

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
    let tss = area as u64 + offset_of!(Area, tss) as u64;
    // SAFETY: `cpu` is off, so nobody else uses its area.
    unsafe { area.write(Area::new(cpu, tss, fault_stack)) };
    Some(Boot {
        stack_top: stack,
        percpu: area as u64,
        root: 0,
    })
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
    load_idt();
}

/// Gives the boot CPU its area and the IDT, and leaves it on the GDT of `boot`: that is the one each
/// AP enters on, so it has to stay as it is when the boot CPU is off.
///
/// Context: boot CPU, after [`prepare`], interrupts off, before the backend is made.
pub(crate) fn load_first(cpu: CpuId) {
    if let Some(area) = AREAS.get(cpu) {
        load_base(area as u64);
    }
    load_idt();
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

/// A gate is two words.
struct Idt(UnsafeCell<[[u64; 2]; 256]>);

// SAFETY: written by the boot CPU in `fill_idt` before any other CPU runs, then only read.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([[0; 2]; 256]));

/// Writes all 256 gates. Context: boot CPU, once, before it loads the table.
pub(crate) fn fill_idt() {
    let stubs = &raw const interrupt_stubs as u64;
    for vector in 0..256_u64 {
        let at = stubs + vector * 16;
        // Double fault and NMI get a stack of their own, which works once the TSS is loaded.
        let stack = u64::from(vector == 2 || vector == 8);
        let low = at & 0xffff
            | u64::from(CODE) << 16
            | stack << 32
            | 0x8e << 40
            | (at >> 16 & 0xffff) << 48;
        let gate = [low, at >> 32];
        // SAFETY: the boot CPU is alone, and has not loaded the table; the index is below 256.
        unsafe { (*IDT.0.get())[(vector & 0xff) as usize] = gate };
    }
}

fn load_idt() {
    let pointer = [(256_u64 * 16 - 1) << 48, IDT.0.get() as u64];
    // SAFETY: the table is complete and lives for ever.
    unsafe {
        asm!("lidt [{} + 6]", in(reg) &raw const pointer,
            options(readonly, nostack, preserves_flags));
    }
}

// One stub of 16 bytes per vector: error code (or 0) and vector on the stack, then the common part.
// There the stack is 16-byte aligned: five words by the processor, two by the stub, nine here.
global_asm!(
    ".pushsection .text.interrupts, \"ax\", @progbits",
    ".balign 16",
    ".global interrupt_stubs",
    "interrupt_stubs:",
    "vector = 0",
    ".rept 256",
    ".balign 16",
    ".if (vector == 8) || (vector == 17) || (vector == 21) || ((vector >= 10) && (vector <= 14))",
    ".else",
    "pushq $0",
    ".endif",
    "pushq $vector",
    "jmp interrupt_common",
    "vector = vector + 1",
    ".endr",
    "interrupt_common:",
    "pushq %rax",
    "pushq %rcx",
    "pushq %rdx",
    "pushq %rsi",
    "pushq %rdi",
    "pushq %r8",
    "pushq %r9",
    "pushq %r10",
    "pushq %r11",
    "cld",
    "movq 72(%rsp), %rdi",
    "movq 80(%rsp), %rsi",
    "movq 88(%rsp), %rdx",
    "call {interrupt}",
    "popq %r11",
    "popq %r10",
    "popq %r9",
    "popq %r8",
    "popq %rdi",
    "popq %rsi",
    "popq %rdx",
    "popq %rcx",
    "popq %rax",
    "addq $16, %rsp",
    "iretq",
    ".popsection",
    interrupt = sym interrupt,
    options(att_syntax),
);

unsafe extern "C" {
    static interrupt_stubs: u8;
}

/// Every interrupt and exception. Interrupts are off.
extern "sysv64" fn interrupt(vector: u64, error: u64, at: u64) {
    match u8::try_from(vector) {
        Ok(WAKE) => crate::kernel::on_wake(),
        Ok(TIMER) => crate::kernel::on_timer(),
        Ok(SPURIOUS) => {}
        _ => {
            console::print_last(format_args!(
                "interrupt {vector} error {error:#x} at {at:#x} on {}\n",
                this_cpu()
            ));
            panic!("unexpected interrupt {vector}");
        }
    }
}
