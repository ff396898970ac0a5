//! Timelines of one real boot and of machines made up to be difficult.

use serde_json::{Value, json};

use super::verify::verify;
use super::{Timeline, check, names};

/// What a kernel with 8 CPUs printed: mode serial, then mode parallel.
const REAL: &str = include_str!("../../tests/data/boot-x86_64-8.json");

fn real() -> Vec<Value> {
    serde_json::from_str(REAL).unwrap()
}

fn step(cpu: u64, on: u64, name: &str, t: [u64; 2]) -> Value {
    let state = match name.split(':').next_back() {
        Some("prepare") => 1,
        Some("starting") => 4,
        _ => 9,
    };
    json!({"ev": "step", "cpu": cpu, "state": state, "name": name, "dir": "up", "rollback": false,
        "on": on, "t0": t[0], "t1": t[1], "err": null})
}

fn edge(cpu: u64, from: &str, to: &str, t: u64) -> Value {
    json!({"ev": "edge", "cpu": cpu, "from": from, "to": to, "t": t})
}

fn with(mut line: Value, key: &str, value: Value) -> Value {
    line[key] = value;
    line
}

/// One CPU, brought up at a time that puts its marks close to those of its neighbours; every 7th does not come, every 14th is
/// late, every 5th fails in its last step.
fn life(cpu: u64) -> Vec<Value> {
    let t = 1_000_000 + 10_000 * cpu;
    let mut lines = vec![
        step(cpu, 0, "stack:prepare", [t, t + 9_000]),
        edge(cpu, "DEAD", "KICKED", t + 9_000),
        json!({"ev": "kick", "cpu": cpu, "t": t + 9_500}),
    ];
    if cpu.is_multiple_of(7) {
        lines.push(edge(cpu, "KICKED", "CANCELLED", t + 3_000_000));
        if cpu.is_multiple_of(14) {
            lines.push(edge(cpu, "CANCELLED", "PARKED", t + 3_300_000));
        }
        return lines;
    }
    lines.push(edge(cpu, "KICKED", "GO", t + 2_000_000));
    lines.push(step(
        cpu,
        cpu,
        "timer:starting",
        [t + 2_000_000, t + 2_500_000],
    ));
    lines.push(edge(cpu, "GO", "UP", t + 2_500_000));
    let last = step(cpu, cpu, "sched:online", [t + 2_500_000, t + 4_000_000]);
    if cpu.is_multiple_of(5) {
        lines.push(with(last, "err", json!(-5)));
        let down = step(cpu, cpu, "timer:starting", [t + 4_000_000, t + 4_100_000]);
        let down = with(with(down, "dir", json!("down")), "rollback", json!(true));
        lines.extend([down, edge(cpu, "UP", "GONE", t + 4_100_000)]);
        lines.push(edge(cpu, "GONE", "DEAD", t + 4_200_000));
    } else {
        lines.push(last);
    }
    lines
}

/// Lines of a machine with `cpus` CPUs.
fn machine(cpus: u64) -> Vec<Value> {
    let mut lines = vec![
        json!({"ev": "start", "arch": "x86_64", "smp": cpus, "scenario": "dead",
        "params": {"trace": "1"}, "version": "0.1.0"}),
    ];
    lines.extend((1..cpus).flat_map(life));
    lines.push(json!({"ev": "trace_lost", "n": 0}));
    lines.push(json!({"ev": "done", "pass": true}));
    lines
}

/// A call from `from` to `cpu` that is queued at `t`.
fn call(id: u64, from: u64, cpu: u64, t: u64) -> Value {
    json!({"ev": "call", "id": id, "from": from, "cpu": cpu, "site": "driver.rs:12", "queue": t,
        "ipi": "sent", "entry": t + 700, "exit": t + 900})
}

fn drawn(lines: &[Value]) -> Timeline {
    Timeline::of(lines).unwrap()
}

fn sound(lines: &[Value]) -> Timeline {
    let timeline = drawn(lines);
    assert_eq!(verify(lines, &timeline), Vec::<String>::new());
    timeline
}

#[test]
fn real_boot_has_a_panel_per_mode_and_all_its_steps() {
    let timeline = sound(&real());
    for text in [">serial<", ">parallel<", ">online<", ">kick<", ">alive<"] {
        assert!(timeline.svg.contains(text), "{text}");
    }
}

