//! The connection itself: raw mode and back, one loop for keys, deadline and signals.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::screen::Screen;
use crate::process::{self, Ending, Finished};
use crate::record::PROMPT;

/// Control-], which no line editor has a use for.
const END_KEY: u8 = 0x1d;

/// What stands for the end of piped input: ends a last line, and control-D.
const END_OF_INPUT: &[u8] = b"\r\x04";

/// Bytes that wait for the kernel, at most; what is typed beyond waits in the terminal.
const PENDING: usize = 4096;

/// How long the loop may not look at deadline, signals and the kernel's end.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// Runs the command with this terminal, or with piped standard input, as its console.
///
/// The terminal is as it was before when this returns or panics, and when a signal asks this program to end.
///
/// # Errors
/// The command cannot be started; control-] or a signal ended it.
pub(crate) fn run_connected(command: &mut Command, limit: Duration) -> Result<Finished> {
    let line = process::line(command);
    let is_terminal = io::stdin().is_terminal();
    if is_terminal {
        println!("control-] ends the machine, whatever it does");
    }
    let asked_to_end = watch_signals()?;
    // Before anything is shown: who sees the prompt may type.
    let raw = Raw::enter()?;
    let started = Instant::now();
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let mut running = Running(child);
    let child = &mut running.0;
    let is_ready = Arc::new(AtomicBool::new(false));
    let stdout = child.stdout.take().map(|stream| show(stream, &is_ready));
    let stderr = child.stderr.take().map(process::collect_all);
    let mut pump = Pump {
        keys: child.stdin.take(),
        pending: Vec::new(),
        end_key: is_terminal.then_some(END_KEY),
        is_open: true,
        is_ready,
        asked_to_end,
    };
    let ended = pump.run(child, started + limit);
    drop(running);
    drop(raw);
    let stdout = process::text(stdout);
    let ending = ended.with_context(|| format!("`{line}` was ended"))?;
    Ok(Finished {
        ending,
        stdout,
        stderr: process::text(stderr),
        wall: started.elapsed(),
    })
}

/// The kernel: whatever happens, it does not go on behind a terminal that was given back.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A flag that is set when a signal asks this program to end.
fn watch_signals() -> Result<Arc<AtomicBool>> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&asked))?;
    }
    Ok(asked)
}

/// The terminal in raw mode; it is given back when this is dropped.
struct Raw(Option<Termios>);

impl Raw {
    /// Without a terminal there is nothing to do, and nothing to give back.
    fn enter() -> Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(io::stdin()).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        // Kernels end a line by a line feed alone.
        raw.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)
            .context("cannot set the terminal to raw mode")?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that has gone needs nothing.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Shows what the kernel prints and keeps it; sets `is_ready` when the monitor asks for a line.
fn show(mut stream: ChildStdout, is_ready: &Arc<AtomicBool>) -> JoinHandle<Vec<u8>> {
    let is_ready = Arc::clone(is_ready);
    thread::spawn(move || {
        let (mut kept, mut screen) = (Vec::new(), Screen::new());
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut chunk) {
            let bytes = &chunk[..n];
            process::keep(&mut kept, bytes);
            // Nobody is left to tell if the reader has gone.
            let _ = show_now(&screen.show(bytes));
            if !is_ready.load(Ordering::Relaxed) {
                let asks = kept
                    .windows(PROMPT.len())
                    .any(|part| part == PROMPT.as_bytes());
                is_ready.store(asks, Ordering::Relaxed);
            }
        }
        kept
    })
}

fn show_now(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Hands keys to the kernel.
struct Pump {
    keys: Option<ChildStdin>,
    pending: Vec<u8>,
    /// The key of a terminal that ends everything.
    end_key: Option<u8>,
    /// Whether standard input has not ended.
    is_open: bool,
    /// Whether the kernel reads: what comes before, its firmware may take.
    is_ready: Arc<AtomicBool>,
    asked_to_end: Arc<AtomicBool>,
}

impl Pump {
    /// Until the kernel ends, or something else ends it.
    fn run(&mut self, child: &mut Child, deadline: Instant) -> Result<Ending> {
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Ending::Exited(status));
            }
            if self.asked_to_end.load(Ordering::Relaxed) {
                bail!("a signal asked for it");
            }
            if Instant::now() >= deadline {
                return Ok(Ending::TimedOut);
            }
            self.turn()?;
        }
    }

    /// Waits for a key or for room, at most as long as [`LOOK`], and moves what there is.
    fn turn(&mut self) -> Result<()> {
        let has_room = self.pending.len() < PENDING;
        let is_wanted = !self.pending.is_empty() && self.is_ready.load(Ordering::Relaxed);
        let (stdin, keys) = (io::stdin(), self.keys.take());
        let mut waits = Vec::new();
        if self.is_open && has_room {
            waits.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        if let Some(keys) = keys.as_ref().filter(|_| is_wanted) {
            waits.push(PollFd::from_borrowed_fd(keys.as_fd(), PollFlags::OUT));
        }
        // A signal ends the wait early, which is all it should do.
        let _ = poll(&mut waits, Some(&LOOK));
        let is_due = |flag| {
            let mut met = waits.iter().map(PollFd::revents);
            met.any(|met| met.intersects(flag))
        };
        let typed = is_due(PollFlags::IN) || (self.is_open && is_due(PollFlags::HUP));
        let has_place = is_due(PollFlags::OUT | PollFlags::ERR);
        drop(waits);
        self.keys = keys;
        if typed {
            self.read()?;
        }
        if has_place {
            self.write();
        }
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let mut chunk = [0; 256];
        let count = match rustix::io::read(io::stdin(), &mut chunk) {
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
            // A terminal that has gone types no more.
            Err(_) => 0,
        };
        let bytes = &chunk[..count];
        if self.end_key.is_some_and(|key| bytes.contains(&key)) {
            bail!("control-] was typed");
        }
        self.pending.extend_from_slice(bytes);
        if count == 0 {
            self.is_open = false;
            self.pending.extend_from_slice(END_OF_INPUT);
        }
        Ok(())
    }

    /// Writes no more than a pipe with any room takes at once, so that it never blocks.
    fn write(&mut self) {
        let Some(keys) = &mut self.keys else {
            return;
        };
        match keys.write(&self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            // It has ended; that is seen by its status.
            Err(_) => self.keys = None,
        }
    }
}
