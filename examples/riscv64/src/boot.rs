//! From the firmware's entry to Rust: supervisor mode without translation, to one with the first 4 GiB mapped
//! at their own addresses.
//!
//! **Spec**: RISC-V SBI 1.0, "Hart State Management Extension" (state at entry); RISC-V Instruction Set Manual
//! volume II, "Sv39: Page-Based 39-bit Virtual-Memory System".
#![expect(
    unsafe_code,
    reason = "symbols that the linker and the firmware look for"
)]

use core::arch::global_asm;

/// Bytes of the boot hart's stack.
const STACK: usize = 64 * 1024;
/// A leaf that maps 1 GiB: dirty, accessed, global, executable, writable, readable, valid.
const LEAF: u64 = 0xef;
/// Gigabytes that are mapped at their own addresses: devices, then RAM.
pub(crate) const GIGABYTES: usize = 4;
/// Sv39, in the upper bits of `satp`.
const SV39: u64 = 8 << 60;

/// Extension and function of "HART stop".
const HSM: u32 = 0x48_534d;
const HART_STOP: u32 = 1;

global_asm!(
    ".pushsection .text.boot, \"ax\", @progbits",
    ".option push",
    ".option norelax",
    ".option arch, +a",
    ".global _start",
    "_start:", // a0 = hart id, a1 = device tree
    "csrw sie, zero",
    "csrci sstatus, 2",
    // OpenSBI 1.1 may lead a hart here that was started elsewhere. It goes back, and is started again.
    "lla t0, boot_begun",
    "li t1, 1",
    "amoswap.w t1, t1, (t0)",
    "bnez t1, 2f",
    "lla t0, trap_entry",
    "csrw stvec, t0",
    "csrw sscratch, zero",
    "lla t0, boot_root",
    "srli t0, t0, 12",
    "li t1, {sv39}",
    "or t0, t0, t1",
    "sfence.vma",
    "csrw satp, t0",
    "sfence.vma",
    "lla sp, boot_stack + {stack}",
    "mv tp, zero",
    "mv s0, zero",
    "call {main}",
    "unimp",
    "2:",
    "li a7, {hsm}",
    "li a6, {hart_stop}",
    "ecall",
    "wfi",
    "j 2b",
    ".option pop",
    ".popsection",
    ".pushsection .data.boot, \"aw\", @progbits",
    ".balign 4096",
    "boot_root:",
    ".quad {leaf}, {leaf} + (1 << 28), {leaf} + (2 << 28), {leaf} + (3 << 28)",
    ".space 4096 - 32",
    "boot_begun: .word 0",
    ".popsection",
    ".pushsection .bss.boot, \"aw\", @nobits",
    ".balign 16",
    ".global boot_stack",
    "boot_stack: .space {stack}",
    ".popsection",
    sv39 = const SV39,
    leaf = const LEAF,
    stack = const STACK,
    hsm = const HSM,
    hart_stop = const HART_STOP,
    main = sym boot_main,
);

unsafe extern "C" {
    static boot_stack: u8;
    static _start: u8;
}

/// Returns the kernel's first instruction, which the boot hart alone gets past.
pub(crate) fn start() -> usize {
    (&raw const _start) as usize
}

/// The entry of a top page table that maps gigabyte `number` at its own address.
pub(crate) const fn leaf(number: usize) -> u64 {
    // The page number is shifted by 10; a gigabyte has 2^18 pages.
    (number as u64) << 28 | LEAF
}

/// The value of `satp` that makes the table at this address the top one.
pub(crate) const fn satp(table: u64) -> u64 {
    SV39 | table >> 12
}

/// Returns the stack the boot hart began on, which nobody needs once that hart has been off.
pub(crate) fn first_stack() -> (*mut u64, usize) {
    ((&raw const boot_stack).cast_mut().cast(), STACK)
}

/// First Rust of the boot hart.
extern "C" fn boot_main(hart: u64, tree: usize) -> ! {
    crate::main(hart, tree)
}
