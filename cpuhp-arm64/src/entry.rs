//! The first instructions of an AP, from whatever started it to Rust.
//!
//! One entry for firmware, a spin-table and the park region: MMU and caches off, one register with a
//! value, at EL1 or EL2. Any number of CPUs run it at once: it has no stack and writes nothing, and it
//! reads two kinds of lines, [`Shared`] and boot records, both cleaned to memory beforehand.
//!
//! 1. The value is the address of this CPU's record and the epoch of its last kick, or it is of no use:
//!    then the record is searched by MPIDR. A value of this CPU and another epoch is a stale start.
//! 2. Whoever is stale, unknown or not wanted turns itself off where firmware starts CPUs, so that the next
//!    kick can start it. With a spin-table, or if firmware refuses, it stays here for good; only a CPU that
//!    is known waits for an event and looks again, since several may share one word of a spin-table. At
//!    another exception level than the boot CPU's nothing is called: who would answer is not known.
//! 3. The boot CPU's translation registers, then MMU and caches, then stack and per-CPU base, then Rust.
//!
//! Spec: Arm DEN0022 (PSCI) 1.1, "CPU_ON", "CPU_OFF", "Initial state"; Arm ARM, "Self-hosted address translation",
//! "TLB maintenance instructions".
#![expect(
    unsafe_code,
    reason = "an AP has no stack, caches or translation before this code gives it some"
)]

mod rest;
mod state;

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

use cpuhp_core::CpuId;
use smccc::psci::PSCI_CPU_OFF;

use crate::cache::Area;
use crate::gic::registers::Driver;
use crate::hardware::{Hardware, forget_instructions, halt};
use crate::kick::{CLAIMED, KICKED, WAKING};
use crate::record::{BootRecord, EPOCH_BITS};
use crate::shared::{Image, OFF_BY_HVC, Shared, Snapshot};

pub(crate) use rest::{Sleep, rest};

static SHARED: Shared = Shared::EMPTY;

/// Where Rust goes on, once the record is found.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    pub(crate) gic: Driver,
    pub(crate) sgi: u8,
    pub(crate) ap_main: fn(CpuId) -> !,
}

/// Read with caches on only.
struct Next(UnsafeCell<Option<Start>>);

static NEXT: Next = Next(UnsafeCell::new(None));

// SAFETY: written once by `install`, before the first kick; APs only read it after theirs.
unsafe impl Sync for Next {}

unsafe extern "C" {
    /// First byte of the code that runs with caches off; first instruction of an AP; the end.
    static cpuhp_arm64_rest_vectors: u8;
    static cpuhp_arm64_entry: u8;
    static cpuhp_arm64_entry_end: u8;
}

/// Virtual address of the first instruction of an AP.
pub(crate) fn address() -> usize {
    (&raw const cpuhp_arm64_entry).addr()
}

/// Fills what the entry code reads, and cleans it and the code itself to memory. `records_phys` is the
/// physical address of the first record.
///
/// # Safety
/// 1. No AP was kicked yet, and no other call runs.
pub(crate) unsafe fn install(
    boot: &Snapshot,
    records: &'static [BootRecord],
    records_phys: u64,
    start: Start,
    hardware: &Hardware,
) {
    // SAFETY: promise 1: nobody reads or writes it now.
    unsafe { *NEXT.0.get() = Some(start) };
    let at = &raw const cpuhp_arm64_rest_vectors;
    let len = (&raw const cpuhp_arm64_entry_end).addr() - at.addr();
    let image = Image {
        code: Area { at, len },
        records: records_phys,
        start: ap_start as *const () as u64,
        conduit: hardware.conduit,
    };
    SHARED.fill(boot, records, image, hardware);
    forget_instructions();
}

