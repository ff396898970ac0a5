//! Everything that is registered and removed.

use core::hint::black_box;

use cpuhp_core::{Calls, DynRange, RegisterError, RegisterOp, StateHandle};

use crate::machine::{LATE, Machine, OBJECT, START_OBJECT, hp};
use crate::operations::{Guard, keep};

#[inline(never)]
pub(crate) fn by_one_call(machine: &Machine, word: usize) {
    if let Ok(handle) = machine.register(range(word), &LATE, calls(word)) {
        keep(machine.unregister(handle, calls(word)).is_ok());
    }
    keep(
        machine
            .add_instance(hp::SEVENTH, &OBJECT, calls(word))
            .is_ok(),
    );
    keep(
        machine
            .remove_instance(hp::SEVENTH, &OBJECT, calls(word))
            .is_ok(),
    );
}

#[inline(never)]
pub(crate) fn by_hand(guard: &Guard<'_>, word: usize) {
    let calls = calls(word);
    poll_register(guard, guard.register(range(word), &LATE, calls));
    // A handle that an earlier registration left.
    let handle: Option<StateHandle> = black_box(None);
    if let Some(handle) = handle {
        poll_register(guard, guard.unregister(handle, calls));
    }
    poll_register(guard, guard.add_instance(hp::SEVENTH, &OBJECT, calls));
    poll_register(guard, guard.remove_instance(hp::SEVENTH, &OBJECT, calls));
    poll_register(
        guard,
        guard.add_start_instance(hp::FIFTH, &START_OBJECT, calls),
    );
    poll_register(
        guard,
        guard.remove_start_instance(hp::FIFTH, &START_OBJECT, calls),
    );
}

#[inline(never)]
fn poll_register(guard: &Guard<'_>, begun: Result<RegisterOp, RegisterError>) {
    if let Ok(mut op) = begun {
        keep(op.poll(guard).is_ready());
        keep(op.awaited().1 == 0);
    }
}

fn calls(word: usize) -> Calls {
    if word == 0 { Calls::Run } else { Calls::Skip }
}

fn range(word: usize) -> DynRange {
    if word == 0 {
        hp::ONLINE_DYN
    } else {
        hp::PARALLEL_DYN
    }
}
