//! The vectors: interrupts of this exception level; everything else ends the machine.
//!
//! Handlers run with interrupts off and on the interrupted stack, so only what a call may change is saved.
#![expect(
    unsafe_code,
    reason = "an exception is entered and left by instructions only"
)]

use core::arch::{asm, global_asm};

use crate::{gic, kernel, raspi, timer};
use cpuhp_arm64::WakeIrq;

global_asm!(
    ".macro VECTOR_STOP number",
    ".balign 128",
    "mov x0, #\\number",
    "b vector_stop",
    ".endm",
    ".pushsection .text.vectors, \"ax\", @progbits",
    ".balign 2048",
    ".global vectors",
    "vectors:",
    "VECTOR_STOP 0",
    "VECTOR_STOP 1",
    "VECTOR_STOP 2",
    "VECTOR_STOP 3",
    "VECTOR_STOP 4",
    ".balign 128",
    "b vector_irq",
    "VECTOR_STOP 6",
    "VECTOR_STOP 7",
    "VECTOR_STOP 8",
    "VECTOR_STOP 9",
    "VECTOR_STOP 10",
    "VECTOR_STOP 11",
    "VECTOR_STOP 12",
    "VECTOR_STOP 13",
    "VECTOR_STOP 14",
    "VECTOR_STOP 15",
    ".balign 128",
    "vector_irq:",
    "stp x0, x1, [sp, #-160]!",
    "stp x2, x3, [sp, #16]",
    "stp x4, x5, [sp, #32]",
    "stp x6, x7, [sp, #48]",
    "stp x8, x9, [sp, #64]",
    "stp x10, x11, [sp, #80]",
    "stp x12, x13, [sp, #96]",
    "stp x14, x15, [sp, #112]",
    "stp x16, x17, [sp, #128]",
    "stp x18, x30, [sp, #144]",
    "bl {handle}",
    "ldp x2, x3, [sp, #16]",
    "ldp x4, x5, [sp, #32]",
    "ldp x6, x7, [sp, #48]",
    "ldp x8, x9, [sp, #64]",
    "ldp x10, x11, [sp, #80]",
    "ldp x12, x13, [sp, #96]",
    "ldp x14, x15, [sp, #112]",
    "ldp x16, x17, [sp, #128]",
    "ldp x18, x30, [sp, #144]",
    "ldp x0, x1, [sp], #160",
    "eret",
    "vector_stop:",
    "b {stop}",
    ".popsection",
    handle = sym handle,
    stop = sym stop,
);

unsafe extern "C" {
    static vectors: u8;
}

/// Makes the vectors the calling CPU's. Other CPUs take them over with the boot CPU's registers.
pub(crate) fn load() {
    let base = (&raw const vectors).expose_provenance();
    // SAFETY: the vectors are static and complete.
    unsafe {
        asm!("mrs {0}, CurrentEL", "cmp {0}, #8", "b.eq 2f", "msr vbar_el1, {1}", "b 3f",
            "2: msr vbar_el2, {1}", "3: isb", out(reg) _, in(reg) base, options(nostack));
    }
}

/// Serves what is pending. Context: interrupts off.
extern "C" fn handle() {
    if raspi::is_here() {
        // The timer ends a sleep, which is all it is for.
        timer::stop();
        if raspi::Mailboxes.ack() {
            kernel::on_wake();
        }
        return;
    }
    let number = gic::take();
    if gic::is_nothing(number) {
        return;
    }
    if gic::is_wake(number) {
        kernel::on_wake();
    } else {
        timer::stop();
    }
    gic::end(number);
}

/// An exception that nothing here raises.
extern "C" fn stop(vector: u64) -> ! {
    let [syndrome, at, address] = causes();
    panic!("exception {vector}, syndrome {syndrome:#x}, at {at:#x}, address {address:#x}")
}

/// Syndrome, return address and fault address of the last exception to this level.
fn causes() -> [u64; 3] {
    let (syndrome, at, address): (u64, u64, u64);
    // SAFETY: reading the registers of the calling level changes nothing.
    unsafe {
        asm!("mrs {0}, CurrentEL", "cmp {0}, #8", "b.eq 2f",
            "mrs {0}, esr_el1", "mrs {1}, elr_el1", "mrs {2}, far_el1", "b 3f",
            "2: mrs {0}, esr_el2", "mrs {1}, elr_el2", "mrs {2}, far_el2", "3:",
            out(reg) syndrome, out(reg) at, out(reg) address, options(nostack));
    }
    [syndrome, at, address]
}
