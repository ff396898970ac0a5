//! A refused operation: an error that names what it is about, and nothing changed.

use cpuhp_core::{CpuId, Failure, OpError, StateId, Tag, Why};

use crate::fake::{Life, Machine};
use crate::world::{Event, World, with};

/// State, target, tag and last failure of a CPU.
type Seen = (
    Option<StateId>,
    Option<StateId>,
    Option<Tag>,
    Option<Failure>,
);

/// Everything of a machine that can be seen, to find out whether something changed.
#[derive(PartialEq, Eq, Debug)]
pub struct Snapshot {
    cpus: Vec<Seen>,
    masks: [Vec<CpuId>; 4],
    log: Vec<Event>,
    lives: Vec<Life>,
}

/// Looks at everything.
pub fn snapshot(hp: &Machine) -> Snapshot {
    let count = u32::try_from(hp.cpus()).unwrap_or(u32::MAX);
    let look = |id| (hp.state(id), hp.target(id), hp.tag(id), hp.last_error(id));
    let masks = [hp.present(), hp.available(), hp.online(), hp.dying()];
    Snapshot {
        cpus: (0..count).map(CpuId::new).map(look).collect(),
        masks: masks.map(|mask| mask.iter().collect()),
        log: with(World::log),
        lives: (0..count).map(|cpu| with(|w| w.life(cpu))).collect(),
    }
}

/// Runs `wrong`, which must be refused for `why`, name all of `names`, and change nothing.
///
/// # Panics
/// If it is not, does not, or does.
#[track_caller]
pub fn refused<T: core::fmt::Debug>(
    hp: &Machine,
    why: Why,
    names: &[&str],
    wrong: impl FnOnce() -> Result<T, OpError>,
) {
    let before = snapshot(hp);
    let result = wrong();
    let error = result.expect_err("it has to be refused");
    assert_eq!(error.why(), Some(why), "{error}");
    assert_eq!(snapshot(hp), before, "{error}: something changed");
    let text = error.to_string();
    for name in names {
        assert!(text.contains(name), "{text:?} does not name {name:?}");
    }
}
