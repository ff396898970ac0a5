//! From QEMU's PVH entry to Rust: 32-bit protected mode without paging, to 64-bit with the first
//! 4 GiB mapped at their own addresses.
//!
//! Spec: Xen "x86/HVM direct boot ABI" (PVH); Intel SDM vol. 3A, "Initializing IA-32e Mode".
#![expect(
    unsafe_code,
    reason = "symbols that the linker and the loader look for"
)]

use core::arch::global_asm;

use cpuhp_example_kernel::CpuMemory;

/// Bytes of the boot CPU's stack.
const STACK: usize = 64 * 1024;

global_asm!(
    // The note that makes QEMU take a 64-bit ELF and start it at `pvh_start`.
    ".pushsection .note.pvh, \"a\", @note",
    ".long 4, 4, 18",
    ".asciz \"Xen\"",
    ".long pvh_start",
    ".popsection",
    ".pushsection .text.boot, \"ax\", @progbits",
    ".code32",
    ".global pvh_start",
    "pvh_start:",
    "cli",
    "cld",
    "mov esi, ebx", // hvm_start_info
    // No interrupts from the PICs: SeaBIOS leaves them open, the timer at the vector of #DF.
    "mov al, 0xff",
    "out 0x21, al",
    "out 0xa1, al",
    "mov esp, offset boot_stack + {stack}",
    // Four page directories of 2 MiB pages. From 3 GiB up lie devices: not cached.
    "mov edi, offset boot_pd",
    "mov eax, 0x83",
    "xor ebx, ebx",
    "2:",
    "mov [edi], eax",
    "mov [edi + 4], ebx",
    "add edi, 8",
    "add eax, 0x200000",
    "jc 3f",
    "cmp eax, 0xc0000083",
    "jne 2b",
    "or eax, 0x10",
    "jmp 2b",
    "3:",
    "mov edi, offset boot_pdpt",
    "mov eax, offset boot_pd + 3",
    "mov ecx, 4",
    "4:",
    "mov [edi], eax",
    "add eax, 4096",
    "add edi, 8",
    "loop 4b",
    "mov eax, offset boot_pdpt + 3",
    "mov [boot_pml4], eax",
    "mov eax, offset boot_pml4",
    "mov cr3, eax",
    "mov eax, 0x20", // PAE
    "mov cr4, eax",
    "mov ecx, 0xc0000080", // EFER
    "rdmsr",
    "or eax, 0x100", // LME
    "wrmsr",
    "mov eax, 0x80010033", // PG, WP, NE, ET, MP, PE
    "mov cr0, eax",
    "lgdt [boot_gdtr]",
    "push 8",
    "mov eax, offset pvh_long",
    "push eax",
    "retf",
    ".code64",
    "pvh_long:",
    "mov eax, 0x10",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "lea rsp, [rip + boot_stack + {stack}]",
    "xor ebp, ebp",
    "mov edi, esi",
    "call {main}",
    "ud2",
    ".balign 8",
    "boot_gdt:",
    ".quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff",
    "boot_gdtr:",
    ".word 23",
    ".long boot_gdt",
    ".popsection",
    ".pushsection .bss.boot, \"aw\", @nobits",
    ".balign 4096",
    "boot_pml4: .space 4096",
    ".global boot_pdpt",
    "boot_pdpt: .space 4096",
    "boot_pd: .space 4 * 4096",
    ".global boot_stack",
    "boot_stack: .space {stack}",
    ".popsection",
    stack = const STACK,
    main = sym boot_main,
);

unsafe extern "C" {
    static boot_pdpt: u8;
    static boot_stack: u8;
}

/// Returns the entry of a top page table that leads to the tables of `boot`.
pub(crate) fn lower_table() -> u64 {
    // Present, writable; the tables lie at their own address.
    (&raw const boot_pdpt) as u64 | 3
}

/// Returns the stack the boot CPU began on, which nobody needs once that CPU has been off.
pub(crate) fn first_stack() -> CpuMemory {
    let start = (&raw const boot_stack).cast_mut().cast();
    // SAFETY: the stack is this image's, page aligned, and after its first CPU was off nobody uses it.
    unsafe { CpuMemory::new(start, STACK) }
}

/// First Rust of the boot CPU.
extern "sysv64" fn boot_main(start_info: usize) -> ! {
    crate::main(start_info)
}
