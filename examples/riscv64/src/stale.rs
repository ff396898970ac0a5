//! Starts that do not belong to the last kick of a hart: each must go back to the firmware, and have touched
//! nothing.
//!
//! The firmware itself would have to be broken to make one. So the kernel calls it past the backend, with the
//! backend's own entry and a start value of its choice. All that such a hart could run on is poisoned, and is
//! checked when the harts come up properly afterwards.
#![expect(
    unsafe_code,
    reason = "the backend's entry is known by its symbol only"
)]

use cpuhp_core::{CpuId, HwId, Platform, Which};
use cpuhp_example_common::{Machine, Verdict};
use cpuhp_riscv::{Boot, BootRecord, Riscv};

use crate::board::KERNEL;
use crate::{boot, console, cpu, sbi};

/// How long a hart may take to go back.
const BACK_NS: u64 = 100_000_000;
/// The state STOPPED of the firmware.
const STOPPED: usize = 1;
/// Bits of a start value that hold the epoch.
const EPOCHS: u64 = 0x80;

unsafe extern "C" {
    static cpuhp_riscv_entry: u8;
}

/// Takes all harts down, starts each wrongly, and brings all up again.
///
/// Context: boot CPU, after a scenario that left every hart online.
pub(crate) fn run(records: &'static [BootRecord]) -> Verdict {
    let (hp, backend) = (KERNEL.hp(), KERNEL.backend());
    let down = hp.take_down(Which::All);
    let Some(backend) = backend.filter(|_| down.is_ok_and(|report| report.is_complete())) else {
        return fail(CpuId::new(0), "did not go down", 0);
    };
    let mut starts = 0_u32;
    for cpu in (1..backend.cpus()).map(CpuId::new) {
        match start_wrongly(backend, cpu, records) {
            Ok(count) => starts += count,
            Err(value) => return fail(cpu, "did not go back to the firmware", value),
        }
    }
    let up = hp.bring_up(Which::All);
    if !up.is_ok_and(|report| report.is_complete()) {
        return fail(CpuId::new(0), "did not come up again", 0);
    }
    console::print(format_args!("{starts} stale starts went back\n"));
    Verdict::Pass
}

fn fail(cpu: CpuId, what: &str, value: u64) -> Verdict {
    console::print(format_args!(
        "violation: {cpu} {what} (start value {value:#x})\n"
    ));
    Verdict::Fail
}

/// Starts `cpu` with every kind of wrong value; answers how many, or the one that it stayed with.
fn start_wrongly(backend: &Riscv, cpu: CpuId, records: &'static [BootRecord]) -> Result<u32, u64> {
    let Some(record) = backend.boot_record(cpu) else {
        return Ok(0);
    };
    let at = |record: &BootRecord| core::ptr::from_ref(record) as u64;
    let own = at(record);
    // A neighbour's is right in everything but whose it is.
    let others = records.get(1..backend.cpus() as usize).unwrap_or(&[]);
    let other = others.iter().find(|other| at(other) != own);
    if let Some(other) = other {
        other.set(stack_of(cpu));
    }
    let first = records.first().map_or(0, at);
    let end = first + u64::from(backend.cpus()) * size_of::<BootRecord>() as u64;
    // Below and above them, and none at all.
    let neighbour = other.map_or(0, at);
    let outside = [first - EPOCHS, end, end + 4096, 0, u64::MAX - 1];
    let places = [neighbour, first].into_iter().chain(outside);
    let mut starts = 0;
    let entry = &raw const cpuhp_riscv_entry as usize;
    let mut start = |value: u64| -> Result<(), u64> {
        starts += 1;
        try_start(backend, cpu, entry, value)
    };
    // Without a stack no value is right.
    for epoch in 0..EPOCHS {
        start(own | epoch)?;
    }
    record.set(stack_of(cpu));
    for place in places {
        start(place)?;
        start(place | 1)?;
    }
    // Kicked once, by the scenario: every other epoch is an earlier kick's.
    for epoch in (0..EPOCHS).filter(|epoch| *epoch != 1) {
        start(own | epoch)?;
    }
    // The kernel's own first instruction, where a firmware leads a hart whose first start it has mixed up.
    try_start(backend, cpu, boot::start(), 0)?;
    record.clear();
    if let Some(other) = other {
        other.clear();
    }
    Ok(starts + 1)
}

/// The stack of `cpu`, which holds poison, and the boot hart's page table.
fn stack_of(cpu: CpuId) -> Boot {
    Boot {
        stack_top: cpu::stack_top(cpu),
        percpu: 0,
        root: 0,
    }
}

/// Starts the hart at `entry`, and waits until the firmware has it back.
fn try_start(backend: &Riscv, cpu: CpuId, entry: usize, value: u64) -> Result<(), u64> {
    let HwId(hart) = backend.hw_id(cpu);
    let hart = usize::try_from(hart).unwrap_or(usize::MAX);
    let register = usize::try_from(value).unwrap_or(usize::MAX);
    if sbi_rt::hart_start(hart, entry, register).error != 0 {
        return Err(value);
    }
    let deadline = backend.now() + BACK_NS;
    while backend.now() < deadline {
        if sbi_rt::hart_get_status(hart).value == STOPPED {
            return Ok(());
        }
        sbi::interrupts_off();
        sbi::sleep_ns(20_000);
        sbi::interrupts_on();
    }
    Err(value)
}
