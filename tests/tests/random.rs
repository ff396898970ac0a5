//! Random public operations in cooperative time, against what must hold after each of them. One thread, so
//! the seed replays: `CPUHP_SEED=… CPUHP_OPS=… cargo test --release --test random -- --nocapture`.
#![cfg(not(loom))]

use cpuhp_core::{
    Calls, CpuId, Direction, Disabled, FaultAt, Instance, Left, OpError, OpFlags, Platform, Policy,
    RegisterError, StateHandle, StateId, StepError, Tag, Which, Why,
};
use cpuhp_tests::fake::{Machine, TICK};
use cpuhp_tests::full::{FULL, IDLE, ONLINE, ONLINE_DYN, both, instance, keep, populated};
use cpuhp_tests::random::Random;
use cpuhp_tests::shape::{Section, Shape, State};
use cpuhp_tests::world::{Act, World, with};

const CPUS: u32 = 5;
const BOOT: u32 = 2;
/// The dynamic state that comes and goes.
const HOLE: u16 = 13;

struct Script {
    r: Random,
    hp: &'static Machine,
    step: &'static cpuhp_core::Step,
    with_hole: &'static Shape,
    handle: Option<StateHandle>,
    extra: [(u16, &'static Instance); 3],
    linked: [bool; 3],
    held: Option<Disabled<'static>>,
    frozen: bool,
    done: [u32; 12],
}

fn cpu(number: u32) -> CpuId {
    CpuId::new(number)
}

impl Script {
    fn new(seed: u64) -> Self {
        let hp = populated(CPUS as usize, BOOT).hp;
        let mut states = FULL.states.to_vec();
        states[usize::from(HOLE)] = State::new("d13:online", Section::Online, "ud");
        let with_hole = Box::leak(Box::new(Shape {
            states: states.leak(),
            ..FULL
        }));
        Self {
            r: Random(seed),
            hp,
            step: keep(both("d13:online", HOLE)),
            with_hole,
            handle: None,
            extra: [2, 11, 16].map(|at| (at, instance(at, 5))),
            linked: [false; 3],
            held: None,
            frozen: false,
            done: [0; 12],
        }
    }

    fn ap(&mut self) -> u32 {
        self.r.one_of(&[0, 1, 3, 4])
    }

    /// Spoils some halves for the next operation.
    fn spoil(&mut self) {
        for _ in 0..self.r.below(3) {
            let only = if self.r.one_in(3) {
                None
            } else {
                Some(self.ap())
            };
            let dir = self.r.one_of(&[Direction::Up, Direction::Down]);
            let at = self.r.one_of(&FULL.with_half(dir));
            let which = if self.r.one_in(2) { Some(0) } else { None };
            let starting = FULL.at(at).section == Section::Starting;
            let act = match self.r.below(8) {
                0..=3 if !starting => Act::Fail(if dir == Direction::Up { -3 } else { 4 }),
                4 | 5 => Act::Pend(1 + u32::try_from(self.r.below(3)).expect("small")),
                6 => Act::Hang,
                _ => Act::Take(TICK * 3),
            };
            with(|w| w.rule_on(only, (at, which), dir, act));
        }
        if self.r.one_in(12) {
            let n = self.ap();
            with(|w| w.sim(n, |sim| sim.comes_at = u64::MAX));
        }
        if self.r.one_in(12) {
            let n = self.ap();
            with(|w| w.sim(n, |sim| sim.lingers = u32::MAX));
        }
    }

    /// Everything works again; CPUs that are late come, those that linger go.
    fn mend(&mut self) {
        with(World::forgive);
        for n in (0..CPUS).filter(|n| *n != BOOT) {
            with(|w| {
                w.sim(n, |sim| {
                    (sim.comes_at, sim.lingers) = (0, 1);
                });
            });
        }
        World::poll_all_now();
        for n in (0..CPUS).filter(|n| *n != BOOT) {
            let id = cpu(n);
            let torn = |hp: &Machine| {
                let error = hp.last_error(id);
                error.is_some_and(|e| e.rollback.is_some() || matches!(e.left, Left::InFlight(_)))
                    || error.is_some_and(|e| e.first.err == StepError::STUCK)
            };
            with(|w| w.settle(n));
            if torn(self.hp) {
                self.force_down(n);
            }
        }
    }

    /// From wherever a CPU is, half up or stuck, to OFFLINE.
    fn force_down(&mut self, n: u32) {
        let guard = self.hp.try_write().expect("nobody else is here");
        assert_eq!(guard.disarm_fault(cpu(n)), Ok(()));
        let disabled = self.frozen || self.held.is_some();
        drop(guard);
        if disabled {
            self.held = None;
            if self.frozen {
                self.frozen = false;
                assert!(self.hp.thaw().is_ok());
            }
        }
        for _ in 0..3 {
            let guard = self.hp.try_write().expect("nobody else is here");
            let op = guard.op(cpu(n), StateId::OFFLINE, OpFlags::FORCE);
            let mut op = op.unwrap_or_else(|e| panic!("forced: {e}"));
            let result = loop {
                if let core::task::Poll::Ready(result) = op.poll(&guard) {
                    break result;
                }
                let until = op.deadline(&guard);
                self.hp
                    .platform()
                    .wait(cpuhp_core::Who::Control(cpu(n)), until);
            };
            if result.is_ok() {
                return;
            }
        }
        panic!("cpu {n} does not go down: {:?}", self.hp.last_error(cpu(n)));
    }

    fn step(&mut self) {
        let n = self.ap();
        let resting: Vec<u16> = FULL.resting().collect();
        let target = StateId::new(self.r.one_of(&resting));
        let kind = self.r.below(12);
        self.done[kind] += 1;
        match kind {
            0..=2 => self.judge(self.hp.drive(cpu(n), target).map(|()| target), n),
            3 => {
                let text = format!("{}{}", target, self.r.one_of(&["", ":up", ":down"]));
                let _ = self.hp.write_node(&format!("cpu{n}/fail"), &text);
            }
            4 => {
                let limit = u32::try_from(self.r.below(7)).expect("small");
                let before = self.hp.online().count();
                if self.hp.bring_up_to(Which::All, limit).is_ok() {
                    let online = self.hp.online().count();
                    assert!(
                        online <= before.max(limit as usize),
                        "limit {limit}: {online}"
                    );
                }
            }
            5 => {
                let policy = self.r.one_of(&[Policy::AllOrNothing, Policy::BestEffort]);
                let _ = self.hp.take_down_with(Which::All, policy);
            }
            6 => self.freeze_or_thaw(),
            7 | 8 => self.register_or_not(),
            9 => self.link_or_not(),
            10 => {
                self.held = match self.held.take() {
                    Some(_) => None,
                    None => self.hp.try_write().ok().and_then(|g| g.disable().ok()),
                };
            }
            _ => self.look(),
        }
    }

    /// Reads, and keeps the writer out meanwhile.
    fn look(&self) {
        let reader = self.hp.try_read().expect("nobody writes");
        let busy = self.hp.try_write().expect_err("a reader");
        assert_eq!(busy.why(), Some(Why::Busy));
        drop(reader);
        let mut text = String::new();
        assert_eq!(self.hp.read_node("states", &mut text), Ok(()));
    }

    fn judge(&self, result: Result<StateId, OpError>, n: u32) {
        match result {
            Ok(at) => assert_eq!(self.hp.state(cpu(n)), Some(at)),
            Err(OpError::Failed(failure)) => {
                assert_eq!(self.hp.last_error(cpu(n)), Some(failure));
                if let Left::At(at) = failure.left {
                    assert_eq!(self.hp.state(cpu(n)), Some(at));
                }
            }
            Err(OpError::Refused(refusal)) => {
                let blocked = self.frozen || self.held.is_some();
                assert!(blocked && refusal.why == Why::Disabled, "{refusal}");
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn freeze_or_thaw(&mut self) {
        if self.frozen {
            let held = self.held.is_some();
            let result = self.hp.thaw();
            assert_eq!(result.is_err(), held, "{result:?}");
            self.frozen = held;
            return;
        }
        if self.r.one_in(3) {
            let point = u32::try_from(self.r.below(6)).expect("small");
            with(|w| w.aborts.set(Some(point)));
        }
        let before: Vec<CpuId> = self.hp.online().iter().collect();
        let result = self.hp.freeze();
        with(|w| w.aborts.set(None));
        self.frozen = result.is_ok();
        if result.is_ok() {
            let mut expected = before;
            expected.retain(|id| *id != cpu(BOOT));
            assert!(self.hp.frozen().iter().eq(expected));
        } else {
            assert!(self.hp.frozen().is_empty());
        }
    }

    fn register_or_not(&mut self) {
        let moving = |e: &RegisterError| matches!(e, RegisterError::Refused(r) if r.why() == Some(Why::Busy));
        // A failed undo, or a CPU that does not answer, leaves what the book cannot follow.
        with(World::forgive);
        if let Some(handle) = self.handle {
            let result = with(|w| w.registering(|| self.hp.unregister(handle, Calls::Run)));
            if result == Ok(0) {
                self.handle = None;
                with(|w| w.reshape(&FULL));
            } else {
                assert!(result.as_ref().is_err_and(moving), "{result:?}");
            }
            return;
        }
        if self.r.one_in(2) {
            let fails = self.r.below(CPUS as usize);
            let fails = u32::try_from(fails).ok();
            with(|w| w.rule(fails, HOLE, Direction::Up, Act::Fail(-9)));
        }
        with(|w| w.reshape(self.with_hole));
        let result =
            with(|w| w.registering(|| self.hp.register(ONLINE_DYN, self.step, Calls::Run)));
        match result {
            Ok(handle) => self.handle = Some(handle),
            Err(error) => {
                let failed = matches!(error, RegisterError::Failed { undo: None, .. });
                assert!(failed || moving(&error), "{error}");
                with(|w| w.reshape(&FULL));
            }
        }
    }

    fn link_or_not(&mut self) {
        with(World::forgive);
        let which = self.r.below(3);
        let (at, one) = self.extra[which];
        let state = StateId::new(at);
        let mut list: Vec<u8> = (0..cpuhp_tests::full::instances(at)).collect();
        let result = if self.linked[which] {
            with(|w| w.registering(|| self.hp.remove_instance(state, one, Calls::Run))).map(|_| ())
        } else {
            if self.r.one_in(2) {
                let fails = u32::try_from(self.r.below(CPUS as usize)).ok();
                with(|w| w.rule_on(fails, (at, Some(5)), Direction::Up, Act::Fail(-9)));
            }
            list.push(5);
            with(|w| w.registering(|| self.hp.add_instance(state, one, Calls::Run)))
        };
        match result {
            Ok(()) => {
                self.linked[which] ^= true;
                with(|w| w.set_instances(at, &list));
            }
            Err(RegisterError::Failed { undo: None, .. }) => {}
            Err(RegisterError::Refused(e)) if e.why() == Some(Why::Busy) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// What must hold of every CPU at rest.
    fn check(&self) {
        for n in 0..CPUS {
            let id = cpu(n);
            let at = self.hp.state(id).expect("there is such a cpu").get();
            assert_eq!(self.hp.target(id), self.hp.state(id), "cpu {n} (bug 12)");
            assert!(
                with(|w| w.is_truthful(n, at)),
                "cpu {n} at {at}: steps that are up"
            );
            let up = matches!(self.hp.tag(id), Some(Tag::Up));
            assert_eq!(up, at >= IDLE, "cpu {n} at {at} is {:?}", self.hp.tag(id));
            assert_eq!(
                self.hp.available().contains(id),
                at >= IDLE,
                "cpu {n} at {at}"
            );
            assert_eq!(
                self.hp.online().contains(id),
                at == ONLINE,
                "cpu {n} at {at}"
            );
        }
        assert_eq!(self.hp.state(cpu(BOOT)), Some(StateId::new(ONLINE)));
    }
}

fn number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |text| text.parse().expect("a number"))
}

fn run(seed: u64, ops: u64) -> [u32; 12] {
    let mut script = Script::new(seed);
    for op in 0..ops {
        let caught = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
            script.spoil();
            script.step();
            script.mend();
            script.check();
            with(World::take_log);
        }));
        if let Err(panic) = caught {
            eprintln!("CPUHP_SEED={seed} CPUHP_OPS={}", op + 1);
            std::panic::resume_unwind(panic);
        }
    }
    script.done
}

#[test]
fn random_operations_hold_every_invariant() {
    let (seed, ops) = (number("CPUHP_SEED", 1), number("CPUHP_OPS", 20_000));
    println!("CPUHP_SEED={seed} CPUHP_OPS={ops}");
    let begun = std::time::Instant::now();
    let done = run(seed, ops);
    println!("{done:?} in {:?}", begun.elapsed());
    assert!(ops < 1_000 || done.iter().all(|count| *count > 0));
}

/// A million, as the release asks for: `cargo test --release --test random -- --ignored`.
#[test]
#[ignore = "long; run in release"]
fn a_million_random_operations_hold_every_invariant() {
    for seed in 0..10 {
        run(number("CPUHP_SEED", 1_000) + seed, 100_000);
    }
}

/// The same seed does the same.
#[test]
fn a_seed_replays() {
    let log = |seed| {
        let done = run(seed, 300);
        (done, with(World::time), FaultAt::Either)
    };
    assert_eq!(log(7), log(7));
}
