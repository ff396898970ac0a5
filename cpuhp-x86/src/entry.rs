//! The first instructions of an AP: a trampoline in low memory, then one 64-bit entry in the
//! kernel's own text.
//!
//! The trampoline has no stack, no lock, and writes nothing, so any number of CPUs run it at once.
//! It reads slots that the control CPU filled before the first kick, and addresses them relative to
//! the page it finds itself in. `ap_entry64` takes the rest: it finds its record by hardware id,
//! never by arrival order; a CPU that is not in the table, or was not kicked, halts there and
//! touches nothing. Every later way in (mailbox, park slot, another kernel) leads through it too.
#![expect(
    unsafe_code,
    reason = "an AP has no stack, segments or page tables before this code gives it some"
)]
#![expect(
    clippy::too_many_lines,
    reason = "`ap_entry64` is read in one piece; a naked function takes no lint attribute"
)]

mod state;

use core::arch::{asm, naked_asm};
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use cpuhp_core::CpuId;

use crate::apic::LocalApic;
use crate::apic::registers::{MSR_EFER, MSR_GS_BASE};
use crate::low_page::{IMAGE_LEN, Image};
use crate::record::BootRecord;
use crate::topology::IdLeaf;

pub(crate) use state::{Snapshot, cpuid, set_base, this_cpu};

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

const CR0_KEEP: u64 = !(1 << 29 | 1 << 30); // not NW, CD
const CR4_PAE: u64 = 1 << 5;
const CR4_LA57: u64 = 1 << 12;
const CR4_PCIDE: u64 = 1 << 17;
/// What an AP does not inherit: VMXE, SMXE, PCIDE (needs CR3 bits 11:0 clear), CET.
const CR4_DROP: u64 = 1 << 13 | 1 << 14 | CR4_PCIDE | 1 << 23;
/// SCE, LME, NXE: the boot CPU has them, so they exist; LMA is the CPU's own.
const EFER_KEEP: u64 = 1 | 1 << 8 | 1 << 11;

/// What `ap_entry64` reads, at offsets the assembly knows. Written by `install` before any kick.
#[repr(C, align(16))]
struct Shared {
    /// Pseudo-descriptors: the limit in bytes 6 and 7, the base in bytes 8 to 15.
    gdt: [AtomicU64; 2],
    idt: [AtomicU64; 2],
    records: AtomicPtr<BootRecord>,
    cr4: AtomicU64,
    cs: AtomicU64,
    ss: AtomicU32,
    leaf: AtomicU32,
    cpus: AtomicU32,
    next: Next,
}

static SHARED: Shared = Shared {
    gdt: [const { AtomicU64::new(0) }; 2],
    idt: [const { AtomicU64::new(0) }; 2],
    records: AtomicPtr::new(core::ptr::null_mut()),
    cr4: AtomicU64::new(0),
    cs: AtomicU64::new(0),
    ss: AtomicU32::new(0),
    leaf: AtomicU32::new(0),
    cpus: AtomicU32::new(0),
    next: Next(UnsafeCell::new(None)),
};

/// Where Rust goes on, once the record is found.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    pub(crate) apic: &'static dyn LocalApic,
    pub(crate) ap_main: fn(CpuId) -> !,
}

struct Next(UnsafeCell<Option<Start>>);

// SAFETY: written once by `install`, before the first kick; APs only read it after theirs.
unsafe impl Sync for Next {}

/// Fills what `ap_entry64` reads.
///
/// # Safety
/// 1. No AP was kicked yet, and no other call runs.
/// 2. `records` are those numbered, each with its hardware id.
pub(crate) unsafe fn install(
    boot: &Snapshot,
    records: &'static [BootRecord],
    leaf: IdLeaf,
    start: Start,
) {
    let pairs = SHARED.gdt.iter().zip(boot.gdt);
    for (word, value) in pairs.chain(SHARED.idt.iter().zip(boot.idt)) {
        word.store(value, Ordering::Relaxed);
    }
    let first = records.as_ptr().cast_mut();
    SHARED.records.store(first, Ordering::Relaxed);
    let cpus = u32::try_from(records.len()).unwrap_or(u32::MAX);
    SHARED.cpus.store(cpus, Ordering::Relaxed);
    SHARED.cr4.store(boot.cr4 & !CR4_DROP, Ordering::Relaxed);
    SHARED.cs.store(u64::from(boot.cs), Ordering::Relaxed);
    SHARED.ss.store(u32::from(boot.ss), Ordering::Relaxed);
    SHARED.leaf.store(leaf as u32, Ordering::Relaxed);
    // SAFETY: promise 1: nobody reads or writes it now.
    unsafe { *SHARED.next.0.get() = Some(start) };
}

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

