//! One run of the monitor on a pseudo-terminal: what is typed, and what a person would see.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, tcgetattr};

use super::SMP;
use crate::record::PROMPT;

/// How long one answer may take: generous, for a machine that does other work as well.
const ANSWER: Duration = Duration::from_secs(60);

/// How long one look at the terminal waits.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// What the editor draws when it begins a line: the prompt, and nothing behind it.
fn fresh_line() -> String {
    format!("\r{PROMPT}\x1b[K")
}

/// A session.
pub(super) struct Session {
    terminal: File,
    /// Held open, so that the terminal's settings can be read to the end.
    _user_side: File,
    child: Child,
    before: Termios,
    seen: Vec<u8>,
    /// How much of it was asked for already.
    read: usize,
    done: u32,
    refused: u32,
}

impl Session {
    /// Starts `cargo xtask run --scenario shell` with these words more, on a terminal of its own.
    pub(super) fn start(words: &[&str]) -> Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let terminal = openpt(flags).context("no pseudo-terminal")?;
        grantpt(&terminal)?;
        unlockpt(&terminal)?;
        let name = ptsname(&terminal, Vec::new())?.into_bytes();
        let name = std::ffi::OsString::from_vec(name);
        let user_side = OpenOptions::new().read(true).write(true).open(name)?;
        let before = tcgetattr(&terminal)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["run", "--scenario", "shell", "--smp", SMP])
            .args(words)
            .stdin(user_side.try_clone()?)
            .stdout(user_side.try_clone()?)
            .stderr(user_side.try_clone()?)
            .spawn()?;
        Ok(Self {
            terminal: File::from(terminal),
            _user_side: user_side,
            child,
            before,
            seen: Vec::new(),
            read: 0,
            done: 0,
            refused: 0,
        })
    }

    /// Lines that were done, and that were refused, as far as [`Self::ask`] asked for them.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.done, self.refused)
    }

    /// Types keys.
    pub(super) fn types(&mut self, keys: &str) -> Result<()> {
        Ok(self.terminal.write_all(keys.as_bytes())?)
    }

    /// Reads until `text` is seen; returns what came before it.
    pub(super) fn until(&mut self, text: &str) -> Result<String> {
        let deadline = Instant::now() + ANSWER;
        loop {
            let new = &self.seen[self.read..];
            let mut windows = new.windows(text.len());
            if let Some(at) = windows.position(|part| part == text.as_bytes()) {
                let before = String::from_utf8_lossy(&new[..at]).into_owned();
                self.read += at + text.len();
                return Ok(before);
            }
            let is_over = self.child.try_wait()?.is_some();
            let more = self.look()?;
            if (is_over && !more) || Instant::now() >= deadline {
                let new = String::from_utf8_lossy(&self.seen[self.read..]);
                bail!("expected {text:?}, found {new:?}");
            }
        }
    }

    /// Reads what is there now, or comes soon; whether there was anything.
    fn look(&mut self) -> Result<bool> {
        let mut waits = [PollFd::new(&self.terminal, PollFlags::IN)];
        poll(&mut waits, Some(&LOOK))?;
        if !waits[0].revents().contains(PollFlags::IN) {
            return Ok(false);
        }
        let mut chunk = [0; 4096];
        let count = self.terminal.read(&mut chunk)?;
        self.seen.extend_from_slice(&chunk[..count]);
        Ok(true)
    }

    /// Reads until a line may be typed.
    pub(super) fn until_prompt(&mut self) -> Result<String> {
        self.until(&fresh_line())
    }

    /// Types keys and Enter; returns the lines of the answer.
    pub(super) fn ask(&mut self, keys: &str) -> Result<Vec<String>> {
        self.types(&format!("{keys}\r"))?;
        self.until("\r\n")?;
        let answer = self.until_prompt()?;
        let lines = answer.lines().map(|line| line.trim_end().to_owned());
        let lines: Vec<String> = lines.collect();
        match lines.first() {
            None => {}
            Some(line) if line.starts_with("error: ") => self.refused += 1,
            Some(_) => self.done += 1,
        }
        Ok(lines)
    }

    /// Asks, and expects one line.
    pub(super) fn expect(&mut self, keys: &str, right: &str) -> Result<()> {
        let lines = self.ask(keys)?;
        ensure!(
            lines == [right],
            "{keys:?}: expected {right:?}, found {lines:?}"
        );
        Ok(())
    }

    /// Asks, and expects one line that says what is wrong, with all of `parts` in it.
    pub(super) fn expect_error(&mut self, keys: &str, parts: &[&str]) -> Result<()> {
        let lines = self.ask(keys)?;
        let is_right = match &lines[..] {
            [line] => line.starts_with("error: ") && parts.iter().all(|part| line.contains(part)),
            _ => false,
        };
        ensure!(
            is_right,
            "{keys:?}: expected one line `error: …` with {parts:?}, found {lines:?}"
        );
        Ok(())
    }

    // ---- the end

    /// The terminal hands keys over one by one, and does not echo them.
    pub(super) fn expect_raw(&self) -> Result<()> {
        let modes = tcgetattr(&self.terminal)?.local_modes;
        let cooked = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        ensure!(
            !modes.intersects(cooked),
            "the terminal is not raw: {modes:?}"
        );
        Ok(())
    }

    /// Asks the run to end as the system would.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Waits for the end, with this exit code, and with the terminal as it was before.
    pub(super) fn end(mut self, code: Option<i32>) -> Result<()> {
        let deadline = Instant::now() + ANSWER;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < deadline, "it does not end");
            self.look()?;
        };
        ensure!(
            status.code() == code,
            "{status}, expected exit code {code:?}"
        );
        let after = tcgetattr(&self.terminal)?;
        let modes = |termios: &Termios| {
            let modes = (termios.input_modes, termios.output_modes);
            (modes, termios.control_modes, termios.local_modes)
        };
        ensure!(
            modes(&after) == modes(&self.before),
            "the terminal was not given back: {after:?}"
        );
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It has ended, unless something went wrong.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // It then ends its kernel as well.
        let _ = self.signal(Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.look();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
