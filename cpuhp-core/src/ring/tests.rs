use std::vec;
use std::vec::Vec;

use super::*;

fn event(number: u32) -> [u32; WORDS] {
    [number, 0, 0, EXIT, number, 0, 0, 0, 0]
}

fn drained<const CPUS: usize, const SLOTS: usize>(
    ring: &Ring<CPUS, SLOTS>,
    cursor: &mut RingCursor,
) -> (Vec<u64>, u32) {
    let mut events = Vec::new();
    let lost = ring.drain(CpuId::new(0), cursor, |event| events.push(event.at));
    (events, lost)
}

#[test]
fn events_come_in_order_and_the_oldest_are_overwritten_and_counted() {
    for written in 0..20_u32 {
        for read_before in 0..=written {
            let ring = Ring::<1, 4>::new();
            let mut cursor = RingCursor::default();
            (0..read_before).for_each(|n| ring.cpus[0].write(event(n), None));
            let (first, lost_before) = drained(&ring, &mut cursor);
            (read_before..written).for_each(|n| ring.cpus[0].write(event(n), None));
            let (then, lost) = drained(&ring, &mut cursor);
            let from =
                |begin: u32, end: u32| u64::from(begin.max(end.saturating_sub(4)))..u64::from(end);
            assert_eq!(first, from(0, read_before).collect::<Vec<_>>());
            assert_eq!(then, from(read_before, written).collect::<Vec<_>>());
            let seen = u32::try_from(first.len() + then.len()).unwrap();
            assert_eq!(seen + lost_before + lost, written);
            assert_eq!(drained(&ring, &mut cursor), (Vec::new(), 0), "nothing new");
        }
    }
}

/// An interrupt that records in the middle of a slot: every event is either read or counted, once.
#[test]
fn a_nested_writer_loses_nothing_uncounted() {
    for nested in 0..12_u32 {
        let ring = Ring::<1, 4>::new();
        let cpu = &ring.cpus[0];
        let before = 2;
        (0..before).for_each(|n| cpu.write(event(n), None));
        // The outer writer has its number, and its slot is odd.
        let outer = cpu.head.fetch_add(1, Ordering::Relaxed);
        let slot = cpu.slot(outer).unwrap();
        slot.number.store(outer * 2 + 1, Ordering::Relaxed);
        (0..nested).for_each(|n| cpu.write(event(100 + n), None));
        let mut cursor = RingCursor::default();
        let (mid, lost_mid) = drained(&ring, &mut cursor);
        // It goes on, and what it wrote was overtaken or comes too late for this reader.
        slot.words
            .iter()
            .zip(event(outer))
            .for_each(|(word, value)| word.store(value, Ordering::Relaxed));
        slot.number.store(outer * 2 + 2, Ordering::Release);
        cpu.write(event(200), None);
        let (end, lost_end) = drained(&ring, &mut cursor);
        let seen = u32::try_from(mid.len() + end.len()).unwrap();
        assert_eq!(
            seen + lost_mid + lost_end,
            before + 1 + nested + 1,
            "{nested} nested"
        );
        assert!(mid.is_sorted() && end == [200], "{mid:?} {end:?}");
    }
}

/// The number of events wraps around.
#[test]
fn numbers_wrap() {
    let ring = Ring::<1, 4>::new();
    let start = u32::MAX - 5;
    ring.cpus[0].head.store(start, Ordering::Relaxed);
    let mut cursor = RingCursor { next: start };
    for n in 0..12 {
        ring.cpus[0].write(event(n), None);
        assert_eq!(drained(&ring, &mut cursor), (vec![u64::from(n)], 0));
    }
}

#[test]
fn what_is_recorded_is_what_happened() {
    fn now() -> u64 {
        0x1_2345_6789
    }
    fn here() -> CpuId {
        CpuId::new(1)
    }
    let ring = Ring::<2, 8>::new();
    let recorder = ring.with_clock(now, here);
    let cpu = CpuId::new(7);
    let step = StepEvent {
        cpu,
        on: here(),
        state: StateId::new(0x7ffe),
        name: "any",
        dir: Direction::Down,
        rollback: true,
    };
    recorder.enter(&step);
    recorder.exit(&step, Err(StepError::TIMEOUT));
    recorder.exit(&step, Ok(()));
    recorder.fault(&step);
    recorder.edge(cpu, Tag::Parked, Tag::Kicked);
    recorder.kick(cpu, 0xffff);
    let mut seen = Vec::new();
    let mut cursor = RingCursor::default();
    assert_eq!(ring.drain(here(), &mut cursor, |event| seen.push(event)), 0);
    let what: Vec<What> = seen.iter().map(|event| event.what).collect();
    let expected = [
        What::Enter,
        What::Exit(Some(StepError::TIMEOUT)),
        What::Exit(None),
        What::Fault,
        What::Edge(Tag::Parked, Tag::Kicked),
        What::Kick(0xffff),
    ];
    assert_eq!(what, expected);
    assert!(
        seen.iter()
            .all(|event| event.at == now() && event.cpu == cpu)
    );
    for event in &seen[..4] {
        assert_eq!(
            (event.state, event.dir, event.rollback),
            (step.state, step.dir, true)
        );
    }
    // Nobody else's ring, and no ring that is not there.
    assert_eq!(
        ring.drain(CpuId::new(0), &mut RingCursor::default(), |_| panic!(
            "empty"
        )),
        0
    );
    assert_eq!(
        ring.drain(CpuId::new(2), &mut RingCursor::default(), |_| panic!(
            "none"
        )),
        0
    );
}
