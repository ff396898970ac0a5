//! What is written down of one CPU: its callbacks, kicks and times.
//!
//! The callbacks are checked where they run: each must be the next one in the order. They are also
//! listed, so that a scenario can compare the whole list with what should have run.

use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use cpuhp_core::Direction;

use crate::scenario::Mode;
use crate::units::Unit;

/// How many callbacks the list of one CPU holds.
pub(crate) const LISTED: usize = 64;

/// The log of one CPU, all zero at the start.
#[derive(Debug)]
pub struct CpuLog {
    // ---- callbacks; written by whoever walks the CPU
    /// Units that are up, as bits.
    pub(crate) up: AtomicU32,
    /// Number of the last half among all that ran, on any CPU.
    pub(crate) stamp: AtomicU32,
    pub(crate) ups: AtomicU32,
    pub(crate) downs: AtomicU32,
    list: [AtomicU16; LISTED],
    listed: AtomicU32,
    /// Faults that are armed, each a packed [`Entry`] + 1; 0 = none.
    pub(crate) armed: [AtomicU32; 2],
    /// Until when the running step sleeps; 0 = it has not begun to.
    pub(crate) until: AtomicU64,
    // ---- platform
    /// Kicks that were sent, or that were held back and will be.
    pub(crate) kicks: AtomicU32,
    /// DEAD -> KICKED edges.
    pub(crate) starts: AtomicU32,
    pub(crate) arrived: AtomicU32,
    pub(crate) lost: AtomicU32,
    /// Refused kicks.
    pub(crate) refused: AtomicU32,
    /// 1: interrupts closed by the core.
    pub(crate) closed: AtomicU32,
    /// 0: kicks pass; 1: they are held back; above: one is, with its epoch.
    pub(crate) held: AtomicU32,
    /// 1: it is said that the CPU can never be stopped.
    pub(crate) fixed: AtomicU32,
    /// 1: it is said that the CPU is not plugged in.
    pub(crate) unplugged: AtomicU32,
    /// Polls since the last wake, and the most there were.
    pub(crate) polls: AtomicU32,
    pub(crate) most_polls: AtomicU32,
    // ---- times of this window
    pub(crate) kicked: AtomicU64,
    pub(crate) alive: AtomicU64,
    pub(crate) online: AtomicU64,
    /// Begin of the step that the tracer is inside.
    pub(crate) began: AtomicU64,
    /// Times of the best window of each mode, from its first kick.
    pub(crate) rows: [Row; Mode::ALL.len()],
}

/// When a CPU came, from the first kick on; 0 = it did not.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) alive: AtomicU64,
    pub(crate) online: AtomicU64,
}

/// One callback that ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) unit: Unit,
    pub(crate) dir: Direction,
    pub(crate) went: Went,
}

/// Whether a callback did its work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Went {
    Well,
    /// It was armed to fail, and did nothing.
    Wrong,
}

impl Entry {
    pub(crate) const fn pack(self) -> u32 {
        let down = matches!(self.dir, Direction::Down) as u32;
        let wrong = matches!(self.went, Went::Wrong) as u32;
        self.unit.number() << 2 | wrong << 1 | down
    }
}

impl CpuLog {
    /// Makes the log of a CPU of which nothing was seen.
    pub const fn new() -> Self {
        Self {
            up: AtomicU32::new(0),
            stamp: AtomicU32::new(0),
            ups: AtomicU32::new(0),
            downs: AtomicU32::new(0),
            list: [const { AtomicU16::new(0) }; LISTED],
            listed: AtomicU32::new(0),
            armed: [const { AtomicU32::new(0) }; 2],
            until: AtomicU64::new(0),
            kicks: AtomicU32::new(0),
            starts: AtomicU32::new(0),
            arrived: AtomicU32::new(0),
            lost: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            held: AtomicU32::new(0),
            fixed: AtomicU32::new(0),
            unplugged: AtomicU32::new(0),
            polls: AtomicU32::new(0),
            most_polls: AtomicU32::new(0),
            kicked: AtomicU64::new(0),
            alive: AtomicU64::new(0),
            online: AtomicU64::new(0),
            began: AtomicU64::new(0),
            rows: [const {
                Row {
                    alive: AtomicU64::new(0),
                    online: AtomicU64::new(0),
                }
            }; Mode::ALL.len()],
        }
    }

