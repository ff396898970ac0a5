//! The first instructions of a hart, from the firmware to Rust.
//!
//! A started hart has nothing but two registers: its id, and the start value. `ap_entry` uses no stack
//! and writes no memory, so any number of harts run it at once. It checks the value before it uses it:
//! whatever does not belong to the last kick of this very hart goes back to the firmware, and has touched
//! nothing.
//!
//! A hart that rests without being off stands here too, in a loop that needs only this code and its record.
#![expect(
    unsafe_code,
    reason = "a hart has no stack, translation or trap vector before this code gives it some"
)]

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use cpuhp_core::CpuId;

use crate::csr::Snapshot;
use crate::kick::{EPOCH_BITS, Places};
use crate::record::BootRecord;
use crate::sbi::Sbi;

/// Function and extension of "HART stop".
const HSM: u32 = 0x48_534d;
const HART_STOP: u32 = 1;

/// What `ap_entry` reads, at offsets the assembly knows. Written by `install` before any kick.
#[repr(C)]
struct Shared {
    /// Physical addresses of the first record and of the first byte after the last.
    records: AtomicU64,
    end: AtomicU64,
    /// What to add to the physical address of a record for its virtual one.
    offset: AtomicU64,
    satp: AtomicU64,
    stvec: AtomicU64,
    gp: AtomicU64,
    fs: AtomicU64,
    /// Virtual address of `ap_start`.
    start: AtomicU64,
    next: Next,
}

static SHARED: Shared = Shared {
    records: AtomicU64::new(0),
    end: AtomicU64::new(0),
    offset: AtomicU64::new(0),
    satp: AtomicU64::new(0),
    stvec: AtomicU64::new(0),
    gp: AtomicU64::new(0),
    fs: AtomicU64::new(0),
    start: AtomicU64::new(0),
    next: Next(UnsafeCell::new(None)),
};

struct Next(UnsafeCell<Option<fn(CpuId) -> !>>);

// SAFETY: written once by `install`, before the first kick; APs only read it after theirs.
unsafe impl Sync for Next {}

/// Returns the virtual address of a hart's first instruction.
pub(crate) fn address() -> usize {
    (&raw const cpuhp_riscv_entry) as usize
}

/// Fills what `ap_entry` reads.
///
/// # Safety
/// 1. No AP was kicked yet, and no other call runs.
/// 2. `records` are those numbered, each with its hardware id, and lie at `places.records`.
pub(crate) unsafe fn install(
    boot: &Snapshot,
    records: &'static [BootRecord],
    places: Places,
    ap_main: fn(CpuId) -> !,
) {
    let first = records.as_ptr() as u64;
    let end = places.records + size_of_val(records) as u64;
    for (word, value) in [
        (&SHARED.records, places.records),
        (&SHARED.end, end),
        (&SHARED.offset, first.wrapping_sub(places.records)),
        (&SHARED.satp, boot.satp),
        (&SHARED.stvec, boot.stvec),
        (&SHARED.gp, boot.gp),
        (&SHARED.fs, boot.fs),
        (&SHARED.start, ap_start as *const () as u64),
    ] {
        word.store(value, Ordering::Relaxed);
    }
    // SAFETY: promise 1: nobody reads or writes it now.
    unsafe { *SHARED.next.0.get() = Some(ap_main) };
}

