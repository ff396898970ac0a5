//! TAB: completes words, CPUs and names of states, and shows what there is where several fit.

use core::fmt::Write;

use cpuhp_core::StateId;

use super::editor::{Editor, LONGEST, ring};
use super::words::{self, Does};
use crate::machine::Machine;
use crate::result::Stage;
use crate::text::Text;

/// Most of what fits that is shown.
const MOST_SHOWN: usize = 40;

/// Columns it may take.
const COLUMNS: usize = 78;

/// A part of a line, or one thing that fits.
type Part = Text<LONGEST>;

/// What can stand at the cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Word,
    Cpu(Does),
    State(Does),
}

/// Completes the word at the cursor of `editor` as far as everything that fits agrees.
pub(super) fn complete<M: Machine>(stage: &Stage<'_, M>, editor: &mut Editor) {
    let mut echo = |text: &str| stage.machine.echo(text);
    let before = part(editor.before());
    let Some((what, begun)) = place(before.as_str()) else {
        return ring(&mut echo);
    };
    let (mut common, mut last, mut count) = (Part::new(), Part::new(), 0_usize);
    each(stage, what, begun, &mut |fit| {
        // States may share a name.
        if count == 0 || last.as_str() != fit {
            common = if count == 0 {
                part(fit)
            } else {
                agreed(&common, fit)
            };
            last = part(fit);
            count += 1;
        }
    });
    let mut more = part(common.as_str().get(begun.len()..).unwrap_or_default());
    match count {
        0 => return ring(&mut echo),
        1 if what != What::State(Does::Fail) => {
            // A full line goes without.
            let _ = more.write_char(' ');
        }
        1 => {}
        _ if more.as_str().is_empty() => {
            show(stage, what, begun);
            return editor.draw(&mut echo);
        }
        _ => {}
    }
    if more.as_str().is_empty() {
        return ring(&mut echo);
    }
    editor.insert(more.as_str(), &mut echo);
}

/// What can stand at the end of `before`, and what of it is there already.
fn place(before: &str) -> Option<(What, &str)> {
    let begun = before.rsplit(' ').next().unwrap_or_default();
    let mut parts = before.split_whitespace();
    let complete = parts.clone().count() - usize::from(!begun.is_empty());
    let does = parts.next().and_then(words::find).map(|word| word.does);
    let what = match (complete, does) {
        (0, _) => What::Word,
        (1, Some(does @ (Does::Up | Does::Down | Does::Target | Does::Fail))) => What::Cpu(does),
        (2, Some(does @ (Does::Target | Does::Fail))) => What::State(does),
        _ => return None,
    };
    Some((what, begun))
}

/// Hands out everything that can stand there and begins with `begun`.
fn each<M: Machine>(stage: &Stage<'_, M>, what: What, begun: &str, take: &mut dyn FnMut(&str)) {
    let mut take = |fit: &str| {
        if fit.starts_with(begun) {
            take(fit);
        }
    };
    match what {
        What::Word => words::WORDS.iter().for_each(|word| take(word.name)),
        What::Cpu(does) => each_cpu(stage, does, &mut take),
        What::State(does) => each_state(stage, does, begun, &mut take),
    }
}

/// `up` is for CPUs that are not online, `down` for those that are and do not run the monitor.
fn each_cpu<M: Machine>(stage: &Stage<'_, M>, does: Does, take: &mut dyn FnMut(&str)) {
    let hp = stage.hp();
    for cpu in hp.present().iter() {
        let is_online = hp.online().contains(cpu);
        let is_own = words::is_own(stage, cpu);
        let is_sensible = match does {
            Does::Up => !is_online,
            Does::Down => is_online && !is_own,
            Does::Cpus | Does::Read(_) | Does::Target | Does::Fail => true,
            Does::Trace | Does::Ipi | Does::Park | Does::Help | Does::Quit => true,
        };
        let mut number = Text::<12>::new();
        if is_sensible && write!(number, "{}", cpu.get()).is_ok() {
            take(number.as_str());
        }
    }
    if matches!(does, Does::Up | Does::Down) {
        take("all");
    }
}

/// For `target` the states a CPU can be sent to; for `fail` those whose step can fail, with the halves once
/// the name is complete.
fn each_state<M: Machine>(
    stage: &Stage<'_, M>,
    does: Does,
    begun: &str,
    take: &mut dyn FnMut(&str),
) {
    let (hp, table) = (stage.hp(), stage.scene.table);
    let last = table.online();
    for at in (0..=last.get()).map(StateId::new) {
        let name = hp.name(at);
        let is_between = at >= table.kick() && at <= table.ap_idle();
        let is_built_in = at == StateId::OFFLINE || at == last;
        let has_step = does == Does::Target || !is_built_in;
        if name.is_empty() || is_between || !has_step {
            continue;
        }
        if does == Does::Fail && begun.starts_with(name) {
            for half in ["up", "down"] {
                let mut fit = Part::new();
                if write!(fit, "{name}:{half}").is_ok() {
                    take(fit.as_str());
                }
            }
        } else {
            take(name);
        }
    }
    if does == Does::Fail {
        take("none");
    }
}

/// Shows what fits, in lines.
fn show<M: Machine>(stage: &Stage<'_, M>, what: What, begun: &str) {
    let machine = stage.machine;
    let (mut last, mut count, mut column) = (Part::new(), 0, 0);
    machine.echo("\n");
    each(stage, what, begun, &mut |fit| {
        if count > 0 && last.as_str() == fit {
            return;
        }
        last = part(fit);
        count += 1;
        if count > MOST_SHOWN {
            return;
        }
        if column + fit.len() > COLUMNS {
            machine.echo("\n");
            column = 0;
        }
        machine.echo(fit);
        machine.echo("  ");
        column += fit.len() + 2;
    });
    if count > MOST_SHOWN {
        machine.print(format_args!("and {} more", count - MOST_SHOWN));
    } else {
        machine.echo("\n");
    }
}

/// A copy; what is longer than a line is empty, and nobody can type it anyway.
fn part(text: &str) -> Part {
    let mut copy = Part::new();
    let _fits = copy.write_str(text);
    copy
}

/// What both begin with.
fn agreed(one: &Part, other: &str) -> Part {
    let (bytes, text) = (one.as_str().bytes(), one.as_str());
    let same = bytes.zip(other.bytes()).take_while(|(a, b)| a == b).count();
    part(text.get(..same).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_known_by_what_stands_before_it() {
        for (line, right) in [
            ("", Some((What::Word, ""))),
            ("do", Some((What::Word, "do"))),
            ("  do", Some((What::Word, "do"))),
            ("down ", Some((What::Cpu(Does::Down), ""))),
            ("down  1", Some((What::Cpu(Does::Down), "1"))),
            ("down 1 ", None),
            ("target 1 ", Some((What::State(Does::Target), ""))),
            ("fail 1 sched:", Some((What::State(Does::Fail), "sched:"))),
            ("fail 1 sched: ", None),
            ("cpus ", None),
            ("nobody ", None),
        ] {
            assert_eq!(place(line), right, "{line:?}");
        }
    }

    #[test]
    fn agreed_is_the_longest_common_beginning() {
        for (one, other, right) in [
            ("sched:online", "sched:active", "sched:"),
            ("up", "up", "up"),
            ("up", "upper", "up"),
            ("", "x", ""),
            ("a", "b", ""),
        ] {
            assert_eq!(agreed(&part(one), other).as_str(), right);
        }
    }
}
