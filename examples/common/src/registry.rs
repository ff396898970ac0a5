//! What can be registered: steps and instances, where they belong, and how the driver keeps count.

use core::task::Poll;

use cpuhp_core::{
    Calls, DynRange, Instance, MultiStart, Platform, RegisterError, RegisterOp, Registered,
    StateHandle, StateId, Step, Who, WriteGuard,
};

use crate::machine::Machine;
use crate::result::Stage;
use crate::scene::Scene;
use crate::units::{self, Unit};
use crate::violation::Violation;

/// A step that can be registered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dynamic {
    pub(crate) step: &'static Step,
    /// Its unit; a multi-instance state has none of its own.
    pub(crate) unit: Option<Unit>,
    pub(crate) range: DynRange,
    pub(crate) name: &'static str,
}

/// The memory of an instance, by the kind of its state.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Memory {
    Step(&'static Instance),
    Start(&'static Instance<dyn MultiStart>),
}

/// An instance that can be added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object {
    pub(crate) unit: Unit,
    pub(crate) memory: Memory,
}

/// Steps that can be registered.
pub(crate) const DYNAMICS: u32 = 7;

/// Returns them: alone, for several CPUs at once, in the reserved place, and with instances.
pub(crate) fn dynamics(scene: &Scene) -> [Dynamic; DYNAMICS as usize] {
    let ranges = scene.ranges;
    let single = |step, unit: Unit, range| Dynamic {
        step,
        unit: Some(unit),
        range,
        name: unit.name(),
    };
    let multi = |step, units: [Unit; 2], range| Dynamic {
        step,
        unit: None,
        range,
        name: units[0].name(),
    };
    [
        single(&units::CACHE_STEP, units::CACHE, ranges.prepare),
        single(&units::MAPS_STEP, units::MAPS, ranges.prepare),
        single(&units::SLAB_STEP, units::SLAB, ranges.reserved),
        single(&units::STAT_STEP, units::STAT, ranges.online),
        single(&units::PERF_STEP, units::PERF, ranges.online),
        multi(&units::ZONE_STEP, units::ZONES, ranges.prepare),
        multi(&units::PROBE_STEP, units::PROBES, ranges.online),
    ]
}

/// Instances that can be added.
pub(crate) const OBJECTS: u32 = 10;

/// Returns them: of the static states of each section, and of the two that are registered.
pub(crate) fn objects() -> [Object; OBJECTS as usize] {
    let [pool, queue, zone, probe] = [&units::POOL, &units::QUEUE, &units::ZONE, &units::PROBE]
        .map(|pair| pair.each_ref().map(Memory::Step));
    let clock = units::CLOCK.each_ref().map(Memory::Start);
    let kinds = [
        (units::POOLS, pool),
        (units::CLOCKS, clock),
        (units::QUEUES, queue),
        (units::ZONES, zone),
        (units::PROBES, probe),
    ];
    let object = |number: usize| {
        let (units, memory) = kinds[number / 2];
        Object {
            unit: units[number % 2],
            memory: memory[number % 2],
        }
    };
    core::array::from_fn(object)
}

impl Object {
    /// Whether it is in a list.
    pub(crate) fn is_linked(self) -> bool {
        match self.memory {
            Memory::Step(instance) => instance.is_linked(),
            Memory::Start(instance) => instance.is_linked(),
        }
    }
}

