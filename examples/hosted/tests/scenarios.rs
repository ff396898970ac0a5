//! The runner as a person calls it: every scenario in small, its output, its exit status.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::process::{Command, Output};

/// The status that says everything passed.
const PASSED: i32 = 33;

fn run(words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cpuhp-example-hosted"));
    command.arg(words).output().unwrap()
}

/// Runs it, and returns what it printed if it passed.
fn pass(words: &str) -> String {
    let output = run(words);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(PASSED), "{words}\n{text}");
    assert!(text.starts_with("@cpuhp {\"ev\":\"start\""), "{text}");
    assert!(
        text.ends_with("@cpuhp {\"ev\":\"done\",\"pass\":true}\n"),
        "{text}"
    );
    assert!(!text.contains("\"pass\":false"), "{text}");
    text
}

/// A word list that is refused, and the line that says why.
fn refused(words: &str) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

const SCENARIOS: [&str; 12] = [
    "boot", "cycle", "bulk", "partial", "fault", "register", "suspend", "storm", "limit",
    "disable", "control", "critical",
];

const BOTH: [&str; 2] = ["time=threads", "time=virtual"];

#[test]
fn every_scenario_passes_with_one_cpu_with_two_and_with_more() {
    for time in BOTH {
        for smp in [1, 2, 9] {
            for scenario in SCENARIOS {
                pass(&format!("scenario={scenario} smp={smp} rounds=2 {time}"));
            }
            pass(&format!("scenario=dead smp={smp} timeout_ms=400 {time}"));
        }
    }
}

#[test]
fn boot_reports_one_result_per_mode_in_the_order_asked_for() {
    for time in BOTH {
        let text = pass(&format!("mode=split,serial,parallel smp=4 rounds=3 {time}"));
        let at = |mode: &str| text.find(&format!("\"mode\":\"{mode}\"")).unwrap();
        assert!(at("split") < at("serial") && at("serial") < at("parallel"));
        assert_eq!(text.matches("\"ev\":\"result\"").count(), 3);
    }
}

#[test]
fn absent_cpus_are_the_failed_ones() {
    for time in BOTH {
        let text = pass(&format!("smp=4 absent=2 timeout_ms=100 {time}"));
        assert!(text.contains("\"smp\":4"), "{text}");
        assert!(
            text.contains("\"cpus\":6,\"online\":4,\"failed\":[4,5]"),
            "{text}"
        );
    }
}

#[test]
fn what_is_wrong_before_the_first_window_fails_the_run() {
    // Every CPU is present here, whatever the command line says.
    let output = run("smp=4 unserved=1");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("not present (0, expected 1)"), "{text}");
    assert!(text.contains("\"pass\":false"), "{text}");
}

#[test]
fn the_states_of_the_longest_table_are_listed() {
    pass("scenario=control smp=3 steps=64 time=virtual");
}

#[test]
fn scenarios_that_need_every_listed_cpu_refuse_one_that_never_comes() {
    for scenario in ["register", "storm", "limit"] {
        let output = run(&format!("scenario={scenario} smp=3 absent=1 time=virtual"));
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("\"error\":\"it has CPUs that never come\""),
            "{text}"
        );
        assert!(!text.contains("violation: "), "{text}");
    }
}

#[test]
fn another_cpu_can_drive_and_the_boot_cpu_goes_too() {
    for time in BOTH {
        let text = pass(&format!("scenario=cycle from=last smp=3 rounds=2 {time}"));
        assert!(text.contains("\"ops\":8"), "{text}");
    }
}

#[test]
fn pairs_and_faults_are_all_of_them() {
    // 4 states to KICK and 5 from AP_IDLE; 2 inside STARTING are refused as targets.
    let text = pass("scenario=partial smp=3 time=virtual");
    assert!(text.contains("\"pairs\":81,\"refused\":18"), "{text}");
    // 14 halves of 11 states can fail, both ways, by themselves and by the core, alone and with each
    // half that the rollback passes.
    let text = pass("scenario=fault smp=3 time=virtual");
    assert!(text.contains("\"cases\":372,\"rolled_back\":50"), "{text}");
}

