//! The machine of the tests: a scripted firmware, and a model of caches that write back as late as they
//! may.
//!
//! Memory as the CPUs with caches see it is the memory of the test itself. Beside it the model keeps what
//! is at the point of coherency, word by word: maintenance moves lines between the two, and a CPU with
//! its caches off reads and writes there only. Nothing is ever written back by itself, so a missing clean
//! is always seen; nothing is dropped by itself either, so is a missing invalidate.
#![expect(
    unsafe_code,
    reason = "the model goes through memory word by word, whatever lies there"
)]

use std::boxed::Box;
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::vec::Vec;

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::cache::{Area, Cache};
use crate::kick::Machine;
use crate::psci::Firmware;
use crate::record::BootRecord;

/// Bytes of a cache line of the model.
const LINE: usize = 64;
/// What memory holds before anybody has written it.
const GARBAGE: u32 = 0xdead_beef;

/// What looks while a start is asked for; it is told the start value.
pub(crate) type Look = Box<dyn FnMut(&Fake, u64) + Send>;

/// Answers of firmware and calls to it; and what is in memory.
#[derive(Default)]
pub(crate) struct Fake {
    /// Answers to `CPU_ON`, in order; the last one for ever.
    pub(crate) on: Mutex<VecDeque<i64>>,
    /// Answers to `AFFINITY_INFO` likewise.
    pub(crate) info: Mutex<VecDeque<i64>>,
    pub(crate) log: Mutex<Vec<Call>>,
    /// Words at the point of coherency, by address.
    pub(crate) memory: Mutex<HashMap<usize, u32>>,
    /// Addresses the model serves.
    pub(crate) served: Mutex<Vec<(usize, usize)>>,
    /// Maintenance operations done, and which one is left out.
    pub(crate) done: AtomicU32,
    pub(crate) left_out: Option<u32>,
    /// Looked at while firmware is called.
    pub(crate) at_call: Mutex<Option<Look>>,
    /// The one word of a spin-table, at physical address 0x100.
    pub(crate) release: Option<&'static AtomicU64>,
}

/// One call that left the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    On(u64, u64, u64),
    Info(u64),
    Relax,
    Event,
    Interrupt(u64),
    Rouse(u64),
}

impl Fake {
    /// A firmware that answers `on` to `CPU_ON` and `info` to `AFFINITY_INFO`.
    pub(crate) fn scripted(on: &[i64], info: &[i64]) -> Self {
        Self {
            on: Mutex::new(on.iter().copied().collect()),
            info: Mutex::new(info.iter().copied().collect()),
            ..Self::default()
        }
    }

    /// Serves memory: nobody has written it yet as far as CPUs without caches can see.
    pub(crate) fn serve<T>(&self, value: &'static [T]) {
        let at = value.as_ptr().addr();
        assert_eq!(at % LINE, 0, "the model takes whole lines");
        self.served.lock().unwrap().push((at, size_of_val(value)));
    }

    fn is_served(&self, at: usize) -> bool {
        let served = self.served.lock().unwrap();
        served
            .iter()
            .any(|(start, len)| (*start..start + len).contains(&at))
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        core::mem::take(&mut self.log.lock().unwrap())
    }

    /// Maintenance operations so far.
    pub(crate) fn operations(&self) -> u32 {
        self.done.load(Ordering::Relaxed)
    }

    /// Reads a word as a CPU with its caches off does.
    pub(crate) fn read(&self, word: &AtomicU32) -> u32 {
        let at = core::ptr::from_ref(word).addr();
        let memory = self.memory.lock().unwrap();
        memory.get(&at).copied().unwrap_or(GARBAGE)
    }

    pub(crate) fn read_long(&self, word: &AtomicU64) -> u64 {
        let at = core::ptr::from_ref(word).addr();
        let memory = self.memory.lock().unwrap();
        let [low, high] = [at, at + 4].map(|at| memory.get(&at).copied().unwrap_or(GARBAGE));
        u64::from(high) << 32 | u64::from(low)
    }