global_asm!(
    ".pushsection .text.cpuhp_arm64_entry, \"ax\", @progbits",
    // A CPU that takes an exception before it has the kernel's vectors stays here.
    ".balign 2048",
    ".global cpuhp_arm64_rest_vectors",
    "cpuhp_arm64_rest_vectors:",
    ".rept 16",
    ".balign 128",
    "2: wfe",
    "b 2b",
    ".endr",
    ".balign 128",
    ".global cpuhp_arm64_entry",
    "cpuhp_arm64_entry:",
    "msr daifset, #0xf",
    "msr spsel, #1",
    "adrp x1, {shared}",
    "add x1, x1, :lo12:{shared}",
    "mrs x4, CurrentEL",
    "lsr x4, x4, #2",
    "ldr x5, [x1, {level}]",
    "cmp x4, x5",
    "b.ne 12f",
    "adr x5, cpuhp_arm64_rest_vectors",
    "cmp x4, #2",
    "b.eq 2f",
    "msr vbar_el1, x5",
    "b 3f",
    "2: msr vbar_el2, x5",
    // x2: this CPU's id. x5: the first record. x6: how many.
    "3: mrs x2, mpidr_el1",
    "mov x3, #0xffffff",
    "movk x3, #0xff, lsl #32",
    "and x2, x2, x3",
    "ldr x5, [x1, {records}]",
    "ldr x6, [x1, {cpus}]",
    // x7: the record that the value names, if it names one.
    "bic x7, x0, #{epoch_bits}",
    "subs x8, x7, x5",
    "b.lo 4f",
    "cmp x8, x6, lsl #7",
    "b.hs 4f",
    "ldr x9, [x7, {hw_id}]",
    "cmp x9, x2",
    "b.ne 4f",
    "ldr w9, [x7, {epoch}]",
    "eor w9, w9, w0",
    "tst w9, #{epoch_bits}", // a stale start
    "b.ne 9f",
    "ldr w9, [x7, {engine}]", // nobody wants it
    "cbz w9, 9f",
    "b 7f",
    "4: mov x7, x5",
    "5: cbz x6, 9f",
    "ldr x9, [x7, {hw_id}]",
    "cmp x9, x2",
    "b.eq 6f",
    "add x7, x7, #{record_len}",
    "sub x6, x6, #1",
    "b 5b",
    // A CPU without a value: while the word is CLAIMED the epoch may be the last kick's.
    "6: ldr w9, [x7, {engine}]",
    "cmp w9, {kicked}",
    "b.eq 7f",
    "cmp w9, {waking}",
    "b.eq 7f",
    "cmp w9, {claimed}",
    "b.eq 13f",
    "ldr x9, [x1, {off}]", // firmware starts a CPU that is off, and no other
    "cbnz x9, 9f",
    "13: wfe",
    "b 6b",
    // x7 is the record; what else it says is no older than its word.
    "7: dmb sy",
    "ldr x10, [x7, {stack_top}]",
    "cbz x10, 9f",
    "ldr x11, [x7, {percpu}]",
    "ldr x12, [x7, {root}]",
    "ldr w13, [x7, {epoch}]",
    "and x13, x13, #{epoch_bits}",
    "sub x7, x7, x5",
    "ldr x14, [x1, {records_virt}]",
    "add x14, x14, x7", // the record as the kernel sees it
    "cmp x11, #0",
    "csel x11, x14, x11, eq",
    "ldr x15, [x1, {start}]",
    "ldr x5, [x1, {sctlr}]",
    "ldr x6, [x1, {tcr}]",
    "ldr x7, [x1, {mair}]",
    "ldr x8, [x1, {ttbr0}]",
    "ldr x9, [x1, {ttbr1}]",
    "ldr x16, [x1, {vbar}]",
    "ldr x17, [x1, {traps}]",
    "ldr x2, [x1, {hcr}]",
    "ldr x3, [x1, {cnthctl}]",
    "cmp x4, #2",
    "b.eq 8f",
    // EL1: a root of the record's own is the upper half's.
    "cmp x12, #0",
    "csel x9, x12, x9, ne",
    "msr mair_el1, x7",
    "msr tcr_el1, x6",
    "msr ttbr0_el1, x8",
    "msr ttbr1_el1, x9",
    "msr cpacr_el1, x17",
    "isb",
    "tlbi vmalle1",
    "ic iallu",
    "dsb nsh",
    "isb",
    "msr sctlr_el1, x5",
    "isb",
    "msr vbar_el1, x16",
    "msr tpidr_el1, x11",
    "b 10f",
    // EL2: the hypervisor's own registers, and the offset that EL1 and this level see.
    "8: msr hcr_el2, x2",
    "isb",
    "cmp x12, #0",
    "csel x8, x12, x8, ne",
    "msr mair_el2, x7",
    "msr tcr_el2, x6",
    "msr ttbr0_el2, x8",
    "tbz x2, #34, 2f", // E2H: there is an upper half
    "msr S3_4_C2_C0_1, x9",
    "2: msr cptr_el2, x17",
    "msr cnthctl_el2, x3",
    "msr cntvoff_el2, xzr",
    "isb",
    "tlbi alle2",
    "ic iallu",
    "dsb nsh",
    "isb",
    "msr sctlr_el2, x5",
    "isb",
    "msr vbar_el2, x16",
    "msr tpidr_el2, x11",
    "10: isb",
    "mov sp, x10",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, x14",
    "mov x1, x13",
    "br x15",
    // Not for this CPU, or not now. Off, it can be started by the next kick; on, it never could.
    "9: ldr x9, [x1, {off}]",
    "cbz x9, 12f",
    "mov w0, {cpu_off_low}",
    "movk w0, {cpu_off_high}, lsl #16",
    "cmp x9, {off_by_hvc}",
    "b.eq 11f",
    "smc #0",
    "b 12f",
    "11: hvc #0",
    "12: wfe",
    "b 12b",
    ".global cpuhp_arm64_entry_end",
    "cpuhp_arm64_entry_end:",
    ".popsection",
    shared = sym SHARED,
    records = const offset_of!(Shared, records),
    records_virt = const offset_of!(Shared, records_virt),
    cpus = const offset_of!(Shared, cpus),
    level = const offset_of!(Shared, level),
    sctlr = const offset_of!(Shared, sctlr),
    tcr = const offset_of!(Shared, tcr),
    mair = const offset_of!(Shared, mair),
    ttbr0 = const offset_of!(Shared, ttbr0),
    ttbr1 = const offset_of!(Shared, ttbr1),
    vbar = const offset_of!(Shared, vbar),
    traps = const offset_of!(Shared, traps),
    hcr = const offset_of!(Shared, hcr),
    cnthctl = const offset_of!(Shared, cnthctl),
    start = const offset_of!(Shared, start),
    hw_id = const offset_of!(BootRecord, hw_id),
    stack_top = const offset_of!(BootRecord, stack_top),
    percpu = const offset_of!(BootRecord, percpu),
    root = const offset_of!(BootRecord, root),
    epoch = const offset_of!(BootRecord, epoch),
    engine = const offset_of!(BootRecord, engine),
    off = const offset_of!(Shared, off),
    off_by_hvc = const OFF_BY_HVC,
    cpu_off_low = const PSCI_CPU_OFF & 0xffff,
    cpu_off_high = const PSCI_CPU_OFF >> 16,
    claimed = const CLAIMED,
    kicked = const KICKED,
    waking = const WAKING,
    epoch_bits = const EPOCH_BITS,
    record_len = const size_of::<BootRecord>(),
);

// The shift in `cmp x8, x6, lsl #7`.
const _: () = assert!(size_of::<BootRecord>() == 1 << 7);

/// First Rust of an AP: it has its stack, its caches and its per-CPU base; interrupts are off.
extern "C" fn ap_start(record: &'static BootRecord, epoch: u32) -> ! {
    record.started.store(epoch, Ordering::Relaxed);
    // SAFETY: `install` wrote it before the kick that started this CPU, and nobody writes it again.
    let start = unsafe { *NEXT.0.get() };
    let Some(start) = start else { halt() };
    start.gic.init_cpu(record, start.sgi);
    // Release: whoever sees the mark sees a CPU that can be woken, and has left its slot.
    record.arrived.store(1, Ordering::Release);
    (start.ap_main)(CpuId::new(record.cpu.load(Ordering::Relaxed)))
}
