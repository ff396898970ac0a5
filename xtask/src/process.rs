//! Running other programs: shown and checked, captured, or under a time limit.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Bytes kept of one stream; the rest of a guest that never stops printing is read and dropped.
const STREAM_LIMIT: usize = 64 << 20;

/// How a program under a time limit ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    Exited(ExitStatus),
    /// The time limit passed and the program was killed.
    TimedOut,
}

/// What a program under a time limit left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) ending: Ending,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) wall: Duration,
}

impl Ending {
    /// The exit code, if the program ended by itself.
    pub(crate) fn code(self) -> Option<i32> {
        match self {
            Self::Exited(status) => status.code(),
            Self::TimedOut => None,
        }
    }
}

/// The command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", name.to_string_lossy(), quote(value)));
        }
    }
    let program = std::path::Path::new(command.get_program());
    words.push(quote(program.file_name().unwrap_or(command.get_program())));
    words.extend(command.get_args().map(quote));
    words.join(" ")
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=+,:@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{word}'")
    }
}

/// Prints the command, runs it with this terminal and expects success.
///
/// # Errors
/// The program cannot be started or fails.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let line = line(command);
    eprintln!("$ {line}");
    let status = command
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs the command without showing anything and returns its standard output.
///
/// # Errors
/// The program cannot be started or fails; the error carries what it said.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed ({}): {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether the command can be started and succeeds; nothing is shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs the command with closed input and both outputs collected, and ends it after `limit`.
///
/// # Errors
/// The program cannot be started or waited for.
pub(crate) fn run_limited(command: &mut Command, limit: Duration) -> Result<Finished> {
    run_watched(command, limit, None)
}

/// What to do once the program has printed something.
pub(crate) struct Watch {
    pub(crate) text: &'static str,
    pub(crate) then: Box<dyn FnOnce() + Send>,
}

/// As [`run_limited`], and does something once the program has printed `watch.text`; reading its output
/// waits for that.
///
/// # Errors
/// As [`run_limited`].
pub(crate) fn run_watched(
    command: &mut Command,
    limit: Duration,
    watch: Option<Watch>,
) -> Result<Finished> {
    let line = line(command);
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let stdout = child.stdout.take().map(|stream| collect(stream, watch));
    let stderr = child.stderr.take().map(|stream| collect(stream, None));
    let ending = wait_until(&mut child, started + limit)
        .with_context(|| format!("cannot wait for `{line}`"))?;
    let wall = started.elapsed();
    Ok(Finished {
        ending,
        stdout: text(stdout),
        stderr: text(stderr),
        wall,
    })
}

/// Polls the child; at the deadline it is killed by its own id and reaped.
fn wait_until(child: &mut Child, deadline: Instant) -> std::io::Result<Ending> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ending::Exited(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(Ending::TimedOut);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Reads the stream to its end on a thread of its own, so that the child never blocks on a full pipe.
fn collect(
    mut stream: impl Read + Send + 'static,
    mut watch: Option<Watch>,
) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        let mut chunk = [0; 64 << 10];
        while let Ok(n @ 1..) = stream.read(&mut chunk) {
            keep(&mut kept, &chunk[..n]);
            let is_seen = |watch: &mut Watch| {
                let text = watch.text.as_bytes();
                kept.windows(text.len()).any(|bytes| bytes == text)
            };
            if let Some(watch) = watch.take_if(is_seen) {
                (watch.then)();
            }
        }
        kept
    })
}

/// Keeps what was read, up to the limit of one stream.
pub(crate) fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = STREAM_LIMIT.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// As [`collect`], for a stream that nobody watches.
#[cfg(unix)]
pub(crate) fn collect_all(stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    collect(stream, None)
}

/// What a reader kept of its stream, when it has ended.
pub(crate) fn text(stream: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = stream
        .and_then(|reader| reader.join().ok())
        .unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last `count` lines of `text`, each indented by two spaces.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(count);
    lines[from..]
        .iter()
        .map(|line| format!("  {}\n", line.trim_end()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_the_last_lines() {
        assert_eq!(tail("a\nb\r\nc", 2), "  b\n  c\n");
        assert_eq!(tail("", 2), "");
    }

    #[test]
    fn line_quotes_only_what_needs_it() {
        let mut command = Command::new("/usr/bin/qemu");
        command
            .args(["-append", "a=1 b=2", "-m", "256M"])
            .env("CI", "true");
        assert_eq!(line(&command), "CI=true qemu -append 'a=1 b=2' -m 256M");
    }

    #[cfg(unix)]
    #[test]
    fn program_over_its_limit_is_ended() {
        let limit = Duration::from_millis(50);
        let finished = run_limited(Command::new("sleep").arg("30"), limit).unwrap();
        assert!(matches!(finished.ending, Ending::TimedOut));
        assert!(finished.wall < Duration::from_secs(20));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_watched_for_is_met_once() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let watch = Watch {
            text: "ready",
            then: Box::new(move || sender.send(1).unwrap()),
        };
        let mut command = Command::new("sh");
        command.args(["-c", "printf rea; sleep 0.1; echo dy ready"]);
        let finished = run_watched(&mut command, Duration::from_secs(20), Some(watch)).unwrap();
        assert_eq!(finished.stdout, "ready ready\n");
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [1]);
    }

    #[cfg(unix)]
    #[test]
    fn both_streams_and_the_status_are_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 33"]);
        let finished = run_limited(&mut command, Duration::from_secs(20)).unwrap();
        assert_eq!(finished.ending.code(), Some(33));
        assert_eq!(
            (finished.stdout.as_str(), finished.stderr.as_str()),
            ("out\n", "err\n")
        );
    }
}
