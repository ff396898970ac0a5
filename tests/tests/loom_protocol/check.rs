//! Running a model, and replaying the log of each of its executions.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cpuhp_core::{CpuId, Direction, StateId, StepError, Table};

use crate::world::{BOOT, Event, Family, Plan, World};

/// What a model is called, and how far it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) threads: u32,
    /// Preemptions per execution; only in a model whose name ends in `_bounded`.
    pub(crate) bound: Option<usize>,
}

impl Model {
    /// A model of two threads, exhaustive.
    pub(crate) const fn of(name: &'static str) -> Self {
        Self {
            name,
            threads: 2,
            bound: None,
        }
    }

    /// The same with a bound.
    pub(crate) const fn bounded(name: &'static str, threads: u32, bound: usize) -> Self {
        Self {
            name,
            threads,
            bound: Some(bound),
        }
    }

    /// Explores every execution of `run` and prints what was explored.
    pub(crate) fn check(self, plan: Plan, run: impl Fn(&Rc<World>) + Send + Sync + 'static) {
        assert_eq!(
            self.bound.is_some(),
            self.name.ends_with("_bounded"),
            "a bound shows in the name"
        );
        let long = std::env::var_os("CPUHP_LOOM_LONG").is_some();
        let bound = self.bound.map(|bound| bound + usize::from(long));
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = bound;
        builder.max_branches = 100_000;
        builder.max_permutations = None;
        builder.max_duration = None;
        let executions = std::sync::Arc::new(AtomicU64::new(0));
        let counted = std::sync::Arc::clone(&executions);
        let whole = std::sync::Arc::new(AtomicU64::new(0));
        let completed = std::sync::Arc::clone(&whole);
        let began = Instant::now();
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let world = World::begin(plan);
            run(&world);
            completed.fetch_add(u64::from(!world.cut.get()), Ordering::Relaxed);
        });
        let whole = whole.load(Ordering::Relaxed);
        assert!(whole > 0, "every execution was given up: nothing was shown");
        eprintln!("{}: {whole} executions ran to their end", self.name);
        let family = match plan.family {
            Family::Spinning => "spinning",
            Family::Blocking => "blocking",
        };
        let bound = bound.map_or("null".to_owned(), |bound| bound.to_string());
        println!(
            "@loom {{\"model\":\"{}\",\"family\":\"{family}\",\"threads\":{},\"bound\":{bound},\"executions\":{},\"seconds\":{:.2}}}",
            self.name,
            self.threads,
            executions.load(Ordering::Relaxed),
            began.elapsed().as_secs_f64(),
        );
    }
}

/// Ends a thread; the last one to end replays the log.
pub(crate) fn leave(world: &World, table: &Table) {
    world.live.set(world.live.get() - 1);
    if world.live.get() == 0 {
        replay(world, table);
    }
}

/// Checks the log, whole or cut off: it is a prefix of a legal history.
fn replay(world: &World, table: &Table) {
    let log = world.log.borrow();
    for number in 1..world.plan.cpus {
        let cpu = CpuId::new(u32::try_from(number).expect("few CPUs"));
        let mut life = Life::default();
        for event in log.iter() {
            if let Err(what) = life.see(table, cpu, *event) {
                panic!("{what}: {event:?} in {log:#?}");
            }
        }
    }
}

/// How the last operation ended, as far as it matters for what may come next.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Last {
    #[default]
    Plain,
    /// The CPU was given up on: it may run no callback.
    Cancelled,
    /// The CPU was in flight: it may still finish what it was asked for.
    Stuck,
}

/// What the log says of one CPU so far.
#[derive(Default)]
struct Life {
    /// States that are up, in order.
    up: Vec<StateId>,
    target: StateId,
    last: Last,
    /// Whether the AP ran a step in the present operation.
    ran: bool,
    kicks: u32,
    kicks_told: u32,
}

/// What is wrong, if anything.
type Legal = Result<(), &'static str>;

impl Life {
    fn see(&mut self, table: &Table, cpu: CpuId, event: Event) -> Legal {
        match event {
            Event::Begin(of, target) if of == cpu => self.begin(target),
            Event::End(of, err) if of == cpu => return self.end(err),
            Event::Call(of, on, at, dir) if of == cpu => {
                return self.call(table, (cpu, on), at, dir);
            }
            Event::Done(of, at, Direction::Up) if of == cpu => self.up.push(at),
            Event::Done(of, _, Direction::Down) if of == cpu => {
                self.up.pop();
            }
            Event::Kick(of) if of == cpu => {
                self.kicks += 1;
                if self.kicks != self.kicks_told + 1 {
                    return Err("second kick (P1)");
                }
            }
            Event::KickDone(of, _) if of == cpu => {
                self.kicks_told += 1;
                if self.kicks != self.kicks_told {
                    return Err("outcome of a kick told twice (P1)");
                }
            }
            Event::Begin(..)
            | Event::End(..)
            | Event::Call(..)
            | Event::Done(..)
            | Event::Kick(_)
            | Event::KickDone(..)
            | Event::Enter(_)
            | Event::Rest(..) => {}
        }
        Ok(())
    }

    fn begin(&mut self, target: StateId) {
        self.target = if self.last == Last::Stuck {
            self.target.max(target)
        } else {
            target.max(self.top())
        };
        (self.last, self.ran) = (Last::Plain, false);
    }

    fn end(&mut self, err: Option<StepError>) -> Legal {
        self.last = match err {
            Some(StepError::TIMEOUT) => Last::Cancelled,
            Some(StepError::STUCK) => Last::Stuck,
            _ => Last::Plain,
        };
        if self.last == Last::Cancelled && self.ran {
            return Err("a CPU that was given up on had run (P2)");
        }
        Ok(())
    }

    fn call(
        &mut self,
        table: &Table,
        (cpu, on): (CpuId, CpuId),
        at: StateId,
        dir: Direction,
    ) -> Legal {
        let side = if at < table.kick() { BOOT } else { cpu };
        if on != side {
            return Err("step on the wrong CPU");
        }
        if on == cpu && self.last == Last::Cancelled {
            return Err("callback of a cancelled AP (P2)");
        }
        self.ran |= on == cpu;
        match dir {
            Direction::Up if at <= self.top() => Err("step up twice or out of order"),
            Direction::Up if at > self.target => Err("step beyond the latest target (P5)"),
            Direction::Down if at != self.top() => Err("step down twice or out of order"),
            Direction::Up | Direction::Down => Ok(()),
        }
    }

    fn top(&self) -> StateId {
        self.up.last().copied().unwrap_or_default()
    }
}
