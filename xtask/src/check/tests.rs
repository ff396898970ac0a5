//! Each check, seen to pass on a good log and to fail on one that differs in one place.

use std::process::Command;

use super::*;
use crate::arch::Arch;
use crate::cli::Accel;
use crate::machine::Machine;
use crate::plan::parse_params;

const GOOD: &str = r#"@cpuhp {"ev":"start","arch":"x86_64","smp":3,"scenario":"boot","params":{},"version":"0.1.0"}
@cpuhp {"ev":"result","scenario":"boot","pass":true,"mode":"parallel","cpus":4,"online":3,"failed":[3],"ap_polls_max":2,"kick_to_alive_ns":900,"kick_to_alive_ns_median":950,"kick_to_online_ns":1900,"kick_to_online_ns_median":1950,"control_ns_per_cpu":40,"per_cpu":[{"cpu":1,"wave":0,"alive_ns":700,"online_ns":1700},{"cpu":2,"wave":0,"alive_ns":900,"online_ns":1900}],"violations":0}
@cpuhp {"ev":"done","pass":true}
"#;

const RAW: &str = r#"@cpuhp {"ev":"start","arch":"x86_64","smp":3,"scenario":"boot","params":{},"version":"0.1.0"}
@cpuhp {"ev":"result","scenario":"boot","pass":true,"mode":"raw","cpus":3,"kick_to_alive_ns":900,"kick_to_alive_ns_median":900,"per_cpu":[{"cpu":1,"wave":0,"alive_ns":700},{"cpu":2,"wave":0,"alive_ns":900}],"violations":0}
@cpuhp {"ev":"done","pass":true}
"#;

fn plan() -> Plan {
    let mut plan = Plan::new(Arch::X86_64);
    plan.machine = Machine::parse(&["absent=1".to_owned()], plan.arch).unwrap();
    plan.smp = 3;
    plan
}

fn raw_plan() -> Plan {
    let mut plan = plan();
    plan.machine.absent = 0;
    plan.params = parse_params(&["mode=raw".to_owned()]).unwrap();
    plan
}

/// An ending with exit code `code`; the shell is the portable way to make one.
fn exited(code: i32) -> Ending {
    let script = format!("exit {code}");
    Ending::Exited(Command::new("sh").args(["-c", &script]).status().unwrap())
}

fn wrong(plan: &Plan, serial: &str) -> String {
    check(
        plan,
        &Log::parse(serial),
        exited(33),
        Duration::from_secs(1),
    )
    .join("; ")
}

/// The good log with one place changed must fail with a sentence that contains `why`.
#[track_caller]
fn fails(find: &str, replace: &str, why: &str) {
    assert_eq!(GOOD.matches(find).count(), 1, "`{find}` must occur once");
    let said = wrong(&plan(), &GOOD.replace(find, replace));
    assert!(said.contains(why), "expected `{why}` in `{said}`");
}

#[test]
fn good_logs_pass() {
    assert_eq!(wrong(&plan(), GOOD), "");
    assert_eq!(wrong(&raw_plan(), RAW), "");
}

#[test]
fn only_status_33_is_a_pass() {
    for (code, why) in [
        (0, "reset itself"),
        (1, "refused"),
        (255, "panic"),
        (7, "exit status 7"),
    ] {
        let found = check(
            &plan(),
            &Log::parse(GOOD),
            exited(code),
            Duration::from_secs(1),
        );
        assert!(found.join("; ").contains(why), "{found:?}");
    }
    let found = check(
        &plan(),
        &Log::parse(GOOD),
        Ending::TimedOut,
        Duration::from_secs(1),
    );
    assert!(found.join("; ").contains("time limit"), "{found:?}");
}

#[test]
fn bad_machine_line_fails() {
    let said = wrong(&plan(), &format!("@cpuhp {{\n{GOOD}"));
    assert!(said.contains("not JSON"), "{said}");
}

