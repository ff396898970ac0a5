use std::sync::atomic::{AtomicU32, Ordering};

use cpuhp_core::{
    BootSteps, Confirm, CpuId, Cpuhp, Ctx, KickError, KickErrorKind, Platform, Step, StepResult,
    Store, Tag, Which, Who, states, words,
};

use super::Threads;
use crate::Fate;

/// A table whose one ONLINE step is `$up`.
macro_rules! table {
    ($up:expr) => {
        states! {
            mod hp {
                prepare { P = Step::new("p:prepare").parallel(); }
                starting {}
                online { A = Step::new("a:online").up($up).parallel(); }
            }
        }
    };
}

fn nothing(_: &Ctx<'_>) -> StepResult {
    Ok(())
}

table!(nothing);

type OnThreads<'m> = Cpuhp<'m, &'m Threads>;

/// Runs `test` as the boot CPU of a machine of four.
fn with<R>(machine: &Threads, test: impl FnOnce(&OnThreads<'_>) -> R) -> R {
    let store = Store::<4, { words(4) }, 0>::new();
    let cpuhp = Cpuhp::new(machine, &hp::TABLE, store.get());
    machine.run(
        |cpu| cpuhp.ap_run(cpu),
        || {
            cpuhp.adopt_boot_cpu(BootSteps::Run).unwrap();
            test(&cpuhp)
        },
    )
}

/// Waits until `cpu` has the tag.
fn wait_for(cpuhp: &OnThreads<'_>, cpu: CpuId, tag: Tag) {
    let end = cpuhp.platform().now() + 10_000_000_000;
    while cpuhp.tag(cpu) != Some(tag) {
        assert!(cpuhp.platform().now() < end, "never {tag:?}");
        cpuhp.platform().wait(Who::Control(cpu), end);
    }
}

const ONE: CpuId = CpuId::new(1);
const TWO: CpuId = CpuId::new(2);

#[test]
fn every_cpu_comes_goes_is_off_and_comes_again() {
    let machine = Threads::new(4);
    with(&machine, |cpuhp| {
        for _ in 0..3 {
            assert_eq!(cpuhp.bring_up(Which::All).unwrap().done, 3);
            assert_eq!(machine.confirm(ONE), Confirm::Running);
            assert_eq!(cpuhp.take_down(Which::All).unwrap().done, 3);
            assert_eq!(machine.confirm(ONE), Confirm::Off);
        }
    });
}

#[test]
fn late_cpu_parks_itself_and_is_taken_back() {
    let machine = Threads::new(4).timeout_ns(50_000_000);
    machine.set_fate(TWO, Fate::Held);
    with(&machine, |cpuhp| {
        let report = cpuhp.bring_up(Which::All).unwrap();
        assert_eq!((report.done, report.failed), (2, 1));
        assert_eq!(machine.confirm(TWO), Confirm::Running);
        machine.let_go(TWO);
        wait_for(cpuhp, TWO, Tag::Parked);
        cpuhp.cpu_up(TWO).unwrap();
        assert_eq!(cpuhp.state(TWO), Some(hp::ONLINE));
    });
}

#[test]
fn late_cpu_comes_after_its_extra_time() {
    let machine = Threads::new(4);
    machine.set_fate(ONE, Fate::Late(5_000_000));
    with(&machine, |cpuhp| {
        let before = machine.now();
        cpuhp.cpu_up(ONE).unwrap();
        assert!(machine.now() - before >= 5_000_000);
    });
}

#[test]
fn refused_kick_leaves_the_cpu_certainly_off() {
    let machine = Threads::new(4);
    let refusal = KickError::with_code(KickErrorKind::Firmware, -7);
    machine.set_fate(ONE, Fate::Refused(refusal));
    with(&machine, |cpuhp| {
        cpuhp.cpu_up(ONE).unwrap_err();
        assert_eq!(cpuhp.last_error(ONE).unwrap().kick, Some(refusal));
        assert_eq!(machine.confirm(ONE), Confirm::Off);
    });
}

#[test]
fn absent_cpu_may_still_come_for_all_anybody_knows() {
    let machine = Threads::new(4).timeout_ns(1_000_000);
    machine.set_fate(ONE, Fate::Absent);
    with(&machine, |cpuhp| {
        cpuhp.cpu_up(ONE).unwrap_err();
        assert_eq!(machine.confirm(ONE), Confirm::Running);
        assert_eq!(cpuhp.tag(ONE), Some(Tag::Cancelled));
    });
}

#[test]
fn running_cpu_cannot_be_kicked_and_a_wrong_number_is_not_there() {
    let machine = Threads::new(4);
    with(&machine, |cpuhp| {
        cpuhp.cpu_up(ONE).unwrap();
        let kind = |cpu| machine.kick(cpu, 1).unwrap_err().kind;
        assert_eq!(kind(ONE), KickErrorKind::AlreadyOn);
        assert_eq!(kind(CpuId::new(4)), KickErrorKind::NotPresent);
        assert_eq!(machine.confirm(CpuId::new(4)), Confirm::Off);
    });
}

#[test]
fn notification_before_the_wait_ends_it_at_once() {
    let machine = Threads::new(2);
    let far = machine.now() + 3_600_000_000_000;
    machine.notify_ap(ONE);
    machine.wait(Who::Ap(ONE), far);
    machine.notify_ctl(ONE);
    machine.wait(Who::Control(ONE), far);
}

#[test]
fn wait_without_notification_ends_at_its_deadline() {
    let machine = Threads::new(2);
    for who in [Who::Ap(ONE), Who::Control(ONE)] {
        let deadline = machine.now() + 2_000_000;
        machine.wait(who, deadline);
        // Spurious ends are legal, but there is nobody here to cause one.
        assert!(machine.now() >= deadline);
    }
}

#[test]
fn boot_cpu_goes_down_and_up_while_another_cpu_drives() {
    static MACHINE: std::sync::LazyLock<Threads> = std::sync::LazyLock::new(|| Threads::new(2));
    static STORE: Store<2, { words(2) }, 0> = Store::new();
    static CPUHP: std::sync::LazyLock<OnThreads<'static>> =
        std::sync::LazyLock::new(|| Cpuhp::new(&*MACHINE, &hp::TABLE, STORE.get()));
    static OPS: AtomicU32 = AtomicU32::new(0);
    MACHINE.run(
        |cpu| CPUHP.ap_run(cpu),
        || {
            CPUHP.adopt_boot_cpu(BootSteps::Run).unwrap();
            CPUHP.cpu_up(ONE).unwrap();
            MACHINE.run_on(&CPUHP, ONE, || {
                assert_eq!(MACHINE.this_cpu(), ONE);
                for _ in 0..3 {
                    CPUHP.cpu_down(CpuId::new(0)).unwrap();
                    CPUHP.cpu_up(CpuId::new(0)).unwrap();
                    OPS.fetch_add(2, Ordering::Relaxed);
                }
            });
        },
    );
    assert_eq!(OPS.load(Ordering::Relaxed), 6);
    assert_eq!(CPUHP.online().count(), 2);
}

#[test]
fn power_cut_ends_cpus_that_still_run() {
    let machine = Threads::new(4);
    let online = with(&machine, |cpuhp| {
        assert!(cpuhp.bring_up(Which::All).unwrap().is_complete());
        cpuhp.online().count()
    });
    assert_eq!(online, 4);
}

#[test]
#[should_panic(expected = "a CPU panicked")]
fn panic_of_a_callback_reaches_the_one_who_runs_the_machine() {
    mod crash {
        use super::{Ctx, Step, StepResult, states};

        fn crash(ctx: &Ctx<'_>) -> StepResult {
            assert_eq!(ctx.cpu().get(), 0, "on purpose");
            Ok(())
        }

        table!(crash);
        pub(super) use hp::TABLE;
    }
    let machine = Threads::new(2);
    let store = Store::<2, { words(2) }, 0>::new();
    let cpuhp = Cpuhp::new(&machine, &crash::TABLE, store.get());
    machine
        .run(
            |cpu| cpuhp.ap_run(cpu),
            || {
                cpuhp.adopt_boot_cpu(BootSteps::Run).unwrap();
                cpuhp.cpu_up(ONE)
            },
        )
        .unwrap();
}
