//! What is written down of one call, by its caller, its function and the tracer.

use core::panic::Location;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use cpuhp_core::{Call, CallEvent, CallStage, CpuId, Ipi};
use spin::Mutex;

use super::{Tally, Task};
use crate::json;
use crate::scene::Scene;
use crate::violation::Violation;

/// One call. All zero: not made.
#[derive(Debug)]
pub struct CallRecord {
    /// When each stage was seen; 0 = not.
    queue: AtomicU64,
    entry: AtomicU64,
    exit: AtomicU64,
    /// Caller in bits 0..32, called CPU in 32..64.
    who: AtomicU64,
    /// What its function does: kind in bits 28..32, number below.
    task: AtomicU32,
    node: AtomicU32,
    /// [`Told`] and the kind of IPI as bits, and from bit 8 on how often each stage was seen and the
    /// function ran, four bits each.
    seen: AtomicU32,
    /// Where the call was made.
    site: Mutex<Option<&'static Location<'static>>>,
}

/// What the caller was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    Accepted = 1,
    Refused = 1 << 1,
}

// Bits of `seen`.
const SENT: u32 = 1 << 2;
const COALESCED: u32 = 1 << 3;
const OWN: u32 = 1 << 4;
const OUT_OF_ORDER: u32 = 1 << 5;
const QUEUED: u32 = 8;
const PUSHED: u32 = 12;
const ENTERED: u32 = 16;
const EXITED: u32 = 20;
const RAN: u32 = 24;

const ROW: u32 = 1 << 28;
const HOP: u32 = 2 << 28;

impl CallRecord {
    /// Makes the record of a call that was not made.
    pub const fn new() -> Self {
        Self {
            queue: AtomicU64::new(0),
            entry: AtomicU64::new(0),
            exit: AtomicU64::new(0),
            who: AtomicU64::new(0),
            task: AtomicU32::new(0),
            node: AtomicU32::new(0),
            seen: AtomicU32::new(0),
            site: Mutex::new(None),
        }
    }

    // ---- caller and function

    pub(super) fn begin(&self, task: Task, node: usize) {
        let word = match task {
            Task::Nothing => 0,
            Task::Row(row) => ROW | row,
            Task::Hop(left) => HOP | left,
        };
        self.task.store(word, Ordering::Relaxed);
        let node = u32::try_from(node).unwrap_or(u32::MAX);
        self.node.store(node, Ordering::Relaxed);
    }

    pub(super) fn task(&self) -> Task {
        let word = self.task.load(Ordering::Relaxed);
        let number = word & (ROW - 1);
        match word & !(ROW - 1) {
            ROW => Task::Row(number),
            HOP => Task::Hop(number),
            _ => Task::Nothing,
        }
    }

    pub(crate) fn tell(&self, told: Told) {
        // Release: what the caller wrote before, for whoever looks whether all have ended.
        self.seen.fetch_or(told as u32, Ordering::Release);
    }

    pub(super) fn has_run(&self) {
        self.seen.fetch_add(1 << RAN, Ordering::Relaxed);
    }

    // ---- at rest

    /// Whether the caller has its answer, and after a yes the function has returned and the node is free.
    pub(super) fn has_ended(&self, scene: &Scene) -> bool {
        let seen = self.seen.load(Ordering::Acquire);
        if seen & Told::Accepted as u32 == 0 {
            return seen & Told::Refused as u32 != 0;
        }
        let node = scene.parts.nodes.get(self.node() as usize);
        count(seen, EXITED) > 0 && node.is_some_and(Call::is_done)
    }

    pub(super) fn judge(&self, scene: &Scene, serial: usize, tally: &mut Tally) {
        let seen = self.seen.load(Ordering::Acquire);
        let stages = [QUEUED, PUSHED, ENTERED, EXITED, RAN].map(|stage| count(seen, stage));
        let [queued, pushed, _, _, ran] = stages;
        let is_accepted = seen & Told::Accepted as u32 != 0;
        let is_right = if is_accepted {
            tally.accepted += 1;
            tally.lost += u32::from(ran == 0);
            tally.duplicated += u32::from(ran > 1);
            tally.sent += u32::from(seen & SENT != 0);
            let ipis = (seen & (SENT | COALESCED | OWN)).count_ones();
            stages == [1; 5] && ipis == 1 && seen & OUT_OF_ORDER == 0
        } else {
            tally.duplicated += ran;
            queued <= 1 && pushed == 0 && stages[2..] == [0; 3]
        };
        if !is_right {
            scene.wrong(Violation::Call, self.cpu(), serial as u64, seen);
        }
    }

