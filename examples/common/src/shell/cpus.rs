//! The word `cpus`: a table in which CPUs of which the same is to be said share a row.

use core::fmt::Write;

use cpuhp_core::{CpuId, StateId};

use super::words::Said;
use crate::machine::Machine;
use crate::result::Stage;
use crate::text::Text;

/// What is said of a CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Row {
    state: StateId,
    target: StateId,
    is_present: bool,
    /// What marks the CPU that the monitor runs on.
    mark: &'static str,
    /// A CPU with a fault or an error has a row of its own.
    alone: Option<CpuId>,
}

/// Prints it.
pub(super) fn print<M: Machine>(stage: &Stage<'_, M>) -> Said {
    let line = ("cpu", "state", "target");
    let title = format_args!("{:<9} {:<24} {}", line.0, line.1, line.2);
    stage.machine.print(title);
    let cpus = u32::try_from(stage.hp().cpus()).unwrap_or(u32::MAX);
    let mut from = 0;
    while from < cpus {
        let row = row(stage, CpuId::new(from));
        let mut to = from;
        while to + 1 < cpus && self::row(stage, CpuId::new(to + 1)) == row {
            to += 1;
        }
        print_row(stage, row, from, to);
        from = to + 1;
    }
    Said::Done
}

fn row<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId) -> Row {
    let hp = stage.hp();
    let is_marked = hp.armed_fault(cpu).is_some() || hp.last_error(cpu).is_some();
    Row {
        state: hp.state(cpu).unwrap_or_default(),
        target: hp.target(cpu).unwrap_or_default(),
        is_present: hp.present().contains(cpu),
        mark: if super::words::is_own(stage, cpu) {
            "  (this one)"
        } else {
            ""
        },
        alone: is_marked.then_some(cpu),
    }
}

fn print_row<M: Machine>(stage: &Stage<'_, M>, row: Row, from: u32, to: u32) {
    let (hp, machine) = (stage.hp(), stage.machine);
    let (mut name, mut state) = (Text::<24>::new(), Text::<48>::new());
    // There is room for both.
    let _ = match from == to {
        true => write!(name, "{from}"),
        false => write!(name, "{from}-{to}"),
    };
    let _ = match row.is_present {
        true => write!(state, "{} {}", row.state, hp.name(row.state)),
        false => write!(state, "not present"),
    };
    let (name, state) = (name.as_str(), state.as_str());
    let (target, mark) = (row.target, row.mark);
    machine.print(format_args!("{name:<9} {state:<24} {target}{mark}"));
    let Some(cpu) = row.alone else {
        return;
    };
    for leaf in ["fail", "error"] {
        let (mut node, mut text) = (Text::<32>::new(), Text::<256>::new());
        let _ = write!(node, "cpu{}/{leaf}", cpu.get());
        let read = hp.read_node(node.as_str(), &mut text);
        if read.is_ok() && text.as_str() != "none" {
            machine.print(format_args!("          {leaf}: {}", text.as_str()));
        }
    }
}
