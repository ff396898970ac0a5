//! Firmware that refuses, delays, lies and says nothing, one script each.

use std::vec;
use std::vec::Vec;

use super::*;
use cpuhp_core::HwId;

use crate::config::CpuDesc;
use crate::fake::{Call, Fake, records};
use crate::record::Boot;

const ENTRY: u64 = 0x4020_0800;
const RECORDS: u64 = 0x5000_0000;
const TIMINGS: Timings = Timings {
    yields: 3,
    poll_us: 100,
    spin_polls: 4,
};
/// Two CPUs that are moved; number 0 is the boot CPU.
const A: CpuId = CpuId::new(1);
const B: CpuId = CpuId::new(2);
const ON: i64 = 0;
const OFF: i64 = 1;
const ON_PENDING: i64 = 2;

fn id(cpu: CpuId) -> u64 {
    u64::from(cpu.get()) << 8
}

fn engine(method: WakeMethod, fake: Fake) -> Engine<Fake> {
    let records = records(3);
    for (record, cpu) in records.iter().zip((0..).map(CpuId::new)) {
        let hw = HwId(id(cpu));
        record.list(
            cpu,
            CpuDesc {
                hw,
                method,
                wave: 0,
            },
        );
        record.set(Boot {
            stack_top: 0x9000,
            percpu: 0,
            root: 0,
        });
    }
    let places = Places {
        entry: ENTRY,
        records: RECORDS,
    };
    let engine = Engine::new(records, &[], places, TIMINGS, fake);
    engine.adopt(CpuId::new(0));
    engine
}

fn slots() -> &'static [ParkSlot] {
    let slots: Vec<ParkSlot> = (0..3).map(|_| ParkSlot::zero()).collect();
    Vec::leak(slots)
}

/// The same with a park region.
fn in_slots(slots: &'static [ParkSlot], fake: Fake) -> Engine<Fake> {
    let mut engine = engine(WakeMethod::Psci, fake);
    engine.slots = slots;
    for (slot, cpu) in slots.iter().zip((0..).map(CpuId::new)) {
        let of = slot::Header {
            hw_id: id(cpu),
            code: 0x1000,
            code_len: 4,
            sgi: Some(1),
        };
        slot.install(&engine.machine, of);
    }
    engine
}

fn psci(on: &[i64], info: &[i64]) -> Engine<Fake> {
    engine(WakeMethod::Psci, Fake::scripted(on, info))
}

fn arrive(engine: &Engine<Fake>, cpu: CpuId) {
    let record = engine.record(cpu).unwrap();
    record.arrived.store(1, Ordering::Release);
}

fn context(cpu: CpuId, epoch: u64) -> u64 {
    RECORDS + 128 * u64::from(cpu.get()) + epoch
}

fn on(cpu: CpuId, epoch: u64) -> Call {
    Call::On(id(cpu), ENTRY, context(cpu, epoch))
}

/// Nothing of a CPU has changed.
fn is_untouched(engine: &Engine<Fake>, cpu: CpuId) -> bool {
    let record = engine.record(cpu).unwrap();
    let word = record.engine.load(Ordering::Relaxed);
    let epoch = record.epoch.load(Ordering::Relaxed);
    word == IDLE && epoch == 0 && !record.has_arrived()
}

#[test]
fn a_kick_hands_the_record_and_the_epoch_to_firmware_once() {
    let engine = psci(&[0], &[ON]);
    assert_eq!(engine.kick(A, 0x1ff, 5), Ok(()));
    // The event is for a firmware that hands no value.
    assert_eq!(engine.machine.calls(), [on(A, 0x7f), Call::Event]);
    // The CPU may be anywhere: no second start.
    let error = engine.kick(A, 0x200, 6).unwrap_err();
    assert_eq!(error, KickError::new(KickErrorKind::Busy));
    arrive(&engine, A);
    engine.done(A, KickOutcome::Arrived);
    let error = engine.kick(A, 0x200, 6).unwrap_err();
    assert_eq!(error, KickError::new(KickErrorKind::AlreadyOn));
    assert!(is_untouched(&engine, B));
    let second = engine.machine.calls();
    assert!(!second.iter().any(|call| matches!(call, Call::On(..))));
}

