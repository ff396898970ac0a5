//! Dynamic states and instances that come and go.

use core::task::Poll;

use cpuhp_core::{
    Calls, Direction, DynRange, Instance, MultiStart, RegisterError, StateHandle, StateId, Step,
    Why,
};
use cpuhp_tests::full::{
    FULL, MULTI_START, ONLINE_DYN, PARALLEL_DYN, PREPARE_DYN, Populated, both, instance, instances,
    keep, start_instance,
};
use cpuhp_tests::shape::{Section, Shape, State};
use cpuhp_tests::world::{Act, World, with};

use super::{CPUS, Script};

/// Dynamic states that come and go, one of each range.
const HOLES: [(u16, DynRange); 3] = [(3, PREPARE_DYN), (5, PARALLEL_DYN), (13, ONLINE_DYN)];

/// What is registered besides what stays.
pub(super) struct Registry {
    steps: [&'static Step; 3],
    /// How the table looks with each set of them.
    shapes: Vec<&'static Shape>,
    handles: [Option<StateHandle>; 3],
    extra: [(u16, &'static Instance); 3],
    linked: [bool; 3],
    start: &'static Instance<dyn MultiStart>,
    start_linked: bool,
}

impl Registry {
    pub(super) fn new(machine: &Populated) -> Self {
        let handle = |at| {
            let found = machine.handles.iter().find(|(number, _)| *number == at);
            found.map(|(_, handle)| *handle)
        };
        let step = |at| keep(both("hole:any", at).parallel());
        Self {
            steps: HOLES.map(|(at, _)| step(at)),
            shapes: (0..8).map(shape).collect(),
            handles: [handle(3), handle(5), None],
            extra: [2, 11, 16].map(|at| (at, instance(at, 5))),
            linked: [false; 3],
            start: start_instance(MULTI_START, 5),
            start_linked: false,
        }
    }

    fn reshape(&self) {
        let set = (0..3).filter(|n| self.handles[*n].is_some());
        let bits = set.fold(0, |bits, n| bits | 1 << n);
        with(|w| w.reshape(self.shapes[bits]));
    }
}

/// The table with some of the holes filled.
fn shape(bits: usize) -> &'static Shape {
    let mut states = FULL.states.to_vec();
    for (n, (at, _)) in HOLES.into_iter().enumerate() {
        let section = FULL.at(at).section;
        states[usize::from(at)] = if bits & 1 << n == 0 {
            State::new("", section, "")
        } else {
            State::new("hole:any", section, "udp")
        };
    }
    Box::leak(Box::new(Shape {
        states: states.leak(),
        ..FULL
    }))
}

/// A CPU is in flight, or half up or half done where an instance would come or go.
fn is_blocked(error: &RegisterError) -> bool {
    matches!(error, RegisterError::Refused(r) if matches!(r.why(), Some(Why::Busy | Why::Torn)))
}

impl Script {
    pub(super) fn register_or_not(&mut self) {
        // A failed undo, or a CPU that does not answer, leaves what the book cannot follow.
        with(World::forgive);
        let which = self.r.below(3);
        let (at, range) = HOLES[which];
        if let Some(handle) = self.registry.handles[which] {
            let result = with(|w| w.registering(|| self.hp.unregister(handle, Calls::Run)));
            if result == Ok(0) {
                self.registry.handles[which] = None;
                self.registry.reshape();
            } else {
                assert!(result.as_ref().is_err_and(is_blocked), "{result:?}");
            }
            return;
        }
        if self.r.one_in(2) {
            let fails = u32::try_from(self.r.below(CPUS as usize)).ok();
            with(|w| w.rule(fails, at, Direction::Up, Act::Fail(-9)));
        }
        let bits = (0..3).filter(|n| *n == which || self.registry.handles[*n].is_some());
        let bits = bits.fold(0, |bits, n| bits | 1 << n);
        with(|w| w.reshape(self.registry.shapes[bits]));
        let step = self.registry.steps[which];
        let result = with(|w| w.registering(|| self.hp.register(range, step, Calls::Run)));
        match result {
            Ok(handle) => {
                assert_eq!(handle.state().get(), at, "the only free slot");
                self.registry.handles[which] = Some(handle);
            }
            Err(error) => {
                let failed = matches!(error, RegisterError::Failed { undo: None, .. });
                assert!(failed || is_blocked(&error), "{error}");
                self.registry.reshape();
            }
        }
    }

    /// Spoils the addition of an instance on one CPU, sometimes.
    fn spoil_addition(&mut self, at: u16) {
        if self.r.one_in(2) && FULL.at(at).section != Section::Starting {
            let fails = u32::try_from(self.r.below(CPUS as usize)).ok();
            with(|w| w.rule_on(fails, (at, Some(5)), Direction::Up, Act::Fail(-9)));
        }
    }

    /// What is in a list once instance 5 was added, or removed.
    fn list_after(at: u16, done: Direction) -> Vec<u8> {
        let mut list: Vec<u8> = (0..instances(at)).collect();
        if done == Direction::Up {
            list.push(5);
        }
        list
    }

    pub(super) fn link_or_not(&mut self) {
        with(World::forgive);
        let which = self.r.below(3);
        let ((at, one), linked) = (self.registry.extra[which], self.registry.linked[which]);
        let state = StateId::new(at);
        let result = if linked {
            with(|w| w.registering(|| self.hp.remove_instance(state, one, Calls::Run))).map(|_| ())
        } else {
            self.spoil_addition(at);
            with(|w| w.registering(|| self.hp.add_instance(state, one, Calls::Run)))
        };
        if judge(result) {
            self.registry.linked[which] ^= true;
            let done = if linked {
                Direction::Down
            } else {
                Direction::Up
            };
            with(|w| w.set_instances(at, &Self::list_after(at, done)));
        }
    }

    pub(super) fn start_link_or_not(&mut self) {
        with(World::forgive);
        let (state, one) = (StateId::new(MULTI_START), self.registry.start);
        let linked = self.registry.start_linked;
        let guard = self.hp.try_write().expect("nobody else is here");
        let begun = if linked {
            guard.remove_start_instance(state, one, Calls::Run)
        } else {
            guard.add_start_instance(state, one, Calls::Run)
        };
        let result = begun.and_then(|mut op| {
            for _ in 0..100 {
                if let Poll::Ready(done) = with(|w| w.registering(|| op.poll(&guard))) {
                    return done;
                }
                with(|w| w.registering(|| w.poll_all()));
            }
            panic!("no end");
        });
        if judge(result.map(|_| ())) {
            self.registry.start_linked ^= true;
            let done = if linked {
                Direction::Down
            } else {
                Direction::Up
            };
            let list = Self::list_after(MULTI_START, done);
            with(|w| w.set_instances(MULTI_START, &list));
        }
    }
}

/// Whether it succeeded; what may go wrong is a failing CPU, undone everywhere, or one that is in the way.
fn judge(result: Result<(), RegisterError>) -> bool {
    match result {
        Ok(()) => true,
        Err(RegisterError::Failed { undo: None, .. }) => false,
        Err(error) => {
            assert!(is_blocked(&error), "{error}");
            false
        }
    }
}
