//! Text in fixed memory: what does not fit is an error, and nothing of it is kept.

use core::fmt;

use cpuhp_core::CpuId;

/// Text of at most `N` bytes.
#[derive(Clone, Debug)]
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    /// The name of a node, with `cpu` where it says `{cpu}`. What does not fit is left out, and then no
    /// node has that name.
    pub(crate) fn with_cpu(node: &str, cpu: CpuId) -> Self {
        let mut text = Self::new();
        let rest = node.strip_prefix("{cpu}");
        let _fits = match rest {
            Some(rest) => fmt::write(&mut text, format_args!("cpu{}{rest}", cpu.get())),
            None => fmt::write(&mut text, format_args!("{node}")),
        };
        text
    }

    pub(crate) fn as_str(&self) -> &str {
        let written = self.bytes.get(..self.len).unwrap_or_default();
        core::str::from_utf8(written).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
