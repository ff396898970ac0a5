//! Registrations that are refused: nothing runs, and nothing changes.

use cpuhp_core::{Calls, DynRange, RegisterError, StateHandle, StateId, Step};

use super::{clear_lists, expect, nothing_ran};
use crate::check;
use crate::machine::Machine;
use crate::registry::{Dynamic, dynamics, objects};
use crate::result::Stage;
use crate::tables::{DYNAMIC, RESERVED};
use crate::units;

/// A step that does nothing, for filling ranges.
static FILLER: Step = Step::new("filler:dynamic").parallel();

/// Plays all of them; returns how many.
pub(super) fn run<M: Machine>(stage: &Stage<'_, M>) -> u32 {
    let ranges = stage.scene.ranges;
    clear_lists(stage);
    full(stage, ranges.prepare, DYNAMIC);
    full(stage, ranges.reserved, RESERVED);
    full(stage, ranges.online, DYNAMIC);
    let one_by_one = stage
        .hp()
        .register(ranges.reserved, &units::CACHE_STEP, Calls::Run);
    let name = units::CACHE.name();
    expect(stage, one_by_one.err(), RegisterError::NotParallel(name));
    not_multi(stage);
    nothing_ran(stage);
    instances_left(stage);
    stale(stage);
    check::all(stage.machine, stage.scene);
    7
}

/// A range takes exactly as many as it has slots.
fn full<M: Machine>(stage: &Stage<'_, M>, range: DynRange, slots: u16) {
    let mut handles: [Option<StateHandle>; DYNAMIC as usize] = [None; DYNAMIC as usize];
    for slot in handles.iter_mut().take(slots.into()) {
        *slot = stage.hp().register(range, &FILLER, Calls::Run).ok();
    }
    let more = stage.hp().register(range, &FILLER, Calls::Run);
    expect(stage, more.err(), RegisterError::Full(slots));
    for handle in handles.into_iter().flatten() {
        let gone = stage.hp().unregister(handle, Calls::Run);
        if gone != Ok(0) {
            expect(stage, gone.err(), RegisterError::Full(0));
        }
    }
    if stage.free_slot(range) != Some(range.first()) {
        expect(stage, None, RegisterError::Full(slots));
    }
}

/// A state that takes no instances.
fn not_multi<M: Machine>(stage: &Stage<'_, M>) {
    let at = StateId::new(1);
    let added = stage.hp().add_instance(at, &units::POOL[0], Calls::Run);
    expect(stage, added.err(), RegisterError::NotMulti(at));
}

/// A state with instances stays until they have gone.
fn instances_left<M: Machine>(stage: &Stage<'_, M>) {
    let multi = |what: &Dynamic| what.unit.is_none();
    for what in dynamics(stage.scene).into_iter().filter(multi) {
        let Ok(handle) = stage.register(what, Calls::Run) else {
            expect(stage, None, RegisterError::Full(0));
            continue;
        };
        let own = || {
            objects()
                .into_iter()
                .filter(move |one| one.unit.name() == what.name)
        };
        for object in own() {
            let added = stage.add(object, Calls::Run);
            if let Err(error) = added {
                expect(stage, Some(error), RegisterError::NotLinked(handle.state()));
            }
        }
        let at = handle.state();
        for (left, object) in [2, 1].into_iter().zip(own()) {
            let gone = stage.unregister(what, handle, Calls::Run);
            expect(stage, gone.err(), RegisterError::InstancesLeft(at, left));
            if let Err(error) = stage.remove(object, Calls::Run) {
                expect(stage, Some(error), RegisterError::AlreadyLinked(at));
            }
        }
        if let Err(error) = stage.unregister(what, handle, Calls::Run) {
            expect(stage, Some(error), RegisterError::Full(0));
        }
    }
}

/// A handle of before does not reach what took its place.
fn stale<M: Machine>(stage: &Stage<'_, M>) {
    let [first, second, ..] = dynamics(stage.scene);
    let old = stage.register(first, Calls::Run);
    let gone = old.and_then(|old| stage.unregister(first, old, Calls::Run));
    let new = stage.register(second, Calls::Run);
    let (Ok(old), Ok(0), Ok(new)) = (old, gone, new) else {
        return expect(stage, None, RegisterError::Full(0));
    };
    if old.state() != new.state() {
        expect(stage, None, RegisterError::Stale(new));
    }
    clear_lists(stage);
    let again = stage.hp().unregister(old, Calls::Run);
    expect(stage, again.err(), RegisterError::Stale(old));
    nothing_ran(stage);
    if stage.find(second.name) != Some(new.state()) {
        expect(stage, None, RegisterError::Stale(old));
    }
    if let Err(error) = stage.unregister(second, new, Calls::Run) {
        expect(stage, Some(error), RegisterError::Full(0));
    }
}
