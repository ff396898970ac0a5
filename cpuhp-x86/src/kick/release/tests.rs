use std::boxed::Box;
use std::sync::Mutex;
use std::vec::Vec;

use cpuhp_core::KickOutcome;

use super::super::Done;
use super::*;
use crate::apic::{IpiError, LocalApic};
use crate::config::Timings;
use crate::park::slot::SlotError;

const MS: u64 = 1_000_000;
const STUB: u64 = 0x10_2200;
const VECTOR: u8 = 0xf0;

/// CPUs with slots, a clock that the test moves, and a log of what was sent.
struct Machine {
    engine: Engine,
    records: &'static [BootRecord],
    slots: &'static [ParkSlot],
    bus: Bus,
}

#[derive(Default)]
struct Bus(Mutex<Line>);

#[derive(Default)]
struct Line {
    now: u64,
    log: Vec<(u32, Ipi)>,
    busy: bool,
}

impl LocalApic for Bus {
    fn enter_cpu(&self) {}
    fn eoi(&self) {}
    fn is_bsp(&self) -> bool {
        false
    }
    fn take_errors(&self) -> u32 {
        0
    }
    fn send(&self, to: u32, ipi: Ipi) -> Result<(), IpiError> {
        let mut line = self.0.lock().unwrap();
        if line.busy {
            return Err(IpiError::Busy);
        }
        line.log.push((to, ipi));
        Ok(())
    }
}

fn cpu(number: u32) -> CpuId {
    CpuId::new(number)
}

impl Machine {
    /// CPU i has hardware id 10 + i. CPU 0 is the boot CPU; the others were never started.
    fn new() -> Self {
        let records: Vec<_> = (0..4).map(|_| BootRecord::ZERO).collect();
        let records: &'static [BootRecord] = Box::leak(records.into_boxed_slice());
        for (index, record) in (0..).zip(records) {
            record.list(cpu(index), 10 + index);
            record.stack_top.store(0x1000, Ordering::Relaxed);
        }
        let slots: Vec<_> = (0..4).map(|at| ParkSlot::installed(10 + at)).collect();
        let slots: &'static [ParkSlot] = Box::leak(slots.into_boxed_slice());
        let stub = STUB;
        let engine = Engine::new(records, Timings::modern(), Slots { slots, stub });
        engine.adopt(cpu(0));
        Self {
            engine,
            records,
            slots,
            bus: Bus::default(),
        }
    }

    fn sender(&self) -> Sender<'_> {
        Sender {
            apic: &self.bus,
            page: 8,
            vector: VECTOR,
        }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.bus.0.lock().unwrap()
    }

    fn now(&self) -> u64 {
        self.line().now
    }

    fn service(&self) {
        self.engine.service(self.sender(), || self.now());
    }

    fn later(&self, ns: u64) {
        self.line().now += ns;
        self.service();
    }

    fn sent(&self) -> Vec<(u32, Ipi)> {
        std::mem::take(&mut self.line().log)
    }

    fn kick(&self, number: u32) -> Result<(), KickError> {
        self.engine.kick(cpu(number), 3, self.sender(), self.now())
    }

    fn release(&self, number: u32, epoch: u16) -> Result<(), KickError> {
        let (sender, now) = (self.sender(), self.now());
        self.engine.release(cpu(number), epoch, sender, now)
    }

    fn cancel(&self, number: u32) -> Result<(), KickError> {
        self.engine.cancel(cpu(number), self.sender(), self.now())
    }

    fn done(&self, number: u32, how: KickOutcome) -> Done {
        self.engine.done(cpu(number), how)
    }

    fn confirm(&self, number: u32) -> Confirm {
        self.engine.confirm(cpu(number), self.now())
    }

    /// What the entry code does.
    fn enter(&self, number: usize) {
        self.slots[number].leave();
        self.records[number].arrived.store(1, Ordering::Release);
    }

    /// Started, at work, and told so.
    fn started(number: u32) -> Self {
        let machine = Self::new();
        machine.kick(number).unwrap();
        machine.enter(number as usize);
        machine.done(number, KickOutcome::Arrived);
        machine.service();
        assert_eq!(machine.engine.next_due(), u64::MAX, "nothing is due");
        machine.sent();
        machine
    }

    fn rest(&self, number: usize, resting: Resting) -> u32 {
        let manner = u32::from(resting == Resting::Hlt);
        self.records[number].manner.store(manner, Ordering::Relaxed);
        self.slots[number].park()
    }
}

const WAKE: Ipi = Ipi::Fixed { vector: VECTOR };

