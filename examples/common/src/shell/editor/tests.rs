//! What is typed, against the line that comes of it and what a terminal shows.

extern crate std;

use std::format;
use std::string::String;
use std::vec::Vec;

use super::super::keys::Keys;
use super::*;

/// A terminal of one line: understands what the editor writes, and panics over anything else.
#[derive(Default)]
struct Screen {
    cells: Vec<u8>,
    column: usize,
    rings: usize,
}

impl Screen {
    fn write(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while let [byte, more @ ..] = rest {
            rest = more;
            match byte {
                b'\r' => self.column = 0,
                b'\n' => *self = Self::default(),
                7 => self.rings += 1,
                0x1b => {
                    let end = rest.iter().position(u8::is_ascii_alphabetic).unwrap();
                    let number = core::str::from_utf8(&rest[1..end]).unwrap();
                    match rest[end] {
                        b'K' => self.cells.truncate(self.column),
                        b'D' => self.column -= number.parse::<usize>().unwrap(),
                        b'H' | b'J' => self.cells.clear(),
                        other => panic!("{other}"),
                    }
                    rest = &rest[end + 1..];
                }
                _ => {
                    self.cells
                        .resize(self.cells.len().max(self.column + 1), b' ');
                    self.cells[self.column] = *byte;
                    self.column += 1;
                }
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.cells.clone()).unwrap()
    }
}

struct Typed {
    editor: Editor,
    keys: Keys,
    screen: Screen,
    lines: Vec<String>,
}

impl Typed {
    fn new() -> Self {
        let mut typed = Self {
            editor: Editor::new(),
            keys: Keys::default(),
            screen: Screen::default(),
            lines: Vec::new(),
        };
        let screen = &mut typed.screen;
        typed.editor.draw(&mut |text| screen.write(text));
        typed
    }

    /// Types, and checks after each byte that the screen shows the line and the cursor.
    fn types(mut self, bytes: &str) -> Self {
        for byte in bytes.bytes() {
            let Some(key) = self.keys.take(byte) else {
                continue;
            };
            let screen = &mut self.screen;
            let mut echo = |text: &str| screen.write(text);
            if self.editor.take(key, &mut echo) == Asked::Run {
                self.lines.push(self.editor.line().into());
                self.editor.finish();
                self.editor.draw(&mut echo);
            }
            let shown = format!("{PROMPT}{}", self.editor.line());
            assert_eq!(self.screen.text(), shown);
            assert_eq!(
                self.screen.column,
                PROMPT.len() + self.editor.before().len()
            );
        }
        self
    }

    fn is(self, before: &str, behind: &str) -> Self {
        assert_eq!(self.editor.before(), before);
        assert_eq!(self.editor.line(), format!("{before}{behind}"));
        self
    }
}

#[test]
fn text_goes_in_where_the_cursor_is() {
    Typed::new()
        .types("down 3")
        .is("down 3", "")
        .types("\x1b[D\x1b[D1")
        .is("down1", " 3")
        .types("\x01x\x1b[Cy")
        .is("xdy", "own1 3")
        .types("\x05z\x1b[C")
        .is("xdyown1 3z", "");
}

#[test]
fn keys_delete_to_the_left_and_to_the_right() {
    Typed::new()
        .types("abc def ghi\x7f\x08")
        .is("abc def g", "")
        .types("\x1b[H\x1b[3~\x04")
        .is("", "c def g")
        .types("\x1b[C\x1b[C\x0b")
        .is("c ", "")
        .types("one two  \x17")
        .is("c one ", "")
        .types("\x17\x17\x17")
        .is("", "")
        .types("abc\x1b[D\x15")
        .is("", "c");
}

#[test]
fn nothing_to_delete_rings() {
    for keys in [
        "\x7f", "\x1b[3~", "\x0b", "\x15", "\x17", "\x1b[A", "\x1b[B", "\x01\x07",
    ] {
        let typed = Typed::new().types(keys).is("", "");
        assert_eq!(typed.screen.rings, 1, "{keys:?}");
    }
}

#[test]
fn line_is_full_at_its_bound_and_takes_no_more() {
    let long = "x".repeat(LONGEST);
    let typed = Typed::new().types(&long).types("yz").is(&long, "");
    assert_eq!(typed.screen.rings, 2);
    let typed = typed.types("\x01y").is("", &long);
    assert_eq!(typed.screen.rings, 3);
}

#[test]
fn older_lines_come_back_and_the_new_one_is_not_lost() {
    let typed = Typed::new().types("one\rtwo\r\rtwo\r  \rdraft");
    assert_eq!(typed.lines, ["one", "two", "", "two", "  "]);
    typed
        .types("\x1b[A")
        .is("two", "")
        .types("\x10")
        .is("one", "")
        .types("\x1b[A")
        .is("one", "")
        .types("\x1b[B\x1b[B")
        .is("draft", "");
}

#[test]
fn only_so_many_lines_are_kept() {
    let mut typed = Typed::new();
    for number in 0..KEPT + 5 {
        typed = typed.types(&format!("line {number}\r"));
    }
    typed.types(&"\x10".repeat(2 * KEPT)).is("line 5", "");
}

#[test]
fn line_that_was_changed_in_the_past_leaves_the_past_alone() {
    let typed = Typed::new().types("one\r\x10\x7fX\r");
    assert_eq!(typed.lines, ["one", "onX"]);
    typed.types("\x10\x10").is("one", "");
}

#[test]
fn cancel_gives_the_line_up() {
    let typed = Typed::new().types("down 3\x03").is("", "");
    assert_eq!(typed.lines, [""; 0]);
}

#[test]
fn end_of_input_leaves_from_an_empty_line_only() {
    let mut editor = Editor::new();
    let mut echo = |_: &str| {};
    assert_eq!(editor.take(Key::Char(b'a'), &mut echo), Asked::Nothing);
    assert_eq!(editor.take(Key::Leave, &mut echo), Asked::Nothing);
    assert_eq!(editor.take(Key::Backspace, &mut echo), Asked::Nothing);
    assert_eq!(editor.take(Key::Leave, &mut echo), Asked::Leave);
}

#[test]
fn no_sequence_of_bytes_breaks_the_line() {
    // A linear congruence (Knuth, "The Art of Computer Programming", volume 2, "Choice of modulus").
    let mut seed = 1_u32;
    let mut typed = Typed::new();
    for _ in 0..20_000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let byte = (seed >> 24) as u8 & 0x7f;
        if byte == 4 && typed.editor.line().is_empty() {
            continue;
        }
        let text = String::from_utf8(Vec::from([byte])).unwrap();
        typed = typed.types(&text);
    }
}
