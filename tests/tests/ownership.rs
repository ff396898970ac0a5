//! Who may move a CPU: a batch and a handle own what they claimed, and nothing else.
#![cfg(not(loom))]

use core::task::Poll;

use cpuhp_core::{BootSteps, MaskStore, OpFlags, StateId, Which, Why, words};
use cpuhp_tests::batch::{aps, counts, cpu, machine};
use cpuhp_tests::fake::{DIE, TICK};
use cpuhp_tests::tables::{QUICK, quick};
use cpuhp_tests::world::{World, with};

fn first_ap() -> u32 {
    aps().next().expect("the machine has APs")
}

fn let_time_pass() {
    with(World::poll_all);
    with(|w| w.pass(TICK));
}

#[test]
fn a_cpu_of_a_running_batch_is_not_resumed() {
    let hp = machine(&quick::TABLE, &QUICK);
    let guard = hp.try_write().expect("free");
    let mut bulk = guard.bring_up(Which::All).expect("free");
    assert!(bulk.poll(&guard).is_pending());
    let n = first_ap();
    let refused = guard
        .resume(cpu(n))
        .map(|_| ())
        .expect_err("it is the batch's");
    assert_eq!(refused.why(), Some(Why::Busy));
    for _ in 0..1000 {
        if let Poll::Ready(report) = bulk.poll(&guard) {
            assert!(report.expect("not stale").is_complete());
            return;
        }
        let_time_pass();
    }
    panic!("the batch did not end");
}

#[test]
fn an_abandoned_batch_leaves_its_cpus_to_resume() {
    let hp = machine(&quick::TABLE, &QUICK);
    let guard = hp.try_write().expect("free");
    let mut bulk = guard.bring_up(Which::All).expect("free");
    assert!(bulk.poll(&guard).is_pending());
    drop(guard);
    let guard = hp.try_write().expect("free again");
    let Poll::Ready(Err(error)) = bulk.poll(&guard) else {
        panic!("its guard is gone")
    };
    assert_eq!(error.why(), Some(Why::Stale));
    let n = first_ap();
    let mut op = guard.resume(cpu(n)).expect("nobody else has it");
    for _ in 0..1000 {
        if op.poll(&guard).is_ready() {
            break;
        }
        let_time_pass();
    }
    assert_eq!(hp.state(cpu(n)), Some(quick::ONLINE));
}

#[test]
fn an_ap_is_not_adopted_as_if_boot_had_done_its_steps() {
    let hp = machine(&quick::TABLE, &QUICK);
    let n = first_ap();
    hp.drive(cpu(n), quick::AP_IDLE).expect("up to idle");
    let before = with(World::log).len();
    let adopted = with(|w| w.as_cpu(n, || hp.adopt_boot_cpu(BootSteps::AlreadyDone)));
    let refused = adopted.expect_err("it has its steps to run");
    assert_eq!(refused.why(), Some(Why::AlreadyAdopted));
    assert_eq!(hp.state(cpu(n)), Some(quick::AP_IDLE));
    assert!(!hp.online().contains(cpu(n)));
    assert_eq!(with(World::log).len(), before);
}

#[test]
fn cpus_that_never_came_and_are_taken_down_cost_one_deadline() {
    static NAMED: MaskStore<{ words(64) }> = MaskStore::new();
    let hp = machine(&quick::TABLE, &QUICK);
    for n in aps().take(4) {
        with(|w| w.sim(n, |sim| sim.comes_at = u64::MAX));
        hp.drive(cpu(n), quick::KICK).expect("kicked");
        NAMED.get_mut().insert(cpu(n));
    }
    let begun = with(World::time);
    let report = hp.take_down(Which::Only(NAMED.get())).map(counts);
    let took = with(World::time) - begun;
    assert!(report.is_ok());
    assert!(
        (DIE..2 * DIE).contains(&took),
        "{took} ns for a deadline of {DIE} ns"
    );
}

#[test]
fn a_handle_of_another_machine_is_stale() {
    let first = machine(&quick::TABLE, &QUICK);
    let guard = first.try_write().expect("free");
    let n = first_ap();
    let mut op = guard
        .op(cpu(n), quick::ONLINE, OpFlags::AUTO)
        .expect("free");
    drop(guard);
    let second = machine(&quick::TABLE, &QUICK);
    let guard = second.try_write().expect("free");
    let _own = guard.op(cpu(n), quick::P1, OpFlags::empty()).expect("free");
    let Poll::Ready(Err(error)) = op.poll(&guard) else {
        panic!("not refused")
    };
    assert_eq!(error.why(), Some(Why::Stale));
    assert_eq!(second.state(cpu(n)), Some(StateId::OFFLINE));
}
