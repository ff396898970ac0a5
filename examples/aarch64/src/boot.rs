//! From the loader to Rust: MMU and caches on over static tables, at the exception level the loader chose.
//!
//! The tables are part of the image, so nothing is written before caches are on. They map by blocks of
//! 1 GiB: on `virt` everything at its own address; on `raspi3b`, whose memory begins at 0, the image where it
//! is linked as well, and the CPUs' own devices out of its way.
//!
//! | virtual | `virt` | `raspi3b` |
//! |---|---|---|
//! | 0 | devices | memory, devices from 0x3f000000 on |
//! | 0x40000000 | memory, the image | the same memory again: the image |
//! | 0x80000000, 0xc0000000 | memory | nothing; devices at 0x40000000 |
//! | 0x4000000000 | devices: the redistributors from the 124th on | nothing |
//!
//! At EL1 the upper half shows the same once more.
//!
//! Spec: Linux "Booting AArch64 Linux"; Arm ARM, "VMSAv8-64 translation table format descriptors".
#![expect(
    unsafe_code,
    reason = "symbols that the linker and the loader look for"
)]

use core::arch::global_asm;

/// Bytes of the boot CPU's stack.
const STACK: usize = 64 * 1024;

/// Memory attributes 0 and 1: write-back; device, early acknowledgement.
const MAIR: u64 = 0x04ff;
/// A block of attribute 0, inner shareable, accessed; and one of attribute 1 that is never executed.
const MEMORY: u64 = 1 << 10 | 3 << 8 | 1;
const DEVICE: u64 = 3 << 53 | 1 << 10 | 1 << 2 | 1;
/// EL2 has one half and no user: this bit is to be one there.
const AT_EL2: u64 = 1 << 6;
/// 39 bits of address, cached and shareable walks of 4 KiB tables, 40 bits out.
const TCR: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12;
/// The upper half likewise: each AP has a table of its own there.
const TCR_EL1: u64 = TCR | 25 << 16 | 1 << 24 | 1 << 26 | 3 << 28 | 2 << 30 | 2 << 32;
const TCR_EL2: u64 = TCR | 1 << 23 | 1 << 31 | 2 << 16;
/// Bits that are to be one; stack alignment, instruction cache, data cache, MMU.
const SCTLR_EL1: u64 = 0x30d0_0800 | 1 << 3 | 1 << 12 | 1 << 2 | 1;
const SCTLR_EL2: u64 = 0x30c5_0830 | 1 << 3 | 1 << 12 | 1 << 2 | 1;
/// EL1 would be 64-bit; interrupts come to EL2.
const HCR: u64 = 1 << 31 | 7 << 3;
/// Nothing traps to EL2.
const CPTR: u64 = 0x33ff;

