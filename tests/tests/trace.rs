//! What a tracer sees of steps, kicks, edges and injected faults.
#![cfg(not(loom))]

use cpuhp_core::{
    BootSteps, Confirm, CpuId, Cpuhp, Ctx, Direction, FaultAt, KickError, Platform, Ring,
    RingCursor, StateId, Step, StepError, StepResult, Store, Tag, What, states, words,
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
