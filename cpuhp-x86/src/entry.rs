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
mod trampoline;

use core::arch::{asm, naked_asm};
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use cpuhp_core::CpuId;

use crate::apic::LocalApic;
use crate::apic::registers::MSR_GS_BASE;
use crate::park::code::Kernel;
use crate::park::pages::Levels;
use crate::park::slot::ParkSlot;
use crate::record::BootRecord;
use crate::topology::IdLeaf;

pub(crate) use state::{Snapshot, cpuid, set_base, this_cpu};
pub(crate) use trampoline::image;

const CR0_KEEP: u64 = !(1 << 29 | 1 << 30); // not NW, CD
/// Bits of a start value that hold the epoch; the rest is the address of a record.
const EPOCH_BITS: u32 = 0x7f;
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
    /// The slots of the park region, by CPU number; none without one.
    pub(crate) slots: &'static [ParkSlot],
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

/// What a CPU loads that leaves the park region.
pub(crate) fn kernel(boot: &Snapshot) -> Kernel {
    Kernel {
        cr0: boot.cr0 & CR0_KEEP,
        cr3: boot.cr3,
        efer: boot.efer & EFER_KEEP,
        entry: ap_entry64 as *const () as u64,
    }
}

/// How deep the boot CPU's page tables are.
pub(crate) const fn levels(boot: &Snapshot) -> Levels {
    if boot.cr4 & CR4_LA57 == 0 {
        Levels::Four
    } else {
        Levels::Five
    }
}

/// 64-bit entry of every AP: id, record, CR4, page tables, GDT, IDT, stack, segments, per-CPU base,
/// then Rust. Needs nothing but these tables: no stack, any CR3 that maps this code and the tables.
///
/// The kernel's IDT comes before anything slow: an NMI until then is fatal, or met by the handler of
/// the park region. GS base comes after the segments, because loading GS may clear it.
///
/// RDI is 0, or the start value that came through a park slot. A stale one halts here.
#[unsafe(naked)]
extern "C" fn ap_entry64() {
    naked_asm!(
        "cli",
        "cld",
        "lea rsi, [rip + {shared}]",
        "lgdt [rsi + {gdt} + 6]",
        "lidt [rsi + {idt} + 6]",
        "mov r8, rdi",
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
        "test r8, r8", // a start value: of this record, and of its last kick?
        "jz 7f",
        "mov rax, r8",
        "and rax, {epoch_clear}",
        "cmp rax, rdi",
        "jne 9f",
        "mov eax, r8d",
        "xor eax, [rdi + {epoch}]",
        "test eax, {epoch_bits}",
        "jnz 9f",
        "7:",
        "mov rax, [rsi + {cr4}]",
        "mov cr4, rax",
        "mov rax, [rdi + {root}]",
        "test rax, rax",
        "jz 5f",
        "mov cr3, rax",
        "5:",
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
        "mov rsi, r8",
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
        epoch = const offset_of!(BootRecord, epoch),
        epoch_bits = const EPOCH_BITS,
        epoch_clear = const !(EPOCH_BITS as i64),
        root = const offset_of!(BootRecord, root),
        percpu = const offset_of!(BootRecord, percpu),
        record_len = const size_of::<BootRecord>(),
        msr_gs_base = const MSR_GS_BASE,
        ap_start = sym ap_start,
    )
}

/// First Rust of an AP: it has its stack and its per-CPU base; interrupts are off.
extern "sysv64" fn ap_start(record: &'static BootRecord, value: u64) -> ! {
    // SAFETY: `install` wrote it before the kick that started this CPU, and nobody writes it again.
    let start = unsafe { *SHARED.next.0.get() };
    let cpu = record.cpu.load(Ordering::Relaxed);
    let slot = start.and_then(|start| start.slots.get(cpu as usize));
    if let Some(slot) = slot {
        slot.leave();
    }
    let epoch = match value {
        // Searched by its id: it is the start that the record says.
        0 => record.epoch.load(Ordering::Relaxed),
        value => (value & 0xffff_ffff) as u32,
    };
    record.started.store(epoch & EPOCH_BITS, Ordering::Relaxed);
    // Release: whoever sees the mark sees a CPU that needs no further signal, and has left its slot.
    record.arrived.store(1, Ordering::Release);
    if let Some(start) = start {
        start.apic.enter_cpu();
        (start.ap_main)(CpuId::new(cpu));
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
            stack = in(reg) stack_top, start = sym ap_start, in("rdi") record, in("rsi") 0_u64,
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