    /// Writes a word as such a CPU does.
    pub(crate) fn write(&self, word: &AtomicU32, value: u32) {
        let at = core::ptr::from_ref(word).addr();
        self.memory.lock().unwrap().insert(at, value);
    }

    /// Ends every cache without a write-back: what only caches held is lost.
    pub(crate) fn lose_caches(&self) {
        let served = self.served.lock().unwrap().clone();
        for (at, len) in served {
            self.load_lines(at, at + len);
        }
    }

    fn is_left_out(&self) -> bool {
        let number = self.done.fetch_add(1, Ordering::Relaxed);
        self.left_out == Some(number)
    }

    fn load_lines(&self, start: usize, end: usize) {
        for at in (start..end).step_by(4) {
            let memory = self.memory.lock().unwrap();
            let value = memory.get(&at).copied().unwrap_or(GARBAGE);
            word_at(at).store(value, Ordering::Relaxed);
        }
    }

    fn lines(&self, area: Area) -> core::ops::Range<usize> {
        let start = area.at.addr() & !(LINE - 1);
        let end = (area.at.addr() + area.len).next_multiple_of(LINE);
        if self.is_served(start) {
            start..end
        } else {
            0..0
        }
    }

    fn note(&self, call: Call) {
        self.log.lock().unwrap().push(call);
    }
}

/// A word of the memory that tests serve: atomics that live for ever.
fn word_at(at: usize) -> &'static AtomicU32 {
    let word = core::ptr::with_exposed_provenance::<AtomicU32>(at);
    // SAFETY: `at` is in memory that a test serves: leaked atomics, in whole words.
    unsafe { &*word }
}

/// Takes the next answer of a script; the last one stays.
fn next(script: &Mutex<VecDeque<i64>>) -> i64 {
    let mut script = script.lock().unwrap();
    let first = script.front().copied().unwrap_or(0);
    if script.len() > 1 {
        script.pop_front();
    }
    first
}

impl Firmware for Fake {
    fn cpu_on(&self, target: u64, entry: u64, context: u64) -> i64 {
        self.note(Call::On(target, entry, context));
        let look = self.at_call.lock().unwrap().take();
        if let Some(mut look) = look {
            look(self, context);
            *self.at_call.lock().unwrap() = Some(look);
        }
        next(&self.on)
    }

    fn affinity_info(&self, target: u64) -> i64 {
        self.note(Call::Info(target));
        next(&self.info)
    }

    fn cpu_off(&self) -> i64 {
        -3
    }

    fn relax(&self) {
        self.note(Call::Relax);
    }

    fn send_event(&self) {
        self.note(Call::Event);
    }
}

impl Cache for Fake {
    fn publish(&self, area: Area) {
        if self.is_left_out() {
            return;
        }
        for at in self.lines(area).step_by(4) {
            let value = word_at(at).load(Ordering::Relaxed);
            self.memory.lock().unwrap().insert(at, value);
        }
    }

    fn refresh(&self, area: Area) {
        if !self.is_left_out() {
            let lines = self.lines(area);
            self.load_lines(lines.start, lines.end);
        }
    }
}

impl Machine for Fake {
    fn interrupt(&self, to: &BootRecord) {
        self.note(Call::Interrupt(to.hw_id().0));
    }

    fn rouse(&self, cpu: &BootRecord) {
        self.note(Call::Rouse(cpu.hw_id().0));
    }

    fn release_word(&self, phys: u64) -> Option<&'static AtomicU64> {
        self.release.filter(|_| phys == 0x100)
    }
}

/// Makes records that live for ever, each with a stack.
pub(crate) fn records(len: usize) -> &'static [BootRecord] {
    let records: Vec<BootRecord> = (0..len).map(|_| BootRecord::ZERO).collect();
    let records = Box::leak(records.into_boxed_slice());
    let _ = records.as_ptr().expose_provenance();
    records
}
