//! The words of the monitor: what each takes, what it does, and what is said when that was not possible.

use core::fmt::{self, Write};

use cpuhp_core::{ControlError, CpuId, OpError, Refusal, StepError, Which, Why};

use super::{cpus, ipi, park};
use crate::machine::{Host, Machine};
use crate::result::Stage;
use crate::text::Text;
use crate::trace;

/// How a line went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// It was blank.
    Nothing,
    Done,
    /// It changed nothing, or an operation failed.
    Refused,
    Quit,
}

/// What a word does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Does {
    Cpus,
    /// Says what this node of the machine says.
    Read(&'static str),
    Up,
    Down,
    Target,
    Fail,
    Trace,
    Ipi,
    Park,
    Help,
    Quit,
}

/// One word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    pub(super) name: &'static str,
    pub(super) does: Does,
    /// What stands behind it.
    takes: &'static str,
    /// An example, for whoever got it wrong.
    such_as: &'static str,
    help: &'static str,
}

const fn word(name: &'static str, does: Does, help: &'static str) -> Word {
    let (takes, such_as) = ("", "");
    Word {
        name,
        does,
        takes,
        such_as,
        help,
    }
}

const fn with(word: Word, takes: &'static str, such_as: &'static str) -> Word {
    Word {
        takes,
        such_as,
        ..word
    }
}

/// All of them, in the order of `help`.
pub(super) const WORDS: [Word; 12] = [
    word(
        "cpus",
        Does::Cpus,
        "state and target of each CPU, armed faults, last errors",
    ),
    word(
        "states",
        Does::Read("states"),
        "every state, and the CPUs that hold it",
    ),
    word(
        "instances",
        Does::Read("instances"),
        "how many instances the states have",
    ),
    with(word("up", Does::Up, "take it online"), "CPU|all", "3"),
    with(word("down", Does::Down, "take it offline"), "CPU|all", "3"),
    with(
        word(
            "target",
            Does::Target,
            "drive it to a state; no STATE: say its target",
        ),
        "CPU [STATE]",
        "3 sched:online",
    ),
    with(
        word(
            "fail",
            Does::Fail,
            "fail once there; no STATE: say where it will",
        ),
        "CPU [STATE[:up|:down]|none]",
        "3 sched:online:down",
    ),
    word(
        "trace",
        Does::Trace,
        "what happened since it was last asked for",
    ),
    word("ipi", Does::Ipi, "call every other CPU once, and time it"),
    word("park", Does::Park, "how the CPUs that are down rest"),
    word("help", Does::Help, "this list"),
    word("quit", Does::Quit, "end the monitor; so does control-D"),
];

/// Returns the word with this name.
pub(super) fn find(name: &str) -> Option<&'static Word> {
    WORDS.iter().find(|word| word.name == name)
}

/// Does what a line says, and prints the answer.
pub(super) fn run<M: Machine>(stage: &Stage<'_, M>, line: &str) -> Said {
    let mut parts = line.split_whitespace();
    let Some(name) = parts.next() else {
        return Said::Nothing;
    };
    let machine = stage.machine;
    let Some(word) = find(name) else {
        return refuse(
            machine,
            format_args!("no word `{}`; help lists them", Typed(name)),
        );
    };
    let (first, second) = (parts.next(), parts.next());
    let is_fitting = match word.does {
        Does::Up | Does::Down => first.is_some() && second.is_none(),
        Does::Target | Does::Fail => first.is_some() && parts.next().is_none(),
        Does::Cpus | Does::Read(_) | Does::Trace | Does::Ipi => first.is_none(),
        Does::Park | Does::Help | Does::Quit => first.is_none(),
    };
    if !is_fitting {
        return refuse(machine, format_args!("say {}", Usage(word)));
    }
    let (first, second) = (first.unwrap_or_default(), second.unwrap_or_default());
    match word.does {
        Does::Cpus => cpus::print(stage),
        Does::Read(node) => read(stage, node),
        Does::Up if first == "all" => many(machine, stage.hp().bring_up(Which::All)),
        Does::Down if first == "all" => many(machine, stage.hp().take_down(Which::All)),
        Does::Up => drive(stage, first, "online"),
        Does::Down => drive(stage, first, "offline"),
        Does::Target if second.is_empty() => say(stage, first, "target"),
        Does::Target => drive(stage, first, second),
        Does::Fail if second.is_empty() => say(stage, first, "fail"),
        Does::Fail => match write(stage, first, "fail", second) {
            Ok(()) => say(stage, first, "fail"),
            Err(error) if is_no_step(&error) => {
                let line =
                    format_args!("nothing can fail at `{second}`; take a step outside STARTING");
                refuse(machine, line)
            }
            Err(error) => wrong(machine, first, &error),
        },
        Does::Trace => {
            trace::show(stage.scene, machine, &|at| stage.hp().name(at));
            Said::Done
        }
        Does::Ipi => ipi::run(stage),
        Does::Park => park::print(stage),
        Does::Help => help(machine),
        Does::Quit => Said::Quit,
    }
}

/// How a word is used.
struct Usage(&'static Word);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Word {
            name,
            takes,
            such_as,
            ..
        } = self.0;
        if takes.is_empty() {
            return write!(f, "`{name}` and nothing behind it");
        }
        write!(f, "`{name} {takes}`, such as {name} {such_as}")
    }
}

