//! Taking the boot CPU in: the one CPU that nobody kicks, and that walks its own table.

use crate::cpu::CpuId;
use crate::error::{Failure, Left, OpError, StepError, StepFailure, Why};
use crate::handshake::Tag;
use crate::hotplug::{Cpuhp, Section};
use crate::mask::Kind;
use crate::platform::{Platform, Who};
use crate::record::Record;
use crate::step::{Direction, Rollback, StateId};
use crate::trace::Trace;
use crate::walk::Stop;

/// What becomes of the steps of the boot CPU when it is adopted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootSteps {
    /// Every step runs now, on the boot CPU itself.
    Run,
    /// Boot did by hand what the steps would do; none runs. Their `down` meets what boot made.
    AlreadyDone,
}

impl<P: Platform, T: Trace> Cpuhp<'_, P, T> {
    /// Takes the calling CPU in as the first one online. Comes before every operation.
    ///
    /// Context: the boot CPU, which may have any number, interrupts as its steps need them.
    ///
    /// # Errors
    /// [`OpError::Refused`] with [`Why::NoSuchCpu`], [`Why::AlreadyAdopted`], [`Why::Busy`] or
    /// [`Why::StorageTooSmall`]: nothing ran. [`OpError::Failed`]: a step failed, what was up is down
    /// again, and it can be tried again.
    pub fn adopt_boot_cpu(&self, steps: BootSteps) -> Result<(), OpError> {
        let cpu = self.platform().this_cpu();
        let refused = |why| OpError::refused(cpu, why);
        let rec = self.record(cpu).ok_or(refused(Why::NoSuchCpu))?;
        if self.storage.slots.len() < self.table().dynamic_states() {
            return Err(refused(Why::StorageTooSmall));
        }
        let guard = self.lock(cpu)?;
        let word = rec.edges.look();
        if word.tag() != Tag::Dead || !self.storage.mask(Kind::Available).is_empty() {
            return Err(refused(Why::AlreadyAdopted));
        }
        for number in 0..self.cpus() {
            // The number of records fits: `Storage` checks it.
            self.refresh_present(CpuId::new(u32::try_from(number).unwrap_or(u32::MAX)));
        }
        match steps {
            BootSteps::Run => self.walk_boot_cpu(cpu, rec).map_err(OpError::Failed)?,
            BootSteps::AlreadyDone => rec.set_state(self.table().online()),
        }
        for section in [Section::Prepare, Section::Starting, Section::Online] {
            Self::mark_entered(rec, section);
        }
        rec.end();
        self.storage.mask(Kind::Present).insert(cpu);
        self.storage.mask(Kind::Available).insert(cpu);
        self.storage.mask(Kind::Online).insert(cpu);
        if let Some(up) = rec.edges.adopt(word) {
            self.edge(cpu, word.tag(), up.tag());
        }
        drop(guard);
        Ok(())
    }

    fn walk_boot_cpu(&self, cpu: CpuId, rec: &Record) -> Result<(), Failure> {
        let (kick, last) = (self.table().kick(), self.table().online());
        let first = match self.boot_section(cpu, rec, Section::Prepare, Rollback::No, kick) {
            Err(first) => first,
            Ok(()) => {
                let idle = self.table().ap_idle();
                let walked = self
                    .boot_starting(cpu, rec, idle, Rollback::No)
                    .and_then(|()| {
                        self.boot_section(cpu, rec, Section::Online, Rollback::No, last)
                    });
                match walked {
                    Ok(()) => return Ok(()),
                    Err(first) => first,
                }
            }
        };
        let rollback = self.boot_back(cpu, rec).err();
        rec.first.set(first.at, first.err);
        if let Some(second) = rollback {
            rec.second.set(second.at, second.err);
        }
        Err(Failure {
            cpu,
            first,
            rollback,
            kick: None,
            left: Left::At(rec.state()),
        })
    }

    /// Walks all that is up back down.
    fn boot_back(&self, cpu: CpuId, rec: &Record) -> Result<(), StepFailure> {
        let (kick, idle) = (self.table().kick(), self.table().ap_idle());
        if rec.state() >= idle {
            self.boot_section(cpu, rec, Section::Online, Rollback::Yes, idle)?;
        }
        if rec.state() > kick {
            self.boot_starting(cpu, rec, kick, Rollback::Yes)?;
        }
        self.boot_section(cpu, rec, Section::Prepare, Rollback::Yes, StateId::OFFLINE)
    }

    /// Walks STARTING with interrupts off; between two calls of a waiting step it only relaxes.
    fn boot_starting(
        &self,
        cpu: CpuId,
        rec: &Record,
        goal: StateId,
        rollback: Rollback,
    ) -> Result<(), StepFailure> {
        self.platform().enter_atomic();
        let walked = self.boot_section(cpu, rec, Section::Starting, rollback, goal);
        self.platform().leave_atomic();
        walked
    }

    /// Walks one section, waiting where a step asks for it, each step at most `step_timeout`.
    fn boot_section(
        &self,
        cpu: CpuId,
        rec: &Record,
        section: Section,
        rollback: Rollback,
        goal: StateId,
    ) -> Result<(), StepFailure> {
        let failed = |at, err| StepFailure {
            at,
            name: self.table().name(at),
            err,
        };
        let dir = if goal < rec.state() {
            Direction::Down
        } else {
            Direction::Up
        };
        let (mut at, mut deadline) = (rec.state(), u64::MAX);
        loop {
            match self.walk(cpu, rec, cpu, (section, rollback), |walk| {
                walk.run(dir, goal)
            }) {
                Stop::Done => return Ok(()),
                Stop::Failed(at, err) => return Err(failed(at, err)),
                Stop::Pending => {}
            }
            if deadline == u64::MAX || rec.state() != at {
                at = rec.state();
                deadline = self
                    .platform()
                    .now()
                    .saturating_add(self.platform().step_timeout());
            }
            if self.platform().now() >= deadline {
                let step = if dir == Direction::Up { at.above() } else { at };
                return Err(failed(step, StepError::TIMEOUT));
            }
            match section {
                Section::Starting => self.platform().relax(),
                Section::Prepare | Section::Online => {
                    self.platform().wait(Who::Ap(cpu), deadline);
                }
            }
        }
    }
}
