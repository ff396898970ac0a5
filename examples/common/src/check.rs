//! What holds at rest, of one CPU and of all: the core's word against what was written down.

use core::sync::atomic::Ordering;

use cpuhp_core::{CpuId, Platform, StateId, Tag, Trace};

use crate::log::{CpuLog, Entry, Went};
use crate::machine::{Hp, Machine};
use crate::scene::Scene;
use crate::violation::Violation;

/// Checks every CPU. Nothing is in flight.
pub(crate) fn all<M: Machine>(machine: &M, scene: &Scene) {
    for (cpu, log) in scene.cpus() {
        one(machine, scene, cpu, log);
    }
    if !machine.hp().dying().is_empty() {
        let dying = machine.hp().dying().iter().next().unwrap_or_default();
        scene.wrong(Violation::Masks, dying, 1u32, 0u32);
    }
}

/// Checks one CPU at rest.
pub(crate) fn one<M: Machine>(machine: &M, scene: &Scene, cpu: CpuId, log: &CpuLog) {
    machine.at_rest(cpu);
    let hp = machine.hp();
    let state = hp.state(cpu).unwrap_or_default();
    let up = log.up.load(Ordering::Relaxed);
    let right = scene.order.up_in(state);
    if up != right {
        scene.wrong(Violation::Level, cpu, up, right);
    }
    let ups = log.ups.load(Ordering::Relaxed);
    let downs = log.downs.load(Ordering::Relaxed);
    if ups.wrapping_sub(downs) != up.count_ones() {
        scene.wrong(
            Violation::Balance,
            cpu,
            ups.wrapping_sub(downs),
            up.count_ones(),
        );
    }
    if hp.target(cpu) != Some(state) {
        let target = hp.target(cpu).unwrap_or_default();
        scene.wrong(Violation::Target, cpu, target.get(), state.get());
    }
    check_masks(hp, scene, cpu, state);
    check_tag(hp, scene, cpu, state);
    check_kicks(hp, scene, cpu, log);
}

fn check_masks<B: Platform>(hp: &Hp<B>, scene: &Scene, cpu: CpuId, state: StateId) {
    let table = scene.table;
    for (mask, right) in [
        (hp.online(), state == table.online()),
        (hp.available(), state >= table.ap_idle()),
    ] {
        if mask.contains(cpu) != right {
            scene.wrong(Violation::Masks, cpu, mask.contains(cpu), right);
        }
    }
    let is_beyond = hp.available().contains(cpu) && !hp.present().contains(cpu);
    if is_beyond || hp.online().contains(cpu) && !hp.available().contains(cpu) {
        scene.wrong(Violation::Masks, cpu, 1u32, 0u32);
    }
}

fn check_tag<B: Platform>(hp: &Hp<B>, scene: &Scene, cpu: CpuId, state: StateId) {
    let tag = hp.tag(cpu).unwrap_or(Tag::Dead);
    let fits = match tag {
        Tag::Up => state >= scene.table.ap_idle(),
        Tag::Kicked | Tag::Alive => state == scene.table.kick(),
        Tag::Dead | Tag::Cancelled | Tag::Parked => state < scene.table.kick(),
        // In flight.
        Tag::Go | Tag::Die | Tag::Gone => false,
    };
    if !fits {
        scene.wrong(Violation::Tag, cpu, tag as u32, state.get());
    }
}

fn check_kicks<B: Platform>(hp: &Hp<B>, scene: &Scene, cpu: CpuId, log: &CpuLog) {
    let kicks = log.kicks.load(Ordering::Relaxed);
    let starts = log.starts.load(Ordering::Relaxed);
    if <crate::Tracer as Trace>::ON && kicks != starts {
        scene.wrong(Violation::Kicks, cpu, kicks, starts);
    }
    let told = [&log.arrived, &log.lost, &log.refused];
    let told: u32 = told.iter().map(|word| word.load(Ordering::Relaxed)).sum();
    let may_be_open = match hp.tag(cpu).unwrap_or(Tag::Dead) {
        Tag::Dead | Tag::Up => 0,
        Tag::Kicked | Tag::Alive | Tag::Go | Tag::Die | Tag::Gone => 1,
        Tag::Cancelled | Tag::Parked => 1,
    };
    let open = kicks.wrapping_sub(told);
    if open > may_be_open {
        scene.wrong(Violation::KickOutcome, cpu, told, kicks);
    }
}

/// The callbacks of an undisturbed way up from the first `from` units to `to`, or down.
pub(crate) fn way(scene: &Scene, from: u32, to: u32) -> impl Iterator<Item = Entry> {
    use cpuhp_core::Direction::{Down, Up};
    let entry = move |place, dir| {
        let unit = scene.order.at(place)?;
        let went = Went::Well;
        Some(Entry { unit, dir, went })
    };
    let ups = (from + 1..=to).filter_map(move |place| entry(place, Up));
    let downs = (to + 1..=from).rev();
    ups.chain(downs.filter_map(move |place| entry(place, Down)))
}

/// Compares the whole list of callbacks of `cpu` with `expected`, and empties it.
pub(crate) fn list(scene: &Scene, cpu: CpuId, log: &CpuLog, expected: impl Iterator<Item = Entry>) {
    if let Some([_, found, right]) = log.differs(expected) {
        scene.wrong(Violation::WrongLog, cpu, found, right);
    }
    log.clear_list();
}
