//! Reads the two files of a timeline back and compares them with the machine lines they were made from.
//!
//! Shares no code with what writes them: boxes are computed from the picture's own attributes, steps are counted in the lines.

use std::collections::BTreeMap;

use roxmltree::{Document, Node};
use serde_json::Value;

use super::Timeline;

/// Width and height of a character, and how far it reaches below the line, in em.
const EM: [f64; 3] = [0.6, 1.0, 0.25];

/// A box of a label, and what it says.
#[derive(Debug)]
struct LabelBox<'s> {
    text: &'s str,
    x: [f64; 2],
    y: [f64; 2],
}

/// The steps of a machine: CPU that ran it, begin, end, and how often.
type Steps = BTreeMap<(u64, u64, u64), u64>;

/// Returns what is wrong with a timeline that was drawn of these lines, as sentences.
pub(super) fn verify(lines: &[Value], timeline: &Timeline) -> Vec<String> {
    let mut wrong = verify_picture(&timeline.svg);
    match serde_json::from_str(&timeline.trace) {
        Ok(trace) => wrong.extend(verify_trace(lines, &trace)),
        Err(error) => wrong.push(format!("the trace file is no JSON: {error}")),
    }
    wrong
}

// ---- the picture

/// It parses, every label is inside, and no two boxes intersect.
fn verify_picture(svg: &str) -> Vec<String> {
    let document = match Document::parse(svg) {
        Ok(document) => document,
        Err(error) => return vec![format!("the picture does not parse: {error}")],
    };
    let root = document.root_element();
    let size = ["width", "height"].map(|name| number(root, name));
    let texts = document
        .descendants()
        .filter(|node| node.has_tag_name("text"));
    let boxes: Vec<LabelBox<'_>> = texts.map(box_of).collect();
    let mut wrong = Vec::new();
    if boxes.is_empty() {
        wrong.push("the picture has no label".to_owned());
    }
    for (at, one) in boxes.iter().enumerate() {
        if one.x[0] < 0.0 || one.y[0] < 0.0 || one.x[1] > size[0] || one.y[1] > size[1] {
            wrong.push(format!("the label `{}` is outside the picture", one.text));
        }
        let others = boxes.iter().skip(at + 1);
        for other in others.filter(|other| intersect(one.x, other.x) && intersect(one.y, other.y)) {
            wrong.push(format!(
                "the labels `{}` and `{}` intersect",
                one.text, other.text
            ));
        }
    }
    wrong
}

fn intersect(one: [f64; 2], other: [f64; 2]) -> bool {
    one[0] < other[1] && other[0] < one[1]
}

fn box_of<'s>(node: Node<'s, '_>) -> LabelBox<'s> {
    let text = node.text().unwrap_or("");
    let [x, y, size] = ["x", "y", "font-size"].map(|name| number(node, name));
    let width = text.chars().count() as f64 * EM[0] * size;
    // Rounded to a tenth of a pixel in the picture.
    let width = width.max(number(node, "textLength") - 0.1);
    let left = match node.attribute("text-anchor") {
        Some("middle") => x - width / 2.0,
        Some("end") => x - width,
        _ => x,
    };
    LabelBox {
        text,
        x: [left, left + width],
        y: [y - EM[1] * size, y + EM[2] * size],
    }
}

/// A number, or what makes every comparison fail.
fn number(node: Node<'_, '_>, name: &str) -> f64 {
    let value = node.attribute(name).and_then(|value| value.parse().ok());
    value.unwrap_or(f64::NEG_INFINITY)
}

// ---- the trace file

/// One pair of events for every step on the track of the CPU that ran it, one flow per call.
fn verify_trace(lines: &[Value], trace: &Value) -> Vec<String> {
    let none = Vec::new();
    let events = trace["traceEvents"].as_array().unwrap_or(&none);
    let mut wrong = Vec::new();
    let pairs = match pairs(events) {
        Ok(pairs) => pairs,
        Err(what) => return vec![what],
    };
    let expected = steps(lines);
    for (key, count) in &expected {
        let found = pairs.get(key).copied().unwrap_or(0);
        if found != *count {
            let (cpu, t0, t1) = key;
            wrong.push(format!(
                "{found} pairs of events for {count} steps of CPU {cpu} from {t0} to {t1} ns"
            ));
        }
    }
    let (found, count) = (pairs.values().sum::<u64>(), expected.values().sum::<u64>());
    if found != count {
        wrong.push(format!("{found} pairs of events for {count} steps"));
    }
    let calls = lines.iter().filter(|line| line["ev"] == "call").count();
    let mut ends = [flows(events, "s"), flows(events, "f")];
    for end in &mut ends {
        end.sort_unstable();
        end.dedup();
        if end.len() != calls {
            wrong.push(format!("{} flows for {calls} calls", end.len()));
        }
    }
    if ends[0] != ends[1] {
        wrong.push("a flow begins that does not end".to_owned());
    }
    wrong
}

/// The steps that the lines tell of.
fn steps(lines: &[Value]) -> Steps {
    let mut steps = Steps::new();
    for line in lines.iter().filter(|line| line["ev"] == "step") {
        let [cpu, t0, t1] = ["on", "t0", "t1"].map(|name| line[name].as_u64().unwrap_or(u64::MAX));
        *steps.entry((cpu, t0, t1)).or_default() += 1;
    }
    steps
}

/// Pairs each end with the last begin that is open on its track.
fn pairs(events: &[Value]) -> Result<Steps, String> {
    let mut names = BTreeMap::new();
    for event in events.iter().filter(|event| event["name"] == "thread_name") {
        let name = event["args"]["name"].as_str().unwrap_or("");
        let cpu = name
            .strip_prefix("CPU ")
            .and_then(|name| name.split(' ').next());
        let cpu: Option<u64> = cpu.and_then(|cpu| cpu.parse().ok());
        names.insert(track(event), cpu.unwrap_or(u64::MAX));
    }
    let mut open: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    let mut last = BTreeMap::new();
    let mut pairs = Steps::new();
    for event in events
        .iter()
        .filter(|event| event["ph"] == "B" || event["ph"] == "E")
    {
        let (track, now) = (track(event), ns(event));
        if last
            .insert(track.clone(), now)
            .is_some_and(|last| last > now)
        {
            return Err(format!("time runs backwards on a track: {event}"));
        }
        if event["ph"] == "B" {
            open.entry(track).or_default().push(now);
            continue;
        }
        let Some(begin) = open.get_mut(&track).and_then(Vec::pop) else {
            return Err(format!("an event ends that did not begin: {event}"));
        };
        let cpu = names.get(&track).copied().unwrap_or(u64::MAX);
        *pairs.entry((cpu, begin, now)).or_default() += 1;
    }
    if open.values().any(|open| !open.is_empty()) {
        return Err("an event begins that does not end".to_owned());
    }
    Ok(pairs)
}

fn track(event: &Value) -> (String, String) {
    (event["pid"].to_string(), event["tid"].to_string())
}

fn ns(event: &Value) -> u64 {
    let ns = event["ts"].as_f64().unwrap_or(f64::INFINITY) * 1000.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates; a wrong time is found by comparing"
    )]
    let ns = ns.round() as u64;
    ns
}

fn flows(events: &[Value], ph: &str) -> Vec<u64> {
    let of_calls = events
        .iter()
        .filter(|event| event["ph"] == ph && event["cat"] == "call");
    of_calls
        .map(|event| event["id"].as_u64().unwrap_or(u64::MAX))
        .collect()
}
