//! What happens when in virtual time: events in the order of their time, then of their making.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use cpuhp_core::CpuId;

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Event {
    /// A kicked CPU executes its first instruction.
    Arrive(CpuId),
    /// A CPU looks at its record.
    Poll(CpuId),
    /// A CPU that said its last word is off.
    PowerOff(CpuId),
    /// The control CPU's wait ends.
    WakeControl,
}

/// The events to come.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    made: u64,
}

impl Queue {
    /// Adds an event. Of two at the same time, the one that was added first comes first.
    pub(crate) fn add(&mut self, time: u64, event: Event) {
        self.made += 1;
        self.heap.push(Reverse((time, self.made, event)));
    }

    /// Takes the next event, if it comes at `until` or before.
    pub(crate) fn take(&mut self, until: u64) -> Option<(u64, Event)> {
        let Reverse((time, ..)) = self.heap.peek()?;
        if *time > until {
            return None;
        }
        let Reverse((time, _, event)) = self.heap.pop()?;
        Some((time, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_in_the_order_they_were_added() {
        let mut queue = Queue::default();
        let (a, b) = (Event::Poll(CpuId::new(9)), Event::Poll(CpuId::new(1)));
        queue.add(5, a);
        queue.add(5, b);
        queue.add(3, Event::WakeControl);
        assert_eq!(queue.take(2), None);
        assert_eq!(queue.take(5), Some((3, Event::WakeControl)));
        assert_eq!(queue.take(5), Some((5, a)));
        assert_eq!(queue.take(5), Some((5, b)));
        assert_eq!(queue.take(u64::MAX), None);
    }
}
