//! Checks of what the scenarios other than `boot` report: the fields are there and fit to what was asked for.

use serde_json::Value;

use super::{calls, expected};
use crate::arch::Arch;
use crate::machine::Thread;
use crate::plan::{Plan, Scenario};
use crate::qemu;
use crate::record::Outcome;

/// Rounds of `cycle`, and of `critical`, that is not told a number.
const CYCLES: u64 = 20;

/// Sections of one CPU in one round of `critical`, at least: 60 on its way down, and 60 on its way up.
const SECTIONS: u64 = 120;

/// Operations of `storm` that is not told a number.
const STORM: u64 = 2_000;

/// Time-out in milliseconds of a scenario that is not told one.
const TIMEOUT_MS: u64 = 10_000;

/// What `ipi` reports.
const IPI_FIELDS: [&str; 6] = [
    "calls",
    "lost",
    "duplicated",
    "ipis",
    "queue_to_entry_ns_median",
    "queue_to_entry_ns_p99",
];

/// Checks one result.
pub(super) fn check(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let mut wrong = check_types(plan, outcome);
    if !wrong.is_empty() {
        return wrong;
    }
    match plan.scenario {
        Scenario::Cycle => wrong.extend(check_cycle(plan, outcome)),
        Scenario::Dead => wrong.extend(check_dead(plan, outcome)),
        // What is typed decides the numbers.
        Scenario::Boot | Scenario::Bulk | Scenario::Shell => {}
        Scenario::Partial => wrong.extend(exactly(plan, outcome, &expected::partial(plan))),
        Scenario::Fault => wrong.extend(exactly(plan, outcome, &expected::fault(plan))),
        Scenario::Register => wrong.extend(exactly(plan, outcome, &expected::register(plan))),
        Scenario::Suspend => wrong.extend(exactly(plan, outcome, &expected::suspend(plan))),
        Scenario::Storm => {
            wrong.extend(check_storm(plan, outcome));
            wrong.extend(calls::check_storm(plan, outcome));
        }
        Scenario::Hotadd => wrong.extend(check_hotadd(plan, outcome)),
        Scenario::Ipi => wrong.extend(calls::check_ipi(plan, outcome)),
        Scenario::Limit => wrong.extend(exactly(plan, outcome, &expected::limit(plan))),
        Scenario::Disable => wrong.extend(exactly(plan, outcome, &expected::disable(plan))),
        Scenario::Control => wrong.extend(exactly(plan, outcome, &expected::control(plan))),
        Scenario::Critical => wrong.extend(check_critical(plan, outcome)),
    }
    wrong
}

/// These fields have exactly these numbers: so many cases there are for so many CPUs.
pub(super) fn exactly(plan: &Plan, outcome: &Outcome, fields: &[(&str, u64)]) -> Vec<String> {
    let name = plan.scenario.name();
    let differ = fields
        .iter()
        .filter(|(field, right)| number(outcome, field) != *right);
    differ
        .map(|(field, right)| {
            let found = number(outcome, field);
            format!("{name}: {field} is {found}, expected {right}")
        })
        .collect()
}

/// Numbers and lists that the other scenarios report.
fn check_types(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let (numbers, lists): (&[&str], &[&str]) = match plan.scenario {
        Scenario::Boot => (&[], &[]),
        Scenario::Cycle => (&["down_ns_median", "up_ns_median", "ops"], &[]),
        Scenario::Bulk => (&["down_ns_median", "up_ns_median"], &[]),
        Scenario::Partial => (&["pairs"], &[]),
        Scenario::Fault => (&["cases", "rolled_back"], &[]),
        Scenario::Register => (&["cases"], &[]),
        Scenario::Suspend => (&["frozen", "thawed", "aborted"], &[]),
        Scenario::Storm => (
            &["ops", "failures_injected", "calls", "lost", "duplicated"],
            &[],
        ),
        Scenario::Hotadd => (&["online"], &["added"]),
        Scenario::Ipi => (&IPI_FIELDS, &[]),
        Scenario::Limit => (&["limits", "most"], &[]),
        Scenario::Disable => (&["nested", "refused"], &[]),
        Scenario::Control => (&["good", "bad"], &[]),
        Scenario::Shell => (&["commands", "refused"], &[]),
        Scenario::Critical => (&["rounds", "sections", "met", "in_handlers"], &[]),
        Scenario::Dead => (&["waited_ns", "last_living_online_ns"], &["dead", "late"]),
    };
    let mut wrong = Vec::new();
    for name in numbers {
        if !outcome.fields.get(*name).is_some_and(Value::is_u64) {
            wrong.push(format!("the result has no number `{name}`"));
        }
    }
    for name in lists {
        if !outcome.fields.get(*name).is_some_and(Value::is_array) {
            wrong.push(format!("the result has no list `{name}`"));
        }
    }
    wrong
}

