//! What a person sees of a kernel's output: all of it but the machine lines.

/// What a machine line starts with.
const WORD: &[u8] = b"@cpuhp ";

/// Where in a line the output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// So many bytes of [`WORD`] were seen at the start of the line, and are held back.
    Start(usize),
    Text,
    Machine,
}

/// Leaves machine lines out, however the output is cut into pieces.
#[derive(Debug)]
pub(crate) struct Screen {
    at: At,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { at: At::Start(0) }
    }

    /// The part of `bytes` to show, with what was held back before.
    pub(crate) fn show(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::new();
        for &byte in bytes {
            self.take(byte, &mut shown);
        }
        shown
    }

    fn take(&mut self, byte: u8, shown: &mut Vec<u8>) {
        match self.at {
            At::Machine => {}
            At::Text => shown.push(byte),
            At::Start(seen) if WORD.get(seen) == Some(&byte) => {
                self.at = At::Start(seen + 1);
                if seen + 1 == WORD.len() {
                    self.at = At::Machine;
                }
            }
            At::Start(seen) => {
                shown.extend(&WORD[..seen]);
                shown.push(byte);
                self.at = At::Text;
            }
        }
        if byte == b'\n' {
            self.at = At::Start(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_lines_are_left_out_wherever_the_output_is_cut() {
        let text =
            b"@cpuhp {\"ev\":\"start\"}\nhello\n@cpu\n\n@cpuhp x\ncpuhp> @cpuhp y\n@cpuhp z\nend";
        let right = b"hello\n@cpu\n\ncpuhp> @cpuhp y\nend";
        for piece in 1..=text.len() {
            let mut screen = Screen::new();
            let shown: Vec<u8> = text
                .chunks(piece)
                .flat_map(|part| screen.show(part))
                .collect();
            assert_eq!(shown, right, "in pieces of {piece}");
        }
    }
}
