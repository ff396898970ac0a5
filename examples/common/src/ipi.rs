//! Scenario `ipi`: calls from every CPU to every other one, all callers at once as far as nodes suffice.
//!
//! All times come from the trace events, which the records keep.

use cpuhp_core::CpuId;

use crate::calls::{self, NODES, Tally, Task};
use crate::check;
use crate::machine::Machine;
use crate::result::Stage;
use crate::scenario::Toggle;
use crate::violation::Violation;

/// Rounds, if none are asked for.
const ROUNDS: u32 = 5;

/// Runs it.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    stage.bring_all_up();
    let scene = stage.scene;
    let rounds = scene.params.rounds.unwrap_or(ROUNDS);
    let latencies = &scene.parts.samples[0];
    latencies.clear();
    let (mut calls, mut orders) = (0u32, 0u32);
    let mut all = Tally::default();
    let cpus = u32::try_from(scene.parts.cpus.len()).unwrap_or(u32::MAX);
    let rows = (u32::try_from(NODES).unwrap_or(0) / cpus.max(1)).max(1) - 1;
    for _ in 0..rounds {
        for first in (0..cpus).step_by(rows.max(1) as usize) {
            let callers = first..cpus.min(first + rows.max(1));
            orders += order(stage, callers);
            let tally = calls::settle(stage, |serial, record| {
                if record.is_plain() {
                    calls += 1;
                    latencies.add(record.latency());
                }
                if scene.params.trace == Toggle::On {
                    record.print(scene, serial);
                }
            });
            all.accepted += tally.accepted;
            all.lost += tally.lost;
            all.duplicated += tally.duplicated;
            all.sent += tally.sent;
        }
        check::all(stage.machine, scene);
    }
    let online = u32::try_from(stage.online_others().count() + 1).unwrap_or(0);
    let right = rounds * online * (online - 1);
    if calls != right || all.accepted != calls + orders {
        scene.wrong(Violation::Count, stage.this_cpu(), calls, right);
    }
    let (median, p99) = (latencies.median(), latencies.percentile(99));
    stage.only_result(|line| {
        line.number("calls", calls)?;
        line.number("lost", all.lost)?;
        line.number("duplicated", all.duplicated)?;
        line.number("ipis", all.sent)?;
        line.number("queue_to_entry_ns_median", median)?;
        line.number("queue_to_entry_ns_p99", p99)
    });
}

/// Has these CPUs call all others, by a call to each; returns to how many. The driving CPU begins last.
fn order<M: Machine>(stage: &Stage<'_, M>, callers: core::ops::Range<u32>) -> u32 {
    let (scene, this) = (stage.scene, stage.this_cpu());
    let (mut orders, mut own) = (0, None);
    let spare = callers.len() * scene.parts.cpus.len();
    for (row, cpu) in (0..).zip(callers).map(|(row, cpu)| (row, CpuId::new(cpu))) {
        if cpu == this {
            own = Some(row);
        } else if stage.hp().online().contains(cpu) {
            orders += 1;
            let node = spare + cpu.index();
            if let Err(error) = calls::make(scene, cpu, Some(node), Task::Row(row)) {
                scene.wrong(Violation::Call, cpu, error as u64, 0u32);
            }
        }
    }
    if let Some(row) = own {
        calls::call_all_others(scene, this, row);
    }
    orders
}
