//! The control interface: every node, every wrong input, every size of buffer.
#![cfg(not(loom))]

use core::fmt;

use cpuhp_core::Direction;
use cpuhp_core::{Calls, ControlError, CpuId, FaultAt, StateId, Step};
use cpuhp_tests::fake::Machine;
use cpuhp_tests::full::{
    FULL, IDLE, KICK, ONLINE, ONLINE_DYN, PREPARE_DYN, both, empty, instances, keep, populated,
};
use cpuhp_tests::refusal::snapshot;
use cpuhp_tests::shape::{Section, State};
use cpuhp_tests::world::{Act, World, with};

const MACHINE: [&str; 8] = [
    "states",
    "instances",
    "possible",
    "present",
    "available",
    "online",
    "dying",
    "frozen",
];
const LEAVES: [&str; 4] = ["state", "target", "error", "fail"];

fn machine() -> &'static Machine {
    let hp = populated(4, 1).hp;
    assert_eq!(hp.cpu_up(CpuId::new(2)), Ok(()));
    assert_eq!(hp.drive(CpuId::new(3), StateId::new(4)), Ok(()));
    with(World::take_log);
    hp
}

fn nodes() -> Vec<String> {
    let cpus = (0..4).flat_map(|n| LEAVES.map(|leaf| format!("cpu{n}/{leaf}")));
    MACHINE.map(str::to_owned).into_iter().chain(cpus).collect()
}

fn read(hp: &Machine, node: &str) -> String {
    let mut out = String::new();
    assert_eq!(hp.read_node(node, &mut out), Ok(()), "{node}");
    out
}

/// Takes this many bytes and not one more.
struct Buffer {
    bytes: Vec<u8>,
    room: usize,
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() > self.room - self.bytes.len() {
            return Err(fmt::Error);
        }
        self.bytes.extend(text.bytes());
        Ok(())
    }
}

/// Bug 40: for every node and every size of buffer, all of it or an error.
#[test]
fn no_buffer_overflows_whatever_its_size() {
    let hp = machine();
    for node in nodes() {
        let whole = read(hp, &node);
        for room in 0..whole.len() + 2 {
            let mut out = Buffer {
                bytes: Vec::new(),
                room,
            };
            let result = hp.read_node(&node, &mut out);
            if room < whole.len() {
                assert_eq!(result, Err(ControlError::Output), "{node} into {room}");
            } else {
                assert_eq!(result, Ok(()), "{node} into {room}");
                assert_eq!(out.bytes, whole.as_bytes());
            }
            assert!(whole.as_bytes().starts_with(&out.bytes));
        }
    }
}

#[test]
fn nodes_say_what_is() {
    let hp = machine();
    assert_eq!(read(hp, "possible"), "0-3");
    assert_eq!(read(hp, "present"), "0-3");
    assert_eq!(read(hp, "online"), "1-2");
    assert_eq!(read(hp, "available"), "1-2");
    assert_eq!(read(hp, "dying"), "none");
    assert_eq!(read(hp, "frozen"), "none");
    assert_eq!(read(hp, "cpu3/state"), "4 d4:prepare");
    assert_eq!(read(hp, "cpu3/target"), "4");
    assert_eq!(read(hp, "cpu0/state"), "0 offline");
    assert_eq!(read(hp, "cpu2/error"), "none");
    assert_eq!(read(hp, "cpu2/fail"), "none");
}

/// What the table as it is written down says of a state, with CPUs 1 and 2 online, 3 at 4 and 0 off; what is
/// built in has no section of its own.
fn expected_line(number: u16, state: &State) -> String {
    let section = match state.section {
        Section::Prepare => "prepare ",
        Section::Starting => "starting ",
        Section::Online => "online ",
        Section::BuiltIn => "",
    };
    let together = if state.is_exclusive() {
        "one-by-one"
    } else {
        "parallel"
    };
    let count = match instances(number) {
        0 => String::new(),
        count => format!("instances={count} "),
    };
    let holders = match number {
        0 => "0-3",
        1..=4 => "1-3",
        _ => "1-2",
    };
    format!(
        "{number} {section}{} {together} {count}{holders}",
        state.name
    )
}

