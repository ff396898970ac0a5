//! The control interface fed with anything: seeded, so that `CPUHP_SEED=…` replays.
#![cfg(not(loom))]

use cpuhp_core::{ControlError, ControlRequest, CpuId, FaultAt, StateId};
use cpuhp_tests::fake::Machine;
use cpuhp_tests::full::{IDLE, KICK, ONLINE, populated};
use cpuhp_tests::random::Random;
use cpuhp_tests::refusal::snapshot;
use cpuhp_tests::world::{World, with};

#[rustfmt::skip]
const NODES: [&str; 12] = [
    "cpu0", "cpu", "/", "/fail", "/target", "/state", "3", "states", "online", " ", "cpu2/fail", "cpu0/target",
];
#[rustfmt::skip]
const VALUES: [&str; 13] = [
    "p1:prepare", ":up", ":down", "none", "12", "0", "17", "o1:online", "offline", "d4:prepare", " ", "kick", "7",
];

/// Pieces of what is right, in any order, some bytes turned into others; or one piece as it is.
fn scribble(r: &mut Random, pieces: &[&str]) -> String {
    let mut bytes: Vec<u8> = r.one_of(pieces).bytes().collect();
    if r.one_in(2) {
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    for _ in 0..r.below(3) {
        bytes.extend(r.one_of(pieces).bytes());
    }
    while r.one_in(2) && !bytes.is_empty() {
        let at = r.below(bytes.len());
        let byte = u8::try_from(r.below(256)).expect("a byte");
        match r.below(3) {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether `text` is the number, in digits only, or the name of the state.
fn means(hp: &Machine, text: &str, at: StateId) -> bool {
    let number = text.bytes().all(|b| b.is_ascii_digit()) && text.parse() == Ok(at.get());
    number || !text.is_empty() && hp.name(at) == text
}

/// Whether `node` is this leaf of this CPU, whose number is in digits only.
fn names(node: &str, cpu: CpuId, leaf: &str) -> bool {
    let inside = node.trim().strip_prefix("cpu");
    let digits = inside.and_then(|rest| rest.strip_suffix(leaf));
    digits.is_some_and(|digits| {
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        plain && digits.parse() == Ok(cpu.get())
    })
}

fn one_line(error: ControlError) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
}

/// What is refused changes nothing and writes nothing; says whether it was understood.
fn feed(hp: &Machine, node: &str, value: &str) -> bool {
    let mut out = String::new();
    if let Err(error) = hp.read_node(node, &mut out) {
        one_line(error);
        assert_eq!(out, "", "{node:?}");
    }
    match hp.parse_write(node, value) {
        Ok(request) => {
            understood(hp, request, node, value);
            true
        }
        Err(error) => {
            one_line(error);
            assert_eq!(hp.write_node(node, value), Err(error), "{value:?}");
            false
        }
    }
}

/// What is understood is what the grammar says it means.
fn understood(hp: &Machine, request: ControlRequest, node: &str, value: &str) {
    let text = value.trim();
    let (cpu, leaf, fits) = match request {
        ControlRequest::Drive(cpu, at) => {
            let rests = !(KICK..=IDLE).contains(&at.get()) && at.get() <= ONLINE;
            (cpu, "/target", rests && means(hp, text, at))
        }
        ControlRequest::Arm(cpu, at, side) => {
            let half = match side {
                FaultAt::Up => text.strip_suffix(":up"),
                FaultAt::Down => text.strip_suffix(":down"),
                FaultAt::Either => Some(text),
            };
            let armed = hp.write_node(node, value).is_ok();
            assert_eq!(armed, hp.armed_fault(cpu) == Some((at, side)), "{value:?}");
            assert_eq!(hp.write_node(node, "none"), Ok(()));
            (cpu, "/fail", half.is_some_and(|half| means(hp, half, at)))
        }
        ControlRequest::Disarm(cpu) => (cpu, "/fail", text == "none"),
    };
    assert!(
        fits && names(node, cpu, leaf),
        "{node:?} {value:?}: {request:?}"
    );
}

#[test]
fn any_input_is_refused_in_one_line_or_means_what_it_says() {
    let seed = std::env::var("CPUHP_SEED").map_or(1, |text| text.parse().expect("a number"));
    let inputs = std::env::var("CPUHP_OPS").map_or(50_000, |text| text.parse().expect("a number"));
    println!("CPUHP_SEED={seed} CPUHP_OPS={inputs}");
    let (hp, mut r) = (populated(4, 1).hp, Random(seed));
    assert_eq!(hp.cpu_up(CpuId::new(2)), Ok(()));
    with(World::take_log);
    let before = snapshot(hp);
    let fed = (0..inputs).filter(|_| {
        let (node, value) = (scribble(&mut r, &NODES), scribble(&mut r, &VALUES));
        feed(hp, &node, &value)
    });
    let understood = fed.count();
    assert_eq!(snapshot(hp), before);
    println!("@proof {inputs} inputs, {understood} of them understood");
    assert!(inputs < 10_000 || (inputs / 50..inputs / 2).contains(&understood));
}
