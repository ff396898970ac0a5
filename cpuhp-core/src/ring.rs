//! A trace recorder: one ring of events per executing CPU, the oldest overwritten, losses counted.
//!
//! No lock and no allocation. A slot's number says what it holds: odd while it is being written, even
//! when it is whole; a reader takes a slot only if the number was the expected one before and after. An
//! interrupt that meets its own CPU in the middle of a slot drops its event, which is counted.

use crate::cpu::CpuId;
use crate::error::StepError;
use crate::handshake::Tag;
use crate::step::{Direction, StateId, StepResult};
use crate::sync::{AtomicU32, Ordering, fence, zero_array, zero_const};
use crate::trace::{StepEvent, Trace};

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum What {
    /// A half was about to be called.
    Enter,
    /// It returned: `None` is success.
    Exit(Option<StepError>),
    /// An armed fault was hit.
    Fault,
    /// The sync word moved.
    Edge(Tag, Tag),
    /// The CPU was kicked, for this epoch.
    Kick(u16),
}

/// One recorded event. Names are looked up in the table when it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// When, by the recorder's clock.
    pub at: u64,
    /// The CPU it is about.
    pub cpu: CpuId,
    /// The state, for steps and faults.
    pub state: StateId,
    /// Which half, for steps and faults.
    pub dir: Direction,
    /// Whether the walk went back.
    pub rollback: bool,
    /// What happened.
    pub what: What,
}

/// Words of one event in a slot.
const WORDS: usize = 5;

#[derive(Debug)]
struct Slot {
    /// 2n + 1 while event n is written, 2n + 2 when it is whole; 0 = never used.
    number: AtomicU32,
    words: [AtomicU32; WORDS],
}

impl Slot {
    zero_const! {
        fn new() -> Self {
            Self { number: AtomicU32::new(0), words: zero_array!(AtomicU32::new(0); WORDS) }
        }
    }
}

#[derive(Debug)]
struct PerCpu<const SLOTS: usize> {
    /// How many events were begun.
    head: AtomicU32,
    slots: [Slot; SLOTS],
}

impl<const SLOTS: usize> PerCpu<SLOTS> {
    zero_const! {
        fn new() -> Self {
            Self {
                head: AtomicU32::new(0),
                slots: zero_array!(Slot::new(); SLOTS),
            }
        }
    }
}

/// Memory for the events of `CPUS` CPUs, `SLOTS` each (a power of two). All zero: `.bss`.
#[derive(Debug)]
pub struct Ring<const CPUS: usize, const SLOTS: usize> {
    cpus: [PerCpu<SLOTS>; CPUS],
}

/// A [`Ring`] with a clock: the tracer to give to [`crate::Cpuhp::with_trace`].
#[derive(Clone, Copy, Debug)]
pub struct Recorder<'r, const CPUS: usize, const SLOTS: usize> {
    ring: &'r Ring<CPUS, SLOTS>,
    now: fn() -> u64,
    this_cpu: fn() -> CpuId,
}

/// How far a reader is in the events of one CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RingCursor {
    next: u32,
}

impl<const CPUS: usize, const SLOTS: usize> Ring<CPUS, SLOTS> {
    const CHECKED: () = assert!(
        SLOTS.is_power_of_two(),
        "a ring has a power of two of slots"
    );

    zero_const! {
        /// Makes an empty ring.
        pub fn new() -> Self {
            let () = Self::CHECKED;
            Self { cpus: zero_array!(PerCpu::new(); CPUS) }
        }
    }

    /// Adds the clock and the way a CPU knows its number; both are called with interrupts off.
    pub const fn with_clock(
        &self,
        now: fn() -> u64,
        this_cpu: fn() -> CpuId,
    ) -> Recorder<'_, CPUS, SLOTS> {
        Recorder {
            ring: self,
            now,
            this_cpu,
        }
    }

    /// Hands the events that `on` executed since `cursor` to `take`, oldest first, and returns how many
    /// were overwritten or dropped before they could be read.
    ///
    /// Context: any CPU, at any time; one reader per cursor.
    pub fn drain(&self, on: CpuId, cursor: &mut RingCursor, mut take: impl FnMut(Event)) -> u32 {
        let Some(ring) = self.cpus.get(on.index()) else {
            return 0;
        };
        let mut lost = 0_u32;
        // Acquire: the slots of events that were begun before.
        let head = ring.head.load(Ordering::Acquire);
        let slots = u32::try_from(SLOTS).unwrap_or(u32::MAX);
        let behind = head.wrapping_sub(cursor.next);
        if behind > slots {
            lost = lost.saturating_add(behind - slots);
            cursor.next = head.wrapping_sub(slots);
        }
        while cursor.next != head {
            match ring.read(cursor.next) {
                Some(event) => take(event),
                None => lost = lost.saturating_add(1),
            }
            cursor.next = cursor.next.wrapping_add(1);
        }
        lost
    }
}

