//! Random public operations in cooperative time, against what must hold after each of them. One thread, so
//! the seed replays: `CPUHP_SEED=… CPUHP_OPS=… cargo test --release --test random -- --nocapture`.
#![cfg(not(loom))]

mod many;
mod registry;

use core::task::Poll;

use cpuhp_core::{
    CpuId, Direction, Disabled, FaultAt, Left, OpError, OpFlags, Platform, StateId, StepError, Tag,
    Who, Why,
};
use cpuhp_tests::fake::{Machine, TICK};
use cpuhp_tests::full::{FULL, IDLE, ONLINE, populated};
use cpuhp_tests::random::Random;
use cpuhp_tests::shape::Section;
use cpuhp_tests::world::{Act, World, with};

use registry::Registry;

const CPUS: u32 = 5;
const BOOT: u32 = 2;
/// Kinds of operations, for the report.
const KINDS: [&str; 18] = [
    "drive",
    "drive",
    "drive",
    "fault",
    "limit",
    "policy",
    "freeze",
    "register",
    "register",
    "instance",
    "disable",
    "look",
    "some up",
    "some down",
    "abandon",
    "target",
    "force all",
    "start instance",
];

struct Script {
    r: Random,
    hp: &'static Machine,
    registry: Registry,
    held: Option<Disabled<'static>>,
    frozen: bool,
    done: [u32; KINDS.len()],
    /// Operations after which some CPU was elsewhere.
    moved: u32,
}

fn cpu(number: u32) -> CpuId {
    CpuId::new(number)
}

impl Script {
    fn new(seed: u64) -> Self {
        let machine = populated(CPUS as usize, BOOT);
        Self {
            r: Random(seed),
            hp: machine.hp,
            registry: Registry::new(&machine),
            held: None,
            frozen: false,
            done: [0; KINDS.len()],
            moved: 0,
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
                if let Poll::Ready(result) = op.poll(&guard) {
                    break result;
                }
                let until = op.deadline(&guard);
                self.hp.platform().wait(Who::Control(cpu(n)), until);
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
        let kind = match self.r.below(KINDS.len()) {
            // Nothing moves meanwhile: not for long.
            _ if self.frozen && self.r.one_in(2) => 6,
            _ if self.held.is_some() && self.r.one_in(2) => 10,
            kind => kind,
        };
        self.done[kind] += 1;
        match kind {
            0..=2 => self.judge(self.hp.drive(cpu(n), target).map(|()| target), n),
            3 => {
                let text = format!("{}{}", target, self.r.one_of(&["", ":up", ":down"]));
                let _ = self.hp.write_node(&format!("cpu{n}/fail"), &text);
            }
            4 => self.up_to_a_limit(),
            5 => self.down_by_a_policy(),
            6 => self.freeze_or_thaw(),
            7 | 8 => self.register_or_not(),
            9 => self.link_or_not(),
            10 => {
                self.held = match self.held.take() {
                    Some(_) => None,
                    None => self.hp.try_write().ok().and_then(|g| g.disable().ok()),
                };
            }
            11 => self.look(),
            12 => self.some_up(),
            13 => self.some_down(),
            14 => self.abandon_and_resume(n, target),
            15 => self.write_target(n, target),
            16 => self.force_all(),
            _ => self.start_link_or_not(),
        }
    }

    /// Reads, and keeps the writer out meanwhile.
    fn look(&self) {
        let reader = self.hp.try_read().expect("nobody writes");
        let busy = self.hp.try_write().expect_err("a reader");
        assert_eq!(busy.why(), Some(Why::Busy));
        drop(reader);
        let mut writing = self.hp.begin_write().expect("nobody writes");
        assert!(writing.poll().is_ready());
        drop(writing);
        for node in [
            "states",
            "instances",
            "online",
            "frozen",
            "cpu1/error",
            "cpu3/fail",
        ] {
            let mut text = String::new();
            assert_eq!(self.hp.read_node(node, &mut text), Ok(()));
        }
    }

    /// Drops an operation in the middle, as a CPU that dies does, and takes it up again.
    fn abandon_and_resume(&mut self, n: u32, target: StateId) {
        let flags = self.r.one_of(&[OpFlags::AUTO, OpFlags::empty()]);
        let guard = self.hp.try_write().expect("nobody else is here");
        let begun = guard.op(cpu(n), target, flags);
        let mut op = match begun {
            Ok(op) => op,
            Err(refused) => return self.judge(Err(refused), n),
        };
        for _ in 0..self.r.below(4) {
            if let Poll::Ready(result) = op.poll(&guard) {
                return self.judge(result.map(|()| target), n);
            }
            self.hp
                .platform()
                .wait(Who::Control(cpu(n)), op.deadline(&guard));
        }
        drop((op, guard));
        let guard = self.hp.try_write().expect("nobody else is here");
        let busy = guard.op(cpu(n), target, flags).map(|_| ());
        assert!(busy.is_err(), "it is somebody's");
        let mut op = guard.resume(cpu(n)).expect("it was abandoned");
        let result = loop {
            if let Poll::Ready(result) = op.poll(&guard) {
                break result;
            }
            self.hp
                .platform()
                .wait(Who::Control(cpu(n)), op.deadline(&guard));
        };
        self.judge(result.map(|()| target), n);
    }

    fn write_target(&self, n: u32, target: StateId) {
        let result = self
            .hp
            .write_node(&format!("cpu{n}/target"), &target.to_string());
        match result {
            Ok(()) => self.judge(Ok(target), n),
            Err(cpuhp_core::ControlError::Operation(error)) => self.judge(Err(error), n),
            Err(other) => {
                let refused = other == cpuhp_core::ControlError::NotATarget;
                assert!(refused && (6..=9).contains(&target.get()), "{other}");
            }
        }
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

/// How many of each kind, and after how many some CPU was elsewhere.
type Done = ([u32; KINDS.len()], u32);

fn number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |text| text.parse().expect("a number"))
}

fn run(seed: u64, ops: u64) -> Done {
    let mut script = Script::new(seed);
    for op in 0..ops {
        let caught = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
            script.spoil();
            let states = |s: &Script| [0, 1, 2, 3, 4].map(|n| s.hp.state(cpu(n)));
            let before = states(&script);
            script.step();
            script.moved += u32::from(states(&script) != before);
            script.mend();
            script.check();
            with(World::take_log);
        }));
        if let Err(panic) = caught {
            eprintln!("CPUHP_SEED={seed} CPUHP_OPS={}", op + 1);
            std::panic::resume_unwind(panic);
        }
    }
    (script.done, script.moved)
}

