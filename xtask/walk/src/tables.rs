//! The steps that all walk, and the machines on which they do.

use std::sync::OnceLock;

use cpuhp_core::{
    Cpuhp, Ctx, DynRange, DynSlot, LockWord, MaskWord, Record, Sections, StateId, Step, StepResult,
    Storage, Table,
};

use crate::{COUNT, CPUS, Loop, Still, loop_in};

/// What the steps are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Declared in the table.
    Static,
    /// Registered.
    Dynamic,
}

/// The loop that the step of [`LOOPS`] runs.
pub(crate) static LOOP: OnceLock<Loop> = OnceLock::new();

/// The same steps for everybody.
pub(crate) static STEPS: [Step; COUNT] = [Step::new("walk:prepare")
    .up(nothing)
    .down(nothing)
    .parallel(); COUNT];

/// Where they are if they are registered.
pub(crate) static SLOTS: [DynSlot; COUNT] = [const { DynSlot::new() }; COUNT];

static DECLARED: Table = Table::new(sections(&STEPS, 0));
static REGISTERED: Table = Table::new(sections(&[], COUNT as u16));
/// Has the step that runs a loop, and room for the registered ones, which the loop takes from their slots.
static LOOPS: Table = Table::new(sections(&[Step::new("loop:prepare").up(run)], COUNT as u16));

const MACHINE: usize = CPUS as usize + 1;

static RECORDS: [Record; MACHINE] = [const { Record::new() }; MACHINE];
static MASKS: [MaskWord; Storage::mask_words(MACHINE)] =
    [const { MaskWord::new(0) }; Storage::mask_words(MACHINE)];
static LOCK: LockWord = LockWord::new();

const fn sections(prepare: &'static [Step], dynamic: u16) -> Sections {
    Sections {
        prepare,
        prepare_dynamic: dynamic,
        parallel_dynamic: 0,
        starting: &[],
        online: &[],
        online_dynamic: 0,
        late: &[],
    }
}

/// Touches no memory: what is counted is the walk.
fn nothing(_: &Ctx<'_>) -> StepResult {
    Ok(())
}

fn run(ctx: &Ctx<'_>) -> StepResult {
    loop_in(ctx);
    Ok(())
}

/// Makes the machine on which the core walks, or a loop runs, with the range its steps are registered in.
pub(crate) fn machine_of(
    kind: Kind,
    chosen: Option<Loop>,
) -> Option<(Cpuhp<'static, Still>, DynRange)> {
    let (table, first) = match (chosen, kind) {
        (Some(chosen), _) => {
            LOOP.set(chosen).ok()?;
            (&LOOPS, 2)
        }
        (None, Kind::Static) => (&DECLARED, 1),
        (None, Kind::Dynamic) => (&REGISTERED, 1),
    };
    let storage = Storage::from_parts(&RECORDS, &MASKS, &SLOTS, &LOCK)?;
    let range = DynRange::new(StateId::new(first), COUNT as u16, 0);
    Some((Cpuhp::new(Still, table, storage), range))
}
