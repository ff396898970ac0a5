//! One case of `fault`, and what the specification says of it: which callbacks run, and what is left.

use cpuhp_core::{Direction, StateId};

use crate::check;
use crate::log::{Entry, Went};
use crate::scene::Scene;

/// Who makes the first half fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    /// The half itself: it is called, and answers an error.
    Callback,
    /// The core: the whole state is not called.
    Core,
}

/// Which half fails, and which half of the way back fails as well. Both are places in the order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) by: By,
    pub(super) dir: Direction,
    pub(super) first: u32,
    pub(super) second: Option<u32>,
}

impl Case {
    /// Returns every case there is.
    pub(super) fn all(scene: &'static Scene) -> impl Iterator<Item = Self> {
        let order = &scene.order;
        let places = move || {
            let can_fail = move |place: &u32| order.at(*place).is_some_and(|unit| unit.can_fail());
            (1..=order.top()).filter(can_fail)
        };
        let ways = [
            (By::Callback, Direction::Up),
            (By::Callback, Direction::Down),
            (By::Core, Direction::Up),
            (By::Core, Direction::Down),
        ];
        let firsts = ways.into_iter().flat_map(move |(by, dir)| {
            let first =
                places().filter(move |first| by == By::Callback || begins(scene, dir, *first));
            first.map(move |first| Self {
                by,
                dir,
                first,
                second: None,
            })
        });
        firsts.flat_map(move |case| {
            let seconds = places().filter(move |second| case.is_undone(*second));
            let doubles = seconds.map(move |second| Self {
                second: Some(second),
                ..case
            });
            core::iter::once(case).chain(doubles)
        })
    }

    /// Whether the rollback passes this place.
    fn is_undone(self, place: u32) -> bool {
        match self.dir {
            Direction::Up => place < self.first,
            Direction::Down => place > self.first,
        }
    }

    /// Whether both faults are in one state: its undo failed, so the state is half up.
    pub(super) fn is_torn(self, scene: &Scene) -> bool {
        let (first, last) = scene.order.siblings(self.first);
        self.by == By::Callback
            && self
                .second
                .is_some_and(|second| (first..=last).contains(&second))
    }

    /// Where the CPU is left: at its origin, or where the second fault stopped the way back.
    pub(super) fn left(self, scene: &Scene) -> StateId {
        let order = &scene.order;
        let of = |place: u32| {
            order
                .at(place)
                .map_or(StateId::OFFLINE, |unit| order.state(unit))
        };
        match (self.dir, self.second) {
            (Direction::Up, None) => StateId::OFFLINE,
            // A refused `down` counts as up.
            (Direction::Up, Some(second)) => of(second),
            (Direction::Down, None) => scene.table.online(),
            // What is half up counts as up: the teardown that mends it has to pass it.
            (Direction::Down, Some(second)) if self.is_torn(scene) => of(second),
            // A failing up leaves nothing behind: the state below it.
            (Direction::Down, Some(second)) => StateId::new(of(second).get() - 1),
        }
    }

    /// The callbacks that have to run: up to the fault, the fault, back to the second, the second, and
    /// what its own state makes good.
    pub(super) fn callbacks(self, scene: &'static Scene) -> impl Iterator<Item = Entry> {
        let order = &scene.order;
        let back = self.dir.opposite();
        let wrong = move |place, dir| {
            let unit = order.at(place)?;
            let went = Went::Wrong;
            Some(Entry { unit, dir, went })
        };
        let top = order.top();
        // The levels: before, short of the first fault, and at the end of the way back.
        let (begin, short, end) = match self.dir {
            Direction::Up => (0, self.first - 1, self.second.unwrap_or(0)),
            Direction::Down => (
                top,
                self.first,
                self.second.map_or(top, |second| second - 1),
            ),
        };
        let called = (self.by == By::Callback).then(|| wrong(self.first, self.dir));
        // The instances of the second's state that are done already are taken back by it, unless it is
        // taking back itself.
        let settled = self.second.filter(|_| !self.is_torn(scene)).map(|second| {
            let (first, last) = order.siblings(second);
            match self.dir {
                Direction::Up => (second, last),
                Direction::Down => (second - 1, first - 1),
            }
        });
        let (from, to) = settled.unwrap_or((0, 0));
        check::way(scene, begin, short)
            .chain(called.flatten())
            .chain(check::way(scene, short, end))
            .chain(self.second.and_then(|second| wrong(second, back)))
            .chain(check::way(scene, from, to))
    }
}

/// Whether a walk in direction `dir` comes into the state at this place.
fn begins(scene: &Scene, dir: Direction, place: u32) -> bool {
    let (first, last) = scene.order.siblings(place);
    match dir {
        Direction::Up => place == first,
        Direction::Down => place == last,
    }
}