// Entered with a0 = hart id, a1 = start value, translation off, interrupts off.
//
// Everything the hart needs is in registers before translation is on: from there on only this page is
// known to be mapped where it runs. No relaxation: the linker would address `SHARED` through gp, which is
// not set. Instructions fetched before, and translations, may be older than what other harts wrote while
// this one was off, when their fences passed it over.
global_asm!(
    ".pushsection .text.cpuhp_riscv_entry, \"ax\", @progbits",
    ".option push",
    ".option norelax",
    ".balign 512",
    ".global cpuhp_riscv_entry",
    "cpuhp_riscv_entry:",
    "csrw sie, zero",
    "csrci sstatus, 2",
    "lla t0, 9f",
    "csrw stvec, t0",
    "lla t1, {shared}",
    "andi t2, a1, {record_bits}", // the record
    "ld t3, {records}(t1)",
    "bltu t2, t3, 9f",
    "ld t3, {end}(t1)",
    "bgeu t2, t3, 9f",
    "ld t3, {hw_id}(t2)",
    "bne t3, a0, 9f",
    "lw t3, {engine}(t2)", // nobody kicked it
    "beqz t3, 9f",
    "lw t3, {epoch}(t2)",
    "xor t3, t3, a1",
    "andi t3, t3, {epoch_bits}", // not the last kick
    "bnez t3, 9f",
    "ld t3, {offset}(t1)",
    "add a0, t2, t3", // the record, where Rust knows it
    // a0 = record, a1 = start value, t1 = shared, t2 = record as it can be read now.
    "1:",
    "ld a2, {stack_top}(t2)",
    "beqz a2, 9f",
    "ld a3, {percpu}(t2)",
    "bnez a3, 2f",
    "mv a3, a0",
    "2:",
    "ld a4, {root}(t2)",
    "bnez a4, 3f",
    "ld a4, {satp}(t1)",
    "3:",
    "ld a5, {stvec}(t1)",
    "ld a6, {gp}(t1)",
    "ld a7, {fs}(t1)",
    "ld t0, {start}(t1)",
    "sfence.vma",
    "csrw satp, a4",
    "sfence.vma",
    "fence.i",
    "mv sp, a2",
    "mv tp, a3",
    "mv gp, a6",
    "csrw sscratch, zero",
    "csrw stvec, a5",
    "li t1, {all_fs}",
    "csrc sstatus, t1",
    "csrs sstatus, a7",
    "csrci sip, 2",
    "jr t0",
    // Not ours, not now, or a trap on the way: back to the firmware.
    ".balign 4",
    "9:",
    "li a7, {hsm}",
    "li a6, {hart_stop}",
    "ecall",
    "wfi",
    "j 9b",
    // Entered with a0 = record, a1 = number of the rest, interrupts off. Stands on the boot hart's page
    // table, this text and the record from `parked` on. An IPI between the look and the sleep is pending, so
    // the sleep ends at once.
    ".global cpuhp_riscv_park",
    "cpuhp_riscv_park:",
    "lla t0, 9b",
    "csrw stvec, t0",
    "lla t1, {shared}",
    "ld t2, {satp}(t1)",
    "sfence.vma",
    "csrw satp, t2",
    "sfence.vma",
    "csrwi sie, 2",
    "fence rw, w",
    "sw a1, {parked}(a0)",
    "4:",
    "lw t3, {go}(a0)",
    "beq t3, a1, 5f",
    "wfi",
    "csrci sip, 2",
    "fence",
    "j 4b",
    "5:",
    "fence r, rw",
    "csrw sie, zero",
    "sw a1, {taken}(a0)",
    "mv t2, a0",
    "lw a1, {epoch}(a0)",
    "j 1b",
    ".option pop",
    ".popsection",
    shared = sym SHARED,
    records = const offset_of!(Shared, records),
    end = const offset_of!(Shared, end),
    offset = const offset_of!(Shared, offset),
    satp = const offset_of!(Shared, satp),
    stvec = const offset_of!(Shared, stvec),
    gp = const offset_of!(Shared, gp),
    fs = const offset_of!(Shared, fs),
    start = const offset_of!(Shared, start),
    hw_id = const offset_of!(BootRecord, hw_id),
    engine = const offset_of!(BootRecord, engine),
    epoch = const offset_of!(BootRecord, epoch),
    stack_top = const offset_of!(BootRecord, stack_top),
    percpu = const offset_of!(BootRecord, percpu),
    root = const offset_of!(BootRecord, root),
    go = const offset_of!(BootRecord, go),
    parked = const offset_of!(BootRecord, parked),
    taken = const offset_of!(BootRecord, taken),
    epoch_bits = const EPOCH_BITS,
    record_bits = const !(EPOCH_BITS as i32),
    all_fs = const 0b11 << 13,
    hsm = const HSM,
    hart_stop = const HART_STOP,
);

unsafe extern "C" {
    static cpuhp_riscv_entry: u8;
    fn cpuhp_riscv_park(record: usize, number: u32) -> !;
}

/// First Rust of an AP: it has its stack and its per-CPU base; interrupts are off.
extern "C" fn ap_start(record: &'static BootRecord, value: u64) -> ! {
    // SAFETY: `install` wrote it before the kick that started this CPU, and nobody writes it again.
    let next = unsafe { *SHARED.next.0.get() };
    let epoch = u32::try_from(value & u64::from(EPOCH_BITS));
    record.started.store(epoch.unwrap_or(0), Ordering::Relaxed);
    // A sleep that another life did not end counts no more.
    record.end_sleep();
    // Release: whoever sees the mark sees a CPU that is in the kernel.
    record.arrived.store(1, Ordering::Release);
    let cpu = CpuId::new(record.cpu.load(Ordering::Relaxed));
    match next {
        Some(ap_main) => ap_main(cpu),
        None => stop(),
    }
}

/// Rests the calling hart off everything that PREPARE made, until it is released; then it begins again at
/// `ap_main`, with what the record says by then.
///
/// # Safety
/// 1. Interrupts are off, and nothing of this hart's state and of its stack is needed any more.
/// 2. The boot hart's page table maps the record and this code where they are mapped now.
pub(crate) unsafe fn park(record: &'static BootRecord) -> ! {
    let number = record.next_rest();
    let record = core::ptr::from_ref(record) as usize;
    // SAFETY: promises 1 and 2; `install` ran before this hart was started.
    unsafe { cpuhp_riscv_park(record, number) }
}

/// Gives a hart back to the firmware that has no record to rest on.
///
/// A firmware that refuses keeps it asleep, and is asked again at every interrupt.
pub(crate) fn stop() -> ! {
    loop {
        let _code = Sbi::hart_stop();
        crate::csr::sleep_until_wake();
    }
}
