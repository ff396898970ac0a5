//! A trace recorder: one ring of events per executing CPU, the oldest overwritten, losses counted.
//!
//! No lock and no allocation. A slot's number says what it holds: odd while it is being written, even
//! when it is whole; a reader takes a slot only if the number was the expected one before and after. An
//! interrupt that meets its own CPU in the middle of a slot drops its event, which is counted.

use core::panic::Location;

use crate::aref::AtomicRef;
use crate::call::CallError;
use crate::cpu::CpuId;
use crate::error::StepError;
use crate::handshake::Tag;
use crate::step::{Direction, StateId, StepResult};
use crate::sync::{AtomicU32, Ordering, fence, zero_array, zero_const};
use crate::trace::{CallEvent, CallStage, Ipi, StepEvent, Trace};

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
    /// A call to the CPU went on.
    Call(Called),
}

/// A recorded event of a call; as in [`CallEvent`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Called {
    /// What happened.
    pub stage: CallStage,
    /// The address of the node.
    pub node: usize,
    /// How often it had been used before.
    pub turn: u32,
    /// The CPU that calls.
    pub from: CpuId,
    /// Where in the source.
    pub site: Option<&'static Location<'static>>,
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

/// Words of one event in a slot: four of a call follow the five of every event.
const WORDS: usize = 9;

#[derive(Debug)]
struct Slot {
    /// 2n + 1 while event n is written, 2n + 2 when it is whole; 0 = never used.
    number: AtomicU32,
    words: [AtomicU32; WORDS],
    /// Of a call, the place in the source.
    site: AtomicRef<Location<'static>>,
}

impl Slot {
    zero_const! {
        fn new() -> Self {
            Self { number: AtomicU32::new(0), words: zero_array!(AtomicU32::new(0); WORDS), site: AtomicRef::new() }
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

    fn write(&self, words: [u32; WORDS], site: Option<&'static Location<'static>>) {
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
        if site.is_some() {
            slot.site.set(site);
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
        let site = slot.site.get();
        // Acquire: a word of a later event is seen no earlier than its number.
        fence(Ordering::Acquire);
        (slot.number.load(Ordering::Relaxed) == even).then(|| decode(words, site))
    }
}

const ENTER: u32 = 0;
const EXIT: u32 = 1;
const FAULT: u32 = 2;
const EDGE: u32 = 3;
const KICK: u32 = 4;
const CALL: u32 = 5;
const DOWN: u32 = 1 << 4;
const BACK: u32 = 1 << 5;

/// Words: time low, time high, CPU, `state` in 16..32 with kind and flags below, the value; of a call, with
/// its stage as the value, caller, turn, node low, node high.
#[expect(clippy::cast_possible_truncation, reason = "fields of packed words")]
fn decode(words: [u32; WORDS], site: Option<&'static Location<'static>>) -> Event {
    let [
        low,
        high,
        cpu,
        packed,
        value,
        from,
        turn,
        node_low,
        node_high,
    ] = words;
    let what = match packed & 0xf {
        ENTER => What::Enter,
        EXIT => What::Exit(StepError::from_word(value)),
        FAULT => What::Fault,
        EDGE => What::Edge(
            Tag::from_bits(value & 0xff),
            Tag::from_bits(value >> 8 & 0xff),
        ),
        KICK => What::Kick(value as u16),
        _ => What::Call(Called {
            stage: stage(value),
            node: (u64::from(node_low) | u64::from(node_high) << 32) as usize,
            turn,
            from: CpuId::new(from),
            site,
        }),
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

/// Every stage of a call; its place is its number in a slot.
const STAGES: [CallStage; 11] = [
    CallStage::Queued,
    CallStage::Pushed(Ipi::Sent),
    CallStage::Pushed(Ipi::Coalesced),
    CallStage::Pushed(Ipi::Own),
    CallStage::Entry,
    CallStage::Exit,
    CallStage::Refused(CallError::NoSuchCpu),
    CallStage::Refused(CallError::Offline),
    CallStage::Refused(CallError::Busy),
    CallStage::Refused(CallError::WouldDeadlock),
    CallStage::Refused(CallError::Timeout),
];

fn stage(number: u32) -> CallStage {
    let stage = STAGES.get(number as usize);
    stage.copied().unwrap_or(CallStage::Queued)
}

impl<const CPUS: usize, const SLOTS: usize> Recorder<'_, CPUS, SLOTS> {
    fn record(&self, cpu: CpuId, packed: u32, value: u32) {
        self.write([cpu.get(), packed, value, 0, 0, 0, 0], None);
    }

    #[expect(clippy::cast_possible_truncation, reason = "split into two words")]
    fn write(
        &self,
        [cpu, packed, value, from, turn, low, high]: [u32; WORDS - 2],
        site: Option<&'static Location<'static>>,
    ) {
        let now = (self.now)();
        let (now, later) = (now as u32, (now >> 32) as u32);
        if let Some(ring) = self.ring.cpus.get((self.this_cpu)().index()) {
            let words = [now, later, cpu, packed, value, from, turn, low, high];
            ring.write(words, site);
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
    #[expect(clippy::cast_possible_truncation, reason = "split into two words")]
    fn call(&self, event: &CallEvent) {
        let stage = STAGES.iter().position(|stage| *stage == event.stage);
        let stage = stage.unwrap_or(0) as u32;
        let (from, node) = (event.from.get(), event.node as u64);
        let (low, high) = (node as u32, (node >> 32) as u32);
        let words = [event.cpu.get(), CALL, stage, from, event.turn, low, high];
        self.write(words, Some(event.site));
    }
}

#[cfg(all(test, not(loom)))]
extern crate std;

#[cfg(all(test, not(loom)))]
mod tests;