/// Each CPU but the driving one went down and came up once in each round.
fn check_cycle(plan: &Plan, outcome: &Outcome) -> Option<String> {
    let rounds = plan.number("rounds").unwrap_or(CYCLES);
    let expected = 2 * u64::from(plan.served().saturating_sub(1)) * rounds;
    let ops = number(outcome, "ops");
    (ops != expected).then(|| format!("{ops} downs and ups, expected {expected}"))
}

/// Every CPU was in sections on its way down and up, and where there are others to meet it met some.
fn check_critical(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    let rounds = plan.number("rounds").unwrap_or(CYCLES);
    if number(outcome, "rounds") != rounds {
        wrong.push(format!("not the {rounds} rounds that were asked for"));
    }
    let least = u64::from(plan.served() - 1) * rounds * SECTIONS;
    let sections = number(outcome, "sections");
    if sections < least {
        wrong.push(format!("{sections} sections, expected at least {least}"));
    }
    // A few CPUs, threads on one core of the host, or CPUs on one thread may miss each other.
    let is_parallel = plan.served() >= 8
        && plan.arch != Arch::Hosted
        && plan.is_clock_real()
        && qemu::thread(plan) == Thread::Multi;
    if is_parallel && number(outcome, "met") == 0 {
        wrong.push("no CPU ever found another one inside: nothing was shown".to_owned());
    }
    if plan.number("noise") == Some(1) && number(outcome, "in_handlers") == 0 {
        wrong.push("no section in a handler, although all CPUs were interrupted".to_owned());
    }
    wrong
}

/// As many operations as asked for; faults were met, but for the very short storms.
fn check_storm(plan: &Plan, outcome: &Outcome) -> Option<String> {
    let ops = number(outcome, "ops");
    let expected = plan.number("ops").unwrap_or(STORM);
    if ops != expected {
        return Some(format!("{ops} operations, expected {expected}"));
    }
    let least = if plan.smp > 1 { ops / 100 } else { 0 };
    let injected = number(outcome, "failures_injected");
    (injected < least)
        .then(|| format!("{injected} faults met in {ops} operations, expected {least}"))
}

/// As many CPUs as were plugged in are named, each once, and online with those that were there before.
fn check_hotadd(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let mut added = ids(outcome, "added");
    added.sort_unstable();
    added.dedup();
    let (wanted, online) = (u64::from(plan.machine.hotadd), number(outcome, "online"));
    let mut wrong = Vec::new();
    if added.len() as u64 != wanted {
        wrong.push(format!(
            "{} CPUs added, {wanted} were plugged in",
            added.len()
        ));
    }
    let right = u64::from(plan.smp) + wanted;
    if online != right {
        wrong.push(format!("{online} CPUs online, expected {right}"));
    }
    wrong
}

/// All CPUs that miss the deadline are found, together by one deadline, and it holds up nobody else.
fn check_dead(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let (dead, late) = (ids(outcome, "dead"), ids(outcome, "late"));
    let mut wrong = Vec::new();
    if dead.len() as u64 != late.len() as u64 + u64::from(plan.machine.absent) {
        wrong.push(format!(
            "{} CPUs dead, expected {} absent and {} late ones",
            dead.len(),
            plan.machine.absent,
            late.len()
        ));
    }
    if let Some(cpu) = late.iter().find(|cpu| !dead.contains(cpu)) {
        wrong.push(format!("CPU {cpu} is late and was not found dead"));
    }
    let timeout = plan.number("timeout_ms").unwrap_or(TIMEOUT_MS) * 1_000_000;
    let waited = number(outcome, "waited_ns");
    if waited > timeout + timeout / 2 {
        wrong.push(format!(
            "waited {waited} ns for the dead, more than 1.5 times the time-out of {timeout} ns"
        ));
    }
    if number(outcome, "last_living_online_ns") >= timeout {
        wrong.push("the living were not online before the deadline of the dead".to_owned());
    }
    wrong
}

