//! Waits on a machine that really sleeps: its clock moves only while somebody waits, to the end of the
//! wait, and nobody wakes it. One thread plays both CPUs.
#![cfg(not(loom))]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};

use cpuhp_core::{
    ApExit, BootSteps, Confirm, CpuId, Cpuhp, Ctx, KickError, OpFlags, Platform, StateId, Step,
    StepError, StepResult, Store, Who, states, words,
};

/// How long a slow step takes.
const NEEDED: u64 = 50_000_000;
const TIMEOUT: u64 = 1_000_000_000;
const AP: CpuId = CpuId::new(1);

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(1) };
    static ME: Cell<u32> = const { Cell::new(0) };
    static SLOW: Cell<u16> = const { Cell::new(0) };
    static BEGUN: Cell<u64> = const { Cell::new(0) };
    static PATIENCE: Cell<u64> = const { Cell::new(u64::MAX) };
    static HINT: Cell<Option<u8>> = const { Cell::new(None) };
    static WAITS: Cell<u32> = const { Cell::new(0) };
    /// What the control CPU does during the next wait of the AP.
    static MEANWHILE: Cell<Option<&'static dyn Fn()>> = const { Cell::new(None) };
}

/// What leaves `ap_run` when the CPU has nothing to do.
struct NothingToDo;

struct Sleepy;

impl Platform for Sleepy {
    fn now(&self) -> u64 {
        NOW.get()
    }
    fn this_cpu(&self) -> CpuId {
        CpuId::new(ME.get())
    }
    fn kick(&self, _: CpuId, _: u16) -> Result<(), KickError> {
        Ok(())
    }
    fn confirm(&self, _: CpuId) -> Confirm {
        Confirm::Running
    }
    fn entry_hint(&self, _: CpuId) -> Option<u8> {
        HINT.get()
    }
    fn ap_patience(&self) -> u64 {
        PATIENCE.get()
    }
    fn step_timeout(&self) -> u64 {
        TIMEOUT
    }
    fn wait(&self, _: Who, deadline: u64) {
        WAITS.set(WAITS.get() + 1);
        if let Some(meanwhile) = MEANWHILE.take() {
            let me = ME.replace(0);
            meanwhile();
            ME.set(me);
            return;
        }
        assert!(WAITS.get() < 10_000, "a busy loop");
        if deadline == u64::MAX {
            panic_any(NothingToDo);
        }
        assert!(deadline > NOW.get(), "waits until a time that is over");
        NOW.set(deadline);
    }
}

fn slow(at: StateId) -> StepResult {
    if SLOW.get() != at.get() {
        return Ok(());
    }
    if BEGUN.get() == 0 {
        BEGUN.set(NOW.get());
    }
    let over = NOW.get() >= BEGUN.get() + NEEDED;
    if over {
        Ok(())
    } else {
        Err(StepError::WOULD_BLOCK)
    }
}

fn prepare(_: &Ctx<'_>) -> StepResult {
    slow(hp::SLOW_PREPARE)
}

fn online(_: &Ctx<'_>) -> StepResult {
    slow(hp::SLOW_ONLINE)
}

states! { mod hp {
    prepare { SLOW_PREPARE = Step::new("slow:prepare").up(prepare); }
    starting { }
    online { SLOW_ONLINE = Step::new("slow:online").up(online).parallel(); }
} }

type Machine = Cpuhp<'static, Sleepy>;

fn machine() -> &'static Machine {
    let store: &'static Store<2, { words(2) }, 0> = Box::leak(Box::default());
    let hp = Box::leak(Box::new(Machine::new(Sleepy, &hp::TABLE, store.get())));
    hp.adopt_boot_cpu(BootSteps::Run)
        .expect("nothing is slow yet");
    hp
}

/// Runs the AP's side until it has nothing to do, or rests.
fn run_ap(hp: &Machine) -> Option<ApExit> {
    ME.set(AP.get());
    let ran = catch_unwind(AssertUnwindSafe(|| hp.ap_run(AP)));
    ME.set(0);
    match ran {
        Ok(exit) => Some(exit),
        Err(thrown) if thrown.is::<NothingToDo>() => None,
        Err(thrown) => std::panic::resume_unwind(thrown),
    }
}

#[test]
fn a_step_of_prepare_that_would_block_is_called_again_soon() {
    let hp = machine();
    SLOW.set(hp::SLOW_PREPARE.get());
    let begun = NOW.get();
    hp.drive(AP, hp::SLOW_PREPARE)
        .expect("it only takes its time");
    assert!((NEEDED..2 * NEEDED).contains(&(NOW.get() - begun)));
    assert!(WAITS.get() < 100, "{} waits", WAITS.get());
}

#[test]
fn a_step_of_online_that_would_block_is_called_again_soon() {
    let hp = machine();
    SLOW.set(hp::SLOW_ONLINE.get());
    let guard = hp.try_write().expect("free");
    let mut op = guard.op(AP, hp::ONLINE, OpFlags::AUTO).expect("free");
    assert!(op.poll(&guard).is_pending());
    let begun = NOW.get();
    assert_eq!(run_ap(hp), None);
    assert!((NEEDED..2 * NEEDED).contains(&(NOW.get() - begun)));
    assert!(WAITS.get() < 100, "{} waits", WAITS.get());
    assert!(op.poll(&guard).is_ready());
    assert_eq!(hp.state(AP), Some(hp::ONLINE));
}

#[test]
fn a_slow_step_of_the_boot_cpu_is_called_again_soon() {
    let store: &'static Store<2, { words(2) }, 0> = Box::leak(Box::default());
    let hp = Machine::new(Sleepy, &hp::TABLE, store.get());
    SLOW.set(hp::SLOW_ONLINE.get());
    let begun = NOW.get();
    hp.adopt_boot_cpu(BootSteps::Run)
        .expect("it only takes its time");
    assert!((NEEDED..2 * NEEDED).contains(&(NOW.get() - begun)));
}

#[test]
fn patience_ends_with_the_release() {
    PATIENCE.set(5_000_000);
    let hp = machine();
    let guard = hp.try_write().expect("free");
    let mut op = guard.op(AP, hp::ONLINE, OpFlags::empty()).expect("free");
    assert!(op.poll(&guard).is_pending());
    // Its first wait, in ALIVE, has the end of its patience as deadline; it is released meanwhile.
    MEANWHILE.set(Some(Box::leak(Box::new(move || {
        let guard = hp.try_write().expect("the outer guard is forgotten");
        let mut op = guard.resume(AP).expect("abandoned");
        assert!(op.poll(&guard).is_pending());
    }))));
    drop(guard);
    // The last wait, in UP without a request, has no deadline: that is how `run_ap` ends.
    assert_eq!(run_ap(hp), None);
    assert_eq!(WAITS.get(), 2);
    assert_eq!(hp.state(AP), Some(hp::AP_IDLE));
}

#[test]
fn a_stale_start_that_first_reads_dead_is_refused_when_the_kick_comes() {
    let hp = machine();
    HINT.set(Some(77));
    ME.set(AP.get());
    assert_eq!(hp.ap_enter(AP, Some(77)), cpuhp_core::ApNext::Wait);
    ME.set(0);
    let guard = hp.try_write().expect("free");
    let mut op = guard.op(AP, hp::ONLINE, OpFlags::AUTO).expect("free");
    assert!(op.poll(&guard).is_pending());
    assert_eq!(run_ap(hp), Some(ApExit::Stale));
    assert_eq!(hp.state(AP), Some(hp::KICK));
    assert!(op.poll(&guard).is_pending());
}
