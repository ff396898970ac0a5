//! Every operation of the core once, so that none of them is dropped.

use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::Poll;

use cpuhp_core::{
    BootSteps, Confirm, CpuId, Cpuhp, Ctx, KickError, OpFlags, Platform, Record, StartStep,
    StateId, Step, StepResult, Store, Which, states, words,
};

/// CPUs whose storage is measured.
const CPUS: usize = 64;

/// One record, to be found by its name.
#[used]
static PROBE_RECORD: Record = Record::new();

static PROBE_STORE: Store<CPUS, { words(CPUS) }, { hp::NDYN }> = Store::new();

static COUNT: AtomicU32 = AtomicU32::new(0);

fn step(_: &Ctx<'_>) -> StepResult {
    COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn start(_: &Ctx<'_>) -> Poll<()> {
    COUNT.fetch_add(1, Ordering::Relaxed);
    Poll::Ready(())
}

states! { pub mod hp {
    prepare {
        FIRST = Step::new("first:prepare").up(step).down(step);
        SECOND = Step::new("second:prepare").up(step).down(step).parallel();
    }
    starting {
        THIRD = StartStep::new("third:starting").up(start).down(start);
        FOURTH = StartStep::new("fourth:starting").up(start).down(start).parallel();
    }
    online {
        FIFTH = Step::new("fifth:online").up(step).down(step);
        SIXTH = Step::new("sixth:online").up(step).down(step).parallel();
    }
} }

/// A platform that costs next to nothing.
struct Bare;

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

/// Calls everything a kernel can call on a [`Cpuhp`]; one function per group, so that the sizes can be told apart.
pub(crate) fn call_all(word: usize) {
    let hp = Cpuhp::new(Bare, &hp::TABLE, PROBE_STORE.get());
    let cpu = CpuId::new(black_box(word as u32));
    boot_cpu(&hp);
    one_cpu(&hp, cpu);
    many_cpus(&hp);
    by_hand(&hp, cpu);
    ap_side(&hp, cpu);
    look(&hp, cpu);
}

#[inline(never)]
fn boot_cpu(hp: &Cpuhp<'_, Bare>) {
    black_box(hp.adopt_boot_cpu(BootSteps::Run)).ok();
}

#[inline(never)]
fn one_cpu(hp: &Cpuhp<'_, Bare>, cpu: CpuId) {
    black_box(hp.cpu_up(cpu)).ok();
    black_box(hp.drive(cpu, StateId::new(black_box(3)))).ok();
    black_box(hp.cpu_down(cpu)).ok();
}

#[inline(never)]
fn many_cpus(hp: &Cpuhp<'_, Bare>) {
    black_box(hp.bring_up(Which::All)).ok();
    black_box(hp.take_down(Which::All)).ok();
}

#[inline(never)]
fn by_hand(hp: &Cpuhp<'_, Bare>, cpu: CpuId) {
    let Ok(guard) = hp.try_write() else { return };
    if let Ok(mut op) = guard.op(cpu, hp::TABLE.online(), OpFlags::AUTO) {
        black_box(op.poll(&guard).is_ready());
    }
    if let Ok(mut op) = guard.resume(cpu) {
        black_box(op.poll(&guard).is_ready());
    }
}

#[inline(never)]
fn ap_side(hp: &Cpuhp<'_, Bare>, cpu: CpuId) {
    let _ = black_box(hp.ap_enter(cpu, None));
    let _ = black_box(hp.poll_ap(cpu));
    let _ = black_box(hp.has_work(cpu));
    let _ = black_box(hp.parked_poll(cpu));
    let _ = black_box(hp.ap_run(cpu));
}

#[inline(never)]
fn look(hp: &Cpuhp<'_, Bare>, cpu: CpuId) {
    black_box((hp.state(cpu), hp.target(cpu), hp.last_error(cpu)));
    black_box((
        hp.present().count(),
        hp.available().contains(cpu),
        hp.dying().is_empty(),
    ));
    black_box(hp.online().iter().next());
    black_box(hp.table().name(StateId::new(black_box(3))));
    black_box(hp.table().find(black_box("first:prepare")));
}
