//! Events as lines for a person, for the monitor.

use core::fmt::{self, Write};
use core::sync::atomic::Ordering;

use cpuhp_core::StateId;

use super::{EDGE, Event, FAULT, KICK, STEP, code_of, low, place, tag_name};
use crate::machine::Host;
use crate::scenario::Toggle;
use crate::scene::Scene;
use crate::text::Text;

/// The name that a state has now.
type Names<'n> = dyn Fn(StateId) -> &'static str + 'n;

/// Most events that are shown at once: the last ones.
const MOST_SHOWN: usize = 48;

/// Prints what happened since the last call, times counted from the first event shown. At rest.
pub(crate) fn show(scene: &Scene, host: &dyn Host, name: &Names<'_>) {
    let wanted = scene.events.load(Ordering::Relaxed) as usize;
    let kept = wanted.min(scene.parts.events.len());
    let first = kept.saturating_sub(MOST_SHOWN);
    let events = scene.parts.events.get(first..kept).unwrap_or_default();
    let hidden = first + (wanted - kept);
    if hidden > 0 {
        host.print(format_args!("{hidden} more events are not shown"));
    }
    let begin = events
        .first()
        .map_or(0, |event| event.begin.load(Ordering::Relaxed));
    for event in events {
        line(host, event, begin, name);
    }
    if wanted == 0 {
        host.print(format_args!("nothing has happened"));
    }
    forget(scene);
}

/// Forgets all events, so that there is room again, unless the run is to be traced as a whole. At rest.
pub(crate) fn forget(scene: &Scene) {
    if scene.params.trace == Toggle::On {
        return;
    }
    let wanted = scene.events.load(Ordering::Relaxed) as usize;
    for event in scene.parts.events.iter().take(wanted) {
        event.what.store(0, Ordering::Relaxed);
    }
    scene.events.store(0, Ordering::Relaxed);
}

fn line(host: &dyn Host, event: &Event, begin: u64, name: &Names<'_>) {
    let what = event.what.load(Ordering::Acquire);
    let at = event.begin.load(Ordering::Relaxed);
    let after_us = at.saturating_sub(begin) / 1000;
    let cpu = low(&event.who);
    let mut text = Text::<64>::new();
    // Names are shorter than that.
    let _ = match what & 0xff {
        STEP => step(&mut text, event, what, name),
        FAULT => {
            let (state, dir) = place(what);
            write!(text, "{dir:<4} {:<18} injected fault", name(state))
        }
        EDGE => {
            let (from, to) = (tag_name(what >> 8 & 0xff), tag_name(what >> 16 & 0xff));
            write!(text, "{from} -> {to}")
        }
        KICK => text.write_str("kick"),
        _ => return,
    };
    let text = text.as_str();
    host.print(format_args!("{after_us:>10} us  cpu{cpu:<4} {text}"));
}

fn step(text: &mut Text<64>, event: &Event, what: u64, name: &Names<'_>) -> fmt::Result {
    let (state, dir) = place(what);
    let on = event.who.load(Ordering::Relaxed) >> 32;
    let back = if what >> 16 & 1 == 1 {
        " (rollback)"
    } else {
        ""
    };
    write!(text, "{dir:<4} {:<18} on cpu{on}{back}", name(state))?;
    match code_of(event) {
        0 => Ok(()),
        code => write!(text, " error {code}"),
    }
}
