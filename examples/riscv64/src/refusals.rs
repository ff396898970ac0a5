//! Starts that the machine's own firmware refuses: each must be an error that names the hart and the raw code,
//! with every other hart still online.
//!
//! Two ways to be refused need no broken firmware: to be running already, and not to be there. For the first
//! this kernel starts a hart past the backend and lets it sleep; the second is a hart that the device tree lists
//! and the firmware does not serve, made present all the same.
#![expect(
    unsafe_code,
    reason = "a hart needs an entry that is not the backend's"
)]

use core::arch::global_asm;

use cpuhp_core::{CpuId, HwId, KickErrorKind, Left, OpError, Platform, StateId, Which};
use cpuhp_example_common::{Machine, Verdict};
use cpuhp_riscv::Riscv;

use crate::board::KERNEL;
use crate::{console, sbi};

global_asm!(
    ".pushsection .text.sleeper, \"ax\", @progbits",
    ".balign 4",
    ".global sleeper",
    "sleeper:",
    "csrw sie, zero",
    "1:",
    "wfi",
    "j 1b",
    ".popsection",
);

unsafe extern "C" {
    static sleeper: u8;
}

/// Has the firmware refuse a start in each way there is here.
///
/// Context: boot CPU, after a scenario that left every hart online that the firmware serves.
pub(crate) fn run() -> Verdict {
    let (hp, Some(backend)) = (KERNEL.hp(), KERNEL.backend()) else {
        return Verdict::Fail;
    };
    let taken = CpuId::new(1);
    let down = hp.cpu_down(taken);
    if down.is_err() || start_sleeper(backend, taken).is_err() {
        return fail(taken, "was not taken away");
    }
    let mut verdict = expect(taken, KickErrorKind::AlreadyOn, &[-6, -7]);
    let cpus = || (1..backend.cpus()).map(CpuId::new);
    let mut refused = 1;
    for cpu in cpus().filter(|cpu| !backend.present(*cpu)) {
        backend.set_present(cpu);
        refused += 1;
        if expect(cpu, KickErrorKind::NotPresent, &[-3]) == Verdict::Fail {
            verdict = Verdict::Fail;
        }
    }
    // Nobody else was moved, and all of them still go down and come up.
    let others = cpus().count() - refused;
    let down = hp.take_down(Which::All).map_or(0, |report| report.done);
    let up = hp.bring_up(Which::All).map_or(0, |report| report.done);
    if down as usize != others || up as usize != others {
        return fail(taken, "was not the only one");
    }
    verdict
}

/// How long the firmware may take to start a hart.
const STARTED_NS: u64 = 1_000_000_000;
/// The state STARTED of the firmware.
const STARTED: usize = 0;

/// Starts a hart that the backend knows nothing of, and waits until it runs: before, the firmware calls another
/// start an invalid one.
fn start_sleeper(backend: &Riscv, cpu: CpuId) -> Result<(), ()> {
    let HwId(hart) = backend.hw_id(cpu);
    let hart = usize::try_from(hart).map_err(|_| ())?;
    let entry = &raw const sleeper as usize;
    if sbi_rt::hart_start(hart, entry, 0).error != 0 {
        return Err(());
    }
    let deadline = backend.now() + STARTED_NS;
    while backend.now() < deadline {
        if sbi_rt::hart_get_status(hart).value == STARTED {
            return Ok(());
        }
        sbi::interrupts_off();
        sbi::sleep_ns(100_000);
        sbi::interrupts_on();
    }
    Err(())
}

/// Brings `cpu` up, which has to fail for this cause, with one of these codes.
fn expect(cpu: CpuId, kind: KickErrorKind, codes: &[i64]) -> Verdict {
    let Err(error) = KERNEL.hp().cpu_up(cpu) else {
        return fail(cpu, "came up");
    };
    console::print(format_args!("{error}\n"));
    let OpError::Failed(failure) = error else {
        return fail(cpu, "was not even tried");
    };
    let is_right = failure.cpu == cpu
        && failure.left == Left::At(StateId::OFFLINE)
        && failure
            .kick
            .is_some_and(|kick| kick.kind == kind && codes.contains(&kick.code));
    if is_right {
        Verdict::Pass
    } else {
        fail(cpu, "was refused for another reason")
    }
}

fn fail(cpu: CpuId, what: &str) -> Verdict {
    console::print(format_args!("violation: {cpu} {what}\n"));
    Verdict::Fail
}
