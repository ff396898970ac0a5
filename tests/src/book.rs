//! What the machine itself knows of its CPUs, apart from the core, and the checks made with it at
//! every call.

use cpuhp_core::{CpuId, Ctx, Direction, Entry, StateId, StepResult};

use crate::fake::Life;
use crate::shape::{Section, Shape, State};
use crate::world::{Exclusion, World};

/// Most states of a table with instances.
const STATES: usize = 32;

/// What the machine itself knows of one CPU, apart from the core.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Book {
    /// Paired steps that are up, one bit each.
    up: u64,
    /// Instances that are up, one bit each, of every multi-instance state.
    instances: [u8; STATES],
    /// The half that has begun and not ended.
    pub(crate) inside: Option<(u16, Direction, u64)>,
    /// Sections certainly completed once, and possibly.
    done: u8,
    maybe: u8,
    pub(crate) irqs_off: bool,
}

impl World {
    /// Takes as given that every step of `cpu` is up, without a call.
    pub fn assume_up(&self, cpu: u32) {
        let book = &mut self.books.borrow_mut()[cpu as usize];
        (book.up, book.done) = (self.paired.get(), 7);
        for (at, list) in &*self.lists.borrow() {
            book.instances[usize::from(*at)] = bits(list);
        }
    }

    /// Whether exactly the paired steps up to `state` are up on `cpu`, by the machine's own book. What
    /// is half up is neither.
    pub fn is_truthful(&self, cpu: u32, state: u16) -> bool {
        let half = self.half_up(cpu);
        let up = self.books.borrow()[cpu as usize].up;
        (up ^ self.paired.get() & below(state + 1)) & !half == 0
    }

    /// Takes as given that `cpu` is inside no step: an operation that ended well has given up the
    /// half that an earlier one was stuck in.
    pub fn settle(&self, cpu: u32) {
        self.books.borrow_mut()[cpu as usize].inside = None;
    }

    /// Says which instances a multi-instance state has from now on, in the order of their addition. On
    /// every CPU that is past the state the missing or new ones were called already, or nobody cares.
    pub fn set_instances(&self, at: u16, list: &[u8]) {
        self.lists.borrow_mut().insert(at, list.to_vec());
        self.count_pairs();
        for book in &mut *self.books.borrow_mut() {
            book.put_instances(at, list);
        }
    }

    /// Says how the table looks from now on: a dynamic state came or went.
    pub fn reshape(&self, shape: &'static Shape) {
        self.shape.set(Some(shape));
        self.count_pairs();
    }

    /// Runs `run`, whose calls come from a registration and move no state.
    pub fn registering<R>(&self, run: impl FnOnce() -> R) -> R {
        self.registers.set(true);
        let result = run();
        self.registers.set(false);
        result
    }

    /// Whether a call of this state comes from a registration.
    pub(crate) fn is_registering(&self, at: u16) -> bool {
        self.registers.get() || self.unanswered.get() == Some(at)
    }

    /// The instances of `at` that are up on `cpu`.
    pub fn instances_up(&self, cpu: u32, at: u16) -> Vec<u8> {
        let up = self.books.borrow()[cpu as usize].instances[usize::from(at)];
        (0..8).filter(|n| up & 1 << n != 0).collect()
    }

    fn half_up(&self, cpu: u32) -> u64 {
        match self.torn.get() {
            Some((torn, at)) if torn == cpu => 1 << at,
            _ => 0,
        }
    }

    /// Takes as given that nothing of a state is up on `cpu`.
    pub fn forget(&self, cpu: u32, at: u16) {
        let book = &mut self.books.borrow_mut()[cpu as usize];
        book.put(at, Direction::Down);
        book.instances[usize::from(at)] = 0;
    }

    /// Notes that a step of `cpu` is half up, or that none is.
    pub fn set_torn(&self, torn: Option<(u32, u16)>) {
        self.torn.set(torn);
    }

