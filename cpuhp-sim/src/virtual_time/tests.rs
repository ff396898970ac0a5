use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use cpuhp_core::{
    ApNext, BootSteps, CpuId, Cpuhp, Ctx, MaskWord, OpError, Platform, Record, Step, StepError,
    StepResult, Storage, Store, Tag, Trace, Which, Who, states, words,
};

use super::{Call, Latencies, VirtualTime};
use crate::Fate;

states! {
    mod plain {
        prepare { P = Step::new("p:prepare").parallel(); }
        starting {}
        online { A = Step::new("a:online").parallel(); }
    }
}

/// What a test's CPUs run.
fn attach<T: Trace + Send + 'static>(
    machine: &VirtualTime,
    cpuhp: &Arc<Cpuhp<'static, VirtualTime, T>>,
) {
    let ap = Arc::downgrade(cpuhp);
    machine.attach(move |cpu, call| match (ap.upgrade(), call) {
        (Some(cpuhp), Call::Enter) => cpuhp.ap_enter(cpu, None),
        (Some(cpuhp), Call::Poll) => cpuhp.poll_ap(cpu),
        (None, _) => ApNext::Off,
    });
}

/// Writes down every edge with its time.
struct History {
    machine: VirtualTime,
    edges: Mutex<Vec<(u64, CpuId, Tag)>>,
}

impl Trace for History {
    const ON: bool = true;

    fn edge(&self, cpu: CpuId, _from: Tag, to: Tag) {
        let edge = (self.machine.now(), cpu, to);
        self.edges.lock().unwrap().push(edge);
    }
}

/// The edges of a bringup and a teardown of four CPUs.
fn history(store: &'static Store<4, { words(4) }, 0>, seed: u64) -> Vec<(u64, CpuId, Tag)> {
    let machine = VirtualTime::new(4, seed, Latencies::default());
    let history = History {
        machine: machine.clone(),
        edges: Mutex::new(Vec::new()),
    };
    let cpuhp = Cpuhp::with_trace(machine.clone(), history, &plain::TABLE, store.get());
    let cpuhp = Arc::new(cpuhp);
    attach(&machine, &cpuhp);
    cpuhp.adopt_boot_cpu(BootSteps::Run).unwrap();
    assert_eq!(cpuhp.bring_up(Which::All).unwrap().done, 3);
    assert_eq!(cpuhp.take_down(Which::All).unwrap().done, 3);
    cpuhp.tracer().edges.lock().unwrap().clone()
}

#[test]
fn equal_seeds_give_equal_histories_and_others_do_not() {
    static STORES: [Store<4, { words(4) }, 0>; 3] = [const { Store::new() }; 3];
    let [a, b, c] = &STORES;
    let (first, second, third) = (history(a, 7), history(b, 7), history(c, 8));
    assert_eq!(first, second);
    assert_ne!(first, third);
    assert!(first.is_sorted_by_key(|(time, ..)| *time));
}

/// The machine of `step_takes_effect_at_its_end`, and the end of its step.
static SLOW: OnceLock<VirtualTime> = OnceLock::new();
static UNTIL: AtomicU64 = AtomicU64::new(0);

fn slow(ctx: &Ctx<'_>) -> StepResult {
    let machine = SLOW.get().unwrap();
    let until = UNTIL.load(Ordering::Relaxed);
    if ctx.cpu().get() == 0 || until != 0 && machine.now() >= until {
        return Ok(());
    }
    UNTIL.store(machine.now() + 700_000, Ordering::Relaxed);
    machine.wake_at(ctx.cpu(), machine.now() + 700_000);
    Err(StepError::WOULD_BLOCK)
}

states! {
    mod slowly { prepare {} starting {} online { A = Step::new("a:online").up(slow).parallel(); } }
}

#[test]
fn step_takes_effect_at_its_end() {
    static STORE: Store<2, { words(2) }, 0> = Store::new();
    let latencies = Latencies {
        arrival_spread: 0,
        ..Latencies::default()
    };
    let machine = SLOW.get_or_init(|| VirtualTime::new(2, 1, latencies));
    let cpuhp = Arc::new(Cpuhp::new(machine.clone(), &slowly::TABLE, STORE.get()));
    attach(machine, &cpuhp);
    cpuhp.adopt_boot_cpu(BootSteps::Run).unwrap();
    let begin = machine.now();
    cpuhp.cpu_up(CpuId::new(1)).unwrap();
    let took = machine.now() - begin;
    assert_eq!(
        UNTIL.load(Ordering::Relaxed),
        begin + latencies.arrival + 700_000
    );
    assert!(took >= latencies.arrival + 700_000, "{took}");
    assert!(took < latencies.arrival + 710_000, "{took}");
}