#[test]
fn scenario_without_modes_has_one_result() {
    let mut plan = Plan::new(Arch::X86_64);
    plan.scenario = Scenario::Register;
    let lines = |results: usize| {
        let result = r#"@cpuhp {"ev":"result","scenario":"register","pass":true,"cases":281,"violations":0}"#;
        let start = r#"@cpuhp {"ev":"start","arch":"x86_64","smp":8,"scenario":"register","params":{},"version":"0.1.0"}"#;
        let results = [result].repeat(results).join("\n");
        format!("{start}\n{results}\n@cpuhp {{\"ev\":\"done\",\"pass\":true}}\n")
    };
    assert_eq!(wrong(&plan, &lines(1)), "");
    assert!(wrong(&plan, &lines(2)).contains("2 results, expected 1"));
}

#[test]
fn start_must_be_first_once_and_right() {
    let (start, rest) = GOOD.split_once('\n').unwrap();
    assert!(wrong(&plan(), rest).contains("0 `start` lines"));
    assert!(wrong(&plan(), &format!("{start}\n{GOOD}")).contains("2 `start` lines"));
    let late = r#"@cpuhp {"ev":"trace_lost","n":0}"#;
    assert!(wrong(&plan(), &format!("{late}\n{GOOD}")).contains("not the first"));
    fails(
        r#""arch":"x86_64""#,
        r#""arch":"riscv64""#,
        "arch riscv64, expected x86_64",
    );
    fails(r#""smp":3"#, r#""smp":4"#, "smp 4, expected 3");
    fails(
        r#""smp":3,"scenario":"boot""#,
        r#""smp":3,"scenario":"bulk""#,
        "scenario bulk",
    );
}

#[test]
fn done_must_be_last_once_and_pass() {
    let done = r#"@cpuhp {"ev":"done","pass":true}"#;
    assert!(wrong(&plan(), &GOOD.replace(done, "")).contains("0 `done` lines"));
    assert!(wrong(&plan(), &format!("{GOOD}{done}\n")).contains("2 `done` lines"));
    let after = format!("{GOOD}@cpuhp {{\"ev\":\"trace_lost\",\"n\":0}}\n");
    assert!(wrong(&plan(), &after).contains("not the last"));
    fails(
        r#""ev":"done","pass":true"#,
        r#""ev":"done","pass":false"#,
        "`done` says pass: false",
    );
}

#[test]
fn panic_fails() {
    let said = wrong(
        &plan(),
        &format!("{GOOD}@cpuhp {{\"ev\":\"panic\",\"msg\":\"torn\"}}\n"),
    );
    assert!(said.contains("panicked: torn"), "{said}");
}

#[test]
fn result_must_be_there_of_this_scenario_and_pass() {
    let result = GOOD.lines().nth(1).unwrap();
    assert!(wrong(&plan(), &GOOD.replace(result, "")).contains("no `result`"));
    fails(
        r#""scenario":"boot","pass":true"#,
        r#""scenario":"bulk","pass":true"#,
        "scenario bulk",
    );
    fails(
        r#""boot","pass":true"#,
        r#""boot","pass":false"#,
        "result says pass: false",
    );
    fails(r#""violations":0"#, r#""violations":2"#, "2 violations");
    fails(r#""cpus":4,"#, "", "missing field `cpus`");
}

#[test]
fn modes_must_be_those_asked_for() {
    fails(
        r#""mode":"parallel""#,
        r#""mode":"serial""#,
        "modes [serial], expected [parallel]",
    );
    let mut two = plan();
    two.params = parse_params(&["mode=parallel,serial".to_owned()]).unwrap();
    assert!(wrong(&two, GOOD).contains("expected [parallel, serial]"));
}

#[test]
fn counts_must_agree() {
    fails(r#""cpus":4"#, r#""cpus":3"#, "cpus is 3, expected 4");
    fails(
        r#""online":3"#,
        r#""online":2"#,
        "2 CPUs online, expected 3",
    );
    fails(r#""online":3,"#, "", "no number `online`");
    fails(
        r#""failed":[3]"#,
        r#""failed":[]"#,
        "0 ids in failed, expected 1",
    );
    fails(r#""failed":[3],"#, "", "no list `failed`");
    let row = r#",{"cpu":2,"wave":0,"alive_ns":900,"online_ns":1900}"#;
    fails(row, "", "1 rows in per_cpu with 3 CPUs online");
}

#[test]
fn ids_must_be_different_and_in_range() {
    fails(r#"{"cpu":2,"#, r#"{"cpu":1,"#, "CPU 1 is named twice");
    fails(r#""failed":[3]"#, r#""failed":[2]"#, "CPU 2 is named twice");
    fails(r#"{"cpu":2,"#, r#"{"cpu":4,"#, "CPU 4 of 4 CPUs");
}

#[test]
fn waves_must_be_those_of_the_topology() {
    fails(
        r#""cpu":2,"wave":0"#,
        r#""cpu":2,"wave":1"#,
        "expected 2 and 0",
    );
    fails(
        r#""cpu":2,"wave":0"#,
        r#""cpu":2,"wave":2"#,
        "CPU 2 is in wave 2",
    );
    fails(r#""cpu":2,"wave":0"#, r#""cpu":2"#, "missing field `wave`");

    // Three of the four threads of two cores exist: the boot CPU, its sibling, and the third.
    let mut plan = plan();
    let words = ["topology=cores=2,threads=2", "absent=1"].map(str::to_owned);
    plan.machine = Machine::parse(&words, plan.arch).unwrap();
    let sibling = GOOD.replace(r#""cpu":1,"wave":0"#, r#""cpu":1,"wave":1"#);
    assert_eq!(wrong(&plan, &sibling), "");
    assert!(wrong(&plan, GOOD).contains("2 and 0 secondaries"));
    plan.machine.features.push("cpuid-0xb=off".to_owned());
    assert_eq!(wrong(&plan, GOOD), "", "nothing tells threads apart");
    assert!(wrong(&plan, &sibling).contains("1 and 1 secondaries"));
}

#[test]
fn times_must_be_possible() {
    fails(
        r#""alive_ns":700"#,
        r#""alive_ns":0"#,
        "CPU 1 was alive at 0 ns",
    );
    fails(
        r#""online_ns":1700"#,
        r#""online_ns":600"#,
        "before it was alive",
    );
    fails(r#","online_ns":1700"#, "", "CPU 1 has no online_ns");
    fails(
        r#""online_ns":1700"#,
        r#""online_ns":1700000000"#,
        "took 1000000000 ns of host time",
    );
}

#[test]
fn wall_time_is_no_limit_for_a_clock_that_is_not_real() {
    let slow = GOOD.replace(r#""online_ns":1700"#, r#""online_ns":1700000000"#);
    let mut icount = plan();
    icount.accel = Accel::Icount;
    assert_eq!(wrong(&icount, &slow), "");
}

#[test]
fn totals_must_fit_together() {
    fails(
        r#""kick_to_alive_ns":900"#,
        r#""kick_to_alive_ns":951"#,
        "above its median",
    );
    fails(
        r#""kick_to_alive_ns":900"#,
        r#""kick_to_alive_ns":0"#,
        "kick_to_alive_ns is 0",
    );
    fails(
        r#""kick_to_online_ns":1900"#,
        r#""kick_to_online_ns":1951"#,
        "above its median",
    );
    fails(
        r#""kick_to_online_ns":1900"#,
        r#""kick_to_online_ns":899"#,
        "above kick_to_online_ns",
    );
    fails(
        r#""kick_to_online_ns":1900,"#,
        "",
        "kick_to_online_ns or its median is missing",
    );
    fails(r#""ap_polls_max":2,"#, "", "ap_polls_max is missing");
    fails(
        r#""control_ns_per_cpu":40,"#,
        "",
        "control_ns_per_cpu is missing",
    );
}

#[test]
fn raw_has_a_row_per_secondary() {
    let short = RAW.replace(r#",{"cpu":2,"wave":0,"alive_ns":900}"#, "");
    assert!(wrong(&raw_plan(), &short).contains("1 rows in per_cpu, expected 2"));
    let slow = RAW.replace(
        r#"{"cpu":2,"wave":0,"alive_ns":900}"#,
        r#"{"cpu":2,"wave":0,"alive_ns":1900000000}"#,
    );
    assert!(wrong(&raw_plan(), &slow).contains("of host time"));
}

#[test]
fn fields_of_other_scenarios_must_be_there() {
    let serial = GOOD
        .replace(r#""scenario":"boot""#, r#""scenario":"dead""#)
        .replace(
            r#""mode":"parallel""#,
            r#""dead":[1,3],"late":[1],"waited_ns":5"#,
        );
    let mut dead = plan();
    dead.scenario = Scenario::Dead;
    assert_eq!(
        wrong(&dead, &serial),
        "the result has no number `last_living_online_ns`"
    );
    let good = serial.replace(
        r#""waited_ns":5"#,
        r#""waited_ns":5,"last_living_online_ns":4"#,
    );
    assert_eq!(wrong(&dead, &good), "");
    assert!(wrong(&dead, &good.replace(r#""late":[1],"#, "")).contains("no list `late`"));
}

#[test]
fn minimal_kernel_needs_the_status_and_no_panic() {
    assert!(check_minimal(&Log::parse("8 CPUs online\n"), exited(33)).is_empty());
    assert!(!check_minimal(&Log::parse(""), exited(0)).is_empty());
    for bad in [
        r#"@cpuhp {"ev":"panic","msg":"no"}"#,
        r#"@cpuhp {"ev":"done","pass":false}"#,
        r#"@cpuhp {"ev":"result","scenario":"boot","pass":true,"violations":1}"#,
        "@cpuhp {",
    ] {
        assert_eq!(
            check_minimal(&Log::parse(bad), exited(33)).len(),
            1,
            "{bad}"
        );
    }
}

/// A riscv64 boot of one hart more than the firmware serves.
fn unserved(replace: (&str, &str)) -> String {
    let rows =
        (1..128).map(|cpu| format!(r#"{{"cpu":{cpu},"wave":0,"alive_ns":700,"online_ns":1700}}"#));
    let rows: Vec<String> = rows.collect();
    let serial = format!(
        r#"@cpuhp {{"ev":"start","arch":"riscv64","smp":129,"scenario":"boot","params":{{}},"version":"0.1.0"}}
@cpuhp {{"ev":"result","scenario":"boot","pass":true,"mode":"parallel","cpus":129,"online":128,"failed":[],"not_present":[128],"ap_polls_max":2,"kick_to_alive_ns":700,"kick_to_alive_ns_median":700,"kick_to_online_ns":1700,"kick_to_online_ns_median":1700,"control_ns_per_cpu":40,"per_cpu":[{}],"violations":0}}
@cpuhp {{"ev":"done","pass":true}}
"#,
        rows.join(",")
    );
    let mut plan = Plan::new(Arch::Riscv64);
    plan.smp = 129;
    assert!(plan.arguments().contains("unserved=1"));
    wrong(&plan, &serial.replace(replace.0, replace.1))
}

#[test]
fn harts_that_the_firmware_does_not_serve_are_not_present_and_no_others() {
    assert_eq!(unserved(("", "")), "");
    let none = unserved((r#""not_present":[128],"#, ""));
    assert!(none.contains("0 ids in not_present, expected 1"), "{none}");
    let all = unserved((r#""online":128"#, r#""online":129"#));
    assert!(all.contains("129 CPUs online, expected 128"), "{all}");
    let twice = unserved((r#""not_present":[128]"#, r#""not_present":[127]"#));
    assert!(twice.contains("CPU 127 is named twice"), "{twice}");
    let more = unserved((r#""not_present":[128]"#, r#""not_present":[127,128]"#));
    assert!(more.contains("2 ids in not_present"), "{more}");
    let failed = unserved((r#""failed":[]"#, r#""failed":[128]"#));
    assert!(failed.contains("ids in failed"), "{failed}");
    fails(
        r#""failed":[3],"#,
        r#""failed":[3],"not_present":[2],"#,
        "ids in not_present",
    );
}