global_asm!(
    ".pushsection .text.head, \"ax\", @progbits",
    ".global boot_header",
    "boot_header:",
    "b boot_entry",
    ".long 0",
    ".quad 0",           // offset from the start of memory: any
    ".quad kernel_size", // with what follows the image
    ".quad 0xa",         // little endian, 4 KiB pages, anywhere
    ".quad 0, 0, 0",
    ".ascii \"ARM\\x64\"",
    ".long 0",
    "boot_entry:",
    "msr daifset, #0xf",
    "msr spsel, #1",
    "mov x20, x0", // the loader's: a device tree, or 0
    "adr x19, boot_header",
    "lsr x19, x19, #30", // 0: memory begins at 0
    "mrs x1, CurrentEL",
    "cmp x1, #8",
    "b.eq 2f",
    "adrp x1, boot_table_virt_el1",
    "add x1, x1, :lo12:boot_table_virt_el1",
    "ldr x2, boot_tcr_el1",
    "mov x3, #{mair}",
    "ldr x4, boot_sctlr_el1",
    "mov x5, #(3 << 20)", // floating point, for whoever uses it, traps nowhere
    "msr mair_el1, x3",
    "msr tcr_el1, x2",
    "msr ttbr0_el1, x1",
    "msr ttbr1_el1, x1",
    "msr cpacr_el1, x5",
    "isb",
    "tlbi vmalle1",
    "ic iallu",
    "dsb nsh",
    "isb",
    "msr sctlr_el1, x4",
    "b 4f",
    "2: adrp x1, boot_table_virt_el2",
    "add x1, x1, :lo12:boot_table_virt_el2",
    "cbnz x19, 3f",
    "adrp x1, boot_table_raspi",
    "add x1, x1, :lo12:boot_table_raspi",
    "3: ldr x2, boot_tcr_el2",
    "mov x3, #{mair}",
    "ldr x4, boot_sctlr_el2",
    "ldr x5, boot_hcr",
    "mov x6, #{cptr}",
    "msr hcr_el2, x5",
    "msr cptr_el2, x6",
    "msr mair_el2, x3",
    "msr tcr_el2, x2",
    "msr ttbr0_el2, x1",
    "isb",
    "tlbi alle2",
    "ic iallu",
    "dsb nsh",
    "isb",
    "msr sctlr_el2, x4",
    "4: isb",
    "ldr x1, boot_next",
    "br x1",
    ".balign 8",
    "boot_next: .quad boot_linked",
    "boot_tcr_el1: .quad {tcr_el1}",
    "boot_tcr_el2: .quad {tcr_el2}",
    "boot_sctlr_el1: .quad {sctlr_el1}",
    "boot_sctlr_el2: .quad {sctlr_el2}",
    "boot_hcr: .quad {hcr}",
    // Where it is linked, MMU and caches on.
    "boot_linked:",
    "adrp x1, bss_start",
    "add x1, x1, :lo12:bss_start",
    "adrp x2, kernel_end",
    "add x2, x2, :lo12:kernel_end",
    "5: stp xzr, xzr, [x1], #16",
    "cmp x1, x2",
    "b.lo 5b",
    "adrp x1, boot_stack_end",
    "add x1, x1, :lo12:boot_stack_end",
    "mov sp, x1",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, x20",
    "b {main}",
    ".popsection",
    ".pushsection .rodata.boot, \"a\", @progbits",
    ".balign 4096",
    ".global boot_table_virt_el1",
    "boot_table_virt_el1:",
    ".quad {device}",
    ".set at, 1",
    ".rept 3",
    ".quad (at << 30) + {memory}",
    ".set at, at + 1",
    ".endr",
    ".zero 8 * 252",
    ".quad (256 << 30) + {device}",
    ".zero 8 * 255",
    ".global boot_table_virt_el2",
    "boot_table_virt_el2:",
    ".quad {device} + {at_el2}",
    ".set at, 1",
    ".rept 3",
    ".quad (at << 30) + {memory} + {at_el2}",
    ".set at, at + 1",
    ".endr",
    ".zero 8 * 252",
    ".quad (256 << 30) + {device} + {at_el2}",
    ".zero 8 * 255",
    // The image lies 1 GiB lower in memory than it is linked.
    ".global boot_table_raspi",
    "boot_table_raspi:",
    ".quad boot_table_raspi_low - 0x40000000 + 3",
    ".quad boot_table_raspi_low - 0x40000000 + 3",
    ".quad 0",
    ".quad (1 << 30) + {device} + {at_el2}",
    ".zero 8 * 508",
    "boot_table_raspi_low:",
    ".set at, 0",
    ".rept 504",
    ".quad (at << 21) + {memory} + {at_el2}",
    ".set at, at + 1",
    ".endr",
    ".rept 8",
    ".quad (at << 21) + {device} + {at_el2}",
    ".set at, at + 1",
    ".endr",
    ".popsection",
    ".pushsection .bss.boot, \"aw\", @nobits",
    ".balign 16",
    ".global boot_stack",
    "boot_stack: .space {stack}",
    "boot_stack_end:",
    ".popsection",
    stack = const STACK,
    mair = const MAIR,
    memory = const MEMORY,
    device = const DEVICE,
    at_el2 = const AT_EL2,
    tcr_el1 = const TCR_EL1,
    tcr_el2 = const TCR_EL2,
    sctlr_el1 = const SCTLR_EL1,
    sctlr_el2 = const SCTLR_EL2,
    hcr = const HCR,
    cptr = const CPTR,
    main = sym boot_main,
);

/// A translation table.
type Table = [u64; 512];

unsafe extern "C" {
    static boot_stack: u8;
    static boot_table_virt_el1: Table;
    static boot_table_virt_el2: Table;
    static boot_table_raspi: Table;
}

/// Returns the table that the boot CPU translates by.
pub(crate) fn table() -> &'static Table {
    let level: u64;
    // SAFETY: reading the register changes nothing.
    unsafe {
        core::arch::asm!("mrs {}, CurrentEL", out(reg) level,
            options(nomem, nostack, preserves_flags));
    }
    if crate::raspi::is_here() {
        // SAFETY: static, and never written.
        unsafe { &boot_table_raspi }
    } else if level >> 2 == 2 {
        // SAFETY: as above.
        unsafe { &boot_table_virt_el2 }
    } else {
        // SAFETY: as above.
        unsafe { &boot_table_virt_el1 }
    }
}

/// Returns the stack the boot CPU began on, which nobody needs once that CPU has been off.
pub(crate) fn first_stack() -> cpuhp_example_kernel::CpuMemory {
    let start = (&raw const boot_stack).cast_mut().cast();
    // SAFETY: static, aligned to 16, used by the boot CPU until it goes off, and never after.
    unsafe { cpuhp_example_kernel::CpuMemory::new(start, STACK) }
}

/// First Rust of the boot CPU.
extern "C" fn boot_main(loader: usize) -> ! {
    crate::main(loader)
}
