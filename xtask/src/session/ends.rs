//! The ways a session ends, beside the word `quit`. The terminal is given back after each.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::SMP;
use super::pty::Session;

/// One way, and what it is called.
type End = (&'static str, fn() -> Result<()>);

pub(super) const ALL: [End; 6] = [
    ("control-D", control_d),
    ("control-]", end_key),
    ("SIGTERM", || signal(Signal::TERM)),
    ("SIGINT", || signal(Signal::INT)),
    ("its time limit", time_limit),
    ("the end of piped input", piped),
];

fn start(words: &[&str]) -> Result<Session> {
    let mut session = Session::start(&[&["--arch", "hosted"], words].concat())?;
    session.until_prompt()?;
    session.expect_raw()?;
    Ok(session)
}

fn control_d() -> Result<()> {
    let mut session = start(&[])?;
    session.types("\x04")?;
    session.until("pass: hosted shell")?;
    session.end(Some(0))
}

fn end_key() -> Result<()> {
    let mut session = start(&[])?;
    // In the middle of a line.
    session.types("down 3\x1d")?;
    session.until("control-] was typed")?;
    session.end(Some(1))
}

fn signal(signal: Signal) -> Result<()> {
    let mut session = start(&[])?;
    session.signal(signal)?;
    session.until("a signal asked for it")?;
    session.end(Some(1))
}

fn time_limit() -> Result<()> {
    let mut session = start(&["--timeout", "1"])?;
    session.until("time limit")?;
    session.end(Some(1))
}

/// Without a terminal, and without an end of the last line.
fn piped() -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["run", "--scenario", "shell", "--smp", SMP])
        .args(["--arch", "hosted"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut input = child.stdin.take().context("no input")?;
    input.write_all(b"down 3\nnonsense\ndown 2")?;
    drop(input);
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    for right in [
        "cpu3 state: 0 offline",
        "cpu2 state: 0 offline",
        "refused: 1",
    ] {
        ensure!(text.contains(right), "expected {right:?}, found {text:?}");
    }
    ensure!(output.status.success(), "{}", output.status);
    Ok(())
}