impl<M: Machine> Stage<'_, M> {
    /// Returns the state with this name now, dynamic ones included.
    pub(crate) fn find(&self, name: &str) -> Option<StateId> {
        let states = (0..=self.scene.table.online().get()).map(StateId::new);
        let mut named = states.filter(|at| self.hp().name(*at) == name);
        named.next()
    }

    /// Returns the first free slot of a range.
    pub(crate) fn free_slot(&self, range: DynRange) -> Option<StateId> {
        let first = range.first().get();
        let mut slots = (first..first + range.capacity()).map(StateId::new);
        slots.find(|at| self.hp().name(*at).is_empty())
    }

    /// Registers a step, and counts its unit as part of the table if that succeeds.
    pub(crate) fn register(
        &self,
        what: Dynamic,
        calls: Calls,
    ) -> Result<StateHandle, RegisterError> {
        let order = &self.scene.order;
        let expected = self.free_slot(what.range);
        if let (Some(unit), Some(at)) = (what.unit, expected) {
            order.add(unit, at);
            order.set_moving(Some(unit));
        }
        let done = self.hp().register(what.range, what.step, calls);
        order.set_moving(None);
        if let (Err(_), Some(unit)) = (done, what.unit) {
            order.remove(unit);
        }
        if let Ok(handle) = done
            && Some(handle.state()) != expected
        {
            let (found, right) = (handle.state(), expected.unwrap_or_default());
            self.scene.wrong(
                Violation::WrongState,
                self.this_cpu(),
                found.get(),
                right.get(),
            );
        }
        done
    }

    /// Removes a step, and its unit from the table.
    pub(crate) fn unregister(
        &self,
        what: Dynamic,
        handle: StateHandle,
        calls: Calls,
    ) -> Result<u32, RegisterError> {
        let order = &self.scene.order;
        order.set_moving(what.unit);
        let done = self.hp().unregister(handle, calls);
        order.set_moving(None);
        if let (Ok(_), Some(unit)) = (done, what.unit) {
            order.remove(unit);
        }
        done
    }

    /// Adds an instance to the state of its name, and counts its unit if that succeeds.
    pub(crate) fn add(&self, what: Object, calls: Calls) -> Result<(), RegisterError> {
        let order = &self.scene.order;
        let at = self.find(what.unit.name()).unwrap_or_default();
        let was_known = order.is_known(what.unit);
        if !was_known {
            order.add(what.unit, at);
            order.set_moving(Some(what.unit));
        }
        let done = match what.memory {
            Memory::Step(instance) => self.hp().add_instance(at, instance, calls),
            Memory::Start(instance) => {
                let begin = |guard: &Guard<'_, M>| guard.add_start_instance(at, instance, calls);
                self.poll_register(begin).map(|_| ())
            }
        };
        order.set_moving(None);
        if done.is_err() && !was_known {
            order.remove(what.unit);
        }
        done
    }

    /// Removes an instance, and its unit from the table; returns how many errors were passed over.
    pub(crate) fn remove(&self, what: Object, calls: Calls) -> Result<u32, RegisterError> {
        let order = &self.scene.order;
        let at = self.find(what.unit.name()).unwrap_or_default();
        order.set_moving(Some(what.unit));
        let done = match what.memory {
            Memory::Step(instance) => self.hp().remove_instance(at, instance, calls),
            Memory::Start(instance) => {
                let begin = |guard: &Guard<'_, M>| guard.remove_start_instance(at, instance, calls);
                self.poll_register(begin).map(|done| done.ignored)
            }
        };
        order.set_moving(None);
        if done.is_ok() {
            order.remove(what.unit);
        }
        done
    }

    /// Begins a registration that has no blocking form, and polls it until it has ended.
    fn poll_register(
        &self,
        begin: impl FnOnce(&Guard<'_, M>) -> Result<RegisterOp, RegisterError>,
    ) -> Result<Registered, RegisterError> {
        let guard = self.hp().try_write()?;
        let mut op = begin(&guard)?;
        loop {
            if let Poll::Ready(done) = op.poll(&guard) {
                return done;
            }
            let (cpu, deadline) = op.awaited();
            self.hp().platform().wait(Who::Control(cpu), deadline);
        }
    }
}

/// The write guard of a machine.
type Guard<'h, M> = WriteGuard<'h, 'static, crate::Forward<<M as Machine>::Backend>, crate::Tracer>;

/// Registers one step of each kind and every instance: the table is as full as it gets.
pub(crate) fn fill<M: Machine>(stage: &Stage<'_, M>, calls: Calls) {
    for what in dynamics(stage.scene) {
        // Two of a kind tell nothing more here.
        let is_second = [Some(units::MAPS), Some(units::PERF)].contains(&what.unit)
            || what.name == units::ZONES[0].name();
        if !is_second && stage.register(what, calls).is_err() {
            stage
                .scene
                .wrong(Violation::OperationFailed, stage.this_cpu(), 0u32, 1u32);
        }
    }
    for what in objects() {
        let is_there = stage.find(what.unit.name()).is_some();
        if is_there && stage.add(what, calls).is_err() {
            stage
                .scene
                .wrong(Violation::OperationFailed, stage.this_cpu(), 0u32, 2u32);
        }
    }
}