#[test]
fn random_operations_hold_every_invariant() {
    let (seed, ops) = (number("CPUHP_SEED", 1), number("CPUHP_OPS", 20_000));
    println!("CPUHP_SEED={seed} CPUHP_OPS={ops}");
    let begun = std::time::Instant::now();
    let done = run(seed, ops);
    report(&done, begun);
    assert!(ops < 1_000 || done.0.iter().all(|count| *count > 0));
    assert!(ops < 1_000 || u64::from(done.1) > ops / 4);
}

fn report((done, moved): &Done, begun: std::time::Instant) {
    let kinds = KINDS
        .iter()
        .zip(done)
        .map(|(name, count)| format!("{name} {count}"));
    let (all, kinds) = (
        done.iter().sum::<u32>(),
        kinds.collect::<Vec<_>>().join(", "),
    );
    println!(
        "@proof {all} operations, {moved} of them moved a CPU, 0 violations in {:.1?} ({kinds})",
        begun.elapsed()
    );
}

/// A million, as the release asks for.
#[test]
fn a_million_random_operations_hold_every_invariant() {
    let begun = std::time::Instant::now();
    let mut all: Done = ([0; KINDS.len()], 0);
    for seed in 0..10 {
        let done = run(number("CPUHP_SEED", 1_000) + seed, 100_000);
        let sums = all.0.iter_mut().zip(done.0);
        sums.for_each(|(sum, count)| *sum += count);
        all.1 += done.1;
    }
    report(&all, begun);
    assert_eq!(all.0.iter().sum::<u32>(), 1_000_000);
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
