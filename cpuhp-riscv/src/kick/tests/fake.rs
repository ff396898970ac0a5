//! Firmware that follows a script: one line per hart, and a note of every call.

use std::boxed::Box;
use std::sync::{Mutex, MutexGuard};
use std::vec::Vec;

use cpuhp_core::{CpuId, HwId};

use crate::record::BootRecord;
use crate::sbi::{Answer, Firmware};

/// How a hart and the firmware behind it behave. Its id is three times its number and five.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    /// What a start answers, if not what is right.
    pub(super) refuses: Option<i64>,
    /// From which start on it refuses.
    pub(super) refuses_from: u32,
    /// How long the hart takes from its start to its first instruction; `None`: for ever.
    pub(super) comes_after: Option<u64>,
    /// How often the firmware says STOP_PENDING of a hart that has stopped; `u32::MAX` for ever.
    pub(super) lingers: u32,
    /// How many starts it says yes to and forgets.
    pub(super) loses: u32,
    /// The start value the hart gets, if not the one it was started with, and how often.
    pub(super) hands_over: Option<(u64, u32)>,
    /// What the firmware says of the hart, if not what is right.
    pub(super) says: Option<Answer>,
}

impl Script {
    /// A hart that comes at once, and goes at once.
    pub(super) const GOOD: Self = Self {
        refuses: None,
        refuses_from: 1,
        comes_after: Some(0),
        lingers: 0,
        loses: 0,
        hands_over: None,
        says: None,
    };
}

/// Where a hart is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Stopped,
    /// Until this time; the firmware calls it START_PENDING.
    Coming(u64),
    /// It runs the kernel.
    On,
    /// It waits off its work, on the stack PREPARE made.
    Parked,
    /// The firmware says STOP_PENDING so many times more.
    Leaving(u32),
}

/// A start as the firmware was asked for it.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Start {
    pub(super) entry: u64,
    pub(super) value: u64,
}

#[derive(Debug)]
struct Hart {
    script: Script,
    state: State,
    starts: u32,
    asked: u32,
    ipis: u32,
    last: Start,
}

/// The firmware.
#[derive(Debug)]
pub(super) struct Fake {
    harts: Mutex<Vec<Hart>>,
    now: Mutex<u64>,
}

/// The hart id of a CPU.
pub(super) fn hart_of(cpu: usize) -> HwId {
    HwId(3 * cpu as u64 + 5)
}

/// Numbered records with a stack each.
pub(super) fn records(len: usize) -> &'static [BootRecord] {
    let records: Vec<BootRecord> = (0..len).map(|_| BootRecord::ZERO).collect();
    for (cpu, record) in records.iter().enumerate() {
        record.list(CpuId::new(u32::try_from(cpu).unwrap()), hart_of(cpu), 0);
        record.set_present();
        record.set(crate::Boot {
            stack_top: 0x1000,
            percpu: 0,
            root: 0,
        });
    }
    Box::leak(records.into_boxed_slice())
}

impl Fake {
    /// Firmware with these harts. The first runs already.
    pub(super) fn new(scripts: Vec<Script>) -> &'static Self {
        let hart = |(at, script)| Hart {
            script,
            state: if at == 0 { State::On } else { State::Stopped },
            starts: 0,
            asked: 0,
            ipis: 0,
            last: Start::default(),
        };
        let harts = scripts.into_iter().enumerate().map(hart).collect();
        Box::leak(Box::new(Self {
            harts: Mutex::new(harts),
            now: Mutex::new(0),
        }))
    }

    fn harts(&self) -> MutexGuard<'_, Vec<Hart>> {
        self.harts.lock().unwrap()
    }

    pub(super) fn len(&self) -> usize {
        self.harts().len()
    }

    pub(super) fn now(&self) -> u64 {
        *self.now.lock().unwrap()
    }

    pub(super) fn pass(&self, ns: u64) {
        *self.now.lock().unwrap() += ns;
    }

    pub(super) fn state(&self, cpu: usize) -> State {
        self.harts()[cpu].state
    }

    pub(super) fn set_state(&self, cpu: usize, state: State) {
        self.harts()[cpu].state = state;
    }

    pub(super) fn change(&self, cpu: usize, change: impl FnOnce(&mut Script)) {
        change(&mut self.harts()[cpu].script);
    }

    pub(super) fn stop_at_once(&self, cpu: usize) {
        self.set_state(cpu, State::Stopped);
    }

    /// The hart stops itself.
    pub(super) fn hart_stop(&self, cpu: usize) {
        let hart = &mut self.harts()[cpu];
        hart.state = State::Leaving(hart.script.lingers);
    }

    pub(super) fn starts(&self, cpu: usize) -> u32 {
        self.harts()[cpu].starts
    }

    pub(super) fn asked(&self, cpu: usize) -> u32 {
        self.harts()[cpu].asked
    }

    pub(super) fn ipis(&self, cpu: usize) -> u32 {
        self.harts()[cpu].ipis
    }

    pub(super) fn last_start(&self, cpu: usize) -> Start {
        self.harts()[cpu].last
    }

    /// What the hart finds in `a1`.
    pub(super) fn handed_over(&self, cpu: usize) -> u64 {
        let hart = &mut self.harts()[cpu];
        match &mut hart.script.hands_over {
            Some((value, left)) if *left > 0 => {
                *left -= 1;
                *value
            }
            Some(_) | None => hart.last.value,
        }
    }

    fn with<R>(&self, id: HwId, run: impl FnOnce(&mut Hart) -> Result<R, i64>) -> Result<R, i64> {
        let mut harts = self.harts();
        let at = (0..harts.len()).find(|at| hart_of(*at) == id);
        at.map_or(Err(-3), |at| run(&mut harts[at]))
    }
}

impl Firmware for &Fake {
    fn hart_start(&self, hart: HwId, entry: u64, value: u64) -> Answer {
        let now = self.now();
        self.with(hart, |hart| {
            hart.starts += 1;
            hart.last = Start { entry, value };
            if let Some(code) = hart.script.refuses
                && hart.starts >= hart.script.refuses_from
            {
                return Err(code);
            }
            if !matches!(hart.state, State::Stopped | State::Leaving(0)) {
                return Err(-6);
            }
            if hart.script.loses > 0 {
                hart.script.loses -= 1;
                return Ok(0);
            }
            let after = hart.script.comes_after.unwrap_or(u64::MAX);
            hart.state = State::Coming(now.saturating_add(after));
            Ok(0)
        })
    }

    fn hart_status(&self, hart: HwId) -> Answer {
        self.with(hart, |hart| {
            hart.asked += 1;
            if let Some(says) = hart.script.says {
                return says;
            }
            Ok(match hart.state {
                State::On | State::Parked => 0,
                State::Stopped | State::Leaving(0) => 1,
                State::Coming(_) => 2,
                State::Leaving(u32::MAX) => 3,
                State::Leaving(left) => {
                    hart.state = State::Leaving(left - 1);
                    3
                }
            })
        })
    }

    fn send_ipi(&self, hart: HwId) -> Answer {
        self.with(hart, |hart| {
            hart.ipis += 1;
            Ok(0)
        })
    }
}