#[test]
fn only_the_word_in_the_slot_proves_that_a_cpu_is_off() {
    let machine = Machine::new();
    assert_eq!(machine.confirm(1), Confirm::Off, "it was never started");
    machine.kick(1).unwrap();
    assert_eq!(machine.confirm(1), Confirm::Running, "it may come");
    machine.enter(1);
    machine.done(1, KickOutcome::Arrived);
    assert_eq!(machine.confirm(1), Confirm::Running);
    machine.rest(1, Resting::Ipi);
    assert_eq!(machine.confirm(1), Confirm::Parked);
    let machine = Machine::started(2);
    machine.rest(2, Resting::Hlt);
    assert_eq!(machine.confirm(2), Confirm::Off, "only INIT starts it");
    assert_eq!(machine.confirm(0), Confirm::Running, "the boot CPU");
}

#[test]
fn a_resting_cpu_is_released_with_its_record_and_epoch_and_never_reset() {
    // Of two neighbours one has an address that ends in a clear bit 7.
    let machine = Machine::started(2);
    let number = machine.rest(2, Resting::Ipi);
    machine.release(2, 0x1ff).unwrap();
    let [_, value] = machine.slots[2].wake(number).unwrap();
    let record = core::ptr::from_ref(&machine.records[2]) as u64;
    assert_eq!(value, record | 0x7f);
    let machine = Machine::started(1);
    let number = machine.rest(1, Resting::Ipi);
    machine.release(1, 0x1ff).unwrap();
    assert_eq!(machine.sent(), [(11, WAKE)]);
    assert_eq!(machine.confirm(1), Confirm::Running, "it may have left");
    let record = core::ptr::from_ref(&machine.records[1]) as u64;
    let start = machine.slots[1].wake(number).unwrap();
    assert_eq!(start, [STUB, record | 0x7f], "low seven bits of the epoch");
    assert_eq!(machine.done(1, KickOutcome::Arrived), Done::Released);
    assert_eq!(machine.done(1, KickOutcome::Arrived), Done::Nothing);
    machine.enter(1);
    assert_eq!(
        machine.release(1, 4).unwrap_err().kind,
        KickErrorKind::AlreadyOn
    );
    machine.later(50 * MS);
    assert_eq!(machine.sent(), []);
}

#[test]
fn the_wake_interrupt_is_repeated_until_the_cpu_has_come() {
    let machine = Machine::started(1);
    machine.rest(1, Resting::Ipi);
    machine.line().busy = true;
    machine.release(1, 4).unwrap();
    assert_eq!(machine.sent(), []);
    machine.line().busy = false;
    machine.later(MS);
    machine.later(MS);
    assert_eq!(machine.sent(), [(11, WAKE), (11, WAKE)]);
    machine.enter(1);
    machine.later(MS);
    assert_eq!(machine.sent(), []);
}

#[test]
fn a_refused_release_leaves_the_cpu_at_rest() {
    let machine = Machine::started(1);
    machine.rest(1, Resting::Ipi);
    machine.slots[1].install(crate::park::slot::Header {
        hw_id: 99,
        code: 0,
        code_len: 0,
        vector: VECTOR,
    });
    machine.rest(1, Resting::Ipi);
    let error = machine.release(1, 4).unwrap_err();
    assert_eq!(error.kind, KickErrorKind::BadAddress);
    assert_eq!(error.code, SlotError::WrongCpu as i64);
    assert_eq!(machine.sent(), []);
    assert_eq!(machine.confirm(1), Confirm::Parked);
    assert_eq!(machine.records[1].epoch.load(Ordering::Relaxed), 3);
    machine.records[1].clear();
    let error = machine.release(1, 4).unwrap_err();
    assert_eq!(error.kind, KickErrorKind::BadAddress, "no stack");
}

#[test]
fn a_cpu_that_rests_in_hlt_starts_by_init_and_sipi() {
    let machine = Machine::started(1);
    machine.rest(1, Resting::Hlt);
    machine.kick(1).unwrap();
    assert_eq!(machine.confirm(1), Confirm::Running);
    machine.service();
    assert_eq!(
        machine.sent(),
        [(11, Ipi::Init), (11, Ipi::Startup { page: 8 })]
    );
    machine.enter(1);
    assert_eq!(machine.confirm(1), Confirm::Running, "it has left its slot");
    assert_eq!(machine.done(1, KickOutcome::Arrived), Done::Ended);
}

#[test]
fn the_boot_cpu_is_kicked_by_nothing_but_a_release() {
    let machine = Machine::new();
    assert_eq!(machine.kick(0).unwrap_err().kind, KickErrorKind::AlreadyOn);
    assert_eq!(
        machine.cancel(0).unwrap_err().kind,
        KickErrorKind::AlreadyOn
    );
    machine.rest(0, Resting::Ipi);
    machine.release(0, 1).unwrap();
    assert_eq!(machine.sent(), [(10, WAKE)]);
}