    pub(crate) fn check_side(&self, at: u16, cpu: u32) {
        let here = self.here.get();
        let off = self.books.borrow()[here as usize].irqs_off;
        match self.shape().at(at).section {
            Section::Prepare => {
                let adopting = self.hp().available().is_empty();
                let registers = self.is_registering(at);
                assert!(
                    here != cpu || adopting || registers,
                    "PREPARE {at} runs on the moved CPU"
                );
                let life = self.life(cpu);
                let away = matches!(life, Life::Off | Life::Parked) || adopting || registers;
                assert!(away, "PREPARE {at} runs while cpu {cpu} is {life:?} (P3)");
            }
            Section::Starting => {
                assert_eq!(here, cpu, "STARTING {at} runs on another CPU");
                assert!(off, "STARTING {at} runs with interrupts on (bug 24)");
            }
            Section::Online => {
                assert_eq!(here, cpu, "ONLINE {at} runs on another CPU");
                assert!(!off, "ONLINE {at} runs with interrupts off");
            }
            Section::BuiltIn => panic!("state {at} is built in and was called"),
        }
    }

    /// I1: the state is that of the last step that has a half in this direction and is through.
    pub(crate) fn check_state(&self, at: u16, instance: Option<u8>, dir: Direction, cpu: u32) {
        let seen = self.hp().state(CpuId::new(cpu));
        let seen = seen.map_or(u16::MAX, StateId::get);
        let shape = self.shape();
        // Inside a step with instances both halves are called, whichever way the walk goes.
        let dir = match instance {
            Some(_) if seen < at => Direction::Up,
            Some(_) => Direction::Down,
            None => dir,
        };
        let (fits, mut between) = match dir {
            Direction::Up => (seen < at, seen + 1..at),
            Direction::Down => (seen >= at, at + 1..seen + 1),
        };
        assert!(
            fits && !between.any(|n| shape.at(n).half(dir)),
            "cpu {cpu}: state reads {seen} as {dir:?} of {at} is called"
        );
    }

    /// No double, no gap: below are all paired steps up, above are none.
    pub(crate) fn check_order(&self, at: u16, instance: Option<u8>, dir: Direction, ctx: &Ctx<'_>) {
        let cpu = ctx.cpu().get();
        let expected = self.paired.get() & below(at);
        let up = self.books.borrow()[cpu as usize].up;
        let half = self.half_up(cpu);
        assert_eq!(
            up & !(1 << at) & !half,
            expected & !half,
            "cpu {cpu}: steps that are up as {dir:?} of {at} {instance:?} is called"
        );
        // A forced walk may reach what never came up.
        if !ctx.is_forced() {
            self.check_half(at, instance, dir, cpu);
        }
    }

    /// Nothing is called twice: instances are up from the first to some other, in their order.
    pub(crate) fn check_half(&self, at: u16, instance: Option<u8>, dir: Direction, cpu: u32) {
        let books = self.books.borrow();
        let book = &books[cpu as usize];
        let Some(one) = instance else {
            let up = book.up & 1 << at != 0;
            let paired = self.paired.get() & 1 << at != 0;
            let fits = !paired || up == (dir == Direction::Down);
            assert!(fits, "cpu {cpu}: {dir:?} of {at} is called twice");
            return;
        };
        let up = book.instances[usize::from(at)];
        if self.is_registering(at) {
            let fits = (up & 1 << one != 0) == (dir == Direction::Down);
            assert!(fits, "cpu {cpu}: {dir:?} of {at} {one} is called twice");
            return;
        }
        let lists = self.lists.borrow();
        let list = lists.get(&at).map(Vec::as_slice).unwrap_or_default();
        let place = list.iter().position(|n| *n == one);
        let place = place.expect("the instance is in the list");
        let end = place + usize::from(dir == Direction::Down);
        assert_eq!(
            up,
            bits(&list[..end]),
            "cpu {cpu}: instances that are up as {dir:?} of {at} {one} is called"
        );
    }

    pub(crate) fn check_entry(&self, at: u16, dir: Direction, ctx: &Ctx<'_>) {
        let shape = self.shape();
        let section = match shape.at(at).section {
            Section::Prepare => 0,
            Section::Starting => 1,
            Section::Online | Section::BuiltIn => 2,
        };
        let book = &mut self.books.borrow_mut()[ctx.cpu().index()];
        // A callback of a later section proves that the earlier ones were completed.
        book.done |= (1 << section) - 1;
        if book.done & 1 << section != 0 {
            assert_eq!(
                ctx.entry(),
                Entry::Again,
                "entry as {dir:?} of {at} is called"
            );
        } else if book.maybe & 1 << section == 0 {
            assert_eq!(
                ctx.entry(),
                Entry::First,
                "entry as {dir:?} of {at} is called"
            );
        }
    }

