//! The data files, and what the core makes of them.

use cpuhp_models::{
    Kind, Mode, Model, Outcome, Plan, TIMEOUT_NS, TimedStep, Trouble, Way, Who, critical_path, run,
};

/// Models up to this size run in an unoptimised test.
const MOST_CPUS: u32 = 4_096;

fn all() -> Vec<Model> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/data");
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let files = files.map(|file| file.expect("it can be listed").path());
    files
        .map(|file| {
            let text = std::fs::read_to_string(&file).expect("a text file");
            let model =
                Model::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert_eq!(file.file_stem(), Some(model.name.as_ref()));
            model
        })
        .collect()
}

fn named(name: &str) -> Model {
    all()
        .into_iter()
        .find(|model| model.name == name)
        .expect("there is one")
}

fn up(model: &Model, mode: Mode) -> Outcome {
    run(model, Plan::new(Way::Up, mode)).expect("nothing is refused")
}

#[test]
fn every_machine_of_the_list_has_its_file() {
    let mut cpus: Vec<u32> = all().iter().map(|model| model.cpus).collect();
    cpus.sort_unstable();
    assert_eq!(cpus, [28, 80, 96, 112, 128, 128, 1_920, 4_096, 65_536]);
}

#[test]
fn every_number_says_where_it_comes_from() {
    for model in all() {
        let latencies = [
            &model.kick,
            &model.arrival,
            &model.notify,
            &model.off,
            &model.look,
        ];
        let latencies = latencies.map(|latency| &latency.from);
        let steps = model.steps.iter().map(|step| &step.from);
        let published = model.published.iter().map(|figure| &figure.from);
        for from in steps.chain(published).chain(latencies) {
            assert!(from.len() > 5, "{}: `{from}`", model.name);
        }
    }
}

#[test]
fn no_run_beats_the_critical_path_and_parallel_ones_come_close_to_it() {
    for model in all().iter().filter(|model| model.cpus <= MOST_CPUS) {
        for way in [Way::Up, Way::Down] {
            let least = critical_path(model, way);
            let parallel = run(model, Plan::new(way, Mode::Parallel)).unwrap();
            let serial = run(model, Plan::new(way, Mode::Serial)).unwrap();
            let title = format!(
                "{} {way:?}: {parallel:?} {serial:?}, least {least}",
                model.name
            );
            assert_eq!(parallel.done, model.cpus - 1, "{title}");
            assert_eq!(serial.done, model.cpus - 1, "{title}");
            assert!(least <= parallel.ns && least <= serial.ns, "{title}");
            // What a model says nothing about takes it no time, and then only the machinery is left.
            let says = |step: &TimedStep| way == Way::Up || step.down_ns > 0;
            if model.steps.iter().any(says) {
                assert!(parallel.ns * 100 <= least * 115, "{title}");
            }
        }
    }
}

#[test]
fn same_model_runs_the_same_twice() {
    let model = named("x86-112");
    assert_eq!(up(&model, Mode::Parallel), up(&model, Mode::Parallel));
    assert_eq!(up(&model, Mode::Split), up(&model, Mode::Split));
}

#[test]
fn steps_that_take_one_cpu_at_a_time_add_up_in_the_core_too() {
    let mut model = named("large-4096").with_cpus(64);
    let sched = model.steps.last_mut().unwrap();
    sched.walked = cpuhp_models::Together::OneByOne;
    let took = sched.up_ns * 63;
    let parallel = up(&model, Mode::Parallel);
    let least = critical_path(&model, Way::Up);
    assert!(parallel.ns >= least, "{parallel:?}, least {least}");
    // At worst nobody begins before all others are there; then one follows the other at once.
    model.steps.pop();
    let before = critical_path(&model, Way::Up);
    assert!(
        parallel.ns * 20 <= (before + took) * 21,
        "{parallel:?}, {before} + {took}"
    );
}

