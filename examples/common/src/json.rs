//! Machine lines: the word `@cpuhp` and one JSON object, formatted without a buffer.

use core::fmt::{self, Write};

use crate::machine::Host;

/// Prints the machine line of event `ev` with the fields that `fields` adds.
pub(crate) fn line(host: &dyn Host, ev: &str, fields: impl Fn(&mut Object<'_>) -> fmt::Result) {
    host.print(format_args!("@cpuhp {}", Line { ev, fields }));
}

struct Line<'a, F> {
    ev: &'a str,
    fields: F,
}

impl<F: Fn(&mut Object<'_>) -> fmt::Result> fmt::Display for Line<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        object(f, |line| {
            line.text("ev", &self.ev)?;
            (self.fields)(line)
        })
    }
}

fn object(out: &mut dyn Write, fill: impl FnOnce(&mut Object<'_>) -> fmt::Result) -> fmt::Result {
    out.write_char('{')?;
    fill(&mut Object { out, gap: "" })?;
    out.write_char('}')
}

/// One JSON object that is being written.
pub(crate) struct Object<'w> {
    out: &'w mut dyn Write,
    gap: &'static str,
}

impl Object<'_> {
    fn key(&mut self, key: &str) -> fmt::Result {
        self.out.write_str(self.gap)?;
        self.gap = ",";
        string(self.out, &key)?;
        self.out.write_char(':')
    }

    /// Adds a string, escaped.
    pub(crate) fn text(&mut self, key: &str, value: &dyn fmt::Display) -> fmt::Result {
        self.key(key)?;
        string(self.out, value)
    }

    /// Adds a number.
    pub(crate) fn number(&mut self, key: &str, value: impl Into<i128>) -> fmt::Result {
        self.key(key)?;
        write!(self.out, "{}", value.into())
    }

    /// Adds `true` or `false`.
    #[expect(clippy::fn_params_excessive_bools, reason = "it is the JSON value")]
    pub(crate) fn truth(&mut self, key: &str, value: bool) -> fmt::Result {
        self.key(key)?;
        write!(self.out, "{value}")
    }

    /// Adds a number, or `null`.
    pub(crate) fn maybe(&mut self, key: &str, value: Option<i32>) -> fmt::Result {
        self.key(key)?;
        match value {
            Some(value) => write!(self.out, "{value}"),
            None => self.out.write_str("null"),
        }
    }

    /// Adds an object.
    pub(crate) fn object(
        &mut self,
        key: &str,
        fill: impl FnOnce(&mut Object<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.key(key)?;
        object(self.out, fill)
    }

    /// Adds a list of numbers.
    pub(crate) fn numbers(&mut self, key: &str, values: impl Iterator<Item = u32>) -> fmt::Result {
        self.key(key)?;
        self.out.write_char('[')?;
        for (at, value) in values.enumerate() {
            let gap = if at == 0 { "" } else { "," };
            write!(self.out, "{gap}{value}")?;
        }
        self.out.write_char(']')
    }

    /// Adds a list of objects, one per item.
    pub(crate) fn objects<T>(
        &mut self,
        key: &str,
        items: impl Iterator<Item = T>,
        fill: impl Fn(&mut Object<'_>, T) -> fmt::Result,
    ) -> fmt::Result {
        self.key(key)?;
        self.out.write_char('[')?;
        for (at, item) in items.enumerate() {
            if at > 0 {
                self.out.write_char(',')?;
            }
            object(self.out, |row| fill(row, item))?;
        }
        self.out.write_char(']')
    }
}

fn string(out: &mut dyn Write, value: &dyn fmt::Display) -> fmt::Result {
    out.write_char('"')?;
    write!(Escaped(out), "{value}")?;
    out.write_char('"')
}

/// Writes what a JSON string may hold.
struct Escaped<'w>(&'w mut dyn Write);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' => self.0.write_str("\\\"")?,
                '\\' => self.0.write_str("\\\\")?,
                '\n' => self.0.write_str("\\n")?,
                '\u{0}'..='\u{1f}' | '\u{7f}' => write!(self.0, "\\u{:04x}", u32::from(c))?,
                _ => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn strings_are_escaped_and_members_are_separated() {
        let line = Line {
            ev: "panic",
            fields: |line: &mut Object<'_>| {
                line.text("msg", &"a \"b\"\\\n\u{1}")?;
                line.maybe("none", None)?;
                line.numbers("ids", [1, 2].into_iter())?;
                line.objects("rows", [3u32].into_iter(), |row, n| row.number("n", n))?;
                line.object("params", |_| Ok(()))
            },
        };
        assert_eq!(
            line.to_string(),
            r#"{"ev":"panic","msg":"a \"b\"\\\n\u0001","none":null,"ids":[1,2],"rows":[{"n":3}],"params":{}}"#
        );
    }
}