    pub(super) fn clear(&self) {
        for word in [&self.queue, &self.entry, &self.exit, &self.who] {
            word.store(0, Ordering::Relaxed);
        }
        self.seen.store(0, Ordering::Relaxed);
    }

    /// Whether the function only says that it ran.
    pub(crate) fn is_plain(&self) -> bool {
        self.task() == Task::Nothing
    }

    /// Nanoseconds from the queue to the function.
    pub(crate) fn latency(&self) -> u64 {
        let queue = self.queue.load(Ordering::Relaxed);
        self.entry.load(Ordering::Relaxed).saturating_sub(queue)
    }

    fn node(&self) -> u32 {
        self.node.load(Ordering::Relaxed)
    }

    fn cpu(&self) -> CpuId {
        let who = self.who.load(Ordering::Relaxed);
        CpuId::new(u32::try_from(who >> 32).unwrap_or(0))
    }

    /// Prints an accepted call as a machine line.
    pub(crate) fn print(&self, scene: &Scene, serial: usize) {
        let seen = self.seen.load(Ordering::Relaxed);
        if seen & Told::Accepted as u32 == 0 {
            return;
        }
        let ipi = match seen & (SENT | COALESCED | OWN) {
            SENT => "sent",
            COALESCED => "coalesced",
            _ => "none",
        };
        let site = *self.site.lock();
        json::line(scene.host, "call", |line| {
            line.number("id", serial as u64)?;
            line.number("from", self.who.load(Ordering::Relaxed) & 0xffff_ffff)?;
            line.number("cpu", self.cpu().get())?;
            match site {
                Some(site) => {
                    line.text("site", &format_args!("{}:{}", site.file(), site.line()))?;
                }
                None => line.text("site", &"")?,
            }
            line.number("queue", self.queue.load(Ordering::Relaxed))?;
            line.text("ipi", &ipi)?;
            line.number("entry", self.entry.load(Ordering::Relaxed))?;
            line.number("exit", self.exit.load(Ordering::Relaxed))
        });
    }
}

impl Default for CallRecord {
    fn default() -> Self {
        Self::new()
    }
}

const fn count(seen: u32, stage: u32) -> u32 {
    seen >> stage & 0xf
}

/// Writes an event of a call down. Context: the tracer, on any CPU, interrupts on or off.
pub(crate) fn see(scene: &Scene, event: &CallEvent) {
    let Some(record) = scene.parts.calls.get(event.arg) else {
        return;
    };
    let now = scene.host.now().max(1);
    let add = |bits: u32| record.seen.fetch_add(bits, Ordering::AcqRel);
    // Whether the stage before was seen.
    let follows = |before: u32, stage: u32| {
        if count(before, stage) == 0 {
            record.seen.fetch_or(OUT_OF_ORDER, Ordering::Relaxed);
        }
    };
    match event.stage {
        CallStage::Queued => {
            let (from, cpu) = (event.from.get(), event.cpu.get());
            let who = u64::from(from) | u64::from(cpu) << 32;
            record.who.store(who, Ordering::Relaxed);
            *record.site.lock() = Some(event.site);
            record.queue.store(now, Ordering::Relaxed);
            add(1 << QUEUED);
        }
        CallStage::Pushed(ipi) => {
            let kind = match ipi {
                Ipi::Sent => SENT,
                Ipi::Coalesced => COALESCED,
                Ipi::Own => OWN,
            };
            record.seen.fetch_or(kind, Ordering::Relaxed);
            follows(add(1 << PUSHED), QUEUED);
        }
        CallStage::Entry => {
            record.entry.store(now, Ordering::Relaxed);
            follows(add(1 << ENTERED), QUEUED);
        }
        CallStage::Exit => {
            record.exit.store(now, Ordering::Relaxed);
            follows(add(1 << EXITED), ENTERED);
        }
        CallStage::Refused(_) => {}
    }
}