#[test]
fn states_are_listed_with_who_holds_them() {
    let hp = machine();
    let states = read(hp, "states");
    let mut listed = states.lines();
    for (number, state) in (0..).zip(FULL.states).filter(|(_, s)| !s.name.is_empty()) {
        let mut words: Vec<&str> = listed.next().expect("listed").split_whitespace().collect();
        if state.section == Section::BuiltIn {
            words.remove(1);
        }
        assert_eq!(words.join(" "), expected_line(number, state));
    }
    assert!(listed.next().is_none(), "holes are not listed");
    let of = |name: &str| {
        states
            .lines()
            .find(|line| line.contains(name))
            .unwrap()
            .to_owned()
    };
    assert!(of("p1:prepare").contains("one-by-one") && of("p1:prepare").ends_with(" 1-3"));
    assert!(of("p2:prepare").contains("parallel") && of("p2:prepare").contains("instances=3"));
    assert!(of("l2:late").contains("instances=2") && of("l2:late").ends_with(" 1-2"));
    assert!(read(hp, "instances").contains("11 o2:online 3"));
    with(|w| w.rule(None, 10, Direction::Up, Act::Fail(-4)));
    assert!(hp.cpu_up(CpuId::new(0)).is_err());
    let error = read(hp, "cpu0/error");
    assert!(
        error.contains("o1:online") && !error.contains('\n'),
        "{error}"
    );
    assert!(read(hp, "states").contains(&error));
}

/// Bug 12: a write of the present state is fine and runs nothing.
#[test]
fn a_target_is_a_number_or_a_name() {
    let hp = machine();
    for (text, at) in [
        ("17", ONLINE),
        ("offline", 0),
        ("d4:prepare", 4),
        (" 5\n", 5),
        ("online", ONLINE),
        ("0", 0),
    ] {
        for _ in 0..2 {
            assert_eq!(hp.write_node("cpu0/target", text), Ok(()));
            assert_eq!(hp.state(CpuId::new(0)), Some(StateId::new(at)));
            assert_eq!(read(hp, "cpu0/target"), at.to_string());
            with(World::take_log);
        }
        let before = snapshot(hp);
        assert_eq!(hp.write_node("cpu0/target", text), Ok(()));
        assert_eq!(snapshot(hp), before);
    }
    for at in KICK..=IDLE {
        for text in [at.to_string(), hp.name(StateId::new(at)).to_owned()] {
            let result = hp.parse_write("cpu0/target", &text);
            assert_eq!(result, Err(ControlError::NotATarget), "{text}");
        }
    }
}

/// No node has such a name.
#[rustfmt::skip]
const WRONG_NODES: [&str; 23] = [
    "", " ", "/", "state", "cpu", "cpu/", "cpu0", "cpu0/", "cpu0/nothing", "cpu4/state",
    "cpu-1/state", "cpu+1/state", "cpu99999999999/state", "cpu4294967295/target", "cpu0/target/",
    "CPU0/state", "states/", "online/x", "cpu0x/state", "cpu 0/state", "cpuX/fail", "\0", "é/é",
];
/// Nothing that can be armed; but for `0`, no place to drive to.
#[rustfmt::skip]
const WRONG_VALUES: [&str; 26] = [
    "", " ", "18", "65536", "-1", "+1", "99999999999", "nothing", ":up", ":down", "none ", "1:", "1
    2", "o1:online:", "kick", "ap-idle", "s1:starting", "7", "13:up", "offline:up", "online:down",
    "0", "17:up", "1:UP", "é", "\n",
];

fn one_line(error: ControlError) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
}

