//! Every word and every wrong input, with what has to come of it on a machine of four CPUs.

use anyhow::{Result, bail, ensure};

use super::pty::Session;

/// The states of the example table with multi-instance states and one step registered of each kind: number,
/// section and name. The layout is that of `examples/common/src/tables.rs`: each section's own steps, then its
/// dynamic slots, of which the free ones are not listed.
const STATES: [(u32, &str, &str); 18] = [
    (0, "prepare", "offline"),
    (1, "prepare", "percpu:prepare"),
    (2, "prepare", "stack:prepare"),
    (3, "prepare", "pool:prepare"),
    (4, "prepare", "cache:dynamic"),
    (8, "prepare", "slab:reserved"),
    (9, "kick", "kick"),
    (10, "starting", "intc:starting"),
    (11, "starting", "timer:starting"),
    (12, "starting", "clock:starting"),
    (13, "starting", "ap-idle"),
    (14, "online", "sched:online"),
    (15, "online", "work:online"),
    (16, "online", "queue:online"),
    (17, "online", "stat:dynamic"),
    (18, "online", "probe:dynamic"),
    (21, "online", "sched:active"),
    (22, "online", "online"),
];

/// The multi-instance states: each has two instances.
const INSTANCES: [&str; 4] = [
    "3 pool:prepare 2",
    "12 clock:starting 2",
    "16 queue:online 2",
    "18 probe:dynamic 2",
];

/// The words that `help` has to name.
const WORDS: [&str; 12] = [
    "cpus",
    "states",
    "instances",
    "up",
    "down",
    "target",
    "fail",
    "trace",
    "ipi",
    "park",
    "help",
    "quit",
];

/// What there is when all CPUs are online.
pub(super) const ALL_ONLINE: [&str; 2] = ["0 22 online 22 (this one)", "1-3 22 online 22"];

/// Wrong inputs, and a part of the one line each gets. None changes anything.
const WRONG: [(&str, &str); 34] = [
    ("foo", "no word `foo`; help lists them"),
    ("CPUS", "help lists them"),
    ("@cpuhp {}", "help lists them"),
    ("cpus 1", "`cpus` and nothing behind it"),
    ("states x", "nothing behind it"),
    ("instances x", "nothing behind it"),
    ("trace x", "nothing behind it"),
    ("help me", "nothing behind it"),
    ("quit now", "nothing behind it"),
    ("up", "say `up CPU|all`, such as up 3"),
    ("up 1 2", "such as up 3"),
    ("up 4", "no CPU `4`; cpus lists them"),
    ("up -1", "no CPU `-1`"),
    ("up x", "no CPU `x`"),
    ("up 1/target", "no CPU `1/target`"),
    ("up 99999999999999999999", "cpus lists them"),
    ("down", "say `down CPU|all`"),
    ("down 4294967296", "cpus lists them"),
    ("down 0", "cpu 0 refused"),
    ("target", "say `target CPU [STATE]`"),
    ("target 3 a b", "say `target CPU [STATE]`"),
    ("target 4", "no CPU `4`"),
    ("target 4 online", "no CPU `4`"),
    ("target 3 nowhere", "states lists them"),
    ("target 3 65536", "states lists them"),
    ("target 3 kick", "take one around it"),
    ("target 3 13", "take one around it"),
    ("target 3 timer:starting", "take one around it"),
    ("fail", "say `fail CPU [STATE[:up|:down]|none]`"),
    ("fail 4", "no CPU `4`"),
    ("fail 3 nowhere:up", "states lists them"),
    ("fail 3 sched:online:sideways", "states lists them"),
    (
        "fail 3 timer:starting:up",
        "nothing can fail at `timer:starting:up`",
    ),
    ("fail 3 online:down", "nothing can fail at `online:down`"),
];

/// The words of a line, so that columns do not matter.
fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The rows of `cpus`, without its title.
pub(super) fn rows(session: &mut Session) -> Result<Vec<String>> {
    let lines = session.ask("cpus")?;
    ensure!(
        lines
            .first()
            .is_some_and(|line| squeezed(line) == "cpu state target"),
        "cpus has no title: {lines:?}"
    );
    Ok(lines.iter().skip(1).map(|line| squeezed(line)).collect())
}

fn expect_rows(session: &mut Session, right: &[&str]) -> Result<()> {
    let found = rows(session)?;
    ensure!(found == right, "cpus: expected {right:?}, found {found:?}");
    Ok(())
}

/// Every word, and what is true after it.
pub(super) fn words(session: &mut Session) -> Result<()> {
    let help = session.ask("help")?;
    for word in WORDS {
        let is_there = help
            .iter()
            .any(|line| line.split_whitespace().next() == Some(word));
        ensure!(is_there, "help does not name `{word}`: {help:?}");
    }
    expect_rows(session, &ALL_ONLINE)?;
    listings(session)?;
    moves(session)?;
    faults(session)?;
    session.expect("down all", "3 done")?;
    expect_rows(session, &["0 22 online 22 (this one)", "1-3 0 offline 0"])?;
    session.expect_error("ipi", &["no other CPU", "up brings one up"])?;
    rests(session)?;
    session.expect("up all", "3 done")?;
    expect_rows(session, &ALL_ONLINE)?;
    calls(session)?;
    session.expect_error("park", &["no CPU is down"])
}

/// A CPU that went down rests in one of two ways, and the hardware knows which.
fn rests(session: &mut Session) -> Result<()> {
    let lines = session.ask("park")?;
    let is_right = lines.len() == 3
        && (1..).zip(&lines).all(|(cpu, line)| {
            *line == format!("cpu {cpu} is off: up starts it")
                || *line == format!("cpu {cpu} is parked: up releases it")
        });
    ensure!(is_right, "park: {lines:?}");
    Ok(())
}

