//! QEMU's machine monitor (QMP): plugs CPUs into a machine that runs.
//!
//! Spec: QEMU, "QEMU Machine Protocol Specification"; "CPU hotplug".

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::plan::Plan;

/// What the kernel prints when CPUs may be plugged in.
pub(crate) const READY: &str = "hotadd: waiting";

/// How long the monitor may take for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Lines that may come before the answer to a command.
const EVENTS: usize = 100;

/// Where a machine's monitor listens.
#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    socket: PathBuf,
}

impl Monitor {
    /// The monitor that `plan` needs, if it needs one.
    pub(crate) fn of(plan: &Plan) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let is_emulated = plan.arch.emulator().is_some();
        (is_emulated && plan.machine.hotadd > 0).then(|| {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("cpuhp-{}-{number}.qmp", std::process::id());
            Self {
                socket: env::temp_dir().join(name),
            }
        })
    }

    /// Makes QEMU listen.
    pub(crate) fn add_to(&self, command: &mut Command) {
        let socket = self.socket.display();
        command
            .arg("-qmp")
            .arg(format!("unix:{socket},server=on,wait=off"));
    }

    /// Plugs in `count` CPUs that are listed and not there.
    ///
    /// # Errors
    /// The monitor does not answer in time, refuses, or lists too few CPUs.
    #[cfg(unix)]
    pub(crate) fn plug(&self, count: u32) -> Result<()> {
        let stream = std::os::unix::net::UnixStream::connect(&self.socket)
            .context("cannot reach QEMU's monitor")?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let reader = stream.try_clone()?;
        plug(BufReader::new(reader), stream, count)
    }

    /// As on a Unix-like host, where QEMU's monitor can be reached.
    #[cfg(not(unix))]
    pub(crate) fn plug(&self, _count: u32) -> Result<()> {
        bail!("CPUs are plugged in through a Unix socket, which this host does not have")
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // QEMU removes it as well, if it gets the chance.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// The dialogue: greeting, capabilities, the list of places, one `device_add` for each of the first free
/// ones.
fn plug(mut from: impl BufRead, mut to: impl Write, count: u32) -> Result<()> {
    let greeting = next(&mut from)?;
    if greeting.get("QMP").is_none() {
        bail!("QEMU's monitor greets with {greeting}");
    }
    ask(&mut from, &mut to, "qmp_capabilities", &json!({}))?;
    let places = ask(&mut from, &mut to, "query-hotpluggable-cpus", &json!({}))?;
    let places = places.as_array().cloned().unwrap_or_default();
    // A place that has a CPU says where it is. The last in the list come first in the machine.
    let is_free = |place: &&Value| place.get("qom-path").is_none();
    let free: Vec<&Value> = places.iter().rev().filter(is_free).collect();
    if free.len() < count as usize {
        bail!(
            "QEMU has {} free places for CPUs, {count} are needed",
            free.len()
        );
    }
    for (number, place) in free.into_iter().take(count as usize).enumerate() {
        let mut arguments = place.get("props").cloned().unwrap_or_default();
        arguments["driver"] = place.get("type").cloned().unwrap_or_default();
        arguments["id"] = json!(format!("plugged-{number}"));
        ask(&mut from, &mut to, "device_add", &arguments)?;
    }
    Ok(())
}

fn ask(
    from: &mut impl BufRead,
    to: &mut impl Write,
    what: &str,
    arguments: &Value,
) -> Result<Value> {
    let request = json!({"execute": what, "arguments": arguments});
    writeln!(to, "{request}").with_context(|| format!("cannot send {what}"))?;
    to.flush()?;
    for _ in 0..EVENTS {
        let answer = next(from).with_context(|| format!("no answer to {what}"))?;
        if let Some(value) = answer.get("return") {
            return Ok(value.clone());
        }
        if let Some(error) = answer.get("error") {
            bail!("QEMU refuses {what}: {error}");
        }
        // Anything else is an event.
    }
    bail!("no answer to {what}, only events")
}

/// Reads one line, of at most a megabyte.
fn next(from: &mut impl BufRead) -> Result<Value> {
    let mut line = String::new();
    from.take(1 << 20).read_line(&mut line)?;
    serde_json::from_str(&line).with_context(|| format!("not JSON: {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "{\"QMP\":{}}\n{\"return\":{}}\n";

    /// The places 2 and 3 are free, 0 and 1 have CPUs.
    fn places() -> String {
        let place = |id: u32| json!({"props": {"core-id": id}, "type": "max", "vcpus-count": 1});
        let full = |id: u32| json!({"props": {"core-id": id}, "type": "max", "qom-path": "/x"});
        format!(
            "{}\n",
            json!({"return": [place(3), place(2), full(1), full(0)]})
        )
    }

    fn dialogue(answers: &str, count: u32) -> (Result<()>, String) {
        let mut sent = Vec::new();
        let done = plug(answers.as_bytes(), &mut sent, count);
        (done, String::from_utf8(sent).unwrap())
    }

    #[test]
    fn free_places_are_filled_from_the_first_on_and_events_are_passed_over() {
        let event = "{\"event\":\"NIC\"}\n{\"return\":{}}\n";
        let answers = format!("{HELLO}{}{event}{event}", places());
        let (done, sent) = dialogue(&answers, 2);
        done.unwrap();
        let adds: Vec<Value> = sent
            .lines()
            .skip(2)
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(adds.len(), 2);
        for (add, core) in adds.iter().zip([2, 3]) {
            assert_eq!(add["execute"], "device_add");
            assert_eq!(add["arguments"]["driver"], "max");
            assert_eq!(add["arguments"]["core-id"], core);
        }
        assert_ne!(adds[0]["arguments"]["id"], adds[1]["arguments"]["id"]);
    }

    #[test]
    fn whatever_goes_wrong_is_an_error() {
        let refusal = "{\"error\":{\"desc\":\"no\"}}\n";
        for (answers, count, why) in [
            ("{}\n".to_owned(), 1, "greets"),
            (format!("{HELLO}{}", places()), 3, "2 free places"),
            (
                format!("{HELLO}{}{refusal}", places()),
                1,
                "refuses device_add",
            ),
            (HELLO.to_owned(), 1, "no answer to query"),
            ("QMP\n".to_owned(), 1, "not JSON"),
        ] {
            let error = format!("{:#}", dialogue(&answers, count).0.unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }
}
