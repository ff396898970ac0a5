//! The trap vector that all CPUs share, and where each trap leads.
#![expect(
    unsafe_code,
    reason = "the vector is entered by the processor, and pending bits are in a register"
)]

use core::arch::{asm, global_asm};

use crate::{console, cpu, sbi};

/// `scause` of the interrupts: the uppermost bit, and a number.
const INTERRUPT: u64 = 1 << 63;
const SOFTWARE: u64 = INTERRUPT | 1;
const TIMER: u64 = INTERRUPT | 5;
/// `sip.SSIP`.
const SSIP: usize = 1 << 1;

// Saves what a call may change. Not the floating-point registers: this kernel has no such code.
global_asm!(
    ".pushsection .text.trap, \"ax\", @progbits",
    ".balign 4",
    ".global trap_entry",
    "trap_entry:",
    "addi sp, sp, -128",
    "sd ra, 0(sp)",
    "sd t0, 8(sp)",
    "sd t1, 16(sp)",
    "sd t2, 24(sp)",
    "sd t3, 32(sp)",
    "sd t4, 40(sp)",
    "sd t5, 48(sp)",
    "sd t6, 56(sp)",
    "sd a0, 64(sp)",
    "sd a1, 72(sp)",
    "sd a2, 80(sp)",
    "sd a3, 88(sp)",
    "sd a4, 96(sp)",
    "sd a5, 104(sp)",
    "sd a6, 112(sp)",
    "sd a7, 120(sp)",
    "csrr a0, scause",
    "csrr a1, sepc",
    "csrr a2, stval",
    "call {trap}",
    "ld ra, 0(sp)",
    "ld t0, 8(sp)",
    "ld t1, 16(sp)",
    "ld t2, 24(sp)",
    "ld t3, 32(sp)",
    "ld t4, 40(sp)",
    "ld t5, 48(sp)",
    "ld t6, 56(sp)",
    "ld a0, 64(sp)",
    "ld a1, 72(sp)",
    "ld a2, 80(sp)",
    "ld a3, 88(sp)",
    "ld a4, 96(sp)",
    "ld a5, 104(sp)",
    "ld a6, 112(sp)",
    "ld a7, 120(sp)",
    "addi sp, sp, 128",
    "sret",
    ".popsection",
    trap = sym trap,
);

/// Every interrupt and exception. Interrupts are off.
extern "C" fn trap(cause: u64, at: u64, value: u64) {
    match cause {
        SOFTWARE => {
            clear_software();
            crate::kernel::on_wake();
        }
        // It ends a sleep, which is all it is for.
        TIMER => sbi::stop_timer(),
        _ => {
            console::print_last(format_args!(
                "trap {cause:#x} value {value:#x} at {at:#x} on {}\n",
                cpu::this_cpu()
            ));
            panic!("unexpected trap {cause:#x}");
        }
    }
}

/// Takes the interrupt back before what it tells of is looked at: a later one is then not lost.
fn clear_software() {
    // SAFETY: the bit is this CPU's own, and nobody else's business.
    unsafe { asm!("csrc sip, {}", in(reg) SSIP, options(nostack)) };
}
