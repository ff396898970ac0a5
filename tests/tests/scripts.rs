//! Random scripts against the model: operations, faults and waits on several CPUs in turn, with CPUs
//! that come late, never, or run on. Seeded: a failure prints its seed and the script so far.
#![cfg(not(loom))]

use cpuhp_core::{CpuId, Direction, KickOutcome, OpError, OpFlags, StateId, Table, Tag, Which};
use cpuhp_tests::fake::{Life, Machine};
use cpuhp_tests::shape::Shape;
use cpuhp_tests::tables::{QUICK, RUNS, WIDE, quick, runs, wide};
use cpuhp_tests::verdict::adopted;
use cpuhp_tests::world::{Act, Event, Exclusion, World, with};

const CPUS: u32 = 5;
const BOOT: u32 = 3;
const SCRIPTS: u64 = 1_000;
const LENGTH: u32 = 14;

/// `splitmix64`: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits fit") % count
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn ap(&mut self) -> u32 {
        self.one_of(&[0, 1, 2, 4])
    }
}

struct Script {
    random: Random,
    hp: &'static Machine,
    shape: &'static Shape,
    told: Vec<String>,
}

impl Script {
    /// Spoils or mends something.
    fn meddle(&mut self) {
        let r = &mut self.random;
        let cpu = r.ap();
        let dir = r.one_of(&[Direction::Up, Direction::Down]);
        let step = r.one_of(&self.shape.with_half(dir));
        let fallible = r.one_of(&self.shape.fallible(dir));
        let text = with(|w| match r.below(9) {
            0 | 1 => {
                w.rule(Some(cpu), fallible, dir, Act::Fail(40));
                format!("cpu {cpu}: {dir:?} of {fallible} fails")
            }
            2 => {
                w.rule(Some(cpu), step, dir, Act::Hang);
                format!("cpu {cpu}: {dir:?} of {step} hangs")
            }
            3 => {
                w.rule(None, step, dir, Act::Take(3_000_000));
                format!("{dir:?} of {step} takes 3 ms")
            }
            4 => {
                w.sim(cpu, |sim| sim.comes_at = u64::MAX);
                format!("cpu {cpu} does not come")
            }
            5 => {
                w.sim(cpu, |sim| sim.lingers = u32::MAX);
                format!("cpu {cpu} runs on")
            }
            6 => {
                (0..3).for_each(|_| w.poll_all());
                "all poll".into()
            }
            _ => {
                mend();
                "all is well".into()
            }
        });
        self.told.push(text);
    }

    /// Runs one operation; whatever it answers is held against what can be seen.
    fn operate(&mut self) {
        let r = &mut self.random;
        let cpu = CpuId::new(r.ap());
        let resting: Vec<u16> = self.shape.resting().collect();
        let target = StateId::new(r.one_of(&resting));
        let flags = r.one_of(&[OpFlags::empty(), OpFlags::AUTO]);
        match r.below(7) {
            0 => {
                self.told.push("bring_up(All)".into());
                self.batch(Direction::Up);
            }
            1 => {
                self.told.push("take_down(All)".into());
                self.batch(Direction::Down);
            }
            2 => {
                self.told.push(format!("resume {cpu}"));
                let guard = self.hp.try_write().expect("nobody holds it");
                if let Ok(op) = guard.resume(cpu) {
                    let result = self.end(&guard, op);
                    self.check(cpu, None, result);
                }
            }
            _ => {
                self.told.push(format!("{cpu} to {target}, {flags:?}"));
                let guard = self.hp.try_write().expect("nobody holds it");
                let op = guard.op(cpu, target, flags).expect("legal");
                let result = self.end(&guard, op);
                self.check(cpu, Some(target), result);
            }
        }
    }

    /// Polls to the end; now and then the handle is lost and the operation resumed.
    fn end(
        &mut self,
        guard: &cpuhp_core::WriteGuard<'_, '_, cpuhp_tests::fake::Fake, ()>,
        mut op: cpuhp_core::CpuOp,
    ) -> Result<(), OpError> {
        for _ in 0..20_000 {
            if let core::task::Poll::Ready(result) = op.poll(guard) {
                return result;
            }
            with(|w| {
                w.pass(1_000_000);
                w.poll_all();
            });
            if self.random.one_in(200) {
                op = guard.resume(op.cpu()).expect("it is pending");
            }
        }
        panic!("the operation does not end");
    }

    fn batch(&mut self, dir: Direction) {
        let up = dir == Direction::Up;
        let report = if up {
            self.hp.bring_up(Which::All)
        } else {
            self.hp.take_down(Which::All)
        };
        let report = report.expect("the batch is legal");
        assert_eq!(report.skipped, 0);
        let named = report.done + report.failed + report.stuck + report.not_tried;
        assert!(!up || named == CPUS - 1, "{report}");
        (0..CPUS).for_each(|n| self.consistent(CpuId::new(n)));
    }

