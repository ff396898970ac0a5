//! The order of the units: which are part of the table now, and which come before which.
//!
//! Static ones never change; a registration adds and removes others. Whoever registers does it while no
//! CPU moves, so a callback finds the order at rest.

use core::sync::atomic::{AtomicU32, Ordering};

use cpuhp_core::{StateId, Table};

use crate::units::{self, UNITS, Unit};

/// Where each unit is. All zero: nothing is known.
#[derive(Debug)]
pub(crate) struct Order {
    /// State in bits 16..32, rank among the instances of one state below; 0 = not part of the table.
    keys: [AtomicU32; UNITS],
    /// The units before each one, as bits.
    before: [AtomicU32; UNITS],
    /// The unit that is being registered or removed, so that it is called out of order; 0 = none.
    moving: AtomicU32,
}

impl Order {
    /// Makes the order of the static steps of `table`.
    pub(crate) fn new(table: &Table) -> Self {
        let order = Self {
            keys: [const { AtomicU32::new(0) }; UNITS],
            before: [const { AtomicU32::new(0) }; UNITS],
            moving: AtomicU32::new(0),
        };
        for unit in units::STATIC {
            order.add(unit, table.find(unit.name()).unwrap_or_default());
        }
        order
    }

    /// Puts `unit` into the state `at`, behind those that are there. Context: no CPU moves.
    pub(crate) fn add(&self, unit: Unit, at: StateId) {
        let there = self.known().filter(|other| self.state(*other) == at);
        let last = there.map(|other| self.key(other)).max();
        self.set(
            unit,
            last.map_or(u32::from(at.get()) << 16, |last| last + 1),
        );
    }

    /// Takes it out. Context: as [`Self::add`].
    pub(crate) fn remove(&self, unit: Unit) {
        self.set(unit, 0);
    }

    fn set(&self, unit: Unit, key: u32) {
        if let Some(slot) = self.keys.get(unit.index()) {
            slot.store(key, Ordering::Relaxed);
        }
        for one in Unit::all() {
            let key = self.key(one);
            let earlier = self.known().filter(|other| self.key(*other) < key);
            let set = earlier.fold(0, |set, other| set | other.bit());
            if let Some(slot) = self.before.get(one.index()) {
                slot.store(set, Ordering::Relaxed);
            }
        }
    }

    /// Begins, or ends, a registration of `unit`.
    pub(crate) fn set_moving(&self, unit: Option<Unit>) {
        let number = unit.map_or(0, Unit::number);
        self.moving.store(number, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn is_moving(&self, unit: Unit) -> bool {
        self.moving.load(Ordering::Relaxed) == unit.number()
    }

    fn key(&self, unit: Unit) -> u32 {
        let key = self.keys.get(unit.index());
        key.map_or(0, |key| key.load(Ordering::Relaxed))
    }

    pub(crate) fn is_known(&self, unit: Unit) -> bool {
        self.key(unit) != 0
    }

    /// Returns every unit of the table, in no order.
    fn known(&self) -> impl Iterator<Item = Unit> {
        Unit::all().filter(|unit| self.is_known(*unit))
    }

    /// Returns the state of `unit`; `OFFLINE` if it has none.
    pub(crate) fn state(&self, unit: Unit) -> StateId {
        StateId::new(u16::try_from(self.key(unit) >> 16).unwrap_or(0))
    }

    /// Returns the units before `unit`, as bits.
    #[inline(always)]
    pub(crate) fn before(&self, unit: Unit) -> u32 {
        let set = self.before.get(unit.index());
        set.map_or(0, |set| set.load(Ordering::Relaxed))
    }

    /// Returns the units that are up on a CPU in `state`, as bits.
    pub(crate) fn up_in(&self, state: StateId) -> u32 {
        let up = self.known().filter(|unit| self.state(*unit) <= state);
        up.fold(0, |set, unit| set | unit.bit())
    }

    // ---- places: the units counted from the first, 1

    /// Returns how many units there are.
    pub(crate) fn top(&self) -> u32 {
        u32::try_from(self.known().count()).unwrap_or(u32::MAX)
    }

    /// Returns how many units are up in `state`.
    pub(crate) fn level(&self, state: StateId) -> u32 {
        self.up_in(state).count_ones()
    }

    /// Returns the place of `unit`.
    pub(crate) fn place(&self, unit: Unit) -> u32 {
        self.before(unit).count_ones() + 1
    }

    /// Returns the unit at `place`.
    pub(crate) fn at(&self, place: u32) -> Option<Unit> {
        self.known().find(|unit| self.place(*unit) == place)
    }

    /// Returns the first and the last place of the state that has the unit at `place`.
    pub(crate) fn siblings(&self, place: u32) -> (u32, u32) {
        let state = self
            .at(place)
            .map_or(StateId::OFFLINE, |unit| self.state(unit));
        let below = StateId::new(state.get().saturating_sub(1));
        (self.level(below) + 1, self.level(state))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;
    use crate::params::Params;
    use crate::tables;

    #[test]
    fn units_come_in_the_order_of_their_states_and_instances_in_that_of_their_addition() {
        let params = Params::parse("scenario=fault", &[]).unwrap();
        let (table, ranges) = tables::build(&params);
        let order = Order::new(&table);
        let places = |order: &Order| {
            (1..=order.top())
                .map(|n| order.at(n).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(places(&order), units::STATIC);
        let pool = table.find("pool:prepare").unwrap();
        order.add(units::POOLS[1], pool);
        order.add(units::STAT, ranges.online.first());
        order.add(units::POOLS[0], pool);
        let [first, second] = units::POOLS;
        let all = [
            units::PERCPU,
            units::STACK,
            second,
            first,
            units::INTC,
            units::TIMER,
            units::SCHED,
            units::WORK,
            units::STAT,
            units::ACTIVE,
        ];
        assert_eq!(places(&order), all);
        assert_eq!(
            (order.level(pool), order.siblings(3), order.siblings(4)),
            (4, (3, 4), (3, 4))
        );
        assert_eq!(order.siblings(1), (1, 1));
        order.remove(second);
        order.remove(first);
        order.remove(units::STAT);
        assert_eq!(places(&order), units::STATIC);
    }
}