#[test]
fn a_refused_kick_keeps_its_number_and_leaves_the_cpu_as_it_was() {
    let final_ones = [
        (-1, KickErrorKind::NotSupported),
        (-2, KickErrorKind::NotPresent),
        (-3, KickErrorKind::Denied),
        (-4, KickErrorKind::AlreadyOn),
        (-7, KickErrorKind::NotPresent),
        (-8, KickErrorKind::Denied),
        (-9, KickErrorKind::BadAddress),
        (-77, KickErrorKind::Firmware),
        (1, KickErrorKind::Firmware),
    ];
    for (code, kind) in final_ones {
        let engine = psci(&[code, 0], &[OFF]);
        let error = engine.kick(A, 3, 0).unwrap_err();
        assert_eq!(error, KickError::with_code(kind, code));
        assert_eq!(engine.machine.calls(), [on(A, 3)], "asked once");
        assert!(is_untouched(&engine, A) && is_untouched(&engine, B));
        assert_eq!(engine.confirm(A, || 0), Confirm::Off);
        assert_eq!(engine.kick(B, 4, 0), Ok(()), "the others go on");
        assert_eq!(engine.kick(A, 5, 0), Ok(()), "and it may be tried again");
    }
}

#[test]
fn a_start_that_firmware_puts_off_is_asked_for_again_a_few_times() {
    for code in [-5, -6] {
        for put_off in 0..=3_usize {
            let mut script = vec![code; put_off];
            script.push(0);
            let engine = psci(&script, &[ON]);
            assert_eq!(engine.kick(A, 1, 0), Ok(()), "{put_off} times {code}");
            let asks = engine.machine.calls();
            let right: Vec<Call> = (0..put_off)
                .flat_map(|_| [on(A, 1), Call::Relax])
                .chain([on(A, 1), Call::Event])
                .collect();
            assert_eq!(asks, right);
        }
        let engine = psci(&[code], &[OFF]);
        let error = engine.kick(A, 1, 0).unwrap_err();
        assert_eq!(error, KickError::with_code(KickErrorKind::Busy, code));
        let asks = engine.machine.calls();
        let starts = asks.iter().filter(|call| matches!(call, Call::On(..)));
        assert_eq!(starts.count(), 4, "the first and three more");
        assert!(is_untouched(&engine, A) && is_untouched(&engine, B));
    }
}

#[test]
fn a_start_that_never_arrives_is_off_only_when_firmware_has_said_so_for_long() {
    let engine = psci(&[0], &[OFF]);
    engine.kick(A, 1, 1_000).unwrap();
    assert_eq!(engine.confirm(A, || 1_000), Confirm::Running);
    let settled = 1_000 + SETTLE_NS;
    assert_eq!(engine.confirm(A, || settled - 1), Confirm::Running);
    assert_eq!(engine.confirm(A, || settled), Confirm::Off);
    engine.done(A, KickOutcome::Lost);
    assert_eq!(
        engine.kick(A, 2, settled),
        Ok(()),
        "then it is started anew"
    );
}

#[test]
fn a_start_that_is_pending_for_ever_is_never_off() {
    for state in [ON_PENDING, ON, -1, -2, -6, 7] {
        let engine = psci(&[0], &[state]);
        engine.kick(A, 1, 0).unwrap();
        for now in [0, SETTLE_NS, u64::MAX] {
            assert_eq!(engine.confirm(A, || now), Confirm::Running, "{state}");
        }
        let error = engine.kick(A, 2, u64::MAX).unwrap_err();
        assert_eq!(error.kind, KickErrorKind::Busy);
        let starts = engine.machine.calls();
        let starts = starts.iter().filter(|call| matches!(call, Call::On(..)));
        assert_eq!(starts.count(), 1);
    }
}

#[test]
fn a_cpu_that_arrives_late_is_neither_off_nor_started_twice() {
    let engine = psci(&[0], &[ON]);
    engine.kick(A, 1, 0).unwrap();
    assert_eq!(engine.confirm(A, || SETTLE_NS), Confirm::Running);
    arrive(&engine, A);
    assert_eq!(engine.confirm(A, || SETTLE_NS), Confirm::Running);
    let error = engine.kick(A, 2, SETTLE_NS).unwrap_err();
    assert_eq!(error.kind, KickErrorKind::AlreadyOn);
}

#[test]
fn off_is_asked_for_several_times_before_anybody_waits_for_it() {
    for late in 0..=3_usize {
        let mut script = vec![ON; late];
        script.push(OFF);
        let engine = psci(&[0], &script);
        engine.kick(A, 1, 0).unwrap();
        arrive(&engine, A);
        engine.done(A, KickOutcome::Arrived);
        engine.machine.calls();
        assert_eq!(engine.confirm(A, || 0), Confirm::Off, "after {late}");
        let asks = engine.machine.calls();
        let asks = asks.iter().filter(|call| **call == Call::Info(id(A)));
        assert_eq!(asks.count(), late + 1);
        assert_eq!(engine.kick(A, 2, 0), Ok(()));
    }
    let engine = psci(&[0], &[ON]);
    engine.kick(A, 1, 0).unwrap();
    arrive(&engine, A);
    assert_eq!(engine.confirm(A, || 0), Confirm::Running);
    let asks = engine.machine.calls();
    let asks = asks.iter().filter(|call| **call == Call::Info(id(A)));
    assert_eq!(asks.count(), 4, "bounded");
}

