//! The trampoline in low memory: real mode to 64-bit, then to `ap_entry64`.
#![expect(
    unsafe_code,
    reason = "code for an AP that has no stack, segments or page tables, read as bytes"
)]

use core::arch::naked_asm;

use super::{CR0_KEEP, CR4_LA57, CR4_PAE, EFER_KEEP, Snapshot, ap_entry64};
use crate::apic::registers::MSR_EFER;
use crate::low_page::{IMAGE_LEN, Image};

/// Offsets in the trampoline page, shared by assembly and [`image`].
mod slot {
    pub(super) const GDT: usize = 0x100;
    pub(super) const GDTR: usize = 0x120;
    pub(super) const TO_32: usize = 0x128;
    pub(super) const TO_64: usize = 0x130;
    pub(super) const CR4: usize = 0x138;
    pub(super) const CR3: usize = 0x13c;
    pub(super) const EFER: usize = 0x140;
    pub(super) const CR0: usize = 0x144;
    pub(super) const ENTRY: usize = 0x148;
    pub(super) const END: usize = 0x150;
}

const _: () = assert!(slot::END == IMAGE_LEN);

/// CR0: protected mode and the always-set ET. Written whole: after INIT the caches are off in CR0.
const CR0_PE_ET: u32 = 0x11;

/// Makes the trampoline for the page at `page`: the code, and the slots filled in.
///
/// The page table's address is cut to 32 bits: the caller has checked it.
pub(crate) fn image(boot: &Snapshot, page: u32) -> Image {
    let code = (trampoline as *const ()).cast::<Image>();
    // SAFETY: the function's body is exactly that long: its last directive says `.org`.
    let mut image = unsafe { code.read_unaligned() };
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(to) = image.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    };
    let low = |value: u64| ((value & 0xffff_ffff) as u32).to_le_bytes();
    put(slot::CR4, &low(boot.cr4 & CR4_LA57 | CR4_PAE));
    put(slot::CR3, &low(boot.cr3));
    put(slot::EFER, &low(boot.efer & EFER_KEEP));
    put(slot::CR0, &low(boot.cr0 & CR0_KEEP));
    let entry = ap_entry64 as *const () as u64;
    put(slot::ENTRY, &entry.to_le_bytes());
    // These three hold offsets from the start of the page.
    for at in [slot::GDTR + 2, slot::TO_32, slot::TO_64] {
        if let Some(word) = image.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *word = u32::from_le_bytes(*word).wrapping_add(page).to_le_bytes();
        }
    }
    image
}

/// Real mode to 64-bit, through protected mode as the documentation has it. Never executed in
/// place: [`image`] reads its bytes.
///
/// EBX holds the page's linear address from the third instruction on. The descriptors have their
/// Accessed bit set, or loading a segment would write to the page. The far pointers and the GDT's
/// base are offsets here and addresses in the image.
#[unsafe(naked)]
extern "C" fn trampoline() {
    naked_asm!(
        "2: .code16",
        "cli",
        "cld",
        "xorl %ebx, %ebx",
        "movw %cs, %bx",
        "movw %bx, %ds",
        "shll $4, %ebx",
        "lgdtl {gdtr}",
        "movl ${pe_et}, %eax",
        "movl %eax, %cr0",
        "ljmpl *{to_32}",
        "3: .code32",
        "movw $0x10, %ax",
        "movw %ax, %ds",
        "movl {cr4}(%ebx), %eax",
        "movl %eax, %cr4",
        "movl {cr3}(%ebx), %eax",
        "movl %eax, %cr3",
        "movl ${msr_efer}, %ecx",
        "movl {efer}(%ebx), %eax",
        "xorl %edx, %edx",
        "wrmsr",
        "movl {cr0}(%ebx), %eax",
        "movl %eax, %cr0",
        "ljmpl *{to_64}(%ebx)",
        "4: .code64",
        "movl %ebx, %ebx", // the upper half is undefined after the change of mode
        "xorl %edi, %edi", // a SIPI carries no start value
        "jmpq *{entry}(%rbx)",
        ".org 2b + {gdt}",
        ".quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff",
        ".org 2b + {gdtr}",
        ".word 31",
        ".long {gdt}",
        ".org 2b + {to_32}",
        ".long 3b - 2b",
        ".word 0x18",
        ".org 2b + {to_64}",
        ".long 4b - 2b",
        ".word 0x08",
        ".org 2b + {end}",
        pe_et = const CR0_PE_ET,
        msr_efer = const MSR_EFER,
        gdt = const slot::GDT,
        gdtr = const slot::GDTR,
        to_32 = const slot::TO_32,
        to_64 = const slot::TO_64,
        cr4 = const slot::CR4,
        cr3 = const slot::CR3,
        efer = const slot::EFER,
        cr0 = const slot::CR0,
        entry = const slot::ENTRY,
        end = const slot::END,
        options(att_syntax),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_is_addressed_by_its_page() {
        let boot = Snapshot {
            cr3: 0x1234_5000,
            cr0: 0xe001_0033,
            cr4: 0x0002_10b0,
            efer: 0xd01,
            gdt: [0; 2],
            idt: [0; 2],
            cs: 8,
            ss: 16,
        };
        let image = image(&boot, 0x9000);
        let word = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
        assert_eq!(image[0], 0xfa, "the page begins with `cli`");
        assert_eq!(word(slot::GDTR + 2), 0x9000 + 0x100);
        assert_eq!(word(slot::TO_32) & !0xff, 0x9000);
        assert_eq!(image[slot::TO_32 + 4], 0x18);
        assert_eq!(word(slot::TO_64) & !0xff, 0x9000);
        assert_eq!(word(slot::CR3), 0x1234_5000);
        assert_eq!(word(slot::CR4), 0x1020, "PAE and LA57 only");
        assert_eq!(word(slot::CR0), 0x8001_0033, "caches on");
        assert_eq!(word(slot::EFER), 0x901, "LMA is the CPU's own");
        let entry = u64::from_le_bytes(image[slot::ENTRY..slot::END].try_into().unwrap());
        assert_eq!(entry, ap_entry64 as *const () as u64);
    }
}