/// 64-bit entry of every AP: id, record, CR4, page tables, GDT, IDT, stack, segments, per-CPU base,
/// then Rust. Needs nothing but these tables: no stack, any CR3 that maps this code and the tables.
///
/// The kernel's IDT comes before anything slow: an NMI until then is fatal. GS base comes after the
/// segments, because loading GS may clear it.
#[unsafe(naked)]
extern "C" fn ap_entry64() {
    naked_asm!(
        "cli",
        "cld",
        "lea rsi, [rip + {shared}]",
        "mov eax, [rsi + {leaf}]",
        "mov ebp, eax",
        "xor ecx, ecx",
        "cpuid",
        "cmp ebp, 1",
        "jne 2f",
        "mov edx, ebx",
        "shr edx, 24",
        "2:",
        "mov rdi, [rsi + {records}]",
        "mov ecx, [rsi + {cpus}]",
        "3:",
        "test ecx, ecx",
        "jz 9f",
        "cmp [rdi + {hw_id}], edx",
        "je 4f",
        "add rdi, {record_len}",
        "dec ecx",
        "jmp 3b",
        "4:",
        "cmp dword ptr [rdi + {engine}], 0", // nobody kicked it
        "je 9f",
        "cmp qword ptr [rdi + {stack_top}], 0",
        "je 9f",
        "mov rax, [rsi + {cr4}]",
        "mov cr4, rax",
        "mov rax, [rdi + {root}]",
        "test rax, rax",
        "jz 5f",
        "mov cr3, rax",
        "5:",
        "lgdt [rsi + {gdt} + 6]",
        "lidt [rsi + {idt} + 6]",
        "mov rsp, [rdi + {stack_top}]",
        "mov eax, [rsi + {ss}]",
        "mov ds, eax",
        "mov es, eax",
        "mov ss, eax",
        "xor eax, eax",
        "mov fs, eax",
        "mov gs, eax",
        "push qword ptr [rsi + {cs}]",
        "lea rax, [rip + 6f]",
        "push rax",
        "retfq",
        "6:",
        "mov rax, [rdi + {percpu}]",
        "test rax, rax",
        "cmovz rax, rdi",
        "mov rdx, rax",
        "shr rdx, 32",
        "mov ecx, {msr_gs_base}",
        "wrmsr",
        "xor ebp, ebp",
        "call {ap_start}",
        "9:",
        "cli",
        "hlt",
        "jmp 9b",
        shared = sym SHARED,
        leaf = const offset_of!(Shared, leaf),
        records = const offset_of!(Shared, records),
        cpus = const offset_of!(Shared, cpus),
        cr4 = const offset_of!(Shared, cr4),
        gdt = const offset_of!(Shared, gdt),
        idt = const offset_of!(Shared, idt),
        cs = const offset_of!(Shared, cs),
        ss = const offset_of!(Shared, ss),
        hw_id = const offset_of!(BootRecord, hw_id),
        engine = const offset_of!(BootRecord, engine),
        stack_top = const offset_of!(BootRecord, stack_top),
        root = const offset_of!(BootRecord, root),
        percpu = const offset_of!(BootRecord, percpu),
        record_len = const size_of::<BootRecord>(),
        msr_gs_base = const MSR_GS_BASE,
        ap_start = sym ap_start,
    )
}

/// First Rust of an AP: it has its stack and its per-CPU base; interrupts are off.
extern "sysv64" fn ap_start(record: &'static BootRecord) -> ! {
    // Release: whoever sees the mark sees a CPU that needs no further signal.
    record.arrived.store(1, Ordering::Release);
    // SAFETY: `install` wrote it before the kick that started this CPU, and nobody writes it again.
    let start = unsafe { *SHARED.next.0.get() };
    if let Some(start) = start {
        start.apic.enter_cpu();
        (start.ap_main)(CpuId::new(record.cpu.load(Ordering::Relaxed)));
    }
    halt()
}

/// Leaves everything on the calling AP's stack and begins again at `ap_main`.
pub(crate) fn restart(record: &'static BootRecord) -> ! {
    let stack_top = record.stack_top.load(Ordering::Relaxed);
    if stack_top == 0 {
        // Nobody may take the stack of a CPU that can still come back; without one it cannot.
        halt();
    }
    // SAFETY: the stack is this CPU's own (promise 5 of `X86::new`), and no frame on it is used
    // again. `noreturn`: nothing after this line runs.
    unsafe {
        asm!("mov rsp, {stack}", "xor ebp, ebp", "call {start}", "ud2",
            stack = in(reg) stack_top, start = sym ap_start, in("rdi") record,
            options(noreturn));
    }
}

/// Stops the calling CPU for good.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: with interrupts off nothing runs on this CPU again but an NMI or an INIT.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
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
