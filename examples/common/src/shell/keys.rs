//! Bytes of a terminal, as keys.
//!
//! **Spec**: ECMA-48, "CUF - Cursor Right" and its like; the codes of Home, End and Delete are those that
//! xterm and the DEC VT220 send ("VT220 Programmer Reference Manual", "Editing Keypad").

/// One key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// Something printable, in ASCII.
    Char(u8),
    Enter,
    Tab,
    Left,
    Right,
    Home,
    End,
    Up,
    Down,
    Backspace,
    Delete,
    /// Deletes what is right of the cursor, left of it, or the word left of it.
    KillRight,
    KillLeft,
    KillWord,
    /// Clears the screen.
    Redraw,
    /// Gives the line up.
    Cancel,
    /// Deletes like [`Key::Delete`]; on an empty line it ends the monitor.
    Leave,
    /// Nothing this monitor knows.
    Unknown,
}

/// How much of a sequence was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Ground,
    /// After a carriage return: a line feed belongs to it.
    Return,
    Escape,
    /// After `ESC O`.
    Application,
    /// After `ESC [`: the first number so far.
    Sequence(u8),
    /// Behind the first number.
    Rest(u8),
}

const ESCAPE: u8 = 0x1b;

/// Puts sequences of bytes together. A sequence that ends in the middle swallows no later line.
#[derive(Debug, Default)]
pub(super) struct Keys {
    state: State,
}

impl Keys {
    /// Takes one byte; returns the key it completes.
    pub(super) fn take(&mut self, byte: u8) -> Option<Key> {
        let state = core::mem::take(&mut self.state);
        // A control character is never part of a sequence: whatever was open is given up.
        let state = if byte < b' ' && state != State::Return {
            State::Ground
        } else {
            state
        };
        match state {
            State::Return if byte == b'\n' => None,
            State::Ground | State::Return => self.plain(byte),
            State::Escape => {
                self.state = match byte {
                    b'[' => State::Sequence(0),
                    b'O' => State::Application,
                    _ => State::Ground,
                };
                (self.state == State::Ground).then_some(Key::Unknown)
            }
            State::Application => Some(letter(byte)),
            State::Sequence(number) => self.sequence(number, byte, State::Sequence),
            State::Rest(number) => self.sequence(number, byte, State::Rest),
        }
    }

    fn plain(&mut self, byte: u8) -> Option<Key> {
        let control = |letter: u8| letter - b'@';
        Some(match byte {
            ESCAPE => {
                self.state = State::Escape;
                return None;
            }
            b'\r' => {
                self.state = State::Return;
                Key::Enter
            }
            b'\n' => Key::Enter,
            b'\t' => Key::Tab,
            b' '..=b'~' => Key::Char(byte),
            0x08 | 0x7f => Key::Backspace,
            _ if byte == control(b'A') => Key::Home,
            _ if byte == control(b'B') => Key::Left,
            _ if byte == control(b'C') => Key::Cancel,
            _ if byte == control(b'D') => Key::Leave,
            _ if byte == control(b'E') => Key::End,
            _ if byte == control(b'F') => Key::Right,
            _ if byte == control(b'K') => Key::KillRight,
            _ if byte == control(b'L') => Key::Redraw,
            _ if byte == control(b'N') => Key::Down,
            _ if byte == control(b'P') => Key::Up,
            _ if byte == control(b'U') => Key::KillLeft,
            _ if byte == control(b'W') => Key::KillWord,
            _ => Key::Unknown,
        })
    }

    /// A byte behind `ESC [`: digits of the first number, more parameters, or the end.
    fn sequence(&mut self, number: u8, byte: u8, stay: fn(u8) -> State) -> Option<Key> {
        match byte {
            b'0'..=b'9' if stay(number) == State::Sequence(number) => {
                let number = number.saturating_mul(10).saturating_add(byte - b'0');
                self.state = State::Sequence(number);
                None
            }
            b' '..=b'?' => {
                self.state = State::Rest(number);
                None
            }
            b'~' => Some(match number {
                1 | 7 => Key::Home,
                4 | 8 => Key::End,
                3 => Key::Delete,
                _ => Key::Unknown,
            }),
            _ => Some(letter(byte)),
        }
    }
}

/// The key of a sequence that ends with this letter.
fn letter(byte: u8) -> Key {
    match byte {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        _ => Key::Unknown,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        bytes.iter().filter_map(|byte| keys.take(*byte)).collect()
    }

    #[test]
    fn cursor_keys_come_in_both_modes_and_with_modifiers() {
        assert_eq!(
            keys(b"\x1b[A\x1b[B\x1b[C\x1b[D"),
            [Key::Up, Key::Down, Key::Right, Key::Left]
        );
        assert_eq!(keys(b"\x1bOA\x1bOH\x1bOF"), [Key::Up, Key::Home, Key::End]);
        assert_eq!(keys(b"\x1b[1;5C"), [Key::Right]);
    }

    #[test]
    fn editing_keypad_is_known_by_its_numbers() {
        let all = [Key::Home, Key::Home, Key::Delete, Key::End, Key::End];
        assert_eq!(keys(b"\x1b[1~\x1b[7~\x1b[3~\x1b[4~\x1b[8~"), all);
        assert_eq!(keys(b"\x1b[15~\x1b[999~"), [Key::Unknown; 2]);
    }

    #[test]
    fn carriage_return_and_line_feed_are_one_end_of_a_line() {
        assert_eq!(keys(b"\r\n\n\r\r"), [Key::Enter; 4]);
    }

    #[test]
    fn sequence_that_breaks_off_swallows_nothing_behind_it() {
        assert_eq!(keys(b"\x1b[12\ra"), [Key::Enter, Key::Char(b'a')]);
        assert_eq!(keys(b"\x1b\x1b[D"), [Key::Left]);
        assert_eq!(keys(b"\x1bxa"), [Key::Unknown, Key::Char(b'a')]);
    }

    #[test]
    fn every_single_byte_leads_to_a_key_or_begins_a_sequence() {
        for byte in 0..=u8::MAX {
            let key = Keys::default().take(byte);
            assert_eq!(key.is_none(), byte == ESCAPE, "{byte}");
            assert_eq!(key == Some(Key::Char(byte)), (0x20..0x7f).contains(&byte));
        }
    }
}
