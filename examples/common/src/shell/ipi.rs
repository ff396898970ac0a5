//! The word `ipi`: a call to every other CPU that takes calls, and how long the calls were on their way.

use super::words::{Said, refuse};
use crate::calls;
use crate::machine::Machine;
use crate::result::Stage;

/// Calls them all at once, and waits until every call has ended, as long as the scenario's time-out.
pub(super) fn run<M: Machine>(stage: &Stage<'_, M>) -> Said {
    let (scene, machine) = (stage.scene, stage.machine);
    let latencies = &scene.parts.samples[0];
    latencies.clear();
    let (mut made, mut most) = (0u32, 0);
    calls::call_all_others(scene, stage.this_cpu(), 0);
    let tally = calls::settle(stage, |_, record| {
        made += 1;
        latencies.add(record.latency());
        most = most.max(record.latency());
    });
    if made == 0 {
        return refuse(
            machine,
            format_args!("no other CPU takes calls; up brings one up"),
        );
    }
    let (lost, twice) = (tally.lost, tally.duplicated);
    if lost + twice > 0 {
        let wrong = format_args!("{made} calls: {lost} lost, {twice} run twice");
        return refuse(machine, wrong);
    }
    machine.print(format_args!("{made} calls: {lost} lost, {twice} run twice"));
    let median = latencies.median();
    machine.print(format_args!(
        "from queue to entry: {median} ns in the middle, {most} ns at most"
    ));
    Said::Done
}
