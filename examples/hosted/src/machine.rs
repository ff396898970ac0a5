//! What both machines share: storage made on the heap for as many CPUs as asked for, printing.

use std::fmt;
use std::io::{Read, Write};
use std::iter::{once, repeat_with};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use cpuhp_core::{CallQueue, CpuId, DynSlot, LockWord, MaskWord, Record, Storage, words};
use cpuhp_example_common::{
    CALLS, CallRecord, CpuLog, END_OF_INPUT, Event, Existence, NODES, SETS, Samples, Scenario,
    SceneParts, Toggle, call_node,
};

use crate::Plan;

/// Dynamic states of the example tables, at most.
const DYNAMIC: usize = 32;

/// Trace events that are kept at most.
const EVENTS: usize = 1 << 17;

/// Makes the core's storage for all listed CPUs. It lives as long as the program.
pub(crate) fn storage(plan: &Plan) -> Storage<'static> {
    let cpus = plan.listed as usize;
    Storage::from_parts(
        many(cpus, Record::new),
        many(Storage::mask_words(cpus), || MaskWord::new(0)),
        many(DYNAMIC, DynSlot::new),
        Box::leak(Box::new(LockWord::new())),
    )
    .unwrap_or_else(|| unreachable!("the parts were made to fit"))
}

/// Makes a queue of calls for every listed CPU.
pub(crate) fn queues(plan: &Plan) -> &'static [CallQueue] {
    many(plan.listed as usize, CallQueue::new)
}

/// Makes the driver's storage.
pub(crate) fn scene_parts(plan: &Plan) -> SceneParts {
    let cpus = plan.listed as usize;
    let is_traced = plan.params.trace == Toggle::On || plan.params.scenario == Scenario::Shell;
    SceneParts {
        cpus: many(cpus, CpuLog::new),
        mask: many(words(cpus), || MaskWord::new(0)),
        events: many(if is_traced { EVENTS } else { 0 }, Event::new),
        calls: many(CALLS, CallRecord::new),
        nodes: many(NODES, call_node),
        samples: Box::leak(Box::new([const { Samples::new() }; SETS])),
    }
}

fn many<T>(count: usize, make: impl FnMut() -> T) -> &'static [T] {
    Vec::leak(repeat_with(make).take(count).collect())
}

/// Prints one line on standard output.
pub(crate) fn print(line: fmt::Arguments<'_>) {
    // Nobody is left to tell if the reader has gone.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Writes text as it is on standard output, at once.
pub(crate) fn echo(text: &str) {
    let mut out = std::io::stdout().lock();
    // As in `print`.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// What a thread of its own reads from standard input.
static TYPED: OnceLock<Mutex<Receiver<u8>>> = OnceLock::new();

/// How long [`typed`] waits: real time, which no virtual time stands for.
const PATIENCE: Duration = Duration::from_millis(5);

/// Takes the next byte of standard input; its end is told for ever.
pub(crate) fn typed() -> Option<u8> {
    let receiver = TYPED.get_or_init(|| {
        let (sender, receiver) = sync_channel(256);
        thread::spawn(move || {
            let bytes = std::io::stdin().lock().bytes();
            // A last line without an end gets one.
            let good = bytes.map_while(Result::ok).chain(once(b'\r'));
            // An error is that the monitor has ended.
            let _ = good.map(|byte| sender.send(byte)).find(Result::is_err);
        });
        Mutex::new(receiver)
    });
    let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
    match receiver.recv_timeout(PATIENCE) {
        Ok(byte) => Some(byte),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(END_OF_INPUT),
    }
}

/// Whether a listed CPU is there.
pub(crate) fn exists(plan: &Plan, cpu: CpuId) -> Existence {
    if plan.is_absent(cpu.get()) {
        Existence::Absent
    } else {
        Existence::There
    }
}