impl<const CPUS: usize, const SLOTS: usize> Default for Ring<CPUS, SLOTS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const SLOTS: usize> PerCpu<SLOTS> {
    fn slot(&self, number: u32) -> Option<&Slot> {
        self.slots.get(number as usize & (SLOTS - 1))
    }

    fn write(&self, words: [u32; WORDS]) {
        let number = self.head.fetch_add(1, Ordering::Release);
        let Some(slot) = self.slot(number) else {
            return;
        };
        let (odd, even) = (
            number.wrapping_mul(2) | 1,
            number.wrapping_mul(2).wrapping_add(2),
        );
        let before = slot.number.load(Ordering::Relaxed);
        let free = before & 1 == 0;
        let claim = slot
            .number
            .compare_exchange(before, odd, Ordering::Relaxed, Ordering::Relaxed);
        if !free || claim.is_err() {
            // Dropped: a reader finds no event with this number, and counts it as lost.
            return;
        }
        // Release: nobody sees a new word under the old number.
        fence(Ordering::Release);
        for (word, value) in slot.words.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        // Release: pairs with `read`.
        slot.number.store(even, Ordering::Release);
    }

    fn read(&self, number: u32) -> Option<Event> {
        let slot = self.slot(number)?;
        let even = number.wrapping_mul(2).wrapping_add(2);
        // Acquire: the words of the event with this number.
        if slot.number.load(Ordering::Acquire) != even {
            return None;
        }
        let mut words = [0; WORDS];
        for (value, word) in words.iter_mut().zip(&slot.words) {
            *value = word.load(Ordering::Relaxed);
        }
        // Acquire: a word of a later event is seen no earlier than its number.
        fence(Ordering::Acquire);
        (slot.number.load(Ordering::Relaxed) == even).then(|| decode(words))
    }
}

const ENTER: u32 = 0;
const EXIT: u32 = 1;
const FAULT: u32 = 2;
const EDGE: u32 = 3;
const KICK: u32 = 4;
const DOWN: u32 = 1 << 4;
const BACK: u32 = 1 << 5;

/// Words: time low, time high, CPU, `state` in 16..32 with kind and flags below, the value.
#[expect(clippy::cast_possible_truncation, reason = "fields of packed words")]
fn decode([low, high, cpu, packed, value]: [u32; WORDS]) -> Event {
    let what = match packed & 0xf {
        ENTER => What::Enter,
        EXIT => What::Exit(StepError::from_word(value)),
        FAULT => What::Fault,
        EDGE => What::Edge(
            Tag::from_bits(value & 0xff),
            Tag::from_bits(value >> 8 & 0xff),
        ),
        _ => What::Kick(value as u16),
    };
    Event {
        at: u64::from(low) | u64::from(high) << 32,
        cpu: CpuId::new(cpu),
        state: StateId::new((packed >> 16) as u16),
        dir: if packed & DOWN == 0 {
            Direction::Up
        } else {
            Direction::Down
        },
        rollback: packed & BACK != 0,
        what,
    }
}

impl<const CPUS: usize, const SLOTS: usize> Recorder<'_, CPUS, SLOTS> {
    #[expect(clippy::cast_possible_truncation, reason = "split into two words")]
    fn record(&self, cpu: CpuId, packed: u32, value: u32) {
        let now = (self.now)();
        if let Some(ring) = self.ring.cpus.get((self.this_cpu)().index()) {
            ring.write([now as u32, (now >> 32) as u32, cpu.get(), packed, value]);
        }
    }

    fn step(&self, kind: u32, event: &StepEvent, value: u32) {
        let down = if event.dir == Direction::Down {
            DOWN
        } else {
            0
        };
        let back = if event.rollback { BACK } else { 0 };
        let packed = kind | down | back | u32::from(event.state.get()) << 16;
        self.record(event.cpu, packed, value);
    }
}

impl<const CPUS: usize, const SLOTS: usize> Trace for Recorder<'_, CPUS, SLOTS> {
    const ON: bool = true;

    fn enter(&self, event: &StepEvent) {
        self.step(ENTER, event, 0);
    }
    fn exit(&self, event: &StepEvent, result: StepResult) {
        self.step(EXIT, event, StepError::to_word(result.err()));
    }
    fn fault(&self, event: &StepEvent) {
        self.step(FAULT, event, 0);
    }
    fn edge(&self, cpu: CpuId, from: Tag, to: Tag) {
        self.record(cpu, EDGE, from as u32 | (to as u32) << 8);
    }
    fn kick(&self, cpu: CpuId, epoch: u16) {
        self.record(cpu, KICK, u32::from(epoch));
    }
}

#[cfg(all(test, not(loom)))]
extern crate std;

#[cfg(all(test, not(loom)))]
mod tests;
