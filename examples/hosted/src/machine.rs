//! What both machines share: storage made on the heap for as many CPUs as asked for, printing.

use std::fmt;
use std::io::Write;
use std::iter::repeat_with;

use cpuhp_core::{CpuId, DynSlot, LockWord, MaskWord, Record, Storage, words};
use cpuhp_example_common::{CpuLog, Event, Existence, SETS, Samples, SceneParts};

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

/// Makes the driver's storage.
pub(crate) fn scene_parts(plan: &Plan) -> SceneParts {
    let cpus = plan.listed as usize;
    let is_traced = plan.params.trace == cpuhp_example_common::Toggle::On;
    SceneParts {
        cpus: many(cpus, CpuLog::new),
        mask: many(words(cpus), || MaskWord::new(0)),
        events: many(if is_traced { EVENTS } else { 0 }, Event::new),
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

/// Whether a listed CPU is there.
pub(crate) fn exists(plan: &Plan, cpu: CpuId) -> Existence {
    if plan.is_absent(cpu.get()) {
        Existence::Absent
    } else {
        Existence::There
    }
}
