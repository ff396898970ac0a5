//! Every origin, target, failing up, failing down, pend position, instance and injected fault of a
//! table with static and multi-instance steps in every section and dynamic ones wherever they may be,
//! each held against the reference model: calls, kicks, result, masks, tag, target, what is half up.
//!
//! Faults are found by walking: only what the model meets is tried, so every case is another behaviour.
#![cfg(not(loom))]

use std::time::Instant;

use cpuhp_core::{Direction, FaultAt, OpFlags, StateId, Which, Why};
use cpuhp_tests::full::{FULL, IDLE, KICK, ONLINE, populated};
use cpuhp_tests::model::{DOWN_CODE, Kind, PENDS, UP_CODE};
use cpuhp_tests::points::{Job, Outcome, Point, Tally, expect};
use cpuhp_tests::shape::Section;
use cpuhp_tests::verdict::{Bench, Way};
use cpuhp_tests::world::{Act, Call, World, with};

struct Run {
    bench: Bench,
    way: Way,
    tally: Tally,
}

fn point(call: &Call) -> Point {
    (call.at, call.instance)
}

fn can_fail(call: &Call) -> bool {
    FULL.at(call.at).section != Section::Starting
}

fn failing(job: Job, call: &Call) -> Job {
    match call.dir {
        Direction::Up => Job {
            up_fails: Some(point(call)),
            ..job
        },
        Direction::Down => Job {
            down_fails: Some(point(call)),
            ..job
        },
    }
}

impl Run {
    fn new(way: Way) -> Self {
        Self {
            bench: Bench::over(populated(2, 1).hp, &FULL),
            way,
            tally: Tally::default(),
        }
    }

    fn model(&self, job: &Job) -> Outcome {
        let who = (self.bench.cpu, self.bench.control);
        expect(&FULL, job, self.way.kind(job.target), who)
    }

    /// A job, and the same with every half that it calls asking to be called again.
    fn with_pends(&mut self, job: Job) {
        let expected = self.model(&job);
        self.one(&job, &expected);
        let mut asked: Vec<(Point, Direction)> = Vec::new();
        for call in &expected.expect.calls {
            let half = (point(call), call.dir);
            if !asked.contains(&half) {
                asked.push(half);
                let job = Job {
                    pends: Some(half),
                    ..job
                };
                let expected = self.model(&job);
                self.one(&job, &expected);
            }
        }
    }

    /// A job that fails in one direction, and with every failure of the way back.
    fn with_way_back(&mut self, job: Job, dir: Direction) {
        self.with_pends(job);
        let calls = self.model(&job).expect.calls;
        for call in calls.iter().filter(|c| c.dir != dir && can_fail(c)) {
            self.with_pends(failing(job, call));
        }
    }

    /// The failures of the way back alone: an injected fault turns round as any other.
    fn with_failing_way_back(&mut self, job: Job, dir: Direction) {
        let calls = self.model(&job).expect.calls;
        for call in calls.iter().filter(|c| c.dir != dir && can_fail(c)) {
            let job = failing(job, call);
            let expected = self.model(&job);
            self.one(&job, &expected);
        }
    }

    /// Everything that can happen between two states.
    fn between(&mut self, origin: u16, target: u16) {
        let job = Job::plain(&FULL, origin, target);
        let dir = if target < origin {
            Direction::Down
        } else {
            Direction::Up
        };
        self.with_pends(job);
        let calls = self.model(&job).expect.calls;
        for call in calls.iter().filter(|c| can_fail(c) && c.dir == dir) {
            let failing = failing(job, call);
            if self.is_asked(&failing) {
                self.with_way_back(failing, dir);
                self.armed_on_the_way_back(failing, dir);
            }
        }
        for at in (1..ONLINE).filter(|at| FULL.at(*at).section != Section::Starting) {
            for side in [FaultAt::Up, FaultAt::Down, FaultAt::Either] {
                let armed = Job {
                    armed: Some((at, side)),
                    ..job
                };
                let legal = FULL.at(at).half(dir);
                if legal && self.model(&armed).armed.is_none() && self.is_asked(&armed) {
                    self.with_pends(armed);
                    if side != FaultAt::Either {
                        self.with_failing_way_back(armed, dir);
                    }
                }
            }
        }
    }

    /// A fault that is armed where only the rollback comes by is ignored and stays.
    fn armed_on_the_way_back(&mut self, job: Job, dir: Direction) {
        let outcome = self.model(&job);
        let back = outcome.expect.calls.iter().filter(|c| c.dir != dir);
        let mut states: Vec<u16> = back.filter(|c| can_fail(c)).map(|c| c.at).collect();
        states.dedup();
        for at in states {
            let side = match dir {
                Direction::Up => FaultAt::Down,
                Direction::Down => FaultAt::Up,
            };
            let job = Job {
                armed: Some((at, side)),
                ..job
            };
            let expected = self.model(&job);
            assert_eq!(expected.armed, job.armed);
            self.one(&job, &expected);
        }
    }