/// Everything wrong is one line, and nothing changes.
#[test]
fn wrong_input_is_one_line_and_changes_nothing() {
    let hp = machine();
    let before = snapshot(hp);
    for node in WRONG_NODES {
        let mut out = String::new();
        one_line(hp.read_node(node, &mut out).expect_err(node));
        assert_eq!(out, "");
        one_line(hp.write_node(node, "17").expect_err(node));
    }
    for node in MACHINE.iter().copied().chain(["cpu0/state", "cpu0/error"]) {
        assert_eq!(
            hp.write_node(node, "17"),
            Err(ControlError::ReadOnly),
            "{node}"
        );
    }
    for value in WRONG_VALUES {
        if value.trim() != "none" {
            one_line(hp.write_node("cpu0/fail", value).expect_err(value));
        }
        if value != "0" {
            one_line(hp.parse_write("cpu0/target", value).expect_err(value));
        }
    }
    // The calling CPU, and the last one: the operation's own refusal.
    one_line(hp.write_node("cpu1/target", "0").unwrap_err());
    assert_eq!(snapshot(hp), before);
    assert!((0..4).all(|n| hp.armed_fault(CpuId::new(n)).is_none()));
}

fn shown_and_taken_back(hp: &Machine, expected: &str) {
    assert_eq!(read(hp, "cpu0/fail"), expected);
    assert_eq!(hp.write_node("cpu0/fail", "none"), Ok(()));
    assert_eq!(hp.armed_fault(CpuId::new(0)), None);
    assert_eq!(
        hp.write_node("cpu0/fail", expected),
        Ok(()),
        "as it is shown"
    );
    assert_eq!(hp.write_node("cpu0/fail", " none\n"), Ok(()));
}

/// Bug 19: a fault is armed at legal points only, disarmed, and shown as it was written.
#[test]
fn a_fault_is_written_read_and_taken_back() {
    let hp = machine();
    let id = CpuId::new(0);
    for at in 0..=ONLINE {
        let state = FULL.at(at);
        let legal = !matches!(state.section, Section::Starting | Section::BuiltIn)
            && !state.name.is_empty();
        for (tail, side) in [
            (":up", FaultAt::Up),
            (":down", FaultAt::Down),
            ("", FaultAt::Either),
        ] {
            for text in [format!("{at}{tail}"), format!("{}{tail}", state.name)] {
                if state.name.is_empty() && text.starts_with(|c: char| !c.is_ascii_digit()) {
                    continue;
                }
                let result = hp.write_node("cpu0/fail", &text);
                if state.name.is_empty() || !legal {
                    assert!(result.is_err(), "{text}");
                    assert_eq!(hp.armed_fault(id), None, "{text}");
                    continue;
                }
                assert_eq!(result, Ok(()), "{text}");
                assert_eq!(hp.armed_fault(id), Some((StateId::new(at), side)));
                shown_and_taken_back(hp, &format!("{}{tail}", state.name));
            }
        }
    }
    assert!(calls_none());
}

fn calls_none() -> bool {
    with(World::log).is_empty()
}

/// A step without one of its halves is armed in the other only.
#[test]
fn a_fault_in_a_missing_half_is_refused() {
    let hp = empty(2, 1);
    let only_up = keep(Step::new("u:any").up(cpuhp_tests::world::up::<3>));
    assert!(hp.register(PREPARE_DYN, only_up, Calls::Skip).is_ok());
    assert!(
        hp.register(ONLINE_DYN, keep(both("b:c:d", 12)), Calls::Skip)
            .is_ok()
    );
    assert!(hp.write_node("cpu0/fail", "u:any:down").is_err());
    assert_eq!(hp.armed_fault(CpuId::new(0)), None);
    assert_eq!(hp.write_node("cpu0/fail", "u:any"), Ok(()));
    assert_eq!(read(hp, "cpu0/fail"), "u:any:up");
    assert_eq!(hp.write_node("cpu0/fail", "b:c:d:down"), Ok(()));
    assert_eq!(read(hp, "cpu0/fail"), "b:c:d:down");
}
