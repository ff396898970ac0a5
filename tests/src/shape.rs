//! What a table looks like, written down a second time and independently of the core's own table.

use cpuhp_core::Direction;

/// On which side of the handshake a state lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// Control CPU.
    Prepare,
    /// AP, interrupts off, cannot fail.
    Starting,
    /// AP, may fail.
    Online,
    /// `OFFLINE`, `KICK`, `AP_IDLE`, `ONLINE`: nothing is called.
    BuiltIn,
}

/// One state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// Its name; empty for a dynamic state nobody registered.
    pub name: &'static str,
    /// Where it was declared.
    pub section: Section,
    /// Which halves it has: `u` up, `d` down; `p` if it is PARALLEL.
    pub has: &'static str,
}

impl State {
    /// Writes a state down.
    pub const fn new(name: &'static str, section: Section, has: &'static str) -> Self {
        Self { name, section, has }
    }

    /// Whether the `dir` half exists.
    pub fn half(&self, dir: Direction) -> bool {
        self.has.contains(match dir {
            Direction::Up => 'u',
            Direction::Down => 'd',
        })
    }

    /// Whether it has both halves, so that double and missing calls can be told.
    pub fn is_paired(&self) -> bool {
        self.half(Direction::Up) && self.half(Direction::Down)
    }

    /// Whether two CPUs must never be inside at once.
    pub fn is_exclusive(&self) -> bool {
        !self.has.is_empty() && !self.has.contains('p')
    }
}

/// All states of a table in their order; the index is the number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// The states.
    pub states: &'static [State],
    /// Number of `KICK`.
    pub kick: u16,
    /// Number of `AP_IDLE`.
    pub ap_idle: u16,
}

impl Shape {
    /// Number of `ONLINE`.
    ///
    /// # Panics
    /// If there are more states than numbers.
    pub fn online(&self) -> u16 {
        u16::try_from(self.states.len() - 1).expect("state numbers are 16 bits wide")
    }

    /// The state with this number.
    pub fn at(&self, number: u16) -> &'static State {
        &self.states[usize::from(number)]
    }

    /// Every state in which a CPU may rest.
    pub fn resting(&self) -> impl Iterator<Item = u16> + use<> {
        let (kick, idle, online) = (self.kick, self.ap_idle, self.online());
        (0..=kick).chain(idle..=online)
    }

    /// Every state that has the `dir` half.
    pub fn with_half(&self, dir: Direction) -> Vec<u16> {
        (1..=self.online())
            .filter(|n| self.at(*n).half(dir))
            .collect()
    }

    /// Those of them whose half can fail.
    pub fn fallible(&self, dir: Direction) -> Vec<u16> {
        let mut all = self.with_half(dir);
        all.retain(|n| self.at(*n).section != Section::Starting);
        all
    }
}
