//! CPUs that come late, never, or do not go: quarantine, re-adoption, one kick, one outcome.
#![cfg(not(loom))]

use cpuhp_core::{
    CpuId, Failure, KickError, KickErrorKind, KickOutcome, Left, OpError, OpFlags, StateId,
    StepError, Tag,
};
use cpuhp_tests::fake::{ALIVE, DIE, Life, TICK};
use cpuhp_tests::tables::{WIDE, wide};
use cpuhp_tests::verdict::{Bench, Way};
use cpuhp_tests::world::{Act, Event, World, with};

const NEVER: u64 = u64::MAX;
const BELOW_KICK: StateId = StateId::new(7);

fn bench() -> Bench {
    Bench::new(&wide::TABLE, &WIDE)
}

fn failed(result: Result<(), OpError>) -> Failure {
    match result {
        Err(OpError::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

/// A CPU that does not come: TIMEOUT, PREPARE stays.
fn times_out(bench: &Bench, flags: OpFlags) -> Failure {
    with(|w| w.sim(0, |sim| sim.comes_at = NEVER));
    let begun = with(World::time);
    let failure = failed(bench.go(WIDE.online(), Way::Op(flags)));
    let took = with(World::time) - begun;
    assert!((ALIVE..=ALIVE + 2 * TICK).contains(&took), "took {took}");
    assert_eq!(failure.first.at, wide::KICK);
    assert_eq!(failure.first.err, StepError::TIMEOUT);
    assert_eq!((failure.rollback, failure.kick), (None, None));
    assert_eq!(failure.left, Left::At(BELOW_KICK));
    assert_eq!(bench.hp.tag(bench.id()), Some(Tag::Cancelled));
    assert!(
        with(|w| w.is_truthful(0, 7)),
        "PREPARE stays up (quarantine)"
    );
    assert_eq!(bench.hp.target(bench.id()), Some(BELOW_KICK));
    failure
}

fn kicks() -> usize {
    let log = with(World::log);
    log.iter()
        .filter(|e| matches!(e, Event::Kick(0, Ok(()))))
        .count()
}

fn outcomes() -> Vec<KickOutcome> {
    let log = with(World::log).into_iter();
    log.filter_map(|e| match e {
        Event::KickDone(0, how) => Some(how),
        Event::Call(_) | Event::Kick(..) | Event::KickDone(..) | Event::Unpark(_) => None,
    })
    .collect()
}

fn calls() -> usize {
    with(World::log)
        .iter()
        .filter(|e| matches!(e, Event::Call(_)))
        .count()
}

fn polls(count: u32) {
    (0..count).for_each(|_| with(World::poll_all));
}

#[test]
fn a_late_cpu_parks_itself_and_is_taken_back_without_a_second_kick() {
    for flags in [OpFlags::empty(), OpFlags::AUTO] {
        let bench = bench();
        times_out(&bench, flags);
        assert_eq!(outcomes(), [], "a time-out is no outcome");
        let before = calls();
        with(|w| w.sim(0, |sim| sim.comes_at = 0));
        polls(5);
        assert_eq!(with(|w| w.life(0)), Life::Parked);
        assert_eq!(bench.hp.tag(bench.id()), Some(Tag::Parked));
        assert_eq!(calls(), before, "no callback of a cancelled cpu (P2)");
        assert_eq!(bench.hp.state(bench.id()), Some(BELOW_KICK));
        let result = bench.go(WIDE.online(), Way::Op(flags));
        bench.check_clean_rest(WIDE.online(), result, "a re-adoption");
        assert_eq!(
            (kicks(), outcomes()),
            (1, vec![KickOutcome::Arrived]),
            "bug 41"
        );
        let log = with(World::log);
        assert_eq!(
            log.iter().filter(|e| matches!(e, Event::Unpark(0))).count(),
            1
        );
        finish(bench);
    }
}

#[test]
fn a_cpu_wanted_again_before_it_comes_is_welcome_when_it_does() {
    for flags in [OpFlags::empty(), OpFlags::AUTO] {
        let bench = bench();
        times_out(&bench, flags);
        // It comes with the epoch of its one kick, though the word has moved on (pitfall 25).
        let soon = with(World::time) + 20 * TICK;
        with(|w| w.sim(0, |sim| sim.comes_at = soon));
        let result = bench.go(WIDE.online(), Way::Op(flags));
        bench.check_clean_rest(WIDE.online(), result, "a re-adoption in flight");
        assert_eq!((kicks(), outcomes()), (1, vec![KickOutcome::Arrived]));
        finish(bench);
    }
}

/// H4: a cancel withdraws the pre-posted request, or the CPU runs past its new target.
#[test]
fn a_cancelled_cpu_taken_back_stops_at_its_new_target() {
    for target in [wide::KICK, wide::AP_IDLE] {
        let bench = bench();
        times_out(&bench, OpFlags::AUTO);
        with(|w| w.sim(0, |sim| sim.comes_at = 0));
        polls(4);
        for goal in [target, wide::AP_IDLE] {
            let result = bench.go(goal.get(), Way::Op(OpFlags::AUTO));
            polls(4);
            bench.check_clean_rest(goal.get(), result, "a new target");
        }
        // Where it rests is not enough: a CPU that ran past its target has come back since.
        let past = with(World::log).into_iter().find(|event| match event {
            Event::Call(call) => call.at > WIDE.ap_idle,
            Event::Kick(..) | Event::KickDone(..) | Event::Unpark(_) => false,
        });
        assert_eq!(past, None, "it ran past its target (P5)");
        finish(bench);
    }
}

#[test]
fn a_dead_cpu_keeps_its_memory_until_it_is_certainly_off() {
    let bench = bench();
    times_out(&bench, OpFlags::AUTO);
    for _ in 0..2 {
        let failure = failed(bench.go(0, Way::Drive));
        assert_eq!(failure.first.err, StepError::STUCK);
        assert!(with(|w| w.is_truthful(0, 7)), "PREPARE stays up (P3)");
        assert_eq!((kicks(), outcomes()), (1, vec![]));
    }
    // Somebody pulled the plug.
    with(|w| w.sim(0, |sim| (sim.life, sim.comes_at) = (Life::Off, 0)));
    let result = bench.go(0, Way::Drive);
    bench.check_clean_rest(0, result, "a teardown of a dead cpu");
    assert_eq!(outcomes(), [KickOutcome::Lost]);
    finish(bench);
}

#[test]
fn a_dead_cpu_that_is_off_is_kicked_again() {
    let bench = bench();
    times_out(&bench, OpFlags::AUTO);
    with(|w| w.sim(0, |sim| (sim.life, sim.comes_at) = (Life::Off, 0)));
    let result = bench.go(WIDE.online(), Way::Drive);
    bench.check_clean_rest(WIDE.online(), result, "a second kick");
    assert_eq!(kicks(), 2);
    assert_eq!(outcomes(), [KickOutcome::Lost, KickOutcome::Arrived]);
    finish(bench);
}

#[test]
fn a_kick_is_called_off_on_request() {
    let mut bench = bench();
    bench.clean(WIDE.kick);
    with(|w| w.sim(0, |sim| sim.comes_at = NEVER));
    let begun = with(World::time);
    let failure = failed(bench.go(0, Way::Drive));
    assert_eq!(failure.first.err, StepError::STUCK);
    let took = with(World::time) - begun;
    assert!((DIE..=DIE + 2 * TICK).contains(&took), "took {took}");
    assert_eq!(bench.hp.tag(bench.id()), Some(Tag::Cancelled));
    assert!(with(|w| w.is_truthful(0, 7)), "PREPARE stays up (P3)");
    // It comes, slowly leaves PREPARE's memory, and then the operation goes on.
    with(|w| w.sim(0, |sim| (sim.comes_at, sim.lingers) = (0, 10)));
    let guard = bench.hp.try_write().unwrap();
    let mut op = guard.resume(bench.id()).unwrap();
    let result = bench.finish(&guard, &mut op);
    drop(guard);
    bench.check_clean_rest(0, result, "a kick called off");
    assert_eq!(bench.hp.tag(bench.id()), Some(Tag::Parked), "H7");
    finish(bench);
}

/// H2, bug 16: the last word is not the last access.
#[test]
fn a_cpu_that_runs_on_after_its_last_word_keeps_its_memory() {
    let mut bench = bench();
    bench.clean(WIDE.online());
    with(|w| w.sim(0, |sim| sim.lingers = u32::MAX));
    let begun = with(World::time);
    let failure = failed(bench.go(0, Way::Drive));
    let took = with(World::time) - begun;
    assert!((DIE..=DIE + 30 * TICK).contains(&took), "took {took}");
    assert_eq!(failure.first.err, StepError::STUCK);
    assert!(matches!(failure.left, Left::InFlight(_)), "{failure}");
    assert_eq!(bench.hp.tag(bench.id()), Some(Tag::Gone));
    assert!(with(|w| w.is_truthful(0, 7)), "PREPARE stays up (P3)");
    assert!(!bench.hp.available().contains(bench.id()));
    assert!(!bench.hp.dying().contains(bench.id()));
    with(|w| w.sim(0, |sim| sim.lingers = 0));
    let guard = bench.hp.try_write().unwrap();
    let mut op = guard.resume(bench.id()).unwrap();
    let result = bench.finish(&guard, &mut op);
    drop(guard);
    bench.check_clean_rest(0, result, "a slow death");
    finish(bench);
}

#[test]
fn a_refused_kick_undoes_prepare_and_keeps_the_raw_code() {
    use KickErrorKind as Kind;
    let kinds = [
        Kind::NotSupported,
        Kind::NotPresent,
        Kind::Denied,
        Kind::AlreadyOn,
        Kind::Busy,
        Kind::BadAddress,
        Kind::Firmware,
    ];
    for kind in kinds {
        for (code, flags) in [
            (0, OpFlags::AUTO),
            (-4, OpFlags::empty()),
            (i64::MIN, OpFlags::AUTO),
        ] {
            let bench = bench();
            let error = KickError::with_code(kind, code);
            with(|w| w.sim(0, |sim| sim.refusal = Some(error)));
            let failure = failed(bench.go(WIDE.online(), Way::Op(flags)));
            assert_eq!(failure.first.at, wide::KICK);
            assert_eq!(failure.first.err, StepError::kick(kind));
            assert_eq!((failure.kick, failure.rollback), (Some(error), None));
            assert_eq!(failure.left, Left::At(StateId::OFFLINE));
            assert_eq!(bench.hp.last_error(bench.id()), Some(failure));
            assert!(with(|w| w.is_truthful(0, 0)));
            assert_eq!(outcomes(), [], "nothing was started, so nothing ended");
            let text = failure.to_string();
            assert!(text.contains("cpu 0") && text.contains("kick"), "{text}");
            assert!(code == 0 || text.contains(&code.to_string()), "{text}");
            with(|w| w.sim(0, |sim| sim.refusal = None));
            let result = bench.go(WIDE.online(), Way::Op(flags));
            bench.check_clean_rest(WIDE.online(), result, "after a refused kick");
            assert_eq!(outcomes(), [KickOutcome::Arrived]);
            finish(bench);
        }
    }
}

/// W5 with a kick: the first error stays the first.
#[test]
fn a_kick_refused_on_the_way_back_is_the_second_failure() {
    let mut bench = bench();
    bench.clean(WIDE.online());
    let error = KickError::with_code(KickErrorKind::Busy, 77);
    with(|w| {
        w.rule(None, 4, cpuhp_core::Direction::Down, Act::Fail(9));
        w.sim(0, |sim| sim.refusal = Some(error));
    });
    let failure = failed(bench.go(0, Way::Drive));
    assert_eq!((failure.first.at, failure.first.err.code()), (wide::P4, 9));
    let second = failure.rollback.expect("the kick was refused");
    assert_eq!(
        (second.at, second.err),
        (wide::KICK, StepError::kick(KickErrorKind::Busy))
    );
    assert_eq!(failure.kick, None, "the kick is not what failed first");
    assert_eq!(failure.left, Left::At(BELOW_KICK));
    with(|w| w.sim(0, |sim| sim.refusal = None));
    with(World::forgive);
    finish(bench);
}

/// A CPU that does not come back on the way back is in quarantine too.
#[test]
fn a_cpu_that_does_not_come_on_the_way_back_is_the_second_failure() {
    let mut bench = bench();
    bench.clean(WIDE.online());
    with(|w| {
        w.rule(None, 4, cpuhp_core::Direction::Down, Act::Fail(9));
        w.sim(0, |sim| sim.comes_at = NEVER);
    });
    let failure = failed(bench.go(0, Way::Drive));
    assert_eq!((failure.first.at, failure.first.err.code()), (wide::P4, 9));
    let second = failure.rollback.expect("it did not come");
    assert_eq!((second.at, second.err), (wide::KICK, StepError::TIMEOUT));
    assert_eq!(failure.left, Left::At(BELOW_KICK));
    assert!(with(|w| w.is_truthful(0, 7)), "PREPARE stays up");
    with(|w| w.sim(0, |sim| sim.comes_at = 0));
    with(World::forgive);
    polls(4);
    finish(bench);
}

#[test]
fn a_cpu_out_of_patience_parks_and_is_taken_back() {
    for target in [0, WIDE.kick, WIDE.ap_idle, WIDE.online()] {
        let mut bench = bench();
        with(|w| w.patience.set(Some(10 * TICK)));
        bench.clean(WIDE.kick);
        for _ in 0..20 {
            with(|w| w.pass(TICK));
            polls(1);
        }
        assert_eq!(with(|w| w.life(0)), Life::Parked);
        assert_eq!(bench.hp.tag(bench.id()), Some(Tag::Parked));
        with(|w| w.patience.set(None));
        let result = bench.go(target, Way::Drive);
        let end = bench.hp.state(bench.id());
        assert_eq!((result, end), (Ok(()), Some(StateId::new(target))));
        polls(3);
        let again = bench.go(WIDE.online(), Way::Drive);
        bench.check_clean_rest(WIDE.online(), again, "up after patience ran out");
        assert_eq!(kicks(), 0, "it was kicked once, before the log was taken");
        finish(bench);
    }
}

/// Up and down again, always checked.
fn finish(mut bench: Bench) {
    assert_eq!(CpuId::new(bench.cpu), bench.id());
    with(|w| {
        w.take_log();
        w.sim(0, |sim| sim.lingers = 1);
    });
    bench.clean(WIDE.online());
    bench.clean(0);
    bench.clean(WIDE.online());
}
