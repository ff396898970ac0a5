//! A storm of operations on CPUs that are threads: several contexts of the boot CPU move, register, freeze,
//! read and arm at the same time, steps fail and wait, CPUs come late; no invariant breaks.
//!
//! Each context follows its own stream: `CPUHP_SEED=… CPUHP_OPS=… cargo test --release -p cpuhp-sim --test
//! storm -- --nocapture` issues the same operations again, though the threads meet otherwise.

mod random;
mod script;
mod stage;
mod steps;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use cpuhp_core::{BootSteps, CpuId, Cpuhp, Left, StateId, Store, Which, words};
use cpuhp_sim::Threads;

use script::{KINDS, Script};
use stage::{Hotplug, Stage};
use steps::{CONTEXTS, CPUS, book, hp, truthful};

/// What a CPU and a step may take. Short, so that late ones meet their deadlines.
const TIMEOUT_NS: u64 = 3_000_000;

type Memory = Store<{ CPUS as usize }, { words(CPUS as usize) }, { hp::NDYN }, 4>;

fn number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |text| text.parse().expect("a number"))
}

/// Issues `ops` operations in all, and returns one script per context.
fn storm(seed: u64, ops: u64) -> Vec<Script> {
    let machine: &'static Threads = Box::leak(Box::new(Threads::new(CPUS).timeout_ns(TIMEOUT_NS)));
    let store: &'static Memory = Box::leak(Box::new(Store::new()));
    let hotplug: &'static Hotplug =
        Box::leak(Box::new(Cpuhp::new(machine, &hp::TABLE, store.get())));
    let stage: &'static Stage = Box::leak(Box::new(Stage::new(machine, hotplug)));
    steps::begin(machine, seed);
    machine.run(
        |cpu| hotplug.ap_run(cpu),
        || {
            assert_eq!(hotplug.adopt_boot_cpu(BootSteps::Run), Ok(()));
            steps::stir();
            let scripts = run_contexts(stage, seed, ops);
            settle(stage);
            leave(stage, scripts)
        },
    )
}

fn run_contexts(stage: &'static Stage, seed: u64, ops: u64) -> Vec<Script> {
    let broken = AtomicBool::new(false);
    let each = ops.div_ceil(CONTEXTS as u64);
    std::thread::scope(|scope| {
        let start = |own| {
            let broken = &broken;
            scope.spawn(move || {
                let _tell = Tell(broken);
                stage.machine.as_context_of(CpuId::new(0), || {
                    let mut script = Script::new(stage, own, seed);
                    for _ in 0..each {
                        assert!(!broken.load(Ordering::Relaxed), "another context panicked");
                        script.step();
                    }
                    script
                })
            })
        };
        let threads: Vec<_> = (0..CONTEXTS).map(start).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|script| script.expect("no violation")).collect()
    })
}

/// Tells the others when this context panics.
struct Tell<'b>(&'b AtomicBool);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Everything works again: every CPU comes, goes off, and comes up whole.
fn settle(stage: &'static Stage) {
    steps::calm();
    let cpus = || (1..CPUS).map(CpuId::new);
    for cpu in cpus() {
        stage.machine.let_go(cpu);
        for _ in 0..1_000 {
            if stage.force(cpu).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(stage.hotplug.state(cpu), Some(StateId::OFFLINE), "{cpu}");
        truthful(cpu, StateId::OFFLINE, book(cpu));
    }
    for _ in 0..1_000 {
        if stage
            .hotplug
            .bring_up(Which::All)
            .is_ok_and(|r| r.is_complete())
        {
            break;
        }
    }
    for cpu in cpus() {
        let error = stage.hotplug.last_error(cpu);
        let left = error.map(|e| matches!(e.left, Left::InFlight(_)));
        assert_eq!(
            stage.hotplug.state(cpu),
            Some(hp::ONLINE),
            "{cpu}: {left:?}"
        );
        truthful(cpu, hp::ONLINE, book(cpu));
    }
}

/// Everything that was registered is taken back, from every CPU that has it.
fn leave(stage: &'static Stage, mut scripts: Vec<Script>) -> Vec<Script> {
    scripts.iter_mut().for_each(Script::leave);
    for cpu in (0..CPUS).map(CpuId::new) {
        assert_eq!(stage.hotplug.state(cpu), Some(hp::ONLINE), "{cpu}");
        // A removal does not wait for ever for a CPU that is slow.
        for _ in 0..5_000 {
            if book(cpu) == steps::STATIC {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(book(cpu), steps::STATIC, "what is up on {cpu}");
    }
    scripts
}

/// What came of it, as one line.
fn report(seed: u64, begun: Instant, scripts: &[Script]) -> String {
    let sum = |of: fn(&Script) -> u64| scripts.iter().map(of).sum::<u64>();
    let kinds = KINDS.iter().enumerate().map(|(kind, name)| {
        let count: u64 = scripts.iter().map(|script| script.done[kind]).sum();
        format!("{name} {count}")
    });
    format!(
        "seed {seed}: {} operations on {CONTEXTS} contexts, {} callbacks, {} refused, {} failed, of those {} \
         injected, {} late, {} stuck; 0 violations in {:.1?} ({})",
        sum(|script| script.done.iter().sum()),
        steps::calls(),
        sum(|script| script.refused),
        sum(|script| script.failed),
        sum(|script| script.injected),
        sum(|script| script.late),
        sum(|script| script.stuck),
        begun.elapsed(),
        kinds.collect::<Vec<_>>().join(", "),
    )
}

fn run(ops: u64) {
    // The books are the process's: one storm at a time.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = ALONE.lock();
    let seed = number("CPUHP_SEED", 1);
    println!("CPUHP_SEED={seed} CPUHP_OPS={ops}");
    let begun = Instant::now();
    let scripts = storm(seed, ops);
    println!("@proof {}", report(seed, begun, &scripts));
    let all = |kind: usize| scripts.iter().all(|script| script.done[kind] > 0);
    assert!(ops < 2_000 || (0..KINDS.len()).all(all), "every kind ran");
}

#[test]
fn operations_on_threads_hold_every_invariant() {
    run(number("CPUHP_OPS", if cfg!(miri) { 40 } else { 4_000 }));
}

/// As many as the release asks for.
#[test]
#[ignore = "takes a minute; `cargo xtask proof` runs it"]
fn two_hundred_thousand_operations_on_threads_hold_every_invariant() {
    run(200_000);
}
