//! The interrupt table that all CPUs share, and where each vector leads.
#![expect(
    unsafe_code,
    reason = "the table is read by the processor and loaded by an instruction"
)]

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;

use crate::cpu::CODE;
use crate::{console, cpu};

/// The wake interrupt, in the highest priority class.
pub(crate) const WAKE: u8 = 0xf0;
/// The one-shot timer.
pub(crate) const TIMER: u8 = 0xe0;
const NMI: u8 = 2;
/// Local APIC's spurious interrupt: no EOI.
const SPURIOUS: u8 = 0xff;

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

/// Loads the table on the calling CPU.
pub(crate) fn load_idt() {
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
        // One that was sent to a CPU at rest may come when it has left already.
        Ok(NMI) => {}
        _ => {
            console::print_last(format_args!(
                "interrupt {vector} error {error:#x} at {at:#x} on {}\n",
                cpu::this_cpu()
            ));
            panic!("unexpected interrupt {vector}");
        }
    }
}
