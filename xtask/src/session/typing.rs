//! Keys and completion: what they make of a line, and what the line then does.

use anyhow::{Result, ensure};

use super::pty::Session;
use super::script::{ALL_ONLINE, rows};

/// What a key rings when it has nothing to do.
const BELL: &str = "\x07";

/// Ways to type `cpus`, with every key there is.
const WAYS: [(&str, &str); 18] = [
    ("plain", "cpus"),
    ("blanks around it", "  cpus  "),
    ("backspace", "cpusX\x7f"),
    ("backspace as control-H", "cpusX\x08"),
    ("left, backspace", "cpXus\x1b[D\x1b[D\x7f"),
    (
        "left and right as control-B, control-F",
        "cus\x02\x02\x02\x06p",
    ),
    ("left and right", "cus\x1b[D\x1b[D\x1b[D\x1b[Cp"),
    ("home", "pus\x1b[Hc"),
    ("home and end of another terminal", "pu\x1bOHc\x1bOFs"),
    ("home and end of the editing keypad", "pu\x1b[1~c\x1b[4~s"),
    ("delete", "Xcpus\x1b[H\x1b[3~"),
    ("control-A, control-E", "pu\x01c\x05s"),
    ("control-K", "cpus and more\x01\x1b[C\x1b[C\x1b[C\x1b[C\x0b"),
    ("control-U", "nonsense\x15cpus"),
    ("control-W", "cpus nonsense  \x17"),
    ("control-L", "cp\x0cus"),
    ("a key nobody knows", "cp\x1b[15~\x1b[200;3zus\x00"),
    ("bytes above ASCII", "cp\u{e9}us"),
];

/// Every key, and lines that come back.
pub(super) fn keys(session: &mut Session) -> Result<()> {
    for (name, keys) in WAYS {
        session.types(keys)?;
        let found = rows_by(session, "")?;
        ensure!(found == ALL_ONLINE, "{name}: {found:?}");
    }
    // A line that is given up does nothing, and neither does an empty one.
    session.types("down 3\x03")?;
    session.until("^C\r\n")?;
    session.until_prompt()?;
    let nothing = session.ask("")?;
    ensure!(nothing.is_empty(), "an empty line: {nothing:?}");
    // Lines come back by the arrows, the newest first; what was typed meanwhile is kept.
    session.expect("target 1", "cpu1 target: 22")?;
    session.expect("target 2", "cpu2 target: 22")?;
    session.expect("\x1b[A", "cpu2 target: 22")?;
    session.expect("\x1b[A\x1b[A", "cpu1 target: 22")?;
    session.expect("target 3\x10\x10\x0e\x0e", "cpu3 target: 22")?;
    session.expect("\x1bOA\x7f1", "cpu1 target: 22")?;
    // A line is as long as it may be, and what is beyond rings.
    session.types(&"x".repeat(73))?;
    session.until(BELL)?;
    session.expect_error("", &["no word `xxxxxxxx", "help lists them"])
}

/// As [`rows`], of a line that was typed already.
fn rows_by(session: &mut Session, keys: &str) -> Result<Vec<String>> {
    let lines = session.ask(keys)?;
    let squeezed = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(lines.iter().skip(1).map(squeezed).collect())
}

/// Gives a line up.
fn give_up(session: &mut Session) -> Result<()> {
    session.types("\x03")?;
    session.until("^C\r\n")?;
    session.until_prompt().map(drop)
}

/// Types keys, waits for what they show, and gives the line up.
fn shows(session: &mut Session, keys: &str, right: &str) -> Result<()> {
    session.types(keys)?;
    session.until(right)?;
    give_up(session)
}

/// TAB: words, CPUs, states and halves; as far as all agree, and a list where they do not.
pub(super) fn completion(session: &mut Session) -> Result<()> {
    let all = "cpus  states  instances  up  down  target  fail  trace  ipi  park  help  quit";
    shows(session, "\t", &format!("\r\n{all}  \r\n"))?;
    shows(session, "t\t", "\r\ntarget  trace  \r\n")?;
    shows(session, "zz\t", BELL)?;
    shows(session, "cpus \t", BELL)?;
    session.types("ins\t")?;
    session.until("instances ")?;
    let lines = session.ask("")?;
    ensure!(lines.len() == 4, "completed instances: {lines:?}");
    // The monitor's own CPU cannot go down, and all others are up.
    shows(session, "down \t", "\r\n1  2  3  all  \r\n")?;
    shows(session, "up \t", "up all ")?;
    shows(session, "target \t", "\r\n0  1  2  3  \r\n")?;
    // A CPU is never sent to where it cannot rest.
    shows(session, "target 3 timer\t", BELL)?;
    shows(session, "target 3 ki\t", BELL)?;
    session.types("tar\t3 sch\t")?;
    session.until("target 3 sched:")?;
    session.types("\t")?;
    session.until("\r\nsched:online  sched:active  \r\n")?;
    session.types("o\t")?;
    session.until("target 3 sched:online ")?;
    session.expect("", "cpu3 state: 14 sched:online")?;
    session.types("fail 3 wor\t")?;
    session.until("fail 3 work:online")?;
    session.types("\t\t")?;
    session.until("\r\nwork:online:up  work:online:down  \r\n")?;
    session.types("d\t")?;
    session.until("work:online:down")?;
    session.expect("", "cpu3 fail: work:online:down")?;
    shows(session, "fail 3 timer\t", BELL)?;
    session.expect("fail 3 no\t", "cpu3 fail: none")?;
    // In the middle of a line only what is left of the cursor counts.
    session.types("onl\x01targ\t3 ")?;
    session.until("target 3 onl")?;
    session.expect("\x05\t", "cpu3 state: 22 online")?;
    let found = rows(session)?;
    ensure!(found == ALL_ONLINE, "cpus: {found:?}");
    Ok(())
}
