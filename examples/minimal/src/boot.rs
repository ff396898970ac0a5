//! The part in assembly: from PVH's 32-bit entry to Rust with 4 GiB mapped at their own addresses,
//! and an interrupt table with the two gates that are used. Any other interrupt ends the machine.
#![expect(
    unsafe_code,
    reason = "what comes before Rust, and instructions Rust has no name for"
)]

use core::arch::{asm, global_asm};

global_asm!(
    ".pushsection .note.pvh, \"a\", @note",
    ".long 4, 4, 18",
    ".asciz \"Xen\"",
    ".long pvh_start",
    ".popsection",
    ".pushsection .text.boot, \"ax\", @progbits",
    ".code32",
    ".global pvh_start",
    "pvh_start:",
    "cld",
    "mov esp, offset boot_stack + 65536",
    "mov esi, ebx", // hvm_start_info
    "mov al, 0xff", // no interrupts from the PICs, which some BIOS leaves open
    "out 0x21, al",
    "out 0xa1, al",
    "mov edi, offset boot_pd", // 2 MiB pages; from 3 GiB up lie devices: not cached
    "mov eax, 0x83",
    "2:",
    "mov [edi], eax",
    "add edi, 8",
    "add eax, 0x200000",
    "jc 3f",
    "cmp eax, 0xc0000083",
    "jne 2b",
    "or eax, 0x10",
    "jmp 2b",
    "3:",
    "mov eax, offset wake_entry", // a gate: address, code segment 8, present interrupt gate
    "mov edx, eax",
    "and eax, 0xffff",
    "or eax, 0x80000",
    "mov dx, 0x8e00",
    "mov [boot_idt + {wake} * 16], eax",
    "mov [boot_idt + {wake} * 16 + 4], edx",
    "mov eax, offset spurious_entry",
    "mov edx, eax",
    "and eax, 0xffff",
    "or eax, 0x80000",
    "mov dx, 0x8e00",
    "mov [boot_idt + 0xff * 16], eax",
    "mov [boot_idt + 0xff * 16 + 4], edx",
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
    "mov eax, 0x100",      // LME
    "xor edx, edx",
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
    "lidt [rip + boot_idtr]",
    "xor ebp, ebp",
    "mov edi, esi",
    "call {main}",
    "wake_entry:",
    "push rax",
    "push rcx",
    "push rdx",
    "push rsi",
    "push rdi",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "cld",
    "call {on_wake}",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop rcx",
    "pop rax",
    "spurious_entry:",
    "iretq",
    ".balign 8",
    "boot_gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff",
    "boot_gdtr: .word 23; .long boot_gdt",
    "boot_idtr: .word 4095; .quad boot_idt",
    ".popsection",
    ".pushsection .bss.boot, \"aw\", @nobits",
    ".balign 4096",
    "boot_idt: .space 4096",
    "boot_pml4: .space 4096",
    "boot_pdpt: .space 4096",
    "boot_pd: .space 4 * 4096",
    "boot_stack: .space 65536",
    ".popsection",
    wake = const crate::WAKE,
    main = sym main,
    on_wake = sym on_wake,
);

extern "sysv64" fn main(start_info: u64) -> ! {
    crate::main(start_info)
}

extern "sysv64" fn on_wake() {
    crate::on_wake();
}

/// Views physical memory below 4 GiB that firmware or the loader wrote.
pub(crate) fn bytes(at: u64, len: usize) -> Option<&'static [u8]> {
    let mapped = at != 0 && at.checked_add(len as u64)? <= 1 << 32;
    let start = core::ptr::with_exposed_provenance(usize::try_from(at).ok()?);
    // SAFETY: mapped at its own address for ever, and nobody writes it while it is read.
    mapped.then(|| unsafe { core::slice::from_raw_parts(start, len) })
}

/// Writes a byte to an I/O port.
pub(crate) fn out(port: u16, byte: u8) {
    // SAFETY: the callers name the serial line and QEMU's exit device; neither touches memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") byte, options(nomem, nostack)) };
}
