//! The steps of the storm, and the machine's own book: one word per CPU, one bit per step.
//!
//! A callback is checked on the spot: on the right CPU, nothing twice, static steps in their order.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::task::Poll;

use cpuhp_core::{
    CpuId, Ctx, Instance, Instances, MultiStep, Platform, StartStep, StateId, Step, StepError,
    StepResult, states,
};
use cpuhp_sim::Threads;

use crate::random::mix;

/// CPUs of the machine; CPU 0 is the boot CPU, where the contexts are.
pub(crate) const CPUS: u32 = 8;
/// Threads that issue operations.
pub(crate) const CONTEXTS: usize = 4;

/// Static steps, by their bits, in order.
pub(crate) const STATIC: u64 = 0x7f;
/// First bit of the registered steps, one per context and range.
const DYNAMIC: u32 = 16;
/// First bit of the instances, two per context.
const OBJECTS: u32 = 40;

static BOOKS: [AtomicU64; CPUS as usize] = [const { AtomicU64::new(0) }; CPUS as usize];
static MACHINE: RwLock<Option<&'static Threads>> = RwLock::new(None);
static SEED: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);
/// Nothing fails and nothing waits from here on.
static CALM: AtomicBool = AtomicBool::new(false);

states! {
    pub(crate) mod hp {
        prepare {
            P0 = Step::new("p0:prepare").up(up::<0>).down(down::<0>);
            P1 = Step::new("p1:prepare").up(up::<1>).down(down::<1>).parallel();
            PM = Step::new("pm:prepare").multi(&PREPARED).parallel();
        } dynamic[6] parallel_dynamic[4]
        starting {
            S2 = StartStep::new("s2:starting").up(start::<2>).down(stop::<2>).parallel();
            S3 = StartStep::new("s3:starting").up(start::<3>).down(stop::<3>).parallel();
        }
        online {
            O4 = Step::new("o4:online").up(up::<4>).down(down::<4>).parallel();
            OM = Step::new("om:online").multi(&ONLINED);
            O5 = Step::new("o5:online").up(up::<5>).down(down::<5>);
        } dynamic[6] late { L6 = Step::new("l6:late").up(up::<6>).down(down::<6>).parallel(); }
    }
}

/// Static states with the bits of their steps.
pub(crate) const NUMBERED: [(StateId, u32); 7] = [
    (hp::P0, 0),
    (hp::P1, 1),
    (hp::S2, 2),
    (hp::S3, 3),
    (hp::O4, 4),
    (hp::O5, 5),
    (hp::L6, 6),
];

static PREPARED: Instances = Instances::new();
static ONLINED: Instances = Instances::new();

/// What a context registers: one step per range.
pub(crate) static EXTRA: [[Step; 3]; CONTEXTS] = [
    [extra::<16>(), extra::<17>(), extra::<18>()],
    [extra::<19>(), extra::<20>(), extra::<21>()],
    [extra::<22>(), extra::<23>(), extra::<24>()],
    [extra::<25>(), extra::<26>(), extra::<27>()],
];

const fn extra<const BIT: u32>() -> Step {
    assert!(BIT >= DYNAMIC && BIT < OBJECTS, "a bit of its own");
    Step::new("extra:any")
        .up(up::<BIT>)
        .down(down::<BIT>)
        .parallel()
}

/// What a context adds to the two multi-instance states.
pub(crate) static OBJECT: [[Object; 2]; CONTEXTS] = [
    [Object(40), Object(41)],
    [Object(42), Object(43)],
    [Object(44), Object(45)],
    [Object(46), Object(47)],
];
pub(crate) static INSTANCE: [[Instance; 2]; CONTEXTS] = [
    [one(0, 0), one(0, 1)],
    [one(1, 0), one(1, 1)],
    [one(2, 0), one(2, 1)],
    [one(3, 0), one(3, 1)],
];

const fn one(context: usize, which: usize) -> Instance {
    Instance::new(&OBJECT[context][which])
}

/// An object of one bit.
#[derive(Debug)]
pub(crate) struct Object(u32);

impl MultiStep for Object {
    fn up(&self, ctx: &Ctx<'_>) -> StepResult {
        mood(24, 64)?;
        toggle(self.0, ctx, Half::Up);
        Ok(())
    }