#[test]
fn checked_boot_has_lost_no_events() {
    let mut lines = machine(8);
    assert_eq!(check(&lines), Vec::<String>::new());
    lines.push(json!({"ev": "trace_lost", "n": 7}));
    assert_eq!(check(&lines), ["timeline: 7 events were lost"]);
}

#[test]
fn timeline_is_sound_for_machines_of_every_size() {
    for cpus in [2, 8, 15, 30, 64, 120, 256, 300, 1_000] {
        let timeline = sound(&machine(cpus));
        assert!(
            timeline.svg.len() < 4 << 20,
            "{cpus}: {}",
            timeline.svg.len()
        );
    }
}

#[test]
fn cpus_that_did_not_come_or_came_late_are_named() {
    let timeline = sound(&machine(8));
    assert!(timeline.svg.contains(">did not come</text>"));
    for cpus in [64, 256] {
        let svg = sound(&machine(cpus)).svg;
        assert!(svg.contains(">CPU 49 did not come</text>"), "{cpus}");
        assert!(svg.contains(">CPU 14 late</text>"), "{cpus}");
        assert!(svg.contains(">CPU 25 sched:online failed</text>"), "{cpus}");
    }
}

#[test]
fn each_call_is_one_flow_from_caller_to_callee() {
    let mut lines = machine(8);
    // All at once, so that they overlap on the caller's side; ids of different callers may be equal.
    lines.extend((1..7).map(|cpu| call(cpu, 0, cpu, 6_000_000)));
    lines.extend((1..7).map(|cpu| call(cpu, cpu, 0, 6_000_400)));
    let timeline = sound(&lines);
    let trace: Value = serde_json::from_str(&timeline.trace).unwrap();
    let of = |ph: &str| {
        let events = trace["traceEvents"].as_array().unwrap().iter();
        events.filter(|event| event["ph"] == ph).count()
    };
    assert_eq!([of("s"), of("f"), of("X")], [12, 12, 24]);
}

#[test]
fn steps_that_one_cpu_runs_for_others_at_the_same_time_keep_their_times() {
    let mut lines = machine(2);
    lines.push(step(1, 0, "a:prepare", [100, 300]));
    lines.push(step(1, 0, "b:prepare", [200, 400]));
    lines.push(step(1, 0, "c:prepare", [400, 400]));
    sound(&lines);
}

#[test]
fn text_from_a_kernel_cannot_break_the_picture() {
    let mut lines = machine(2);
    lines.push(step(1, 1, "<&>\"\u{1}\u{fffe}]]>", [5_000_000, 9_000_000]));
    lines[0]["arch"] = json!("<x86> & \u{7}");
    sound(&lines);
}

#[test]
fn several_boots_in_one_file_are_drawn_below_each_other() {
    let mut lines = real();
    lines.extend(machine(8));
    let svg = sound(&lines).svg;
    for text in [
        ">x86_64, boot, serial<",
        ">x86_64, boot, parallel<",
        ">x86_64, dead<",
    ] {
        assert!(svg.contains(text), "{text}");
    }
}

#[test]
fn fastest_round_of_a_mode_is_the_one_that_is_shown() {
    let mut lines = machine(4);
    for (t0, t1) in [(0, 6_000_000), (1_000_000, 4_500_000), (0, 7_000_000)] {
        lines.push(json!({"ev": "window", "mode": "split", "t0": t0, "t1": t1}));
    }
    let svg = sound(&lines).svg;
    assert!(svg.contains("fastest of 3 rounds"));
    // CPUs are online from 5.01 ms on, when only the two longer windows have not ended.
    assert!(!svg.contains("last online"), "{svg}");
}

#[test]
fn panel_much_shorter_than_the_longest_is_shown_enlarged_as_well() {
    let mut lines = machine(4);
    lines.push(json!({"ev": "window", "mode": "serial", "t0": 0, "t1": 101_019_500}));
    lines.push(json!({"ev": "window", "mode": "parallel", "t0": 0, "t1": 11_019_500}));
    lines.push(json!({"ev": "kick", "cpu": 1, "t": 90_000_000}));
    // From the first event at 1.01 ms to the last one, at 90 ms and at 5.03 ms: what a window has beside them does not count.
    let svg = sound(&lines).svg;
    assert!(svg.contains(">parallel, enlarged 22 times<"), "{svg}");
    assert!(!svg.contains("serial, enlarged"), "{svg}");
}