    /// A batch goes to the ends only; a refusal in PREPARE of a CPU that was not up when its batch began is
    /// neither W2 nor W9.
    fn is_asked(&self, job: &Job) -> bool {
        let is_prepare = |at: u16| at < KICK;
        let refused = job.down_fails.is_some_and(|(at, _)| is_prepare(at))
            || job.target == 0 && job.armed.is_some_and(|(at, _)| is_prepare(at));
        self.way != Way::Bulk || job.target == ONLINE || job.origin >= IDLE || !refused
    }

    fn one(&mut self, job: &Job, expected: &Outcome) {
        let bench = &mut self.bench;
        bring(bench, job.origin);
        with(|w| {
            w.forgive();
            set_rules(w, job);
        });
        if let Some((at, side)) = job.armed {
            let guard = bench.hp.try_write().expect("nobody else is here");
            let armed = guard.arm_fault(bench.id(), StateId::new(at), side);
            assert_eq!(armed, Ok(()), "{job:?}");
            // Passed over by a forced walk without a call: the book cannot know.
            if job.forced {
                with(|w| w.set_torn(Some((bench.cpu, at))));
            }
        }
        let way = match self.way {
            Way::Op(flags) if job.forced => Way::Op(flags | OpFlags::FORCE),
            Way::Resumed(flags) if job.forced => Way::Resumed(flags | OpFlags::FORCE),
            Way::Drive | Way::Op(_) | Way::Resumed(_) | Way::Bulk => self.way,
        };
        let result = bench.go(job.target, way);
        with(World::forgive);
        if let Some(at) = expected.torn {
            with(|w| w.set_torn(Some((bench.cpu, at))));
        }
        let what = format_args!("{job:?} by {way:?}");
        bench.check(&expected.expect, result, &what);
        let armed = bench.hp.armed_fault(bench.id());
        let armed = armed.map(|(at, side)| (at.get(), side));
        assert_eq!(armed, expected.armed, "{what}");
        if job.forced {
            let ignored = bench.hp.ignored(bench.id());
            assert_eq!(ignored, Some(expected.ignored), "{what}");
            job.armed.iter().for_each(|(at, _)| {
                with(|w| {
                    w.forget(0, *at);
                    w.set_torn(None);
                });
            });
        }
        let guard = bench.hp.try_write().expect("nobody else is here");
        assert_eq!(guard.disarm_fault(bench.id()), Ok(()));
        drop(guard);
        if let Some(at) = expected.torn {
            mend(bench, at, self.tally.torn);
        }
        self.tally.count(job, expected);
        arrive(bench);
        // Drivable afterwards: the next case begins by driving it. After two failures, to either end.
        if expected.expect.second.is_some() && self.tally.cases.is_multiple_of(2) {
            bring(
                bench,
                if self.tally.cases.is_multiple_of(4) {
                    0
                } else {
                    ONLINE
                },
            );
        }
    }
}

fn set_rules(w: &World, job: &Job) {
    if let Some((point, dir)) = job.pends {
        w.rule_on(None, point, dir, Act::Pend(PENDS));
    }
    if let Some(point) = job.up_fails {
        w.rule_on(None, point, Direction::Up, Act::Fail(UP_CODE));
    }
    if let Some(point) = job.down_fails {
        w.rule_on(None, point, Direction::Down, Act::Fail(DOWN_CODE));
    }
}

/// Moves the CPU without faults and checks it.
fn bring(bench: &mut Bench, to: u16) {
    if bench.state() == to {
        return;
    }
    let mut job = Job::plain(&FULL, bench.state(), to);
    job.ap = bench.ap();
    let expected = expect(&FULL, &job, Kind::Single, (bench.cpu, bench.control));
    let result = bench.go(to, Way::Drive);
    bench.check(&expected.expect, result, &format_args!("{job:?}"));
    arrive(bench);
}

/// Lets a CPU that was only kicked come.
fn arrive(bench: &Bench) {
    if bench.state() == KICK {
        with(World::poll_all);
    }
}

