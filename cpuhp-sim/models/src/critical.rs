//! The critical path: how long all CPUs would take together if the machinery itself cost nothing.
//!
//! Computed from the model's numbers alone, without the core: what the control CPU has to do itself comes one
//! after the other, every CPU walks its own steps as soon as it can, and waits only for what the table and the
//! resources force it to wait for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::data::{Model, Section, TimedStep, Together, Way};

/// Returns the least time in which all CPUs but the boot CPU can go one way, in nanoseconds.
pub fn critical_path(model: &Model, way: Way) -> u64 {
    match way {
        Way::Up => up(model),
        Way::Down => down(model),
    }
}

/// What the steps of one section take the control CPU for one CPU.
fn prepare(model: &Model, way: Way, cpu: u32) -> u64 {
    let steps = in_section(model, Section::Prepare);
    steps.map(|step| model.takes(step, way, cpu, 1)).sum()
}

fn in_section(model: &Model, section: Section) -> impl DoubleEndedIterator<Item = &TimedStep> {
    model
        .steps
        .iter()
        .filter(move |step| step.section == section)
}

/// Everybody is prepared, then everybody is kicked; then each CPU goes its own way.
fn up(model: &Model) -> u64 {
    let mut control: u64 = (1..model.cpus)
        .map(|cpu| prepare(model, Way::Up, cpu))
        .sum();
    let mut ready = Vec::new();
    for cpu in 1..model.cpus {
        ready.push(control + model.arrival_of(cpu));
        control += model.kick.ns;
    }
    for step in in_section(model, Section::Starting) {
        column(model, step, Way::Up, &mut ready, |_| 1);
    }
    let mut available = ready.clone();
    available.sort_unstable();
    for step in in_section(model, Section::Online) {
        column(model, step, Way::Up, &mut ready, |now| {
            1 + available.partition_point(|at| *at <= now) as u64
        });
    }
    ready.into_iter().fold(control, u64::max)
}

/// Nobody dies before all have agreed to go. Then all die, and the control CPU clears up behind each.
fn down(model: &Model) -> u64 {
    let mut ready = vec![0; model.cpus.saturating_sub(1) as usize];
    for step in in_section(model, Section::Online).rev() {
        column(model, step, Way::Down, &mut ready, |_| {
            u64::from(model.cpus)
        });
    }
    let agreed = ready.iter().copied().fold(0, u64::max);
    ready.fill(agreed);
    for step in in_section(model, Section::Starting).rev() {
        column(model, step, Way::Down, &mut ready, |_| 1);
    }
    let mut off: Vec<(u64, u32)> = ready
        .into_iter()
        .map(|at| at + model.off.ns)
        .zip(1..)
        .collect();
    off.sort_unstable();
    let clear_up =
        |control: u64, (off, cpu): (u64, u32)| control.max(off) + prepare(model, Way::Down, cpu);
    off.into_iter().fold(0, clear_up)
}

/// Lets every CPU walk one step, from when it is ready: first come, first served where there is not room for
/// all at once.
fn column(
    model: &Model,
    step: &TimedStep,
    way: Way,
    ready: &mut [u64],
    available: impl Fn(u64) -> u64,
) {
    let named = step.resource.as_ref().and_then(|name| model.resource(name));
    let capacity = match step.walked {
        Together::OneByOne => Some(1),
        Together::Parallel => named
            .and_then(|at| model.resources.get(at))
            .map(|named| named.capacity),
    };
    let mut order: Vec<(u64, u32)> = ready.iter().copied().zip(1..).collect();
    order.sort_unstable();
    let mut free: BinaryHeap<Reverse<u64>> =
        (0..capacity.unwrap_or(0)).map(|_| Reverse(0)).collect();
    for (now, cpu) in order {
        let takes = model.takes(step, way, cpu, available(now));
        let Some(at) = ready.get_mut(cpu as usize - 1).filter(|_| takes > 0) else {
            continue;
        };
        let begins = free.pop().map_or(now, |Reverse(free)| free.max(now));
        *at = begins + takes;
        if capacity.is_some() {
            free.push(Reverse(*at));
        }
    }
}

#[cfg(test)]
mod tests;