#[test]
fn lines_that_cannot_be_drawn_are_refused_with_a_reason() {
    let refused = |lines: &[Value]| format!("{:#}", Timeline::of(lines).unwrap_err());
    let silent = [machine(2)[0].clone(), json!({"ev": "done", "pass": true})];
    assert!(refused(&silent).contains("--param trace=1"));
    assert!(refused(&[]).contains("no trace events"));
    assert!(refused(&[json!(7)]).contains("entry 1 is no machine line"));
    let far = edge(1 << 60, "DEAD", "KICKED", 1);
    assert!(refused(&[far]).contains("names CPU 1152921504606846976"));
    let bad = [
        json!({"ev": "done"}),
        json!({"ev": "kick", "cpu": "one", "t": 1}),
    ];
    assert!(
        refused(&bad).contains("entry 2, a kick"),
        "{}",
        refused(&bad)
    );
}

#[test]
fn largest_times_and_steps_that_end_before_they_begin_are_drawn_somehow() {
    let last = [u64::MAX - 1, u64::MAX];
    let mut lines = vec![step(0, 0, "a:online", last), step(1, 1, "b:online", [9, 4])];
    lines.push(call(1, 0, 1, u64::MAX - 1_000));
    lines.push(json!({"ev": "window", "mode": "serial", "t0": 9, "t1": 3}));
    lines.push(json!({"ev": "window", "mode": "split", "t0": 0, "t1": u64::MAX}));
    let wrong = verify(&lines, &drawn(&lines));
    assert!(
        wrong.iter().all(|what| what.contains("backwards")),
        "{wrong:?}"
    );
}

#[test]
fn lines_of_kinds_that_are_not_drawn_are_passed_over() {
    let mut lines = machine(2);
    lines.push(json!({"ev": "weather", "sun": true}));
    sound(&lines);
}

#[test]
fn both_files_are_named_like_the_one_that_was_read() {
    for name in [
        "a.b/boot.json",
        "a.b/boot.svg",
        "a.b/boot.trace.json",
        "a.b/boot",
    ] {
        let [svg, trace] = names(name.as_ref());
        assert_eq!(svg.to_str(), Some("a.b/boot.svg"));
        assert_eq!(trace.to_str(), Some("a.b/boot.trace.json"));
    }
}

// ---- the checks can fail

#[test]
fn picture_with_labels_on_each_other_is_found() {
    let lines = machine(8);
    let mut timeline = drawn(&lines);
    let text = "<text x=\"300\" y=\"300\" font-size=\"12\" textLength=\"20\">one</text>";
    timeline.svg = timeline
        .svg
        .replace("</svg>", &format!("{text}{text}</svg>"));
    let wrong = verify(&lines, &timeline).join("; ");
    assert!(wrong.contains("`one` and `one` intersect"), "{wrong}");
    timeline.svg = timeline.svg.replace("x=\"300\"", "x=\"3000\"");
    let wrong = verify(&lines, &timeline).join("; ");
    assert!(wrong.contains("`one` is outside"), "{wrong}");
    timeline.svg = timeline.svg.replace("</svg>", "");
    let wrong = verify(&lines, &timeline).join("; ");
    assert!(wrong.contains("does not parse"), "{wrong}");
}

#[test]
fn trace_file_that_lacks_or_invents_something_is_found() {
    let mut lines = machine(4);
    lines.push(call(1, 0, 1, 6_000_000));
    let timeline = drawn(&lines);
    let wrong = |from: &str, to: &str| {
        let trace = timeline.trace.replacen(from, to, 1);
        let svg = timeline.svg.clone();
        assert_ne!(trace, timeline.trace, "{from}");
        verify(&lines, &Timeline { svg, trace }).join("; ")
    };
    assert!(wrong("\"ph\":\"E\"", "\"ph\":\"i\"").contains("does not end"));
    assert!(wrong("\"ph\":\"B\"", "\"ph\":\"i\"").contains("did not begin"));
    assert!(wrong("\"ph\":\"s\"", "\"ph\":\"i\"").contains("0 flows for 1 calls"));
    assert!(
        wrong("{\"name\":\"CPU 3\"}", "{\"name\":\"CPU 2\"}")
            .contains("0 pairs of events for 1 steps of CPU 3")
    );
    assert!(wrong("[", "").contains("no JSON"));
    let fewer: Vec<Value> = lines
        .iter()
        .filter(|line| line["on"] != 2)
        .cloned()
        .collect();
    let wrong = verify(&fewer, &timeline).join("; ");
    assert!(wrong.contains("pairs of events for"), "{wrong}");
}