#[test]
fn firmware_that_cannot_start_a_cpu_again_says_so_each_time() {
    let engine = psci(&[0, -3], &[OFF]);
    engine.kick(A, 1, 0).unwrap();
    arrive(&engine, A);
    engine.done(A, KickOutcome::Arrived);
    assert_eq!(engine.confirm(A, || 0), Confirm::Off);
    for epoch in 2..4 {
        let error = engine.kick(A, epoch, 0).unwrap_err();
        assert_eq!(error, KickError::with_code(KickErrorKind::Denied, -3));
        assert_eq!(engine.confirm(A, || 0), Confirm::Off);
    }
}

#[test]
fn a_parked_cpu_is_released_once_it_is_in_its_slot() {
    let slots = slots();
    let engine = in_slots(slots, Fake::scripted(&[0], &[ON]));
    engine.kick(A, 9, 0).unwrap();
    arrive(&engine, A);
    engine.done(A, KickOutcome::Arrived);
    engine.wake(A);
    engine.machine.calls();
    engine.service(|| 7);
    assert_eq!(engine.machine.calls(), [], "it is on its way still");
    assert!(engine.is_waking(), "and has to be looked after");
    assert_eq!(engine.confirm(A, || 7), Confirm::Running);
    let slot = &slots[A.index()];
    let number = slot.rest();
    assert_eq!(
        engine.confirm(A, || 7),
        Confirm::Running,
        "it leaves any moment"
    );
    engine.service(|| 7);
    assert_eq!(engine.machine.calls(), [Call::Interrupt(id(A))]);
    // With the value of its last kick: core has made no new one.
    let (entry, arg) = (ENTRY, context(A, 9));
    assert_eq!(slot.leave(number), Some(slot::Start { entry, arg }));
    assert!(!engine.is_waking());
    engine.service(|| 7);
    assert_eq!(engine.machine.calls(), [], "once");
}

#[test]
fn a_cpu_in_its_slot_is_released_and_firmware_is_not_asked() {
    let slots = slots();
    let engine = in_slots(slots, Fake::scripted(&[0], &[ON]));
    engine.kick(A, 1, 0).unwrap();
    arrive(&engine, A);
    engine.done(A, KickOutcome::Arrived);
    let slot = &slots[A.index()];
    let number = slot.rest();
    assert_eq!(engine.confirm(A, || 0), Confirm::Parked);
    engine.machine.calls();
    assert_eq!(engine.kick(A, 2, 0), Ok(()));
    assert_eq!(engine.machine.calls(), [Call::Interrupt(id(A))]);
    // It has not left yet: nothing is certain of it, and nobody releases it again.
    assert_eq!(engine.confirm(A, || SETTLE_NS - 1), Confirm::Running);
    let error = engine.kick(A, 3, 0).unwrap_err();
    assert_eq!(error.kind, KickErrorKind::Busy);
    let (entry, arg) = (ENTRY, context(A, 2));
    assert_eq!(slot.leave(number), Some(slot::Start { entry, arg }));
}

/// What the rest code does, first and last.
fn rest_in_text(engine: &Engine<Fake>, cpu: CpuId) {
    let record = engine.record(cpu).unwrap();
    record.rest.store(RESTS, Ordering::Release);
}

fn leave_text(engine: &Engine<Fake>, cpu: CpuId) {
    let record = engine.record(cpu).unwrap();
    assert_eq!(record.rest.load(Ordering::Acquire), record::RELEASED);
    record.rest.store(0, Ordering::Release);
    arrive(engine, cpu);
}

#[test]
fn a_cpu_that_rests_in_the_text_is_parked_and_released_without_firmware() {
    // One that firmware refused to turn off: it is on for ever, and starts no more.
    let engine = psci(&[0, -4], &[ON]);
    engine.kick(A, 1, 0).unwrap();
    arrive(&engine, A);
    engine.done(A, KickOutcome::Arrived);
    assert_eq!(engine.confirm(A, || 0), Confirm::Running);
    rest_in_text(&engine, A);
    engine.machine.calls();
    assert_eq!(engine.confirm(A, || 0), Confirm::Parked);
    assert_eq!(engine.kick(A, 2, 0), Ok(()));
    assert_eq!(engine.machine.calls(), [Call::Rouse(id(A))]);
    assert_eq!(engine.confirm(A, || 0), Confirm::Running, "it leaves");
    let error = engine.kick(A, 3, 0).unwrap_err();
    assert_eq!(error.kind, KickErrorKind::Busy);
    leave_text(&engine, A);
    engine.done(A, KickOutcome::Arrived);
    assert_eq!(engine.record(A).unwrap().epoch.load(Ordering::Relaxed), 2);
    assert_eq!(engine.confirm(A, || 0), Confirm::Running);
}

