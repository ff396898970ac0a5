//! The whole machine: freeze and thaw, disablements.

use core::sync::atomic::Ordering;

use cpuhp_core::{CpuId, OpError, Which, Why};

use super::{Storm, Told};
use crate::machine::Machine;
use crate::violation::Violation;

impl<M: Machine> Storm<'_, '_, M> {
    /// Freezes, sometimes given up, and thaws.
    pub(super) fn freeze(&mut self) -> Told {
        let (scene, hp) = (self.stage.scene, self.stage.hp());
        let this = self.stage.this_cpu();
        self.arm(None);
        let gives_up = self.random.below(3) == 0;
        if gives_up {
            scene.abort_after.store(self.began + 1, Ordering::Relaxed);
        }
        let before = self.online();
        let frozen = hp.freeze();
        scene.abort_after.store(0, Ordering::Relaxed);
        let met = self.met();
        match frozen {
            Ok(report) => {
                if report.done + 1 != before || self.online() != 1 {
                    self.wrong(Violation::Count, this, report.done + 1, before);
                }
                // With nobody to freeze there is nothing to give up.
                if gives_up && before > 1 {
                    self.wrong(Violation::WrongError, this, 0, Why::Aborted as u32);
                }
                self.refused(Why::Disabled);
                let thawed = hp.thaw().map_or(0, |report| report.done + report.failed);
                let missing = before.saturating_sub(self.online());
                if thawed != report.done || missing > self.met() {
                    self.wrong(Violation::Count, this, self.online(), before);
                }
            }
            Err(OpError::Refused(refusal)) => {
                if refusal.why != Why::Aborted || !gives_up {
                    self.wrong(Violation::WrongError, this, refusal.why as u32, 0);
                }
            }
            Err(_) if met > 0 => {}
            Err(_) => self.wrong(Violation::WrongError, this, 0, 1),
        }
        // Whatever happened: as many are back as did not fail, and hotplug works.
        let missing = before.saturating_sub(self.online());
        if missing > self.met() || !hp.frozen().is_empty() {
            self.wrong(Violation::Masks, this, self.online(), before);
        }
        told("freeze", before)
    }

    /// Disables a few times; nothing moves until the last one is gone.
    pub(super) fn disable(&mut self) -> Told {
        let hp = self.stage.hp();
        let deepest = 1 + self.random.below(3);
        let mut held = [const { None }; 3];
        for slot in held.iter_mut().take(deepest as usize) {
            *slot = hp.try_write().and_then(|guard| guard.disable()).ok();
            self.refused(Why::Disabled);
        }
        while let Some(last) = held.iter().rposition(Option::is_some) {
            self.refused(Why::Disabled);
            held[last] = None;
        }
        self.nobody_else(|_| false);
        told("disable", deepest)
    }

    /// Moving anything is refused, for this reason.
    fn refused(&self, why: Why) {
        let hp = self.stage.hp();
        let answer = hp.bring_up(Which::All).err().and_then(|error| error.why());
        if answer != Some(why) {
            let found = answer.map_or(99, |why| why as u32);
            self.wrong(
                Violation::WrongError,
                self.stage.this_cpu(),
                found,
                why as u32,
            );
        }
    }
}

fn told(what: &'static str, number: u32) -> Told {
    Told {
        what,
        cpu: CpuId::new(0),
        number,
    }
}