/// A CPU that is half up: everything but a forced teardown that passes the step is refused.
fn mend(bench: &mut Bench, at: u16, turn: u32) {
    let (hp, id) = (bench.hp, bench.id());
    let state = bench.state();
    let guard = hp.try_write().expect("nobody else is here");
    for target in FULL.resting().filter(|target| *target != state) {
        let refused = |flags| {
            let op = guard.op(id, StateId::new(target), flags);
            assert_eq!(op.expect_err("it is half up").why(), Some(Why::Torn));
        };
        refused(OpFlags::AUTO);
        if target >= at {
            refused(OpFlags::FORCE);
        }
    }
    drop(guard);
    let mask = cpuhp_core::MaskStore::<1>::new();
    mask.get_mut().insert(id);
    for report in [
        hp.bring_up(Which::All),
        hp.take_down(Which::Only(mask.get())),
    ] {
        assert_eq!(report.map(|r| (r.skipped, r.done)), Ok((1, 0)), "half up");
    }
    let guard = hp.try_write().expect("nobody else is here");
    // Just below, and all the way down, by turns.
    let below = FULL.resting().filter(|to| *to < at).last().unwrap_or(0);
    let target = if turn.is_multiple_of(2) { 0 } else { below };
    let op = guard.op(id, StateId::new(target), OpFlags::FORCE);
    let mut op = op.expect("a forced teardown may pass");
    let result = bench.finish(&guard, &mut op);
    drop(guard);
    assert_eq!(result, Ok(()), "forced from {state} to {target}");
    with(|w| w.set_torn(None));
    let end = bench.state();
    assert!(end < at, "it was passed");
    assert_eq!(with(|w| w.instances_up(0, at)), Vec::<u8>::new());
    assert!(with(|w| w.is_truthful(0, end)), "steps that are up");
    with(World::take_log);
}

fn enumerate(way: Way, origins: impl Iterator<Item = u16>) -> Tally {
    let begun = Instant::now();
    let mut run = Run::new(way);
    for origin in origins {
        for target in FULL.resting() {
            if way == Way::Bulk && target != 0 && target != ONLINE {
                continue;
            }
            run.between(origin, target);
        }
    }
    println!("@proof {way:?}: {:?} in {:.1?}", run.tally, begun.elapsed());
    run.tally
}

#[test]
fn every_walk_up_or_down_from_below_is_as_the_model_says() {
    let tally = enumerate(
        Way::Op(OpFlags::AUTO),
        FULL.resting().filter(|at| *at <= IDLE),
    );
    assert!(tally.cases >= 30_000, "{tally:?}");
    // Up: on the control CPU and on an AP that goes on by itself, in a step and in an instance, with and
    // without a second failure; down from here nothing of the AP can fail.
    assert!(
        tally.places[..12].iter().all(|count| *count > 0),
        "{tally:?}"
    );
    assert!(tally.torn > 0 && tally.double > 0 && tally.injected > 0);
}

#[test]
fn every_walk_up_or_down_from_above_is_as_the_model_says() {
    let tally = enumerate(
        Way::Op(OpFlags::empty()),
        FULL.resting().filter(|at| *at > IDLE),
    );
    assert!(tally.cases >= 30_000, "{tally:?}");
    // Down: the same; up from here everything is the AP's.
    assert!(
        tally.places[4..].iter().all(|count| *count > 0),
        "{tally:?}"
    );
    assert!(tally.torn > 0 && tally.double > 0 && tally.injected > 0);
}

/// The other doors: abandoned and resumed after every poll, and a batch of one.
#[test]
fn every_walk_between_the_ends_is_as_the_model_says_by_any_door() {
    let doors: [(_, &[u16]); 3] = [
        (Way::Drive, &[KICK - 1]),
        (Way::Resumed(OpFlags::AUTO), &[0, ONLINE]),
        (Way::Bulk, &[0, KICK - 1, IDLE, ONLINE]),
    ];
    for (way, origins) in doors {
        let tally = enumerate(way, origins.iter().copied());
        assert!(tally.cases >= 1_000, "{tally:?}");
        assert!(tally.torn > 0 && tally.double > 0 && tally.injected > 0);
    }
}

/// W6: forced down, errors are counted, nothing comes back; so is an injected one, and all at once.
#[test]
fn every_forced_walk_is_as_the_model_says() {
    let mut run = Run::new(Way::Op(OpFlags::empty()));
    for origin in FULL.resting() {
        for target in FULL.resting().filter(|to| *to < origin) {
            let job = Job {
                forced: true,
                ..Job::plain(&FULL, origin, target)
            };
            run.with_pends(job);
            let calls = run.model(&job).expect.calls;
            for call in calls.iter().filter(|c| can_fail(c)) {
                run.with_pends(failing(job, call));
                for at in (target + 1..=origin).filter(|at| FULL.at(*at).half(Direction::Down)) {
                    if FULL.at(at).section != Section::Starting {
                        let armed = Some((at, FaultAt::Down));
                        let job = Job {
                            armed,
                            ..failing(job, call)
                        };
                        let expected = run.model(&job);
                        run.one(&job, &expected);
                    }
                }
            }
        }
    }
    println!("@proof forced: {:?}", run.tally);
    assert!(run.tally.cases >= 5_000 && run.tally.passed_over > 0 && run.tally.failed == 0);
}
