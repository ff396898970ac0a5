//! The models. What an edge carries is what makes its model fail without it.

use std::rc::Rc;

use cpuhp_core::{ApNext, CallError, OpFlags, Which};
use loom::thread;

use crate::bench::{Bench, Family, OTHER, TARGET, THIRD, bare, check, row};

/// The calls that ran, sorted.
fn ran(bench: &Bench) -> Vec<usize> {
    let mut ran = bench.ran.borrow().clone();
    ran.sort_unstable();
    ran
}

/// A call against the CPU's leaving: it is accepted and run, or refused and not run (P11). Bug 17 of the
/// list in `history`.
#[test]
fn c1_push_against_close() {
    check("c1_push_against_close", Family::Ticking, 2, |bench| {
        bench.bring_up();
        let control = bench.hotplug(TARGET, 0);
        bench.drive_other(&control, bare::AP_IDLE);
        let guard = control.try_write().expect("nobody else has it");
        let mut op = guard
            .op(OTHER, bare::OFFLINE, OpFlags::empty())
            .expect("legal");
        assert!(op.poll(&guard).is_pending(), "the order to die is posted");
        let theirs = Rc::clone(bench);
        let leaving = thread::spawn(move || {
            let other = theirs.hotplug(OTHER, 1);
            assert_eq!(other.poll_ap(OTHER), ApNext::Off);
        });
        let caller = bench.hotplug(THIRD, 2);
        let accepted = bench.call(&caller, OTHER, 0);
        leaving.join().expect("it left");
        assert_eq!(bench.ran.borrow().len(), usize::from(accepted));
        assert!(bench.nodes[0].is_done(), "free again either way");
        let late = caller.call(OTHER, bench.nodes[0], 0);
        assert_eq!(late, Err(CallError::Offline));
    });
}

/// Two callers and the CPU that takes what they queue: nothing lost, nothing twice, and what each wrote
/// before is seen.
///
/// Bounded: three threads that may go on at every stage.
#[test]
fn c2_two_senders_bounded() {
    check("c2_two_senders_bounded", Family::Ticking, 3, |bench| {
        bench.bring_up();
        let callers = [(OTHER, 1), (THIRD, 2)].map(|(cpu, arg)| {
            let theirs = Rc::clone(bench);
            thread::spawn(move || {
                let hp = theirs.hotplug(cpu, cpu.get());
                assert!(theirs.call(&hp, TARGET, arg), "it is available");
            })
        });
        let target = bench.hotplug(TARGET, 0);
        bench.tick();
        let early = target.poll_calls(TARGET);
        for caller in callers {
            caller.join().expect("it ends");
        }
        let late = target.poll_calls(TARGET);
        assert_eq!((early + late, &*ran(bench)), (2, [1, 2].as_slice()));
    });
}

/// Calls of one caller run in the order in which it made them, however they are taken.
#[test]
fn c2f_in_order() {
    check("c2f_in_order", Family::Ticking, 2, |bench| {
        bench.bring_up();
        let theirs = Rc::clone(bench);
        let caller = thread::spawn(move || {
            let hp = theirs.hotplug(THIRD, 2);
            assert!((0..2).all(|arg| theirs.call(&hp, TARGET, arg)));
        });
        let target = bench.hotplug(TARGET, 0);
        bench.tick();
        target.poll_calls(TARGET);
        caller.join().expect("it ends");
        target.poll_calls(TARGET);
        assert_eq!(&*bench.ran.borrow(), &[0, 1]);
    });
}

/// An interrupt that is saved is one that another caller sends: the target, which sleeps, misses no call.
///
/// Bounded: three threads; without a bound it takes a minute.
#[test]
fn c3_ipi_elision_bounded() {
    check("c3_ipi_elision_bounded", Family::Blocking, 3, |bench| {
        bench.bring_up();
        let callers = [(OTHER, 1), (THIRD, 2)].map(|(cpu, arg)| {
            let theirs = Rc::clone(bench);
            thread::spawn(move || {
                let hp = theirs.hotplug(cpu, cpu.get());
                assert!(theirs.call(&hp, TARGET, arg), "it is available");
            })
        });
        let target = bench.hotplug(TARGET, 0);
        let mut served = target.poll_calls(TARGET);
        while served < 2 {
            bench.sleep();
            served += target.poll_calls(TARGET);
        }
        for caller in callers {
            caller.join().expect("it ends");
        }
        assert_eq!(&*ran(bench), [1, 2]);
    });
}

