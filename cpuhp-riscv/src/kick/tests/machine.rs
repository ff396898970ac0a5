//! A whole machine on the scripted firmware: the core above the engine, in one thread, with a clock that
//! goes on only while somebody waits.

use std::boxed::Box;
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::vec::Vec;

use cpuhp_core::{
    ApNext, BootSteps, Confirm, CpuId, Cpuhp, Ctx, DynSlot, HwId, KickError, KickOutcome, LockWord,
    MaskWord, Platform, Record, Step, StepResult, Storage, Who, states,
};

use super::fake::{Fake, Script, State, records};
use crate::config::Timings;
use crate::kick::{EPOCH_BITS, Engine, Places};
use crate::record::BootRecord;

/// How long a kicked hart may take, and a leaving one.
pub(super) const ALIVE: u64 = 100_000_000;
pub(super) const DIE: u64 = 70_000_000;
/// How far the clock goes at each wait.
const TICK: u64 = 100_000;

states! { pub mod table {
    prepare { FIRST = Step::new("first:prepare").up(up).down(down); }
    starting {}
    online { WORK = Step::new("work:online").up(up).down(down); }
} }

fn up(ctx: &Ctx<'_>) -> StepResult {
    STEPS.with(|steps| steps.set(steps.get() + 1));
    let _ = ctx.cpu();
    Ok(())
}

fn down(_: &Ctx<'_>) -> StepResult {
    STEPS.with(|steps| steps.set(steps.get() - 1));
    Ok(())
}

std::thread_local! {
    /// Steps that are up on all CPUs together.
    static STEPS: Cell<i32> = const { Cell::new(0) };
}

/// The platform: the engine, and what runs the harts.
pub(super) struct Board {
    pub(super) engine: Engine<&'static Fake>,
    records: &'static [BootRecord],
    pub(super) fake: &'static Fake,
    here: AtomicU32,
    machine: OnceLock<&'static Cpuhp<'static, &'static Self>>,
}

/// The machine under test.
pub(super) type Hp = Cpuhp<'static, &'static Board>;

/// Makes a machine with these harts; the first is the boot hart and is online.
pub(super) fn machine(scripts: Vec<Script>) -> (&'static Hp, &'static Fake) {
    STEPS.with(|steps| steps.set(0));
    let fake = Fake::new(scripts);
    let boot_records = records(fake.len());
    let places = Places {
        entry: 4,
        records: boot_records.as_ptr() as u64,
    };
    let engine = Engine::new(boot_records, fake, Timings::conservative(), places);
    engine.adopt(CpuId::new(0));
    let board: &'static Board = Box::leak(Box::new(Board {
        engine,
        records: boot_records,
        fake,
        here: AtomicU32::new(0),
        machine: OnceLock::new(),
    }));
    let len = fake.len();
    let records: Vec<Record> = (0..len).map(|_| Record::new()).collect();
    let words = Storage::mask_words(len);
    let masks: Vec<MaskWord> = (0..words).map(|_| MaskWord::new(0)).collect();
    let slots: Vec<DynSlot> = Vec::new();
    let storage = Storage::from_parts(
        Box::leak(records.into_boxed_slice()),
        Box::leak(masks.into_boxed_slice()),
        Box::leak(slots.into_boxed_slice()),
        Box::leak(Box::new(LockWord::new())),
    );
    let hp = Cpuhp::new(board, &table::TABLE, storage.unwrap());
    let hp: &'static Hp = Box::leak(Box::new(hp));
    assert!(board.machine.set(hp).is_ok());
    hp.adopt_boot_cpu(BootSteps::Run).unwrap();
    (hp, fake)
}

/// How many steps are up on all CPUs together.
pub(super) fn steps_up() -> i32 {
    STEPS.with(Cell::get)
}

impl Board {
    /// Lets every hart do what it does next.
    fn run_harts(&self) {
        for cpu in 1..self.fake.len() {
            let id = CpuId::new(u32::try_from(cpu).unwrap());
            let before = self.here.swap(id.get(), Ordering::Relaxed);
            self.run_hart(cpu, id);
            self.here.store(before, Ordering::Relaxed);
        }
    }

