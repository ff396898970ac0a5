//! A number for everything a bad word might change.

use core::fmt;

use crate::machine::Machine;
use crate::result::Stage;
use crate::text::Text;

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
