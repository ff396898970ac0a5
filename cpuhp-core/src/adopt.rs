//! Taking the boot CPU in: the one CPU that nobody kicks. It is control CPU and AP of the same
//! operation, and polls both sides in turn.

use crate::ap::ApNext;
use crate::cpu::CpuId;
use crate::drive::{Advance, pause};
use crate::error::{OpError, Refused, Why};
use crate::handshake::{Release, Tag};
use crate::hotplug::Cpuhp;
use crate::lock::WriteGuard;
use crate::mask::Kind;
use crate::phase::Bounds;
use crate::platform::{Platform, Who};
use crate::record::Record;
use crate::step::Section;
use crate::sync::Ordering;
use crate::trace::Trace;

/// What becomes of the steps of the boot CPU when it is adopted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootSteps {
    /// Every step runs now, on the boot CPU itself.
    Run,
    /// Boot did by hand what the steps would do; none runs. Their `down` meets what boot made.
    AlreadyDone,
}

impl<'a, P: Platform, T: Trace> Cpuhp<'a, P, T> {
    /// Takes the calling CPU in as the first one online. Comes before every operation.
    ///
    /// Context: the boot CPU, which may have any number. With [`BootSteps::Run`] interrupts are closed for
    /// its STARTING steps and open afterwards ([`Platform::leave_atomic`]), whatever they were before.
    ///
    /// # Errors
    /// [`OpError::Refused`] with [`Why::NoSuchCpu`], [`Why::AlreadyAdopted`], [`Why::Busy`] or
    /// [`Why::StorageTooSmall`]: nothing ran. [`OpError::Failed`]: a step of PREPARE failed and the
    /// CPU is back at `OFFLINE`, or one of ONLINE and it is back at `AP_IDLE`, since a running CPU
    /// cannot go below. Calling it again goes on from there.
    pub fn adopt_boot_cpu(&self, steps: BootSteps) -> Result<(), OpError> {
        let cpu = self.platform().this_cpu();
        let adopted = self.adopt(cpu, steps);
        let guard = adopted.map_err(|why| Refused(cpu, why))?;
        let outcome = self.outcome(cpu);
        drop(guard);
        outcome
    }

    #[inline(never)]
    fn adopt(&self, cpu: CpuId, steps: BootSteps) -> Result<WriteGuard<'_, 'a, P, T>, Why> {
        let rec = self.record(cpu).ok_or(Why::NoSuchCpu)?;
        if self.storage.slots.len() < self.table().dynamic_states() {
            return Err(Why::StorageTooSmall);
        }
        let guard = self.lock()?;
        if !guard.is_alone(&mut 0) {
            return Err(Why::Busy);
        }
        let is_new = match rec.edges.look().tag() {
            Tag::Dead => self.storage.next(Kind::Available, 0).is_none(),
            Tag::Up => steps == BootSteps::Run && rec.state() < self.table().online(),
            Tag::Kicked | Tag::Alive | Tag::Go | Tag::Die => false,
            Tag::Gone | Tag::Cancelled | Tag::Parked => false,
        };
        if !is_new {
            return Err(Why::AlreadyAdopted);
        }
        let stamp = self.storage.lock.next_stamp();
        // Acquire: what an earlier operation on this CPU left in the record.
        let claimed = rec
            .owner
            .compare_exchange(0, stamp, Ordering::Acquire, Ordering::Relaxed);
        claimed.map_err(|_| Why::Busy)?;
        for cpu in self.all_cpus() {
            self.refresh_present(cpu);
        }
        self.storage.add(Kind::Present, cpu);
        rec.begin(self.table().online(), Release::ByControl);
        let ended = match steps {
            BootSteps::Run => self.walk_boot_cpu(cpu, rec),
            BootSteps::AlreadyDone => {
                self.note_boot_cpu(cpu, rec);
                Advance::Reached
            }
        };
        self.close(rec, ended);
        Ok(guard)
    }

    /// Carries the operation on from both sides, which are the same CPU.
    fn walk_boot_cpu(&self, cpu: CpuId, rec: &Record) -> Advance {
        loop {
            match self.advance(cpu, rec, Bounds::NONE) {
                Advance::Turned => {}
                Advance::Pending => match self.poll_ap(cpu) {
                    ApNext::Spin => self.platform().relax(),
                    ApNext::Wait => {
                        self.platform().wait(Who::Ap(cpu), self.pause_of(rec));
                        self.serve_calls(cpu);
                    }
                    ApNext::Idle | ApNext::Off | ApNext::Park | ApNext::Refused(_) => {}
                },
                ended @ (Advance::Reached | Advance::Ended | Advance::Stuck) => return ended,
            }
        }
    }

    /// Returns until when to wait before a step of the boot CPU is called again.
    fn pause_of(&self, rec: &Record) -> u64 {
        let (now, limit) = (self.platform().now(), self.platform().step_timeout());
        let begun = rec.deadline.get().saturating_sub(limit);
        now.saturating_add(pause(now.saturating_sub(begun), limit))
    }

    /// Writes down what boot did by hand.
    fn note_boot_cpu(&self, cpu: CpuId, rec: &Record) {
        rec.set_state(self.table().online());
        for section in [Section::Prepare, Section::Starting, Section::Online] {
            Self::mark_entered(rec, section);
        }
        self.open_calls(cpu);
        self.storage.add(Kind::Available, cpu);
        self.storage.add(Kind::Online, cpu);
        let word = rec.edges.look();
        if let Some(up) = rec.edges.adopt(word, Tag::Up) {
            self.edge(cpu, word.tag(), up.tag());
        }
    }
}
