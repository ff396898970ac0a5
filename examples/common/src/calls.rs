//! Calls between CPUs as the scenarios make them: each is written down, and judged once all have ended.
//!
//! Every call has a serial number, which is its argument. Its record says what its caller was told, what the
//! tracer saw and when, and how often its function ran: three witnesses that have to agree.

mod record;

use core::sync::atomic::{AtomicU32, Ordering};

use cpuhp_core::{Call, CallError, CpuId, Platform, Who};

use crate::machine::Machine;
use crate::result::Stage;
use crate::scene::{self, Scene};
use crate::violation::Violation;

pub use record::CallRecord;
pub(crate) use record::{Told, see};

/// Calls that can be written down between two rests.
pub const CALLS: usize = 1 << 14;
/// Nodes, and so calls in flight at once.
pub const NODES: usize = 1 << 12;

/// How long the driving CPU sleeps between two looks at calls that nobody waits for.
const LOOK_AGAIN_NS: u64 = 100_000;

/// Makes a node, for a static.
#[must_use]
pub const fn call_node() -> Call {
    Call::new(called)
}

/// The calls of a scene.
#[derive(Debug)]
pub(crate) struct Calls {
    /// Serial number of the next call.
    next: AtomicU32,
}

/// What a function does besides saying that it ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    Nothing,
    /// It calls every other CPU, with the nodes of this row.
    Row(u32),
    /// It calls another CPU, which does the same, so many times.
    Hop(u32),
}

/// What became of the calls between two rests.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) accepted: u32,
    pub(crate) lost: u32,
    pub(crate) duplicated: u32,
    pub(crate) sent: u32,
}

impl Calls {
    pub(crate) const fn new() -> Self {
        Self {
            next: AtomicU32::new(0),
        }
    }
}

/// The function of every node. Context: the called CPU, interrupts on or off.
fn called(cpu: CpuId, serial: usize) {
    let Some(scene) = scene::get() else { return };
    let Some(record) = scene.parts.calls.get(serial) else {
        return scene.wrong(Violation::Call, cpu, serial as u64, 0u32);
    };
    if scene.host.this_cpu() != cpu {
        scene.wrong(
            Violation::WrongCpu,
            cpu,
            scene.host.this_cpu().get(),
            cpu.get(),
        );
    }
    record.has_run();
    match record.task() {
        Task::Nothing | Task::Hop(0) => {}
        Task::Row(row) => call_all_others(scene, cpu, row),
        Task::Hop(left) => {
            // Any CPU, whether it is there or not: a refusal is an answer. The number is spread over them.
            let cpus = scene.parts.cpus.len().max(1);
            let to = serial.wrapping_mul(0x9e37_79b1) >> 7;
            let to = CpuId::new(u32::try_from(to % cpus).unwrap_or(0));
            if make(scene, to, None, Task::Hop(left - 1)).is_err() {
                let back = CpuId::new(scene.control.load(Ordering::Relaxed));
                let _ = make(scene, back, None, Task::Hop(left - 1));
            }
        }
    }
}

/// Calls every other CPU that takes calls, from row `row` of the nodes.
pub(crate) fn call_all_others(scene: &Scene, this: CpuId, row: u32) {
    let cpus = scene.parts.cpus.len();
    for (to, _) in scene.cpus().filter(|(cpu, _)| *cpu != this) {
        let node = row as usize * cpus + to.index();
        if scene.host.takes_calls(to)
            && let Err(error) = make(scene, to, Some(node), Task::Nothing)
        {
            scene.wrong(Violation::Call, to, error as u64, this.get());
        }
    }
}

/// Makes a call and writes it down; `node` is one that is free, or any.
pub(crate) fn make(
    scene: &Scene,
    to: CpuId,
    node: Option<usize>,
    task: Task,
) -> Result<(), CallError> {
    let calls = &scene.calls;
    let serial = calls.next.fetch_add(1, Ordering::Relaxed) as usize;
    let Some(record) = scene.parts.calls.get(serial) else {
        return Err(CallError::Busy);
    };
    let at = node.unwrap_or(serial % scene.parts.nodes.len().max(1));
    let Some(node) = scene.parts.nodes.get(at) else {
        record.tell(Told::Refused);
        return Err(CallError::Busy);
    };
    record.begin(task, at);
    let answer = scene.host.call(to, node, serial);
    record.tell(if answer.is_ok() {
        Told::Accepted
    } else {
        Told::Refused
    });
    answer
}

/// Waits until every call that was made has ended, judges them all, hands each to `each`, and forgets them.
///
/// Context: the driving CPU; nobody makes calls but functions of calls.
pub(crate) fn settle<M: Machine>(
    stage: &Stage<'_, M>,
    mut each: impl FnMut(usize, &CallRecord),
) -> Tally {
    let (scene, this) = (stage.scene, stage.machine.this_cpu());
    let deadline = stage.now().saturating_add(scene.params.timeout_ns);
    let made = || scene.calls.next.load(Ordering::Acquire) as usize;
    let mut ended = 0;
    while ended < made().min(scene.parts.calls.len()) {
        if scene.parts.calls[ended].has_ended(scene) {
            ended += 1;
            continue;
        }
        if stage.now() >= deadline {
            scene.wrong(Violation::Call, this, ended as u64, made() as u64);
            break;
        }
        let until = stage.now().saturating_add(LOOK_AGAIN_NS);
        stage.hp().platform().wait(Who::Control(this), until);
    }
    let mut tally = Tally::default();
    for (serial, record) in scene.parts.calls.iter().enumerate().take(made()) {
        record.judge(scene, serial, &mut tally);
        each(serial, record);
        record.clear();
    }
    scene.calls.next.store(0, Ordering::Release);
    tally
}
