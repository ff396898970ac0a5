//! Text in fixed memory, and a number for everything a bad word might change.

use core::fmt;

use cpuhp_core::CpuId;

use crate::machine::Machine;
use crate::result::Stage;

/// A line of at most `N` bytes.
pub(super) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    /// The name of a node, with `cpu` where it says `{cpu}`. What does not fit is left out, and then no
    /// node has that name.
    pub(super) fn with_cpu(node: &str, cpu: CpuId) -> Self {
        let mut text = Self::new();
        let rest = node.strip_prefix("{cpu}");
        let _fits = match rest {
            Some(rest) => fmt::write(&mut text, format_args!("cpu{}{rest}", cpu.get())),
            None => fmt::write(&mut text, format_args!("{node}")),
        };
        text
    }

    pub(super) fn as_str(&self) -> &str {
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

/// Sums up states, targets, armed faults and logs of all CPUs, so that two can be compared.
///
/// FNV-1a, 32 bits: any single change gives another number, as each step of it can be undone.
pub(super) fn snapshot<M: Machine>(stage: &Stage<'_, M>) -> u32 {
    let hp = stage.hp();
    let mut sum = Sum(0x811c_9dc5);
    for (cpu, log) in stage.scene.cpus() {
        let words = [
            hp.state(cpu).unwrap_or_default().get().into(),
            hp.target(cpu).unwrap_or_default().get().into(),
            log.up_units(),
            log.stamp(),
            hp.online().contains(cpu).into(),
        ];
        words.into_iter().for_each(|word| sum.add(word));
        let node = Text::<64>::with_cpu("{cpu}/fail", cpu);
        // A sum takes any text.
        let _read = hp.read_node(node.as_str(), &mut sum);
    }
    sum.0
}

struct Sum(u32);

impl Sum {
    fn add(&mut self, word: u32) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0100_0193);
    }
}

impl fmt::Write for Sum {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.add(byte.into()));
        Ok(())
    }
}