/// Two contexts of one CPU: only one runs calls at a time, each sees what the other's wrote, and a call that
/// the second one was told of and did not get is run by the first.
#[test]
fn c4_two_contexts() {
    check("c4_two_contexts", Family::Spinning, 2, |bench| {
        bench.bring_up();
        let caller = bench.hotplug(THIRD, 2);
        assert!(bench.call(&caller, TARGET, 0));
        let theirs = Rc::clone(bench);
        let first = thread::spawn(move || theirs.hotplug(TARGET, 0).poll_calls(TARGET));
        assert!(bench.call(&caller, TARGET, 1));
        // The interrupt that call 1 sent, on the same CPU.
        let second = bench.hotplug(TARGET, 8).poll_calls(TARGET);
        let first = first.join().expect("it ends");
        assert_eq!(&*ran(bench), [0, 1], "first {first}, second {second}");
    });
}

/// A node that has ended is free for anybody, at once, and whoever takes it sees what its last run wrote.
#[test]
fn c5_node_reuse() {
    check("c5_node_reuse", Family::Ticking, 2, |bench| {
        bench.bring_up();
        let caller = bench.hotplug(THIRD, 2);
        assert!(bench.call(&caller, TARGET, 0));
        let theirs = Rc::clone(bench);
        let target = thread::spawn(move || theirs.hotplug(TARGET, 0).poll_calls(TARGET));
        bench.tick();
        // Another CPU runs it: the way leads over the node only. Its caller gave it before.
        let again = caller.call(OTHER, bench.nodes[0], 0);
        let other = bench.hotplug(OTHER, 1).poll_calls(OTHER);
        assert!(matches!(again, Ok(()) | Err(CallError::Busy)));
        assert_eq!(other, usize::from(again.is_ok()));
        assert_eq!(target.join().expect("it ends"), 1);
        assert_eq!(bench.ran.borrow().len(), 1 + other);
    });
}

/// Who finds a node free sees what the function wrote.
#[test]
fn c6_done() {
    check("c6_done", Family::Ticking, 2, |bench| {
        bench.bring_up();
        let caller = bench.hotplug(THIRD, 2);
        assert!(bench.call(&caller, TARGET, 1));
        let theirs = Rc::clone(bench);
        let target = thread::spawn(move || theirs.hotplug(TARGET, 0).poll_calls(TARGET));
        bench.tick();
        if bench.nodes[1].is_done() {
            assert_eq!(bench.last.get(), 1);
        }
        target.join().expect("it ends");
        assert!(bench.nodes[1].is_done());
    });
}

/// Who waited for a call sees what the function wrote; if the time was over before, it runs all the same,
/// once.
#[test]
fn c7_wait() {
    check("c7_wait", Family::Ticking, 2, |bench| {
        bench.bring_up();
        let theirs = Rc::clone(bench);
        let target = thread::spawn(move || theirs.hotplug(TARGET, 0).poll_calls(TARGET));
        let caller = bench.hotplug(THIRD, 2);
        bench.given[2].set(7);
        let ended = caller.call_and_wait(TARGET, bench.nodes[2], 2);
        if ended.is_ok() {
            assert_eq!(bench.last.get(), 2);
        } else {
            assert_eq!(ended, Err(CallError::Timeout));
        }
        let early = target.join().expect("it ends");
        let late = bench.hotplug(TARGET, 0).poll_calls(TARGET);
        assert_eq!((early + late, &*ran(bench)), (1, [2].as_slice()));
    });
}

/// Who waited for many sees what their functions wrote, also that of a CPU which leaves meanwhile: that it
/// is not available any more says nothing of its call.
#[test]
fn c8_wait_for_many() {
    check("c8_wait_for_many", Family::Ticking, 2, |bench| {
        bench.bring_up();
        let control = bench.hotplug(TARGET, 0);
        bench.drive_other(&control, bare::AP_IDLE);
        let guard = control.try_write().expect("nobody else has it");
        let mut op = guard
            .op(OTHER, bare::OFFLINE, OpFlags::empty())
            .expect("legal");
        assert!(op.poll(&guard).is_pending(), "the order to die is posted");
        let theirs = Rc::clone(bench);
        let leaving = thread::spawn(move || {
            let other = theirs.hotplug(OTHER, 1);
            assert_eq!(other.poll_ap(OTHER), ApNext::Off);
        });
        let nodes = row();
        bench.given[1].set(7);
        let report = control.call_mask_and_wait(Which::All, nodes, 1);
        if report.queued == 1 && report.late == 0 {
            assert_eq!(bench.last.get(), 1);
        }
        leaving.join().expect("it left");
        assert_eq!(bench.ran.borrow().len(), report.queued as usize);
    });
}