/// One call to each of the three others; how long it took is the machine's own.
fn calls(session: &mut Session) -> Result<()> {
    let lines = session.ask("ipi")?;
    let [count, times] = &lines[..] else {
        bail!("ipi: {lines:?}");
    };
    let mut words = times.split(' ').filter_map(|word| word.parse::<u64>().ok());
    let is_right = match (words.next(), words.next()) {
        (Some(median), Some(most)) => median <= most && most > 0,
        _ => false,
    };
    ensure!(
        is_right && count == "3 calls: 0 lost, 0 run twice",
        "ipi: {lines:?}"
    );
    Ok(())
}

fn listings(session: &mut Session) -> Result<()> {
    let lines = session.ask("states")?;
    ensure!(lines.len() == STATES.len(), "states: {lines:?}");
    for (line, (number, section, name)) in lines.iter().zip(STATES) {
        let line = squeezed(line);
        let is_right = line.starts_with(&format!("{number} {section} {name} "));
        ensure!(
            is_right && line.ends_with(" 0-3"),
            "states: {line:?}, expected {name}"
        );
    }
    let instances = session.ask("instances")?;
    ensure!(instances == INSTANCES, "instances: {instances:?}");
    Ok(())
}

/// Down and up again, whole and in part; the trace says what ran.
fn moves(session: &mut Session) -> Result<()> {
    session.expect("trace", "nothing has happened")?;
    session.expect("down 3", "cpu3 state: 0 offline")?;
    expect_rows(
        session,
        &[ALL_ONLINE[0], "1-2 22 online 22", "3 0 offline 0"],
    )?;
    let trace = session.ask("trace")?;
    // From the last state to the first, the CPU's own part first; two instances are two halves.
    let halves = [
        "sched:active on cpu3",
        "sched:online on cpu3",
        "percpu:prepare on cpu0",
    ];
    let mut place = 0;
    for half in halves.map(|half| format!("cpu3 down {half}")) {
        let rest = trace.iter().skip(place);
        let found = rest
            .map(|line| squeezed(line))
            .position(|line| line.ends_with(&half));
        let Some(at) = found else {
            anyhow::bail!("trace: no {half:?} from line {place} on: {trace:?}");
        };
        place += at + 1;
    }
    ensure!(
        place == trace.len(),
        "trace goes on behind the last half: {trace:?}"
    );
    let is_edge = |line: &String| line.ends_with("GONE -> DEAD");
    ensure!(
        trace.iter().filter(|line| is_edge(line)).count() == 1,
        "{trace:?}"
    );
    session.expect("trace", "nothing has happened")?;
    session.expect("target 3", "cpu3 target: 0")?;
    session.expect("target 3 sched:online", "cpu3 state: 14 sched:online")?;
    session.expect("target 3", "cpu3 target: 14")?;
    session.expect("target 3 15", "cpu3 state: 15 work:online")?;
    session.expect("target 3 2", "cpu3 state: 2 stack:prepare")?;
    session.expect("up 3", "cpu3 state: 22 online")?;
    // Where it is already.
    session.expect("up 3", "cpu3 state: 22 online")?;
    expect_rows(session, &ALL_ONLINE)
}

/// A fault is shown while it is armed, hit once, and shown as the CPU's error until the next success.
fn faults(session: &mut Session) -> Result<()> {
    session.expect("fail 3", "cpu3 fail: none")?;
    session.expect("fail 3 sched:online:down", "cpu3 fail: sched:online:down")?;
    session.expect("fail 3", "cpu3 fail: sched:online:down")?;
    let own = [ALL_ONLINE[0], "1-2 22 online 22", "3 22 online 22"];
    expect_rows(session, &[&own[..], &["fail: sched:online:down"]].concat())?;
    // Vetoed on its way down: it comes back to where it began.
    let parts = [
        "cpu 3",
        "state 14 (sched:online)",
        "injected fault",
        "left at state 22",
    ];
    session.expect_error("down 3", &parts)?;
    let found = rows(session)?;
    let is_told = found
        .get(3)
        .is_some_and(|row| row.starts_with("error: cpu 3 failed at state 14"));
    ensure!(
        found.len() == 4 && found[..3] == own && is_told,
        "cpus: {found:?}"
    );
    session.expect("down 3", "cpu3 state: 0 offline")?;
    session.expect("fail 3 percpu:prepare:up", "cpu3 fail: percpu:prepare:up")?;
    session.expect("fail 3 none", "cpu3 fail: none")?;
    session.expect("fail 3 work:online", "cpu3 fail: work:online")?;
    let parts = [
        "state 15 (work:online)",
        "injected fault",
        "left at state 0",
        "say it again",
    ];
    session.expect_error("up 3", &parts)?;
    session.expect("up 3", "cpu3 state: 22 online")?;
    expect_rows(session, &ALL_ONLINE)
}

/// Every wrong input: one line, and nothing changes.
pub(super) fn wrong_words(session: &mut Session) -> Result<()> {
    let mut picture = Vec::new();
    // The moves before are told once.
    session.ask("trace")?;
    for (keys, part) in WRONG {
        session.expect_error(keys, &[part])?;
        let mut now = rows(session)?;
        now.extend(session.ask("states")?);
        now.extend(session.ask("fail 3")?);
        if picture.is_empty() {
            ensure!(now[..2] == ALL_ONLINE, "cpus: {now:?}");
            picture.clone_from(&now);
        }
        ensure!(now == picture, "{keys:?} changed {picture:?} to {now:?}");
    }
    // Not one step ran.
    session.expect("trace", "nothing has happened")
}