#[test]
fn late_and_absent_cpus_cost_one_deadline_and_the_late_one_is_taken_back() -> Result<(), OpError> {
    static STORE: Store<8, { words(8) }, 0> = Store::new();
    let machine = VirtualTime::new(8, 1, Latencies::default()).timeout_ns(50_000_000);
    let cpuhp = Arc::new(Cpuhp::new(machine.clone(), &plain::TABLE, STORE.get()));
    attach(&machine, &cpuhp);
    let [late, absent] = [3, 5].map(CpuId::new);
    machine.set_fate(late, Fate::Held);
    machine.set_fate(absent, Fate::Absent);
    cpuhp.adopt_boot_cpu(BootSteps::Run)?;
    let begin = machine.now();
    let report = cpuhp.bring_up(Which::All)?;
    assert_eq!((report.done, report.failed), (5, 2));
    assert!(machine.now() - begin < 51_000_000);
    machine.let_go(late);
    machine.wait(Who::Control(late), machine.now() + 1_000_000);
    assert_eq!(cpuhp.tag(late), Some(Tag::Parked));
    cpuhp.cpu_up(late)?;
    assert_eq!(cpuhp.online().count(), 7);
    Ok(())
}

#[test]
fn boot_cpu_goes_down_while_the_last_cpu_drives() -> Result<(), OpError> {
    static STORE: Store<3, { words(3) }, 0> = Store::new();
    let machine = VirtualTime::new(3, 1, Latencies::default());
    let cpuhp = Arc::new(Cpuhp::new(machine.clone(), &plain::TABLE, STORE.get()));
    attach(&machine, &cpuhp);
    cpuhp.adopt_boot_cpu(BootSteps::Run)?;
    assert!(cpuhp.bring_up(Which::All)?.is_complete());
    machine.run_on(CpuId::new(2), || {
        assert_eq!(machine.this_cpu(), CpuId::new(2));
        assert_eq!(cpuhp.take_down(Which::All)?.done, 2);
        assert_eq!(cpuhp.bring_up(Which::All)?.done, 2);
        Ok(())
    })
}

#[test]
fn many_cpus_are_cheap() {
    let cpus = if cfg!(miri) { 32 } else { 10_000 };
    let machine = VirtualTime::new(cpus, 1, Latencies::default());
    // Leaked into statics, since the machine calls back into what stands on it.
    static RECORDS: OnceLock<Vec<Record>> = OnceLock::new();
    static MASKS: OnceLock<Vec<MaskWord>> = OnceLock::new();
    static LOCK: cpuhp_core::LockWord = cpuhp_core::LockWord::new();
    let count = cpus as usize;
    let records = RECORDS.get_or_init(|| (0..count).map(|_| Record::new()).collect());
    let words = Storage::mask_words(count);
    let masks = MASKS.get_or_init(|| (0..words).map(|_| MaskWord::new(0)).collect());
    let storage = Storage::from_parts(records, masks, &[], &LOCK).unwrap();
    let cpuhp = Arc::new(Cpuhp::new(machine.clone(), &plain::TABLE, storage));
    attach(&machine, &cpuhp);
    cpuhp.adopt_boot_cpu(BootSteps::Run).unwrap();
    assert_eq!(cpuhp.bring_up(Which::All).unwrap().done, cpus - 1);
    assert!(machine.polls() < 3 * u64::from(cpus), "{}", machine.polls());
}

#[test]
fn wait_ends_at_its_deadline_and_a_notification_ends_it_sooner() {
    let machine = VirtualTime::new(2, 1, Latencies::default());
    let one = CpuId::new(1);
    machine.wait(Who::Control(one), 5_000_000);
    assert_eq!(machine.now(), 5_000_000);
    machine.notify_ctl(one);
    machine.wait(Who::Control(one), u64::MAX);
    assert_eq!(machine.now(), 5_000_000 + Latencies::default().notify);
}

#[test]
fn cpus_go_on_while_the_control_cpu_works() -> Result<(), OpError> {
    static STORE: Store<2, { words(2) }, 0> = Store::new();
    let machine = VirtualTime::new(2, 1, Latencies::default());
    let cpuhp = Arc::new(Cpuhp::new(machine.clone(), &plain::TABLE, STORE.get()));
    attach(&machine, &cpuhp);
    let one = CpuId::new(1);
    cpuhp.adopt_boot_cpu(BootSteps::Run)?;
    cpuhp.drive(one, plain::KICK)?;
    let before = machine.now();
    assert_eq!(cpuhp.tag(one), Some(Tag::Kicked));
    machine.spend(10_000_000);
    assert_eq!(machine.now(), before + 10_000_000);
    assert_eq!(cpuhp.tag(one), Some(Tag::Alive));
    Ok(())
}

#[test]
#[should_panic(expected = "nothing will ever happen")]
fn endless_wait_for_nothing_is_an_error() {
    let machine = VirtualTime::new(2, 1, Latencies::default());
    machine.wait(Who::Control(CpuId::new(1)), u64::MAX);
}
