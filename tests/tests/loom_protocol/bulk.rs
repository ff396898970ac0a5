//! Many CPUs at once: three threads.

use core::task::Poll;

use cpuhp_core::{BulkReport, Direction, OpError, Platform, StateId, StepError, Which, Who};

use crate::check::Model;
use crate::control::Control;
use crate::steps::{lean, veto};
use crate::world::{AP, AP2, Event, Family, Plan};

/// Three threads: one preemption, two with `--long`.
const BOUND: usize = 1;

const THREE: Plan = Plan {
    cpus: 3,
    limit: 9,
    most: 90,
    ..Plan::of(Family::Spinning)
};

impl Control<'_> {
    /// Moves both APs at once, and returns how many are at the target; `None` if given up.
    fn both(&self, target: StateId) -> Option<u32> {
        if self.world.cut.get() {
            return None;
        }
        let guard = self.hp.try_write().expect("nobody else takes the lock");
        let begun = if target == StateId::OFFLINE {
            guard.take_down(Which::All)
        } else {
            guard.bring_up(Which::All)
        };
        let mut op = begun.expect("a legal operation");
        for cpu in [AP, AP2] {
            self.world.note(Event::Begin(cpu, target));
        }
        loop {
            if let Poll::Ready(ended) = op.poll(&guard) {
                return Some(self.ended(ended));
            }
            if self.world.cut.get() {
                return None;
            }
            let (cpu, _) = op.awaited(&guard);
            self.hp.platform().wait(Who::Control(cpu), u64::MAX);
        }
    }

    fn ended(&self, ended: Result<BulkReport, OpError>) -> u32 {
        let report = ended.expect("not refused");
        assert_eq!(
            report.done + report.failed,
            2,
            "nothing else can happen: {report}"
        );
        for cpu in [AP, AP2] {
            let err = self.hp.last_error(cpu).map(|failure| failure.first.err);
            self.world.note(Event::End(cpu, err));
        }
        report.done
    }
}

/// Two authorised APs walk at once; neither touches more than its own record.
///
/// Bounded: three threads; two preemptions are 665,496 executions and take minutes.
#[test]
fn l7_two_auto_bounded() {
    Model::bounded("l7_two_auto_bounded", 3, BOUND).check(THREE, |world| {
        let control = Control::new(world, &lean::TABLE);
        if let Some(done) = control.both(lean::ONLINE) {
            assert_eq!(done, 2);
            assert_eq!(world.on(AP).work.get() + world.on(AP2).work.get(), 2);
        }
        control.finish();
    });
}

/// Both go down at once, one refuses and is back online; the other is off.
///
/// Bounded: three threads, and so many hand-overs that two preemptions take more than five minutes.
#[test]
fn l8_one_refuses_bounded() {
    let err = StepError::user(-5).expect("a user code");
    let plan = Plan {
        fails: Some((Direction::Down, err)),
        fails_on: AP2,
        ..THREE
    };
    Model::bounded("l8_one_refuses_bounded", 3, BOUND).check(plan, |world| {
        let control = Control::new(world, &veto::TABLE);
        // The way up is another model's.
        loom::stop_exploring();
        let up = control.both(veto::ONLINE);
        loom::explore();
        if up == Some(2)
            && let Some(done) = control.both(StateId::OFFLINE)
        {
            assert_eq!(done, 1);
            assert_eq!(control.hp.state(AP), Some(StateId::OFFLINE));
            assert_eq!(control.hp.state(AP2), Some(veto::ONLINE));
            assert!(control.hp.online().contains(AP2));
        }
        control.finish();
    });
}
