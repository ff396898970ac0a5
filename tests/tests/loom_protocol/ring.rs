//! Spinning: the trace ring between the CPU that records and one that reads.

use std::rc::Rc;

use cpuhp_core::{CpuId, Event, Ring, RingCursor, Trace, What};
use loom::thread;

use crate::check::Model;
use crate::world::{Family, Plan};

fn now() -> u64 {
    0
}

fn here() -> CpuId {
    CpuId::new(0)
}

/// Takes an event that has to be whole, and the next one or a later one.
fn take(seen: &mut Vec<u16>, event: Event) {
    let What::Kick(epoch) = event.what else {
        panic!("nothing else was recorded: {event:?}");
    };
    assert_eq!(
        event.cpu.get(),
        u32::from(epoch),
        "half of it is of another"
    );
    assert!(seen.last().is_none_or(|last| *last < epoch), "in order");
    seen.push(epoch);
}

/// An event is read whole or counted as lost, exactly once; and none is counted that was written when the
/// next one began, and still is there.
fn record_and_read<const SLOTS: usize>(model: Model, events: u16) {
    model.check(Plan::of(Family::Spinning), move |_| {
        let ring = Rc::new(Ring::<1, SLOTS>::new());
        let theirs = Rc::clone(&ring);
        let writer = thread::spawn(move || {
            let recorder = theirs.with_clock(now, here);
            (1..=events).for_each(|n| recorder.kick(CpuId::new(u32::from(n)), n));
        });
        let (mut cursor, mut seen) = (RingCursor::default(), Vec::new());
        let early = ring.drain(here(), &mut cursor, |event| take(&mut seen, event));
        assert!(
            SLOTS < usize::from(events) || early <= 1,
            "{early} were there"
        );
        writer.join().expect("it ends");
        let late = ring.drain(here(), &mut cursor, |event| take(&mut seen, event));
        let seen = u32::try_from(seen.len()).expect("few");
        assert_eq!(seen + early + late, u32::from(events));
    });
}

/// There is room for all of them.
#[test]
fn g1_ring() {
    record_and_read::<4>(Model::of("g1_ring"), 3);
}

/// The reader is overtaken.
///
/// Bounded: every word of a slot may be read old or new.
#[test]
fn g2_overwritten_bounded() {
    record_and_read::<1>(Model::bounded("g2_overwritten_bounded", 2, 3), 2);
}