#[test]
fn a_parked_cpu_that_is_wanted_leaves_the_text_once_it_is_there() {
    let engine = psci(&[0], &[ON]);
    engine.kick(A, 5, 0).unwrap();
    arrive(&engine, A);
    engine.wake(A);
    engine.machine.calls();
    engine.service(|| 7);
    assert_eq!(engine.machine.calls(), []);
    rest_in_text(&engine, A);
    engine.service(|| 7);
    assert_eq!(engine.machine.calls(), [Call::Rouse(id(A))]);
    leave_text(&engine, A);
    assert_eq!(engine.record(A).unwrap().epoch.load(Ordering::Relaxed), 5);
}

#[test]
fn a_spoilt_slot_is_an_error_and_its_cpu_stays() {
    let slots = slots();
    let engine = in_slots(slots, Fake::scripted(&[0], &[ON]));
    engine.kick(A, 1, 0).unwrap();
    arrive(&engine, A);
    let slot = &slots[A.index()];
    slot.spoil();
    slot.rest();
    let error = engine.kick(A, 2, 0).unwrap_err();
    assert_eq!(error.kind, KickErrorKind::BadAddress);
    assert_eq!(engine.confirm(A, || 0), Confirm::Parked);
    assert_eq!(slot.leave(1), None);
}

#[test]
fn nobody_is_asked_for_a_cpu_that_cannot_be_started() {
    let engine = psci(&[0], &[OFF]);
    let nobody = CpuId::new(3);
    let error = engine.kick(nobody, 1, 0).unwrap_err();
    assert_eq!(error.kind, KickErrorKind::NotPresent);
    assert_eq!(engine.confirm(nobody, || 0), Confirm::Off);
    engine.record(A).unwrap().clear();
    let error = engine.kick(A, 1, 0).unwrap_err();
    assert_eq!(error, KickError::new(KickErrorKind::BadAddress));
    assert_eq!(engine.machine.calls(), []);
}

#[test]
fn a_cpu_that_nobody_could_wake_is_not_started() {
    // Firmware does not know it either: a list that lies.
    let engine = psci(&[0], &[-2, OFF]);
    engine.record(A).unwrap().set_deaf();
    let error = engine.kick(A, 1, 0).unwrap_err();
    assert_eq!(error, KickError::with_code(KickErrorKind::NotPresent, -2));
    // It does.
    let error = engine.kick(A, 1, 0).unwrap_err();
    assert_eq!(error, KickError::new(KickErrorKind::NotSupported));
    assert_eq!(engine.machine.calls(), [Call::Info(id(A)); 2]);
    assert!(is_untouched(&engine, A));
    assert_eq!(engine.kick(B, 1, 0), Ok(()), "the others go on");
}

#[test]
fn the_boot_cpu_is_on_and_can_be_started_again_when_it_is_off() {
    let boot = CpuId::new(0);
    let engine = psci(&[0], &[ON, ON, ON, ON, OFF]);
    let error = engine.kick(boot, 1, 0).unwrap_err();
    assert_eq!(error, KickError::new(KickErrorKind::AlreadyOn));
    assert_eq!(engine.confirm(boot, || 0), Confirm::Off);
    assert_eq!(engine.kick(boot, 1, 0), Ok(()));
}

#[test]
fn a_spin_table_gets_the_entry_and_an_event() {
    let word: &'static AtomicU64 = std::boxed::Box::leak(std::boxed::Box::new(AtomicU64::new(0)));
    let mut fake = Fake::scripted(&[], &[OFF]);
    fake.release = Some(word);
    let engine = engine(WakeMethod::SpinTable { release: 0x100 }, fake);
    assert_eq!(engine.kick(A, 1, 0), Ok(()));
    assert_eq!(word.load(Ordering::Relaxed), ENTRY);
    // One for the word of the table, one for the word of the record.
    assert_eq!(engine.machine.calls(), [Call::Event, Call::Event]);
    // No firmware tells anything of it.
    arrive(&engine, A);
    assert_eq!(engine.confirm(A, || SETTLE_NS), Confirm::Running);
    assert_eq!(engine.machine.calls(), []);
}

#[test]
fn a_spin_table_without_a_word_is_refused() {
    let method = WakeMethod::SpinTable { release: 0 };
    let engine = engine(method, Fake::scripted(&[], &[]));
    let error = engine.kick(A, 1, 0).unwrap_err();
    assert_eq!(error, KickError::new(KickErrorKind::BadAddress));
    assert!(is_untouched(&engine, A));
    assert_eq!(engine.machine.calls(), []);
}