    pub(crate) fn begin_window(&self) {
        for word in [&self.kicked, &self.alive, &self.online] {
            word.store(0, Ordering::Relaxed);
        }
        self.most_polls.store(0, Ordering::Relaxed);
        self.clear_list();
    }

    // ---- the list

    /// Appends to the list; what does not fit is counted and fails the comparison.
    #[inline(always)]
    pub(crate) fn push(&self, entry: Entry) {
        let at = self.listed.load(Ordering::Relaxed);
        self.listed.store(at.wrapping_add(1), Ordering::Relaxed);
        if let Some(slot) = self.list.get(at as usize) {
            let packed = u16::try_from(entry.pack()).unwrap_or(u16::MAX);
            slot.store(packed, Ordering::Relaxed);
        }
    }

    pub(crate) fn clear_list(&self) {
        self.listed.store(0, Ordering::Relaxed);
    }

    /// Returns the first difference to `expected`: place, what is there, what should be.
    pub(crate) fn differs(&self, expected: impl Iterator<Item = Entry>) -> Option<[u32; 3]> {
        let listed = self.listed.load(Ordering::Relaxed);
        let mut place = 0;
        for entry in expected {
            let found = self.list.get(place as usize).filter(|_| place < listed);
            let found = found.map_or(0, |slot| u32::from(slot.load(Ordering::Relaxed)));
            if found != entry.pack() {
                return Some([place, found, entry.pack()]);
            }
            place += 1;
        }
        (place != listed).then_some([place, listed, place])
    }

    /// Writes down that `unit` moved without being called: its author did it by other means.
    pub(crate) fn pretend(&self, unit: Unit, dir: Direction) {
        match dir {
            Direction::Up => {
                self.up.fetch_or(unit.bit(), Ordering::Relaxed);
                self.ups.fetch_add(1, Ordering::Relaxed);
            }
            Direction::Down => {
                self.up.fetch_and(!unit.bit(), Ordering::Relaxed);
                self.downs.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns the number of its last half among all that ran, on any CPU.
    pub(crate) fn stamp(&self) -> u32 {
        self.stamp.load(Ordering::Relaxed)
    }

    // ---- faults

    /// Arms a fault: the half fails once, the next time it is called.
    pub(crate) fn arm(&self, which: usize, unit: Unit, dir: Direction) {
        if let Some(slot) = self.armed.get(which) {
            slot.store(armed(unit, dir), Ordering::Relaxed);
        }
    }

    pub(crate) fn disarm(&self) {
        for slot in &self.armed {
            slot.store(0, Ordering::Relaxed);
        }
    }

    /// Whether this half was armed to fail. One-shot.
    #[inline(always)]
    pub(crate) fn takes_fault(&self, unit: Unit, dir: Direction) -> bool {
        let [first, second] = self.armed.each_ref();
        if first.load(Ordering::Relaxed) | second.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let armed = armed(unit, dir);
        self.armed.iter().any(|slot| {
            let hit = slot.load(Ordering::Relaxed) == armed;
            if hit {
                slot.store(0, Ordering::Relaxed);
            }
            hit
        })
    }

    /// Returns the units that are up, as bits.
    pub(crate) fn up_units(&self) -> u32 {
        self.up.load(Ordering::Relaxed)
    }

    /// Whether `unit` is up.
    pub(crate) fn has(&self, unit: Unit) -> bool {
        self.up_units() & unit.bit() != 0
    }
}

/// The word of a fault in this half.
fn armed(unit: Unit, dir: Direction) -> u32 {
    let went = Went::Wrong;
    Entry { unit, dir, went }.pack() + 1
}

impl Default for CpuLog {
    fn default() -> Self {
        Self::new()
    }
}