fn help(host: &dyn Host) -> Said {
    for word in &WORDS {
        let mut usage = Text::<40>::new();
        // The longest is shorter.
        let _ = write!(usage, "{} {}", word.name, word.takes);
        host.print(format_args!("  {:<33} {}", usage.as_str(), word.help));
    }
    host.print(format_args!(
        "  keys: TAB, arrows, Home, End, Delete, ^A ^E ^K ^U ^W, ^L clears, ^C gives the line up"
    ));
    Said::Done
}

/// What was typed, without the letter that machine lines begin with: no answer may look like one.
struct Typed<'t>(&'t str);

impl fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.split('@').try_for_each(|part| f.write_str(part))
    }
}

/// Prints one line that says why nothing was done.
pub(super) fn refuse(host: &dyn Host, why: fmt::Arguments<'_>) -> Said {
    host.print(format_args!("error: {why}"));
    Said::Refused
}

// ---- over the control interface

/// The name of a node of a CPU; `None` if no CPU can be called that.
fn node_of(cpu: &str, leaf: &str) -> Option<Text<48>> {
    let mut node = Text::new();
    let is_number = cpu.bytes().all(|byte| byte.is_ascii_digit());
    let fits = write!(node, "cpu{cpu}/{leaf}").is_ok();
    (is_number && fits).then_some(node)
}

fn write<M: Machine>(
    stage: &Stage<'_, M>,
    cpu: &str,
    leaf: &str,
    value: &str,
) -> Result<(), ControlError> {
    let node = node_of(cpu, leaf).ok_or(ControlError::NoSuchCpu)?;
    stage.hp().write_node(node.as_str(), value)
}

/// Drives a CPU, and says where it is then.
fn drive<M: Machine>(stage: &Stage<'_, M>, cpu: &str, state: &str) -> Said {
    match write(stage, cpu, "target", state) {
        Ok(()) => say(stage, cpu, "state"),
        Err(error) => wrong(stage.machine, cpu, &error),
    }
}

/// Prints a node of a CPU on one line.
fn say<M: Machine>(stage: &Stage<'_, M>, cpu: &str, leaf: &str) -> Said {
    let mut text = Text::<256>::new();
    let read = match node_of(cpu, leaf) {
        Some(node) => stage.hp().read_node(node.as_str(), &mut text),
        None => Err(ControlError::NoSuchCpu),
    };
    if let Err(error) = read {
        return wrong(stage.machine, cpu, &error);
    }
    let text = text.as_str();
    stage.machine.print(format_args!("cpu{cpu} {leaf}: {text}"));
    Said::Done
}

/// Prints a node of the machine, which has lines of its own.
fn read<M: Machine>(stage: &Stage<'_, M>, node: &str) -> Said {
    // The console takes any text.
    let _ = stage.hp().read_node(node, &mut Console(stage.machine));
    Said::Done
}

/// The console, for what formats itself.
pub(super) struct Console<'m, M>(pub(super) &'m M);

impl<M: Machine> Write for Console<'_, M> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.echo(text);
        Ok(())
    }
}

fn many(host: &dyn Host, result: Result<impl fmt::Display, OpError>) -> Said {
    match result {
        Ok(report) => {
            host.print(format_args!("{report}"));
            Said::Done
        }
        Err(error) => refuse(host, format_args!("{error}{}", Advice(&error))),
    }
}

/// Prints what the control interface says is wrong, in the words of the monitor.
fn wrong(host: &dyn Host, cpu: &str, error: &ControlError) -> Said {
    let is_no_cpu = matches!(error, ControlError::NoSuchCpu | ControlError::NoSuchNode);
    if is_no_cpu {
        return refuse(
            host,
            format_args!("no CPU `{}`; cpus lists them", Typed(cpu)),
        );
    }
    if let ControlError::Operation(error) = error {
        return refuse(host, format_args!("{error}{}", Advice(error)));
    }
    refuse(host, format_args!("{error}"))
}

/// Whether a fault was not armed because there is nothing that could fail.
fn is_no_step(error: &ControlError) -> bool {
    matches!(error, ControlError::Operation(error) if error.why() == Some(Why::BadTarget))
}

/// What to do about an operation that was refused or failed, if there is anything.
struct Advice<'e>(&'e OpError);

impl fmt::Display for Advice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(what) = advice(self.0) else {
            return Ok(());
        };
        write!(f, "; {what}")
    }
}

fn advice(error: &OpError) -> Option<&'static str> {
    let why = match error {
        OpError::Failed(failure) => return after(failure.first.err),
        OpError::Refused(Refusal { why, .. }) => why,
        _ => return None,
    };
    let advices = [
        (Why::OnSelf, "the monitor runs there, take another one"),
        (Why::NotPresent, "cpus shows what there is"),
        (Why::LastCpu, "take another one up first"),
        (Why::Torn, "take its instances away, or drive it to offline"),
        (Why::Busy, "say it again later"),
    ];
    let fitting = advices.iter().find(|(cause, _)| cause == why);
    fitting.map(|(_, what)| *what)
}

/// What to do after a step failed like this.
fn after(error: StepError) -> Option<&'static str> {
    match error {
        StepError::INJECTED => Some("the fault is used up, say it again"),
        StepError::TIMEOUT => Some("if it comes late, up takes it back"),
        StepError::STUCK => Some("say it again to wait on"),
        _ => None,
    }
}

/// Which CPU the monitor's own is, so that nobody is offered to take it down.
pub(super) fn is_own<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId) -> bool {
    cpu == stage.this_cpu()
}
