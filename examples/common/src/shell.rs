//! Scenario `shell`: the monitor on the console. Words over the control interface of the core, one line each.
//!
//! A word that is wrong is answered by one line, and changes nothing. The CPU that runs the monitor sleeps
//! while nothing is typed, and is online like any other.

mod complete;
mod cpus;
mod editor;
mod ipi;
mod keys;
mod park;
mod words;

use cpuhp_core::{Calls, Platform, Who};

use crate::machine::Machine;
use crate::result::Stage;
use crate::{check, registry, trace};
use editor::{Asked, Editor};
use keys::Keys;
use words::Said;

/// How long the console is left alone when nothing was typed: at first, and after a while.
const SHORT_NS: u64 = 1_000_000;
const LONG_NS: u64 = 20_000_000;

/// Runs it, until it is told to quit.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    stage.bring_all_up();
    registry::fill(stage, Calls::Run);
    stage.machine.print(format_args!(
        "monitor: help lists the words, TAB completes them, quit ends it"
    ));
    // What led here is of no interest to whoever asks what happened.
    trace::forget(stage.scene);
    let mut monitor = Monitor {
        stage,
        editor: Editor::new(),
        keys: Keys::default(),
        done: 0,
        refused: 0,
    };
    if let Err(why) = monitor.listen() {
        return stage.refuse(why);
    }
    check::all(stage.machine, stage.scene);
    let (done, refused) = (monitor.done, monitor.refused);
    stage.only_result(|line| {
        line.number("commands", done)?;
        line.number("refused", refused)
    });
}

struct Monitor<'s, 'm, M> {
    stage: &'s Stage<'m, M>,
    editor: Editor,
    keys: Keys,
    /// Lines that were done, and that were refused.
    done: u32,
    refused: u32,
}

/// Whether the monitor goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Go,
    Quit,
}

impl<M: Machine> Monitor<'_, '_, M> {
    /// Takes what is typed, and sleeps in between: longer and longer, so that a fast typist waits for
    /// nothing and an idle monitor costs nothing.
    fn listen(&mut self) -> Result<(), crate::Unable> {
        let machine = self.stage.machine;
        let mut pause = SHORT_NS;
        self.editor.draw(&mut |text| machine.echo(text));
        loop {
            let Some(byte) = machine.typed()? else {
                let this = self.stage.this_cpu();
                let platform = self.stage.hp().platform();
                platform.wait(Who::Control(this), machine.now() + pause);
                pause = (pause * 2).min(LONG_NS);
                continue;
            };
            pause = SHORT_NS;
            if self.take(byte) == Next::Quit {
                return Ok(());
            }
        }
    }

    fn take(&mut self, byte: u8) -> Next {
        let machine = self.stage.machine;
        let Some(key) = self.keys.take(byte) else {
            return Next::Go;
        };
        match self.editor.take(key, &mut |text| machine.echo(text)) {
            Asked::Nothing => {}
            Asked::Complete => complete::complete(self.stage, &mut self.editor),
            Asked::Leave => return Next::Quit,
            Asked::Run => {
                match words::run(self.stage, self.editor.line()) {
                    Said::Nothing => {}
                    Said::Done => self.done += 1,
                    Said::Refused => self.refused += 1,
                    Said::Quit => return Next::Quit,
                }
                self.editor.finish();
                self.editor.draw(&mut |text| machine.echo(text));
            }
        }
        Next::Go
    }
}
