//! What a tracer sees of steps, kicks, edges and injected faults.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use cpuhp_core::{
    BootSteps, Confirm, CpuId, Cpuhp, Ctx, Direction, FaultAt, KickError, Platform, Ring,
    RingCursor, StateId, Step, StepError, StepEvent, StepResult, Store, Tag, Trace, What, states,
    words,
};

fn fine(_: &Ctx<'_>) -> StepResult {
    Ok(())
}

states! {
    mod hp {
        prepare {
            A = Step::new("a:prepare").up(fine).down(fine);
            B = Step::new("b:prepare").up(fine).down(fine);
        }
        starting {}
        online {}
    }
}

/// CPU 0 calls; nobody ever comes.
struct Alone;

impl Platform for Alone {
    fn now(&self) -> u64 {
        0
    }
    fn this_cpu(&self) -> CpuId {
        CpuId::new(0)
    }
    fn kick(&self, _: CpuId, _: u16) -> Result<(), KickError> {
        Ok(())
    }
    fn confirm(&self, _: CpuId) -> Confirm {
        Confirm::Off
    }
}

static RING: Ring<2, 32> = Ring::new();
static STORE: Store<2, { words(2) }, 0> = Store::new();

/// An injected fault is in the trace in place of the call, once; the rollback is marked; what is armed
/// and not reached is not.
#[test]
fn an_injected_fault_is_in_the_trace() {
    let recorder = RING.with_clock(|| 7, || CpuId::new(0));
    let machine = Cpuhp::with_trace(Alone, recorder, &hp::TABLE, STORE.get());
    assert_eq!(machine.adopt_boot_cpu(BootSteps::AlreadyDone), Ok(()));
    let cpu = CpuId::new(1);
    let mut cursor = RingCursor::default();
    let mut seen = |check: &[(StateId, Direction, bool, What)]| {
        let mut events = Vec::new();
        let lost = RING.drain(CpuId::new(0), &mut cursor, |e| {
            events.push((e.state, e.dir, e.rollback, e.what));
        });
        assert_eq!((lost, &*events), (0, check));
    };
    let edge = |from, to| (StateId::OFFLINE, Direction::Up, false, What::Edge(from, to));
    seen(&[edge(Tag::Dead, Tag::Up)]);
    let arm = |at, side| {
        machine
            .try_write()
            .and_then(|guard| guard.arm_fault(cpu, at, side))
    };
    assert_eq!(arm(hp::B, FaultAt::Up), Ok(()));
    assert!(machine.drive(cpu, hp::B).is_err());
    let call = |at, dir, rollback| {
        let event = |what| (at, dir, rollback, what);
        [event(What::Enter), event(What::Exit(None))]
    };
    let (up, down) = (Direction::Up, Direction::Down);
    let [enter, exit] = call(hp::A, up, false);
    let [undo, undone] = call(hp::A, down, true);
    let fault = (hp::B, up, false, What::Fault);
    seen(&[enter, exit, fault, undo, undone]);
    let error = machine.last_error(cpu).map(|failure| failure.first.err);
    assert_eq!(error, Some(StepError::INJECTED));
    // Used up.
    assert_eq!(machine.drive(cpu, hp::B), Ok(()));
    let [more, most] = call(hp::B, up, false);
    seen(&[enter, exit, more, most]);
    assert_eq!(arm(hp::A, FaultAt::Up), Ok(()));
    assert_eq!(machine.drive(cpu, StateId::OFFLINE), Ok(()));
    let ([b, c], [d, e]) = (call(hp::B, down, false), call(hp::A, down, false));
    seen(&[b, c, d, e]);
}

/// Counts what it is told.
#[derive(Default)]
struct Counter {
    is_off: AtomicBool,
    enters: AtomicU32,
    exits: AtomicU32,
    faults: AtomicU32,
    edges: AtomicU32,
    asked: AtomicU32,
}

impl Counter {
    /// Enters, exits, faults and edges since the last time.
    fn take(&self) -> [u32; 4] {
        [&self.enters, &self.exits, &self.faults, &self.edges]
            .map(|count| count.swap(0, Ordering::Relaxed))
    }
}

impl Trace for Counter {
    const ON: bool = true;

    fn wants_steps(&self) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        !self.is_off.load(Ordering::Relaxed)
    }
    fn enter(&self, _: &StepEvent) {
        self.enters.fetch_add(1, Ordering::Relaxed);
    }
    fn exit(&self, _: &StepEvent, _: StepResult) {
        self.exits.fetch_add(1, Ordering::Relaxed);
    }
    fn fault(&self, _: &StepEvent) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }
    fn edge(&self, _: CpuId, _: Tag, _: Tag) {
        self.edges.fetch_add(1, Ordering::Relaxed);
    }
}

/// A tracer that looks at no steps now is told of edges and kicks only, and is asked once per walk.
#[test]
fn a_tracer_can_look_away_from_the_steps() {
    static STORE: Store<2, { words(2) }, 0> = Store::new();
    let counter = Counter::default();
    let machine = Cpuhp::with_trace(Alone, &counter, &hp::TABLE, STORE.get());
    assert_eq!(machine.adopt_boot_cpu(BootSteps::AlreadyDone), Ok(()));
    assert_eq!(counter.take(), [0, 0, 0, 1]);
    let cpu = CpuId::new(1);
    counter.is_off.store(true, Ordering::Relaxed);
    assert_eq!(machine.drive(cpu, hp::B), Ok(()));
    assert_eq!(counter.take(), [0; 4]);
    assert_eq!(counter.asked.load(Ordering::Relaxed), 1, "one walk");
    let armed = machine
        .try_write()
        .and_then(|guard| guard.arm_fault(cpu, hp::A, FaultAt::Down));
    assert_eq!(armed, Ok(()));
    assert!(machine.drive(cpu, StateId::OFFLINE).is_err());
    assert_eq!(counter.take(), [0; 4], "neither steps nor the fault");
    counter.is_off.store(false, Ordering::Relaxed);
    assert_eq!(machine.drive(cpu, StateId::OFFLINE), Ok(()));
    assert_eq!(counter.take(), [2, 2, 0, 0]);
}
