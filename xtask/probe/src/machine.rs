//! The machine of the probe, which any kernel has: a table with a step of every kind, storage, and a platform that
//! costs next to nothing.

use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::Poll;

use cpuhp_core::{
    Confirm, CpuId, Cpuhp, Ctx, Instance, Instances, KickError, LockWord, MaskStore, MultiStart,
    MultiStep, Platform, Record, StartStep, Step, StepResult, Store, states, words,
};

use crate::tracer::{TRACER, Tracer};

/// CPUs whose storage is measured.
pub(crate) const CPUS: usize = 64;

/// One record, to be found by its name.
#[used]
static PROBE_RECORD: Record = Record::new();

/// Storage that has to stay in `.bss`.
pub(crate) static PROBE_STORE: Store<CPUS, { words(CPUS) }, { hp::NDYN }, CPUS> = Store::new();

/// The lock of storage that a kernel allocates.
pub(crate) static LOCK: LockWord = LockWord::new();

/// CPUs that are named one by one.
pub(crate) static CHOSEN: MaskStore<{ words(CPUS) }> = MaskStore::new();

/// A state that is registered while the kernel runs.
pub(crate) static LATE: Step = Step::new("late:dynamic").up(step).down(step).parallel();

/// The hotplug of this machine.
pub(crate) type Machine = Cpuhp<'static, Bare, Tracer>;

/// Makes the machine, and uses everything that is not the core's, so that it is there with and without the operations.
#[inline(never)]
pub(crate) fn make() -> Machine {
    black_box((&hp::TABLE, &LATE, &OBJECT, &START_OBJECT));
    black_box((&LOCK, &CHOSEN, &PROBE_STORE));
    Cpuhp::with_trace(Bare, TRACER, &hp::TABLE, PROBE_STORE.get())
}

static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) fn step(_: &Ctx<'_>) -> StepResult {
    COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn start(_: &Ctx<'_>) -> Poll<()> {
    COUNT.fetch_add(1, Ordering::Relaxed);
    Poll::Ready(())
}

/// An object of a multi-instance step, in either kind of section.
struct Object;

impl MultiStep for Object {
    fn up(&self, ctx: &Ctx<'_>) -> StepResult {
        step(ctx)
    }

    fn down(&self, ctx: &Ctx<'_>) -> StepResult {
        step(ctx)
    }
}

impl MultiStart for Object {
    fn up(&self, ctx: &Ctx<'_>) -> Poll<()> {
        start(ctx)
    }

    fn down(&self, ctx: &Ctx<'_>) -> Poll<()> {
        start(ctx)
    }
}

static LIST: Instances = Instances::new();
static START_LIST: Instances<dyn MultiStart> = Instances::new();

/// An object that is added and removed.
pub(crate) static OBJECT: Instance = Instance::new(&Object);

/// The same for STARTING.
pub(crate) static START_OBJECT: Instance<dyn MultiStart> = Instance::new(&Object);

states! { pub mod hp {
    prepare {
        FIRST = Step::new("first:prepare").up(step).down(step);
        SECOND = Step::new("second:prepare").up(step).down(step).parallel();
    } dynamic[2] parallel_dynamic[2]
    starting {
        THIRD = StartStep::new("third:starting").up(start).down(start);
        FOURTH = StartStep::new("fourth:starting").up(start).down(start).parallel();
        FIFTH = StartStep::new("fifth:starting").multi(&START_LIST);
    }
    online {
        SIXTH = Step::new("sixth:online").up(step).down(step);
        SEVENTH = Step::new("seventh:online").multi(&LIST).parallel();
    } dynamic[2] late {
        LAST = Step::new("last:online").up(step).down(step).parallel();
    }
} }

/// A platform that costs next to nothing.
pub(crate) struct Bare;

impl Platform for Bare {
    fn now(&self) -> u64 {
        COUNT.load(Ordering::Relaxed).into()
    }

    fn this_cpu(&self) -> CpuId {
        CpuId::new(COUNT.load(Ordering::Relaxed))
    }

    fn kick(&self, _: CpuId, _: u16) -> Result<(), KickError> {
        COUNT.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn confirm(&self, _: CpuId) -> Confirm {
        Confirm::Off
    }
}
