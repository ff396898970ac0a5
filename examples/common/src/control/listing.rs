//! A long text, looked at line by line while it is written: it fits into no buffer here.

use core::fmt;

use crate::text::Text;

/// Hands each whole line to `look`, without its end.
pub(super) struct Lines<F> {
    line: Text<512>,
    look: F,
}

impl<F: FnMut(&str)> Lines<F> {
    pub(super) const fn new(look: F) -> Self {
        Self {
            line: Text::new(),
            look,
        }
    }
}

impl<F: FnMut(&str)> fmt::Write for Lines<F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            let whole = part.strip_suffix('\n');
            self.line.write_str(whole.unwrap_or(part))?;
            if whole.is_some() {
                (self.look)(self.line.as_str());
                self.line = Text::new();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::fmt::Write;
    use std::string::String;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn lines_are_whole_however_they_are_written() {
        let mut seen: Vec<String> = Vec::new();
        let mut lines = Lines::new(|line: &str| seen.push(line.into()));
        for part in ["on", "e\n\ntw", "o", "\nunfinished"] {
            lines.write_str(part).unwrap();
        }
        assert_eq!(seen, ["one", "", "two"]);
    }

    #[test]
    fn line_that_does_not_fit_is_an_error() {
        let mut lines = Lines::new(|_: &str| ());
        assert!(lines.write_str(&"x".repeat(512)).is_ok());
        assert!(lines.write_str("x").is_err());
    }
}
