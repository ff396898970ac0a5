//! How a CPU rests that is down, has no slot of a park region, and is not powered off: in the kernel's text,
//! with nothing but registers and a word of its record.
#![expect(
    unsafe_code,
    reason = "a CPU that rests has no Rust around it, only these instructions"
)]

use core::arch::{asm, global_asm};
use core::mem::offset_of;

use super::{SHARED, Shared, ap_start};
use crate::record::{BootRecord, EPOCH_BITS, RELEASED, RESTS};

/// What ends the sleep of a CPU that rests in the kernel's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sleep {
    /// A pending interrupt, which is taken back: a GICv3's.
    Interrupt = 0,
    /// An event.
    Event = 1,
}

/// Rests the calling CPU until its record says that it is released; then it begins again at `ap_main`, with
/// what the record says by then.
///
/// From the last store on it uses registers, this code and its record only: neither stack nor per-CPU area,
/// nor a translation table of its own.
///
/// # Safety
/// 1. Interrupts are off, and nothing of the calling CPU's state is needed any more.
/// 2. The boot CPU's translation maps this code and the records where they are mapped now.
pub(crate) unsafe fn rest(record: &'static BootRecord, wakes: Sleep) -> ! {
    // SAFETY: promises 1 and 2.
    unsafe {
        asm!("b cpuhp_arm64_rest", in("x0") record, in("x1") wakes as u64,
            options(noreturn));
    }
}

global_asm!(
    ".pushsection .text.cpuhp_arm64_rest, \"ax\", @progbits",
    ".balign 64",
    ".global cpuhp_arm64_rest",
    // x0: the record. x1: 1 sleeps in WFE.
    "cpuhp_arm64_rest:",
    "adrp x2, {shared}",
    "add x2, x2, :lo12:{shared}",
    "ldr x3, [x2, {level}]",
    "ldr x4, [x0, {root}]",
    "cbz x4, 3f",
    // The root that PREPARE gave is not used from here on.
    "cmp x3, #2",
    "b.eq 2f",
    "ldr x4, [x2, {ttbr1}]",
    "msr ttbr1_el1, x4",
    "isb",
    "tlbi vmalle1",
    "b 4f",
    "2: ldr x4, [x2, {ttbr0}]",
    "msr ttbr0_el2, x4",
    "isb",
    "tlbi alle2",
    "4: dsb nsh",
    "isb",
    "3: add x5, x0, {rest}",
    "mov w6, {rests}",
    "stlr w6, [x5]", // from here on nothing else is this CPU's
    "5: ldar w6, [x5]",
    "cmp w6, {released}",
    "b.eq 7f",
    "cbnz x1, 6f",
    "dsb sy",
    "wfi",
    "mrs x7, S3_0_C12_C12_0", // ICC_IAR1_EL1: or the next WFI ends at once
    "dsb sy",
    "msr S3_0_C12_C12_1, x7", // ICC_EOIR1_EL1
    "isb",
    "b 5b",
    "6: wfe",
    "b 5b",
    "7: stlr wzr, [x5]",
    "ldr x8, [x0, {stack_top}]",
    "ldr x9, [x0, {percpu}]",
    "ldr x4, [x0, {root}]",
    "ldr w10, [x0, {epoch}]",
    "cmp x9, #0",
    "csel x9, x0, x9, eq",
    "cmp x3, #2",
    "b.eq 8f",
    "msr tpidr_el1, x9",
    "cbz x4, 9f",
    "msr ttbr1_el1, x4",
    "isb",
    "tlbi vmalle1",
    "b 9f",
    "8: msr tpidr_el2, x9",
    "cbz x4, 9f",
    "msr ttbr0_el2, x4",
    "isb",
    "tlbi alle2",
    "9: ic iallu",
    "dsb nsh",
    "isb",
    "mov sp, x8",
    "mov x29, xzr",
    "mov x30, xzr",
    "and x1, x10, #{epoch_bits}",
    "b {start}",
    ".popsection",
    shared = sym SHARED,
    level = const offset_of!(Shared, level),
    ttbr0 = const offset_of!(Shared, ttbr0),
    ttbr1 = const offset_of!(Shared, ttbr1),
    stack_top = const offset_of!(BootRecord, stack_top),
    percpu = const offset_of!(BootRecord, percpu),
    root = const offset_of!(BootRecord, root),
    epoch = const offset_of!(BootRecord, epoch),
    epoch_bits = const EPOCH_BITS,
    rest = const offset_of!(BootRecord, rest),
    rests = const RESTS,
    released = const RELEASED,
    start = sym ap_start,
);
