//! Scenario `control`: the states as text. Good words do what they say, bad ones are refused in one line
//! and change nothing.

mod listing;
mod text;

use core::fmt;

use cpuhp_core::{Calls, ControlError, CpuId, StateId, StepError};

use crate::check;
use crate::machine::Machine;
use crate::registry;
use crate::result::Stage;
use crate::text::Text;
use crate::violation::Violation;
use listing::Lines;
use text::snapshot;

/// Words that are wrong, and what is said to each. `{cpu}` stands for a CPU that is online.
const BAD: &[(&str, &str, ControlError)] = &[
    ("", "1", ControlError::NoSuchNode),
    ("target", "1", ControlError::NoSuchNode),
    ("{cpu}/", "1", ControlError::NoSuchNode),
    ("{cpu}/Target", "1", ControlError::NoSuchNode),
    ("{cpu}/target/x", "1", ControlError::NoSuchNode),
    ("cpu/target", "1", ControlError::NoSuchCpu),
    ("cpu-1/target", "1", ControlError::NoSuchCpu),
    ("cpu+1/target", "1", ControlError::NoSuchCpu),
    ("cpu99999/target", "1", ControlError::NoSuchCpu),
    ("cpu4294967296/target", "1", ControlError::NoSuchCpu),
    ("states", "1", ControlError::ReadOnly),
    ("online", "0", ControlError::ReadOnly),
    ("{cpu}/state", "0", ControlError::ReadOnly),
    ("{cpu}/error", "none", ControlError::ReadOnly),
    ("{cpu}/target", "", ControlError::NoSuchState),
    ("{cpu}/target", "-1", ControlError::NoSuchState),
    ("{cpu}/target", "1 2", ControlError::NoSuchState),
    ("{cpu}/target", "65536", ControlError::NoSuchState),
    ("{cpu}/target", "nowhere", ControlError::NoSuchState),
    ("{cpu}/target", "kick", ControlError::NotATarget),
    ("{cpu}/target", "ap-idle", ControlError::NotATarget),
    ("{cpu}/target", "timer:starting", ControlError::NotATarget),
    ("{cpu}/fail", "", ControlError::NoSuchState),
    ("{cpu}/fail", ":up", ControlError::NoSuchState),
    (
        "{cpu}/fail",
        "sched:online:sideways",
        ControlError::NoSuchState,
    ),
    ("{cpu}/fail", "nobody:up", ControlError::NoSuchState),
];

/// Words for `fail` that name a state which cannot fail, and so are refused as an operation.
const NO_FAULTS: [&str; 4] = ["offline", "kick", "timer:starting:up", "online:down"];

/// Runs it.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    stage.bring_all_up();
    if let Err(why) = stage.can_stop() {
        return stage.refuse(why);
    }
    let Some(cpu) = stage.pick(0) else {
        return stage.only_result(|line| numbers(line, 0, 0));
    };
    registry::fill(stage, Calls::Run);
    stage.scene.begin_window();
    let bad = bad_words(stage, cpu);
    let good = good_words(stage, cpu);
    check::all(stage.machine, stage.scene);
    stage.only_result(|line| numbers(line, good, bad));
}

fn numbers(line: &mut crate::json::Object<'_>, good: u32, bad: u32) -> fmt::Result {
    line.number("good", good)?;
    line.number("bad", bad)
}

/// Every bad word, and a buffer that is too short for each node that can be read.
fn bad_words<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId) -> u32 {
    let hp = stage.hp();
    let mut bad = 0;
    // `None`: the operation itself is refused, for whatever reason.
    let mut check = |said: Result<(), ControlError>, right: Option<ControlError>, before: u32| {
        bad += 1;
        let mut line = Text::<256>::new();
        let is_right = said.is_err_and(|error| {
            let is_operation = matches!(error, ControlError::Operation(_));
            let is_said = fmt::write(&mut line, format_args!("{error}")).is_ok();
            is_said && right.map_or(is_operation, |right| error == right)
        });
        let is_one_line = !line.as_str().is_empty() && !line.as_str().contains('\n');
        if !is_right || !is_one_line || snapshot(stage) != before {
            stage.machine.print(format_args!("wrong answer: {said:?}"));
            stage.scene.wrong(Violation::WrongText, cpu, bad, 0u32);
        }
    };
    for (node, value, right) in BAD {
        let before = snapshot(stage);
        let node = Text::<64>::with_cpu(node, cpu);
        let said = hp.write_node(node.as_str(), value);
        check(said, Some(*right), before);
    }
    for value in NO_FAULTS {
        let before = snapshot(stage);
        let node = Text::<64>::with_cpu("{cpu}/fail", cpu);
        let said = hp.write_node(node.as_str(), value);
        check(said, None, before);
    }
    for node in ["states", "instances", "online", "{cpu}/state"] {
        let before = snapshot(stage);
        let node = Text::<64>::with_cpu(node, cpu);
        let said = hp.read_node(node.as_str(), &mut Text::<2>::new());
        check(said, Some(ControlError::Output), before);
    }
    bad
}

