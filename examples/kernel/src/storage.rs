//! Static storage of the core and of the driver, for as many CPUs as any of the kernels has.

use cpuhp_core::{CallQueue, DynSlot, LockWord, MaskWord, Record, Storage, words};
use cpuhp_example_common::{SceneParts, SceneStore};

/// CPUs a kernel has memory for.
pub const MAX_CPUS: usize = 512;

/// Dynamic states of the example tables, at most.
const DYNAMIC: usize = 32;
/// Room for trace events: 255 CPUs with 64 extra steps per section.
const EVENTS: usize = 1 << 16;

static RECORDS: [Record; MAX_CPUS] = [const { Record::new() }; MAX_CPUS];
static MASKS: [MaskWord; Storage::mask_words(MAX_CPUS)] =
    [const { MaskWord::new(0) }; Storage::mask_words(MAX_CPUS)];
static SLOTS: [DynSlot; DYNAMIC] = [const { DynSlot::new() }; DYNAMIC];
static LOCK: LockWord = LockWord::new();
static QUEUES: [CallQueue; MAX_CPUS] = [const { CallQueue::new() }; MAX_CPUS];
static SCENE: SceneStore<MAX_CPUS, { words(MAX_CPUS) }, EVENTS> = SceneStore::new();

/// Lends the core's storage of the first `cpus` CPUs out.
pub(crate) fn core(cpus: usize) -> Storage<'static> {
    let records = RECORDS.get(..cpus).unwrap_or(&RECORDS);
    let storage = Storage::from_parts(records, &MASKS, &SLOTS, &LOCK);
    storage.expect("the masks are as many as the most records need")
}

/// Lends the queues of calls of the first `cpus` CPUs out.
pub(crate) fn queues(cpus: usize) -> &'static [CallQueue] {
    QUEUES.get(..cpus).unwrap_or(&QUEUES)
}

/// Lends the driver's storage of the first `cpus` CPUs out.
pub(crate) fn scene(cpus: usize) -> SceneParts {
    SCENE.get(cpus)
}