#[test]
fn a_parked_cpu_that_is_wanted_on_its_way_to_rest_is_released_once_it_stands() {
    let machine = Machine::started(1);
    machine.engine.wake(cpu(1));
    assert_eq!(machine.done(1, KickOutcome::Arrived), Done::Nothing);
    machine.service();
    assert_eq!(machine.sent(), [], "it is not there yet");
    machine.later(10);
    assert_eq!(machine.engine.next_due(), 0, "it is looked for at once");
    let number = machine.rest(1, Resting::Ipi);
    machine.line().busy = true;
    assert_eq!(machine.confirm(1), Confirm::Running, "it is about to leave");
    machine.later(10);
    assert_eq!(machine.sent(), []);
    machine.line().busy = false;
    machine.later(10);
    assert_eq!(machine.sent(), [(11, WAKE)]);
    assert!(machine.slots[1].wake(number).is_some());
    machine.enter(1);
    machine.later(10 * MS);
    assert_eq!(machine.sent(), []);
    assert_eq!(machine.done(1, KickOutcome::Lost), Done::Nothing, "no kick");
    let machine = Machine::started(1);
    machine.engine.wake(cpu(1));
    assert_eq!(machine.done(1, KickOutcome::Lost), Done::Nothing, "no kick");
}

#[test]
fn cancel_resets_a_cpu_that_never_came_and_it_is_off_when_it_has_settled() {
    let machine = Machine::new();
    machine.kick(1).unwrap();
    machine.service();
    machine.sent();
    machine.cancel(1).unwrap();
    assert_eq!(machine.sent(), [(11, Ipi::Init)]);
    assert_eq!(machine.confirm(1), Confirm::Running, "it has to obey first");
    assert_eq!(machine.kick(1).unwrap_err().kind, KickErrorKind::Busy);
    machine.later(10 * MS - 1);
    assert_eq!(machine.confirm(1), Confirm::Running);
    machine.later(1);
    assert_eq!(machine.confirm(1), Confirm::Off);
    machine.later(50 * MS);
    assert_eq!(machine.sent(), [], "no SIPI to it");
    assert_eq!(machine.done(1, KickOutcome::Lost), Done::Ended);
    machine.kick(1).unwrap();
}

#[test]
fn cancel_of_a_released_cpu_gives_no_low_page_back() {
    let machine = Machine::started(1);
    machine.rest(1, Resting::Ipi);
    machine.release(1, 4).unwrap();
    machine.cancel(1).unwrap();
    machine.later(10 * MS);
    assert_eq!(machine.confirm(1), Confirm::Off);
    assert_eq!(machine.done(1, KickOutcome::Lost), Done::Released);
}

#[test]
fn a_cpu_that_came_in_the_instant_of_its_cancel_starts_cold() {
    let machine = Machine::new();
    machine.kick(1).unwrap();
    machine.cancel(1).unwrap();
    // It had come after all, and stood in its slot, when INIT reached it.
    machine.enter(1);
    machine.rest(1, Resting::Ipi);
    machine.later(10 * MS);
    assert_eq!(machine.confirm(1), Confirm::Off);
    machine.done(1, KickOutcome::Lost);
    assert_eq!(
        machine.engine.rests(cpu(1)),
        None,
        "not released: it waits for SIPI"
    );
    machine.sent();
    machine.kick(1).unwrap();
    assert_eq!(machine.sent(), [(11, Ipi::Init)]);
    assert_eq!(machine.confirm(1), Confirm::Running);
}

#[test]
fn cancel_refuses_whoever_has_come_or_was_never_kicked() {
    let machine = Machine::new();
    assert_eq!(machine.cancel(1).unwrap_err().kind, KickErrorKind::Denied);
    machine.kick(1).unwrap();
    machine.enter(1);
    assert_eq!(
        machine.cancel(1).unwrap_err().kind,
        KickErrorKind::AlreadyOn
    );
    machine.kick(2).unwrap();
    machine.line().busy = true;
    assert_eq!(machine.cancel(2).unwrap_err().kind, KickErrorKind::Busy);
    machine.line().busy = false;
    assert_eq!(machine.confirm(2), Confirm::Running, "nothing was sent");
    machine.cancel(2).unwrap();
    machine.sent();
    assert_eq!(machine.cancel(2), Ok(()), "it is under way");
    assert_eq!(
        machine.sent(),
        [],
        "a second INIT would begin the wait anew"
    );
}