pub(super) fn number(outcome: &Outcome, name: &str) -> u64 {
    outcome
        .fields
        .get(name)
        .and_then(Value::as_u64)
        .unwrap_or(0)
}

fn ids(outcome: &Outcome, name: &str) -> Vec<u64> {
    let list = outcome.fields.get(name).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::parse_params;

    fn wrong(scenario: Scenario, absent: u32, params: &[&str], fields: &str) -> String {
        let mut plan = Plan::new(Arch::X86_64);
        plan.scenario = scenario;
        plan.machine.absent = absent;
        let params: Vec<String> = params.iter().map(|word| (*word).to_owned()).collect();
        plan.params = parse_params(&params).unwrap();
        let outcome = format!(
            r#"{{"scenario":"{}","pass":true,"violations":0,{fields}}}"#,
            scenario.name()
        );
        check(&plan, &serde_json::from_str(&outcome).unwrap()).join("; ")
    }

    #[test]
    fn cycle_moves_each_secondary_twice_a_round() {
        let fields = |ops| format!(r#""down_ns_median":1,"up_ns_median":1,"ops":{ops}"#);
        assert_eq!(wrong(Scenario::Cycle, 0, &[], &fields(280)), "");
        assert_eq!(wrong(Scenario::Cycle, 0, &["rounds=3"], &fields(42)), "");
        assert!(wrong(Scenario::Cycle, 0, &[], &fields(278)).contains("expected 280"));
    }

    #[test]
    fn scenarios_have_as_many_cases_as_there_are_for_8_cpus() {
        for (scenario, params, good, bad) in [
            (
                Scenario::Partial,
                &[][..],
                r#""pairs":81,"refused":18"#,
                r#""pairs":80,"refused":18"#,
            ),
            (
                Scenario::Fault,
                &[],
                r#""cases":372,"rolled_back":50"#,
                r#""cases":372,"rolled_back":49"#,
            ),
            (Scenario::Register, &[], r#""cases":281"#, r#""cases":280"#),
            (
                Scenario::Suspend,
                &["rounds=3"],
                r#""frozen":20,"thawed":20,"aborted":3"#,
                r#""frozen":20,"thawed":20,"aborted":2"#,
            ),
            (
                Scenario::Limit,
                &[],
                r#""limits":22,"most":8"#,
                r#""limits":22,"most":7"#,
            ),
            (
                Scenario::Disable,
                &[],
                r#""nested":4,"refused":84"#,
                r#""nested":4,"refused":83"#,
            ),
            (
                Scenario::Control,
                &["steps=2"],
                r#""good":27,"bad":34"#,
                r#""good":23,"bad":34"#,
            ),
        ] {
            assert_eq!(wrong(scenario, 0, params, good), "");
            assert!(
                wrong(scenario, 0, params, bad).contains("expected"),
                "{bad}"
            );
            let missing = wrong(scenario, 0, params, r#""other":1"#);
            assert!(missing.contains("no number"), "{missing}");
        }
    }

    #[test]
    fn critical_is_every_cpu_both_ways_and_they_meet() {
        let fields = |rounds, sections, met| {
            format!(r#""rounds":{rounds},"sections":{sections},"met":{met},"in_handlers":0"#)
        };
        let check = |fields: &str| wrong(Scenario::Critical, 0, &["rounds=3"], fields);
        assert_eq!(check(&fields(3, 7 * 3 * 120, 1)), "");
        assert!(check(&fields(2, 7 * 3 * 120, 1)).contains("the 3 rounds"));
        assert!(check(&fields(3, 7 * 3 * 120 - 1, 1)).contains("at least 2520"));
        assert!(check(&fields(3, 7 * 3 * 120, 0)).contains("nothing was shown"));
        assert!(check(r#""rounds":3,"sections":2520"#).contains("no number `met`"));
        let noisy = wrong(Scenario::Critical, 0, &["noise=1"], &fields(20, 20_000, 1));
        assert!(noisy.contains("no section in a handler"), "{noisy}");
    }

    #[test]
    fn plugged_in_cpus_are_named_and_online() {
        let check = |added: &str, online: u32| {
            let mut plan = Plan::new(Arch::X86_64);
            plan.scenario = Scenario::Hotadd;
            plan.machine.hotadd = 2;
            let outcome = format!(
                r#"{{"scenario":"hotadd","pass":true,"violations":0,"added":{added},"online":{online}}}"#
            );
            check(&plan, &serde_json::from_str(&outcome).unwrap()).join("; ")
        };
        assert_eq!(check("[8,9]", 10), "");
        assert!(check("[8]", 10).contains("1 CPUs added, 2 were"));
        assert!(check("[8,8]", 10).contains("1 CPUs added"));
        assert!(check("[8,9]", 9).contains("expected 10"));
    }

    #[test]
    fn storm_does_what_it_was_asked_for_and_meets_faults() {
        let check = |params: &[&str], ops: u32, injected: u32| {
            let calls = r#""calls":9000,"lost":0,"duplicated":0"#;
            let fields = format!(r#""ops":{ops},"failures_injected":{injected},{calls}"#);
            wrong(Scenario::Storm, 0, params, &fields)
        };
        assert_eq!(check(&[], 2_000, 20), "");
        assert_eq!(check(&["ops=50"], 50, 0), "");
        assert!(check(&["ops=5000"], 2_000, 100).contains("expected 5000"));
        assert!(check(&[], 2_000, 19).contains("19 faults met"));
    }

    #[test]
    fn calls_are_all_there_once_with_times_in_order() {
        let ipi = |calls: u32, lost: u32, duplicated: u32, ipis: u32, times: [u32; 2]| {
            let [median, p99] = times;
            let fields = format!(
                r#""calls":{calls},"lost":{lost},"duplicated":{duplicated},"ipis":{ipis},"queue_to_entry_ns_median":{median},"queue_to_entry_ns_p99":{p99}"#
            );
            wrong(Scenario::Ipi, 0, &["rounds=3"], &fields)
        };
        // 8 CPUs call 7 others each.
        assert_eq!(ipi(168, 0, 0, 100, [10, 20]), "");
        assert!(ipi(167, 0, 0, 100, [10, 20]).contains("expected 168"));
        assert!(ipi(168, 1, 0, 100, [10, 20]).contains("lost is 1"));
        assert!(ipi(168, 0, 1, 100, [10, 20]).contains("duplicated is 1"));
        assert!(ipi(168, 0, 0, 0, [10, 20]).contains("0 IPIs"));
        assert!(ipi(168, 0, 0, 168 + 22, [10, 20]).contains("190 IPIs"));
        assert!(ipi(168, 0, 0, 100, [21, 20]).contains("within 21 ns"));
        assert!(ipi(168, 0, 0, 100, [0, 20]).contains("within 0 ns"));
        let storm = |calls: u32, lost: u32, params: &[&str]| {
            let fields = format!(
                r#""ops":100,"failures_injected":9,"calls":{calls},"lost":{lost},"duplicated":0"#
            );
            wrong(Scenario::Storm, 0, params, &fields)
        };
        assert_eq!(storm(100, 0, &["ops=100"]), "");
        assert!(storm(100, 2, &["ops=100"]).contains("lost is 2"));
        assert!(storm(99, 0, &["ops=100"]).contains("at least 100"));
        assert_eq!(storm(0, 0, &["ops=100", "calls=0"]), "");
        assert!(storm(1, 0, &["ops=100", "calls=0"]).contains("1 calls"));
    }

    #[test]
    fn the_dead_are_the_absent_and_the_late_and_cost_one_deadline() {
        let fields = |dead: &str, late: &str, waited: u64, living: u64| {
            format!(
                r#""dead":{dead},"late":{late},"waited_ns":{waited},"last_living_online_ns":{living}"#
            )
        };
        let check = |fields: &str| wrong(Scenario::Dead, 1, &["timeout_ms=1000"], fields);
        let second = 1_000_000_000;
        assert_eq!(check(&fields("[2,6,8]", "[2,6]", second, 1)), "");
        assert!(check(&fields("[2,6]", "[2,6]", second, 1)).contains("1 absent"));
        assert!(check(&fields("[2,7,8]", "[2,6]", second, 1)).contains("CPU 6"));
        assert!(check(&fields("[2,6,8]", "[2,6]", 2 * second, 1)).contains("1.5 times"));
        assert!(check(&fields("[2,6,8]", "[2,6]", second, second)).contains("before"));
        assert!(check(r#""dead":[]"#).contains("no list `late`"));
    }
}
