//! The line that is being typed: its text, the cursor, the lines before it, and how they are drawn.
//!
//! All of it has fixed memory. A line is short enough never to wrap on a terminal of 80 columns, so it is
//! drawn again with a carriage return alone.

use core::fmt::Write;

use super::keys::Key;
use crate::text::Text;

/// What stands before every line.
pub(super) const PROMPT: &str = "cpuhp> ";

/// Bytes of a line, at most.
pub(super) const LONGEST: usize = 72;

/// Lines that are kept.
const KEPT: usize = 16;

/// A line.
pub(super) type Line = Text<LONGEST>;

/// What a key asks the monitor to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    Nothing,
    /// The line is complete: run it.
    Run,
    /// Complete the word at the cursor.
    Complete,
    /// End the monitor.
    Leave,
}

/// The editor.
#[derive(Debug)]
pub(super) struct Editor {
    line: Line,
    cursor: usize,
    /// A ring of lines; the newest is before `next`.
    kept: [Line; KEPT],
    next: usize,
    count: usize,
    /// How many lines back is shown; 0 = the new one.
    back: usize,
    /// The new line while an older one is shown.
    draft: Line,
}

impl Editor {
    pub(super) const fn new() -> Self {
        Self {
            line: Line::new(),
            cursor: 0,
            kept: [const { Line::new() }; KEPT],
            next: 0,
            count: 0,
            back: 0,
            draft: Line::new(),
        }
    }

    /// Returns the text.
    pub(super) fn line(&self) -> &str {
        self.line.as_str()
    }

    /// Returns what is left of the cursor.
    pub(super) fn before(&self) -> &str {
        self.line().get(..self.cursor).unwrap_or_default()
    }

    /// Takes one key and draws what it changes.
    pub(super) fn take(&mut self, key: Key, echo: &mut dyn FnMut(&str)) -> Asked {
        let (at, end) = (self.cursor, self.line().len());
        match key {
            Key::Enter => {
                echo("\n");
                return Asked::Run;
            }
            Key::Tab => return Asked::Complete,
            Key::Leave if self.line().is_empty() => {
                echo("\n");
                return Asked::Leave;
            }
            Key::Char(byte) => self.type_in(byte, echo),
            Key::Cancel => {
                echo("^C\n");
                self.clear();
                self.draw(echo);
            }
            Key::Redraw => {
                echo("\x1b[H\x1b[2J");
                self.draw(echo);
            }
            Key::Left | Key::Right | Key::Home | Key::End => {
                self.move_to(key);
                self.draw(echo);
            }
            Key::Up => self.show(self.back + 1, echo),
            Key::Down => self.show(self.back.wrapping_sub(1), echo),
            Key::Backspace => self.kill(at.saturating_sub(1), at, echo),
            Key::Delete | Key::Leave => self.kill(at, (at + 1).min(end), echo),
            Key::KillLeft => self.kill(0, at, echo),
            Key::KillRight => self.kill(at, end, echo),
            Key::KillWord => self.kill(self.word_before(), at, echo),
            Key::Unknown => ring(echo),
        }
        Asked::Nothing
    }

    /// Puts text in at the cursor; all of it or, if there is no room, nothing.
    pub(super) fn insert(&mut self, text: &str, echo: &mut dyn FnMut(&str)) {
        if self.replace(self.cursor, self.cursor, text) {
            self.cursor += text.len();
            self.draw(echo);
        } else {
            ring(echo);
        }
    }

    /// Draws prompt, text and cursor on the line the terminal is on.
    pub(super) fn draw(&self, echo: &mut dyn FnMut(&str)) {
        let mut text = Text::<{ LONGEST + 32 }>::new();
        let back = self.line().len() - self.cursor;
        // There is room for all of it.
        let _ = write!(text, "\r{PROMPT}{}\x1b[K", self.line());
        if back > 0 {
            let _ = write!(text, "\x1b[{back}D");
        }
        echo(text.as_str());
    }

    /// Keeps the line among the older ones, unless it is blank or the same as the last, and begins anew.
    pub(super) fn finish(&mut self) {
        let last = self.older(1).map(Line::as_str);
        if !self.line().trim().is_empty() && last != Some(self.line()) {
            if let Some(slot) = self.kept.get_mut(self.next) {
                *slot = self.line.clone();
            }
            self.next = (self.next + 1) % KEPT;
            self.count = (self.count + 1).min(KEPT);
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.line = Line::new();
        self.cursor = 0;
        self.back = 0;
    }

    fn type_in(&mut self, byte: u8, echo: &mut dyn FnMut(&str)) {
        let text = [byte];
        let text = core::str::from_utf8(&text).unwrap_or_default();
        if self.cursor < self.line().len() || self.line().len() == LONGEST {
            return self.insert(text, echo);
        }
        // At the end: no need to draw the rest again.
        if self.replace(self.cursor, self.cursor, text) {
            self.cursor += 1;
            echo(text);
        }
    }

    fn move_to(&mut self, key: Key) {
        let end = self.line().len();
        self.cursor = if key == Key::Left {
            self.cursor.saturating_sub(1)
        } else if key == Key::Right {
            (self.cursor + 1).min(end)
        } else if key == Key::Home {
            0
        } else {
            end
        };
    }

    fn kill(&mut self, from: usize, to: usize, echo: &mut dyn FnMut(&str)) {
        if from == to {
            return ring(echo);
        }
        // It only gets shorter.
        let _fits = self.replace(from, to, "");
        self.cursor = from;
        self.draw(echo);
    }

    /// Where the word left of the cursor begins, blanks behind it counted to it.
    fn word_before(&self) -> usize {
        let text = self.before().trim_end_matches(' ');
        text.rfind(' ').map_or(0, |blank| blank + 1)
    }

    /// Replaces a part of the text; false, and nothing is done, if there is no room.
    fn replace(&mut self, from: usize, to: usize, text: &str) -> bool {
        let mut line = Line::new();
        let left = self.line().get(..from).unwrap_or_default();
        let right = self.line().get(to..).unwrap_or_default();
        let fits = write!(line, "{left}{text}{right}").is_ok();
        if fits {
            self.line = line;
        }
        fits
    }

    /// The line `back` lines ago; 1 = the last one.
    fn older(&self, back: usize) -> Option<&Line> {
        let exists = (1..=self.count).contains(&back);
        let at = (self.next + KEPT).checked_sub(back)? % KEPT;
        self.kept.get(at).filter(|_| exists)
    }

    fn show(&mut self, back: usize, echo: &mut dyn FnMut(&str)) {
        let line = match back {
            0 => Some(self.draft.clone()),
            _ => self.older(back).cloned(),
        };
        let Some(line) = line else {
            return ring(echo);
        };
        if self.back == 0 {
            self.draft = self.line.clone();
        }
        self.back = back;
        self.cursor = line.as_str().len();
        self.line = line;
        self.draw(echo);
    }
}

/// Says that a key did nothing.
pub(super) fn ring(echo: &mut dyn FnMut(&str)) {
    echo("\x07");
}

#[cfg(test)]
mod tests;