    /// P16: whoever is in a batch that goes down takes no work, unless it has refused and is back.
    pub(crate) fn check_takers(&self, dir: Direction, ctx: &Ctx<'_>) {
        let Some(takers) = self.takers.get().filter(|_| dir == Direction::Down) else {
            return;
        };
        let count = u32::try_from(self.sims.borrow().len()).unwrap_or(32);
        for number in 0..count {
            let id = CpuId::new(number);
            let refused = self.hp().last_error(id).is_some();
            let may = ctx.may_take_work(id);
            let is_taker = takers & 1 << number != 0;
            assert!(
                may == is_taker || may && refused,
                "cpu {number} may take work: {may}, as cpu {} goes down (P16)",
                ctx.cpu().get()
            );
        }
    }

    pub(crate) fn enter(&self, at: u16, dir: Direction, cpu: u32) {
        let books = &mut *self.books.borrow_mut();
        let book = &mut books[cpu as usize];
        if !matches!(book.inside, Some((a, d, _)) if (a, d) == (at, dir)) {
            book.inside = Some((at, dir, self.now.get()));
        }
        let inside = books.iter().filter_map(|book| book.inside);
        self.overlap
            .set(self.overlap.get().max(inside.clone().count()));
        let alone = match self.exclusive.get() {
            Exclusion::Unchecked => 0,
            Exclusion::Steps => inside.filter(|(other, ..)| *other == at).count(),
            Exclusion::All => inside
                .filter(|(at, ..)| self.shape().at(*at).is_exclusive())
                .count(),
        };
        assert!(
            alone <= 1 || !self.shape().at(at).is_exclusive(),
            "two CPUs inside steps that take one at a time (P15), {dir:?} of {at} on cpu {cpu}"
        );
    }

    pub(crate) fn leave(
        &self,
        at: u16,
        instance: Option<u8>,
        dir: Direction,
        cpu: u32,
        result: StepResult,
    ) {
        let shape = self.shape();
        let book = &mut self.books.borrow_mut()[cpu as usize];
        book.inside = None;
        if result.is_err() {
            return;
        }
        if let Some(one) = instance {
            let up = &mut book.instances[usize::from(at)];
            match dir {
                Direction::Up => *up |= 1 << one,
                Direction::Down => *up &= !(1 << one),
            }
            let lists = self.lists.borrow();
            book.put_instances(at, lists.get(&at).map(Vec::as_slice).unwrap_or_default());
        } else if shape.at(at).is_paired() {
            book.put(at, dir);
        }
        if dir == Direction::Up {
            let section = shape.at(at).section;
            let lists = self.lists.borrow();
            let calls = |n: u16| shape.at(n).half(dir) && lists.get(&n) != Some(&Vec::new());
            let last =
                (at + 1..=shape.online()).all(|n| shape.at(n).section != section || !calls(n));
            let section = match section {
                Section::Prepare => 0,
                Section::Starting => 1,
                Section::Online | Section::BuiltIn => 2,
            };
            book.maybe |= u8::from(last) << section;
        }
    }

    /// Counts the paired steps anew.
    pub(crate) fn count_pairs(&self) {
        let lists = self.lists.borrow();
        let empty = |at: u16| lists.get(&at).is_some_and(Vec::is_empty);
        let states = (0..).zip(self.shape().states);
        let paired = |(at, state): (u16, &State)| u64::from(state.is_paired() && !empty(at)) << at;
        self.paired
            .set(states.fold(0, |all, state| all | paired(state)));
    }
}

impl Book {
    /// Notes the direction in which a step was completed last.
    fn put(&mut self, at: u16, dir: Direction) {
        match dir {
            Direction::Up => self.up |= 1 << at,
            Direction::Down => self.up &= !(1 << at),
        }
    }

    /// Counts a step with instances as up if it has some and all of them are.
    fn put_instances(&mut self, at: u16, list: &[u8]) {
        let all = !list.is_empty() && self.instances[usize::from(at)] == bits(list);
        self.put(at, if all { Direction::Up } else { Direction::Down });
    }
}

fn bits(list: &[u8]) -> u8 {
    list.iter().fold(0, |all, one| all | 1 << one)
}

fn below(number: u16) -> u64 {
    (1 << number) - 1
}
