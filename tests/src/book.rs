//! What the machine itself knows of its CPUs, apart from the core, and the checks made with it at
//! every call.

use cpuhp_core::{CpuId, Ctx, Direction, Entry, StateId, StepResult};

use crate::fake::Life;
use crate::shape::{Section, Shape};
use crate::world::{Exclusion, World};

/// What the machine itself knows of one CPU, apart from the core.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Book {
    /// Paired steps that are up, one bit each.
    up: u64,
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
    }

    /// Whether exactly the paired steps up to `state` are up on `cpu`, by the machine's own book.
    pub fn is_truthful(&self, cpu: u32, state: u16) -> bool {
        self.books.borrow()[cpu as usize].up == self.paired.get() & below(state + 1)
    }

    /// Takes as given that `cpu` is inside no step: an operation that ended well has given up the
    /// half that an earlier one was stuck in.
    pub fn settle(&self, cpu: u32) {
        self.books.borrow_mut()[cpu as usize].inside = None;
    }

    pub(crate) fn check_side(&self, at: u16, cpu: u32) {
        let here = self.here.get();
        let off = self.books.borrow()[here as usize].irqs_off;
        match self.shape().at(at).section {
            Section::Prepare => {
                let adopting = self.hp().available().is_empty();
                assert!(
                    here != cpu || adopting,
                    "PREPARE {at} runs on the moved CPU"
                );
                let life = self.life(cpu);
                let away = matches!(life, Life::Off | Life::Parked) || adopting;
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
    pub(crate) fn check_state(&self, at: u16, dir: Direction, cpu: u32) {
        let seen = self.hp().state(CpuId::new(cpu));
        let seen = seen.map_or(u16::MAX, StateId::get);
        let shape = self.shape();
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
    pub(crate) fn check_order(&self, at: u16, dir: Direction, cpu: u32) {
        let expected = match dir {
            Direction::Up => below(at),
            Direction::Down => below(at + 1),
        };
        let up = self.books.borrow()[cpu as usize].up;
        assert_eq!(
            up,
            self.paired.get() & expected,
            "cpu {cpu}: steps that are up as {dir:?} of {at} is called"
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

    pub(crate) fn leave(&self, at: u16, dir: Direction, cpu: u32, result: StepResult) {
        let shape = self.shape();
        let book = &mut self.books.borrow_mut()[cpu as usize];
        book.inside = None;
        if result.is_err() {
            return;
        }
        let bit = u64::from(shape.at(at).is_paired()) << at;
        match dir {
            Direction::Down => book.up &= !bit,
            Direction::Up => {
                book.up |= bit;
                let section = shape.at(at).section;
                let last = (at + 1..=shape.online())
                    .all(|n| shape.at(n).section != section || !shape.at(n).half(dir));
                let section = match section {
                    Section::Prepare => 0,
                    Section::Starting => 1,
                    Section::Online | Section::BuiltIn => 2,
                };
                book.maybe |= u8::from(last) << section;
            }
        }
    }
}

/// The steps of which both halves are there, one bit each.
pub(crate) fn paired(shape: &Shape) -> u64 {
    let states = shape.states.iter().enumerate();
    states.fold(0, |all, (n, state)| all | u64::from(state.is_paired()) << n)
}

fn below(number: u16) -> u64 {
    (1 << number) - 1
}