    /// Fails and waits on the way back only: a removal that meets an error, or whose time is over, goes on and
    /// would leave it up for ever.
    fn down(&self, ctx: &Ctx<'_>) -> StepResult {
        if ctx.is_rollback() {
            mood(8, 64)?;
        }
        toggle(self.0, ctx, Half::Down);
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Half {
    Up,
    Down,
}

/// Begins a run: all books empty.
pub(crate) fn begin(machine: &'static Threads, seed: u64) {
    *MACHINE.write().unwrap_or_else(PoisonError::into_inner) = Some(machine);
    for book in &BOOKS {
        book.store(0, Ordering::SeqCst);
    }
    SEED.store(seed, Ordering::SeqCst);
    CALLS.store(0, Ordering::SeqCst);
    CALM.store(true, Ordering::SeqCst);
}

/// From here on steps fail and wait.
pub(crate) fn stir() {
    CALM.store(false, Ordering::SeqCst);
}

/// From here on they do not.
pub(crate) fn calm() {
    CALM.store(true, Ordering::SeqCst);
}

/// What is up on a CPU.
pub(crate) fn book(cpu: CpuId) -> u64 {
    BOOKS[cpu.index()].load(Ordering::Relaxed)
}

/// How many callbacks ran.
pub(crate) fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// One of `fails` calls fails, one of `waits` asks to be called again; 0 is none.
fn mood(fails: u64, waits: u64) -> StepResult {
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    if CALM.load(Ordering::Relaxed) {
        return Ok(());
    }
    let drawn = mix(SEED.load(Ordering::Relaxed) ^ call) >> 16;
    if waits > 0 && drawn.is_multiple_of(waits) {
        Err(StepError::WOULD_BLOCK)
    } else if fails > 0 && (drawn >> 16).is_multiple_of(fails) {
        StepError::user(-5).map_or(Ok(()), Err)
    } else {
        Ok(())
    }
}

fn up<const BIT: u32>(ctx: &Ctx<'_>) -> StepResult {
    mood(48, 64)?;
    toggle(BIT, ctx, Half::Up);
    Ok(())
}

fn down<const BIT: u32>(ctx: &Ctx<'_>) -> StepResult {
    // A registration that cannot be undone, or not in time, would leave it up for ever.
    let result = if BIT < DYNAMIC { mood(48, 64) } else { Ok(()) };
    if result == Err(StepError::WOULD_BLOCK) || result.is_err() && !ctx.is_forced() {
        return result;
    }
    toggle(BIT, ctx, Half::Down);
    result
}

fn start<const BIT: u32>(ctx: &Ctx<'_>) -> Poll<()> {
    if mood(0, 64).is_err() {
        return Poll::Pending;
    }
    toggle(BIT, ctx, Half::Up);
    Poll::Ready(())
}

fn stop<const BIT: u32>(ctx: &Ctx<'_>) -> Poll<()> {
    if mood(0, 64).is_err() {
        return Poll::Pending;
    }
    toggle(BIT, ctx, Half::Down);
    Poll::Ready(())
}

/// Checks the call, and notes it.
fn toggle(bit: u32, ctx: &Ctx<'_>, half: Half) {
    let (cpu, mine) = (ctx.cpu(), 1_u64 << bit);
    let machine = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    let here = machine.expect("a run began").this_cpu();
    let prepares = matches!(bit, 0 | 1);
    let anywhere = bit >= DYNAMIC;
    assert!(
        anywhere || (here == cpu) != prepares || cpu == CpuId::new(0),
        "{half:?} of {bit} for {cpu} runs on {here}"
    );
    let book = &BOOKS[cpu.index()];
    let before = match half {
        Half::Up => book.fetch_or(mine, Ordering::Relaxed),
        Half::Down => book.fetch_and(!mine, Ordering::Relaxed),
    };
    let forced = ctx.is_forced() && half == Half::Down;
    assert!(
        forced || (before & mine != 0) == (half == Half::Down),
        "{half:?} of {bit} is called twice on {cpu}"
    );
    if bit < DYNAMIC {
        let below = mine - 1;
        assert_eq!(
            before & STATIC & !mine,
            below,
            "steps that are up on {cpu} as {half:?} of {bit} is called"
        );
    }
}

/// I1: exactly the static steps up to `state` are up.
pub(crate) fn truthful(cpu: CpuId, state: StateId, up: u64) {
    for (at, bit) in NUMBERED {
        assert_eq!(
            up & 1 << bit != 0,
            at <= state,
            "{cpu} is at {state}, and step {bit} is not as it says"
        );
    }
}