/// Drives a CPU to every state it can be sent to, arms and disarms faults, and reads all of it back.
fn good_words<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId) -> u32 {
    let (hp, scene) = (stage.hp(), stage.scene);
    let mut good = 0;
    let node = |leaf: &str| Text::<64>::with_cpu(leaf, cpu);
    let mut write = |leaf: &str, value: fmt::Arguments<'_>| {
        good += 1;
        let mut word = Text::<64>::new();
        let written = fmt::write(&mut word, value);
        let said = hp.write_node(node(leaf).as_str(), word.as_str());
        if written.is_err() || said.is_err() {
            scene.wrong(Violation::WrongText, cpu, good, 1u32);
        }
    };
    let table = scene.table;
    let can_rest = |at: &u16| *at < table.kick().get() || *at > table.ap_idle().get();
    for at in (0..=table.online().get()).filter(can_rest) {
        write("{cpu}/target", format_args!(" {at}\n"));
        expect(stage, node("{cpu}/target").as_str(), format_args!("{at}"));
        let name = hp.name(StateId::new(at));
        expect(
            stage,
            node("{cpu}/state").as_str(),
            format_args!("{at} {name}"),
        );
    }
    write("{cpu}/target", format_args!("offline"));
    expect(
        stage,
        node("{cpu}/state").as_str(),
        format_args!("0 offline"),
    );
    // An armed fault is shown, hit once, and shown as the CPU's error.
    write("{cpu}/fail", format_args!("sched:online:up"));
    expect(
        stage,
        node("{cpu}/fail").as_str(),
        format_args!("sched:online:up"),
    );
    let hit = hp.write_node(node("{cpu}/target").as_str(), "online");
    let first = hp.last_error(cpu).map(|failure| failure.first);
    let is_injected = first.is_some_and(|first| first.err == StepError::INJECTED);
    if !matches!(hit, Err(ControlError::Operation(_))) || !is_injected {
        scene.wrong(Violation::WrongText, cpu, 0u32, 2u32);
    }
    expect(stage, node("{cpu}/fail").as_str(), format_args!("none"));
    write("{cpu}/fail", format_args!("work:online"));
    write("{cpu}/fail", format_args!("none"));
    write("{cpu}/target", format_args!("online"));
    expect(stage, node("{cpu}/error").as_str(), format_args!("none"));
    expect(stage, "dying", format_args!("none"));
    check_listing(stage, cpu);
    good
}

/// A node says exactly this.
fn expect<M: Machine>(stage: &Stage<'_, M>, node: &str, right: fmt::Arguments<'_>) {
    let (mut found, mut wanted) = (Text::<256>::new(), Text::<256>::new());
    let read = stage.hp().read_node(node, &mut found);
    let is_formatted = fmt::write(&mut wanted, right).is_ok();
    if read.is_err() || !is_formatted || found.as_str() != wanted.as_str() {
        let line = format_args!("wrong answer: {node}: {}", found.as_str());
        stage.machine.print(line);
        let scene = stage.scene;
        scene.wrong(Violation::WrongText, stage.this_cpu(), 0u32, 3u32);
    }
}

/// The listing has a line for every state with a name, in order, with its instances, and no other.
fn check_listing<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId) {
    let hp = stage.hp();
    let states = (0..=stage.scene.table.online().get()).map(StateId::new);
    let mut named = states.filter(|at| !hp.name(*at).is_empty());
    let mut is_right = true;
    let read = {
        let look =
            |line: &str| is_right &= named.next().is_some_and(|at| tells_of(stage, at, line));
        hp.read_node("states", &mut Lines::new(look))
    };
    if read.is_err() || !is_right || named.next().is_some() {
        let scene = stage.scene;
        scene.wrong(Violation::WrongText, cpu, 0u32, 4u32);
    }
}

/// Whether a line of the listing is that of the state `at`.
fn tells_of<M: Machine>(stage: &Stage<'_, M>, at: StateId, line: &str) -> bool {
    let mut number = Text::<8>::new();
    let is_written = fmt::write(&mut number, format_args!("{at}")).is_ok();
    let mut words = line.split_whitespace();
    let is_first = words.next() == Some(number.as_str());
    let name = words.nth(1);
    let is_named = name == Some(stage.hp().name(at));
    let is_whole = name != Some("pool:prepare") || words.any(|word| word == "instances=2");
    is_written && is_first && is_named && is_whole
}
