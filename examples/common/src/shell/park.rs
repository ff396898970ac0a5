//! The word `park`: how the CPUs that are down rest, as the hardware says.

use cpuhp_core::{Confirm, CpuId, Platform, StateId};

use super::words::{Said, refuse};
use crate::machine::Machine;
use crate::result::Stage;

/// Prints a line for each CPU that is offline.
///
/// Context: the driving CPU, no operation runs: what the hardware says is news to nobody then.
pub(super) fn print<M: Machine>(stage: &Stage<'_, M>) -> Said {
    let (hp, machine) = (stage.hp(), stage.machine);
    let is_down = |cpu: &CpuId| hp.state(*cpu) == Some(StateId::OFFLINE);
    let mut down = hp.present().iter().filter(is_down).peekable();
    if down.peek().is_none() {
        return refuse(
            machine,
            format_args!("no CPU is down; down takes one there"),
        );
    }
    for cpu in down {
        let rests = match hp.platform().confirm(cpu) {
            Confirm::Parked => "parked: up releases it",
            Confirm::Off => "off: up starts it",
            Confirm::Running => "not heard of: it may still run",
        };
        machine.print(format_args!("{cpu} is {rests}"));
    }
    Said::Done
}
