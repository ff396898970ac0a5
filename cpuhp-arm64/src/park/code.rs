//! The code of the park region: how a CPU comes to rest there, rests, and leaves.
//!
//! Copied into the region and run there only: it is position independent, has no stack, and writes two
//! words of its own slot.
//!
//! 1. MMU and caches off, from a page that is mapped at its own address. What the CPU's caches still
//!    hold stays coherent for those who have theirs on.
//! 2. `parked`, the last store. Then look at `go` and sleep. No wake-up is lost: WFI ends by a pending
//!    interrupt though interrupts are masked, WFE by the event register.
//! 3. Released: `taken`, then to the entry that the slot names, which was perhaps written meanwhile: so
//!    without stale instructions.
//!
//! Spec: Arm ARM, "Wait for Interrupt mechanism", "Wait for Event mechanism", "SCTLR_EL1, SCTLR_EL2".
#![expect(
    unsafe_code,
    reason = "a CPU that rests has no Rust around it, only these instructions"
)]

use core::arch::{asm, global_asm};

use super::slot::at;

/// SCTLR: MMU and data cache.
const MMU_AND_CACHE: u64 = 1 | 1 << 2;

unsafe extern "C" {
    static cpuhp_arm64_park: u8;
    static cpuhp_arm64_park_end: u8;
}

global_asm!(
    ".pushsection .text.cpuhp_arm64_park, \"ax\", @progbits",
    ".balign 64",
    // x0: the slot, x1: the number, x2: 0 sleeps in WFI, 1 in WFE.
    ".global cpuhp_arm64_park",
    "cpuhp_arm64_park:",
    "msr daifset, #0xf",
    "mrs x9, CurrentEL",
    "lsr x9, x9, #2",
    "cmp x9, #2",
    "b.eq 2f",
    "mrs x9, sctlr_el1",
    "bic x9, x9, #1",
    "bic x9, x9, #4",
    "msr sctlr_el1, x9",
    "b 3f",
    "2: mrs x9, sctlr_el2",
    "bic x9, x9, #1",
    "bic x9, x9, #4",
    "msr sctlr_el2, x9",
    "3: isb",
    "dsb sy",
    "str w1, [x0, {parked}]", // from here on nothing else is this CPU's
    "dsb sy",
    "4: ldr w9, [x0, {go}]",
    "cmp w9, w1",
    "b.eq 6f",
    "cbnz x2, 5f",
    "dsb sy",
    "wfi",
    "mrs x9, S3_0_C12_C12_0", // ICC_IAR1_EL1: or the next WFI ends at once
    "dsb sy",
    "msr S3_0_C12_C12_1, x9", // ICC_EOIR1_EL1
    "isb",
    "b 4b",
    "5: wfe",
    "b 4b",
    "6: dmb sy",
    "ldr x9, [x0, {entry}]",
    "ldr x10, [x0, {arg}]",
    "str w1, [x0, {taken}]",
    "dsb sy",
    "ic iallu",
    "dsb sy",
    "isb",
    "mov x0, x10",
    "br x9",
    ".global cpuhp_arm64_park_end",
    "cpuhp_arm64_park_end:",
    ".popsection",
    parked = const at::PARKED,
    taken = const at::TAKEN,
    go = const at::GO,
    entry = const at::ENTRY,
    arg = const at::ARG,
);

// The two `bic` of the code.
const _: () = assert!(MMU_AND_CACHE == 5);

/// The code as bytes.
pub(crate) fn image() -> &'static [u8] {
    let start = &raw const cpuhp_arm64_park;
    let len = (&raw const cpuhp_arm64_park_end).addr() - start.addr();
    // SAFETY: exactly the bytes between the two labels of the code above.
    unsafe { core::slice::from_raw_parts(start, len) }
}

/// Goes to rest in `slot` with the number `number`, and never comes back.
///
/// # Safety
/// 1. `code` and `slot` are physical addresses in the region, mapped at themselves, the code
///    executable; the slot is this CPU's and installed.
/// 2. Nothing of the calling CPU's state is needed any more, and nothing but what shall end its sleep
///    can become pending on it.
pub(crate) unsafe fn enter(code: u64, slot: u64, number: u32, wants_event: u64) -> ! {
    // SAFETY: promises 1 and 2.
    unsafe {
        asm!("br {code}", code = in(reg) code, in("x0") slot, in("x1") u64::from(number),
            in("x2") wants_event, options(noreturn));
    }
}