#[test]
fn cpus_that_answer_slowly_one_after_the_other_are_not_looked_at_ever_more_often() {
    let polls_per_cpu = |cpus: u32| {
        let model = named("arm64-80").with_cpus(cpus);
        let outcome =
            run(&model, Plan::new(Way::Down, Mode::Parallel)).expect("nothing is refused");
        assert_eq!(outcome.done, cpus - 1);
        (outcome.asked + outcome.ap_polls) / u64::from(cpus)
    };
    let (few, many) = (polls_per_cpu(64), polls_per_cpu(256));
    println!("{few} and {many} polls per CPU");
    assert!(many <= few * 3 / 2, "{few} and {many} polls per CPU");
}

#[test]
fn dead_cpus_cost_one_time_out_and_nobody_else_fails() {
    let model = named("large-4096").with_cpus(1_024);
    let without = up(&model, Mode::Parallel);
    for who in [Who::Every(100), Who::First(10)] {
        let kind = Kind::Dead;
        let plan = Plan {
            trouble: Some(Trouble { kind, who }),
            ..Plan::new(Way::Up, Mode::Parallel)
        };
        let outcome = run(&model, plan).unwrap();
        assert_eq!((outcome.done, outcome.failed), (1_013, 10), "{who:?}");
        let cost = outcome.ns - without.ns;
        assert!(cost <= TIMEOUT_NS, "{who:?}: {cost}");
        // As long as it is one by one, every dead CPU costs its own.
        let serial = run(
            &model,
            Plan {
                mode: Mode::Serial,
                ..plan
            },
        )
        .unwrap();
        assert!(serial.ns > 10 * TIMEOUT_NS, "{who:?}: {serial:?}");
    }
}

#[test]
fn dead_cpus_delay_no_living_one_even_before_a_step_that_takes_one_at_a_time() {
    let model = |cpus| {
        let mut model = named("large-4096").with_cpus(cpus);
        model.threads = 1;
        let sched = model.steps.last_mut().expect("it has steps");
        sched.walked = cpuhp_models::Together::OneByOne;
        model
    };
    for (cpus, who) in [
        (64, Who::First(10)),
        (64, Who::Every(6)),
        (1_024, Who::First(10)),
        // So many that some living ones come after the first round has gone on.
        (1_024, Who::Every(100)),
    ] {
        let kind = Kind::Dead;
        let plan = Plan {
            trouble: Some(Trouble { kind, who }),
            ..Plan::new(Way::Up, Mode::Parallel)
        };
        let alone = up(&model(cpus - 10), Mode::Parallel);
        let outcome = run(&model(cpus), plan).expect("nothing is refused");
        assert_eq!((outcome.done, outcome.failed), (cpus - 11, 10), "{who:?}");
        let title = format!("{cpus} {who:?}: {outcome:?}, alone {alone:?}");
        assert!(
            outcome.ns <= alone.ns + TIMEOUT_NS + TIMEOUT_NS / 20,
            "{title}"
        );
        // The control CPU prepares and kicks the dead as well.
        let extra = 10 * (model(64).steps[0].up_ns + model(64).kick.ns);
        assert!(
            (outcome.last_ns - extra) * 10 <= alone.last_ns * 11,
            "{title}"
        );
    }
}

#[test]
fn late_slow_and_failing_cpus_do_what_they_are_told() {
    let model = named("large-4096").with_cpus(256);
    let with = |kind, mode| {
        let trouble = Some(Trouble {
            kind,
            who: Who::Every(100),
        });
        run(
            &model,
            Plan {
                trouble,
                ..Plan::new(Way::Up, mode)
            },
        )
        .unwrap()
    };
    for mode in [Mode::Serial, Mode::Split, Mode::Parallel] {
        let late = with(Kind::Late(1_000_000_000), mode);
        assert_eq!((late.done, late.failed), (255, 0), "{mode:?}");
        assert!(late.ns > 1_000_000_000, "{mode:?}: {late:?}");
        let slow = with(Kind::Slow(10), mode);
        assert_eq!((slow.done, slow.failed), (255, 0), "{mode:?}");
        assert!(slow.ns > up(&model, mode).ns, "{mode:?}: {slow:?}");
        for step in 0..model.steps.len() {
            let failing = with(Kind::Failing(step), mode);
            // A step of STARTING cannot.
            let fails = if model.steps[step].name == "timer:starting" {
                0
            } else {
                2
            };
            assert_eq!(
                (failing.done, failing.failed),
                (255 - fails, fails),
                "{mode:?} {step}"
            );
        }
    }
}
