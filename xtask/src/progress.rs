//! Progress of long work: a bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar or a spinner; nothing is drawn where standard error is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar of `count` items.
    pub(crate) fn bar(count: usize) -> Self {
        let style = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {msg}");
        Self::new(ProgressBar::new(count as u64), style.ok())
    }

    /// A spinner for one piece of work of unknown length.
    pub(crate) fn spinner(what: &str) -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        let progress = Self::new(ProgressBar::new_spinner(), style.ok());
        if progress.bar.is_none() {
            println!("{what}");
        }
        progress.at(what);
        progress
    }

    fn new(bar: ProgressBar, style: Option<ProgressStyle>) -> Self {
        if !stderr().is_terminal() {
            return Self { bar: None };
        }
        let bar = if let Some(style) = style {
            bar.with_style(style)
        } else {
            bar
        };
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar: Some(bar) }
    }

    /// Says what is being worked at.
    pub(crate) fn at(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// Prints the line of an item that is done and moves on.
    pub(crate) fn done(&self, line: &str) {
        match &self.bar {
            Some(bar) => {
                bar.suspend(|| println!("{line}"));
                bar.inc(1);
            }
            None => println!("{line}"),
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