    /// An answer is true: at the target, or the error says where.
    fn check(&self, cpu: CpuId, target: Option<StateId>, result: Result<(), OpError>) {
        let state = self.hp.state(cpu);
        match result {
            Ok(()) => {
                assert!(target.is_none() || state == target, "Ok in {state:?}");
                assert_eq!(self.hp.last_error(cpu), None);
                with(|w| w.settle(cpu.get()));
            }
            Err(OpError::Failed(failure)) => {
                assert_eq!(self.hp.last_error(cpu), Some(failure));
                let (cpuhp_core::Left::At(left) | cpuhp_core::Left::InFlight(left)) = failure.left;
                assert_eq!((failure.cpu, Some(left)), (cpu, state));
            }
            Err(refused) => panic!("{refused}"),
        }
        self.consistent(cpu);
    }

    /// I1, masks, tag and target of a CPU that no operation moves.
    fn consistent(&self, cpu: CpuId) {
        let (hp, shape) = (self.hp, self.shape);
        let state = hp.state(cpu).map_or(u16::MAX, StateId::get);
        let tag = hp.tag(cpu).expect("there is such a cpu");
        // A CPU between two steps of a stuck walk is truthful too.
        assert!(
            with(|w| w.is_truthful(cpu.get(), state)),
            "{cpu} in {state}, {tag:?}"
        );
        let settled = hp.target(cpu) == hp.state(cpu);
        let stuck = hp.last_error(cpu).is_some();
        assert!(
            settled || stuck,
            "{cpu}: target {:?}, state {state} (bug 12)",
            hp.target(cpu)
        );
        if tag == Tag::Up && !stuck {
            assert!(hp.available().contains(cpu), "{cpu} in {state}");
            let online = hp.online().contains(cpu);
            assert_eq!(online, state == shape.online(), "{cpu} in {state}");
        }
        if matches!(tag, Tag::Dead | Tag::Cancelled | Tag::Parked | Tag::Kicked) {
            assert!(
                !hp.available().contains(cpu) && !hp.online().contains(cpu),
                "{cpu}, {tag:?}"
            );
        }
    }

    /// Mends everything; then all come up and all go down, and every kick has had its one outcome.
    fn conclude(&mut self) {
        mend();
        // The first batch takes over what was stuck, where operations on single CPUs may have put two
        // into one step; the second one starts from rest.
        for exclusion in [Exclusion::Unchecked, Exclusion::All] {
            with(|w| w.exclude(exclusion));
            assert!(self.hp.bring_up(Which::All).is_ok());
        }
        for up in [false, true, false] {
            let report = if up {
                self.hp.bring_up(Which::All)
            } else {
                self.hp.take_down(Which::All)
            };
            assert_eq!(
                report.map(|r| (r.done, r.is_complete())),
                Ok((CPUS - 1, true))
            );
        }
        for n in (0..CPUS).filter(|n| *n != BOOT) {
            let cpu = CpuId::new(n);
            assert_eq!(self.hp.state(cpu), Some(StateId::OFFLINE));
            assert_eq!(self.hp.target(cpu), Some(StateId::OFFLINE), "bug 12");
            assert!(matches!(with(|w| w.life(n)), Life::Off | Life::Parked));
            assert!(with(|w| w.is_truthful(n, 0)));
            let log = with(World::log);
            let of = |wanted: fn(&Event, u32) -> bool| log.iter().filter(|e| wanted(e, n)).count();
            let kicks = of(|e, n| matches!(e, Event::Kick(c, Ok(())) if *c == n));
            let told = of(|e, n| matches!(e, Event::KickDone(c, _) if *c == n));
            assert_eq!(told, kicks, "{cpu}: one outcome per kick (bug 41)");
            let lost = of(|e, n| matches!(e, Event::KickDone(c, KickOutcome::Lost) if *c == n));
            assert_eq!(lost, 0, "{cpu} was never off before it came");
        }
    }
}

fn mend() {
    with(|w| {
        w.forgive();
        (0..CPUS).for_each(|n| w.sim(n, |sim| (sim.comes_at, sim.lingers) = (0, 1)));
    });
}

fn run(seed: u64, table: &'static Table, shape: &'static Shape) {
    let hp = adopted(CPUS as usize, BOOT, table, shape);
    let mut script = Script {
        random: Random(seed),
        hp,
        shape,
        told: Vec::new(),
    };
    let play = core::panic::AssertUnwindSafe(|| {
        for _ in 0..LENGTH {
            if script.random.one_in(3) {
                script.meddle();
            } else {
                script.operate();
            }
        }
        script.conclude();
    });
    if let Err(panic) = std::panic::catch_unwind(play) {
        println!("seed {seed:#x}: {:#?}", script.told);
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn random_scripts_end_in_a_machine_that_works() {
    let tables: [(&Table, &Shape); 3] = [
        (&wide::TABLE, &WIDE),
        (&runs::TABLE, &RUNS),
        (&quick::TABLE, &QUICK),
    ];
    // A number in CPUHP_SEED repeats one script.
    let only = std::env::var("CPUHP_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    for seed in only.map_or(0..SCRIPTS, |seed| seed..seed + 1) {
        for (table, shape) in tables {
            run(seed, table, shape);
        }
    }
}