    fn run_hart(&self, cpu: usize, id: CpuId) {
        let Some(hp) = self.machine.get() else { return };
        let next = match self.fake.state(cpu) {
            State::Coming(at) if at <= self.fake.now() => match self.enter(cpu) {
                Some(hint) => hp.ap_enter(id, Some(hint)),
                None => return self.fake.hart_stop(cpu),
            },
            State::On => hp.poll_ap(id),
            State::Parked if self.leaves(cpu) => hp.ap_enter(id, None),
            State::Coming(_) | State::Parked | State::Stopped | State::Leaving(_) => return,
        };
        match next {
            ApNext::Off => self.fake.hart_stop(cpu),
            ApNext::Park => {
                let record = &self.records[cpu];
                record.parked.store(record.next_rest(), Ordering::Release);
                self.fake.set_state(cpu, State::Parked);
            }
            ApNext::Wait | ApNext::Spin | ApNext::Idle => {}
            ApNext::Refused(why) => panic!("{id} was refused: {why:?}"),
        }
    }

    /// What the park code does when it is woken.
    fn leaves(&self, cpu: usize) -> bool {
        let record = &self.records[cpu];
        let number = record.parked.load(Ordering::Relaxed);
        let leaves = record.go.load(Ordering::Acquire) == number;
        if leaves {
            record.taken.store(number, Ordering::Release);
            record.arrived.store(1, Ordering::Release);
            self.fake.set_state(cpu, State::On);
        }
        leaves
    }

    /// What the entry code does with a start value.
    fn enter(&self, cpu: usize) -> Option<u8> {
        let value = self.fake.handed_over(cpu);
        let record = &self.records[cpu];
        let is_ours = value & !u64::from(EPOCH_BITS) == core::ptr::from_ref(record) as u64;
        let epoch = record.epoch.load(Ordering::Relaxed);
        let bits = u32::try_from(value & u64::from(EPOCH_BITS)).unwrap();
        let has_stack = record.stack_top.load(Ordering::Relaxed) != 0;
        if !is_ours || !has_stack || epoch & EPOCH_BITS != bits {
            return None;
        }
        self.fake.set_state(cpu, State::On);
        record.arrived.store(1, Ordering::Release);
        u8::try_from(bits).ok()
    }
}

impl Platform for Board {
    fn now(&self) -> u64 {
        self.fake.now()
    }
    fn this_cpu(&self) -> CpuId {
        CpuId::new(self.here.load(Ordering::Relaxed))
    }
    fn kick(&self, cpu: CpuId, epoch: u16) -> Result<(), KickError> {
        self.engine.kick(cpu, epoch, self.now())
    }
    fn confirm(&self, cpu: CpuId) -> Confirm {
        self.engine.confirm(cpu)
    }
    fn present(&self, cpu: CpuId) -> bool {
        self.records[cpu.index()].is_present()
    }
    fn kick_done(&self, cpu: CpuId, how: KickOutcome) {
        self.engine.done(cpu, how);
    }
    fn wait(&self, who: Who, deadline: u64) {
        if let Who::Control(_) = who {
            let step = deadline.saturating_sub(self.fake.now()).clamp(1, TICK);
            self.fake.pass(step);
            self.engine.service(self.now());
            self.run_harts();
        }
    }
    fn notify_ap(&self, cpu: CpuId) {
        let _ = self.engine.interrupt(&self.records[cpu.index()]);
    }
    fn unpark(&self, cpu: CpuId) {
        self.engine.unpark(&self.records[cpu.index()]);
    }
    fn hw_id(&self, cpu: CpuId) -> HwId {
        self.records[cpu.index()].hw_id()
    }
    fn alive_timeout(&self) -> u64 {
        ALIVE
    }
    fn die_timeout(&self) -> u64 {
        DIE
    }
}