#[test]
fn faults_of_the_core_are_in_the_trace() {
    let text = pass("scenario=fault smp=3 trace=1 time=virtual");
    // 11 states fail, both ways, alone and with each half that the rollback passes: 78 up and 84 down.
    let faults = || text.lines().filter(|line| line.contains(r#""ev":"fault""#));
    assert_eq!(faults().count(), 162);
    let ups = faults().filter(|line| line.contains(r#""dir":"up""#));
    assert_eq!(ups.count(), 78);
    let named = r#""name":"sched:online","dir":"down""#;
    assert!(faults().any(|line| line.contains(named)), "{text}");
    let dynamic = r#""name":"stat:dynamic","dir":"up""#;
    assert!(faults().any(|line| line.contains(dynamic)), "{text}");
}

#[test]
fn late_cpus_are_named_and_come_back() {
    let text = pass("scenario=dead smp=8 withhold=3 absent=1 timeout_ms=100 time=virtual");
    assert!(
        text.contains("\"dead\":[2,4,6,8],\"late\":[2,4,6]"),
        "{text}"
    );
}

#[test]
fn equal_seeds_print_equal_bytes_in_virtual_time() {
    let words = |seed| format!("mode=serial,parallel smp=40 trace=1 time=virtual seed={seed}");
    let first = pass(&words(1));
    assert_eq!(first, pass(&words(1)));
    assert_ne!(first, pass(&words(2)));
}

#[test]
fn cpus_that_are_plugged_in_are_named_and_come() {
    for time in BOTH {
        let text = pass(&format!("scenario=hotadd smp=3 hotadd=2 {time}"));
        assert!(text.contains("\"added\":[3,4],\"online\":5"), "{text}");
        assert!(text.contains("\"smp\":3"), "{text}");
        pass(&format!("scenario=hotadd smp=3 {time}"));
        // Whoever does not come has not been plugged in.
        pass(&format!("scenario=boot smp=3 hotadd=2 {time}"));
    }
}

#[test]
fn a_storm_is_another_one_for_another_seed() {
    let words = |seed| format!("scenario=storm smp=6 ops=3000 trace=1 time=virtual seed={seed}");
    let first = pass(&words(3));
    assert!(first.contains("\"ops\":3000,"), "{first}");
    assert_eq!(first, pass(&words(3)));
    assert_ne!(first, pass(&words(4)));
}

#[test]
fn thousands_of_cpus_pass_in_virtual_time() {
    for scenario in ["boot", "bulk", "dead", "suspend"] {
        pass(&format!(
            "scenario={scenario} smp=2000 rounds=1 time=virtual"
        ));
    }
}

#[test]
fn latencies_are_spent_where_they_belong() {
    let text = pass("smp=2 time=virtual alive_delay_us=1000 online_sleep_us=500");
    let row = text
        .split("\"per_cpu\":[{\"cpu\":1,\"wave\":0,\"alive_ns\":")
        .nth(1)
        .unwrap();
    let (alive, rest) = row.split_once(",\"online_ns\":").unwrap();
    let online = rest.split_once('}').unwrap().0;
    let [alive, online] = [alive, online].map(|number| number.parse::<u64>().unwrap());
    assert!((1_100_000..1_400_000).contains(&alive), "{alive}");
    assert_eq!(online - alive, 500_000);
}

#[test]
fn events_are_printed_on_request_and_none_is_lost() {
    let text = pass("smp=2 trace=1 time=virtual");
    let up = r#""state":9,"name":"sched:active","dir":"up","rollback":false,"on":1"#;
    assert!(text.contains(up), "{text}");
    assert!(
        text.contains(r#""ev":"edge","cpu":1,"from":"DEAD","to":"KICKED""#),
        "{text}"
    );
    assert!(text.contains(r#""ev":"kick","cpu":1"#), "{text}");
    assert!(text.contains(r#""ev":"trace_lost","n":0"#), "{text}");
    assert!(!pass("smp=2 time=virtual").contains("trace_lost"));
}

#[test]
fn run_that_does_not_pass_says_what_was_wrong_and_ends_with_status_1() {
    // Every CPU exists and is too slow.
    let output = run("smp=4 timeout_ms=1 alive_delay_us=2000 time=virtual");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("violation: cpu 1: the wrong CPUs came"),
        "{text}"
    );
    assert!(text.contains("\"pass\":false"), "{text}");
    assert!(
        text.ends_with("{\"ev\":\"done\",\"pass\":false}\n"),
        "{text}"
    );
}

#[test]
fn wrong_words_end_with_status_2_and_one_line_that_says_what_is_right() {
    for (words, right) in [
        ("scenario=botch", "one of boot, cycle"),
        ("smp=0", "a whole number"),
        ("smp=9999", "at most 4096 CPUs here"),
        ("mode=raw", "only where there is hardware"),
        ("time=slow", "threads or virtual"),
        ("speed=3", "one of scenario, mode"),
        ("boot", "K=V"),
    ] {
        let line = refused(words);
        assert!(line.contains(right) && line.lines().count() == 1, "{line}");
    }
}
