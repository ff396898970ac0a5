//! The platform of the fake machine: one thread, CPUs that run only while somebody waits for them.

use cpuhp_core::{
    ApNext, Confirm, CpuId, Cpuhp, KickError, KickOutcome, Misuse, Platform, Tag, Who,
};

use crate::world::{Event, World, with};

/// The hotplug machine under test.
pub type Machine = Cpuhp<'static, Fake>;

/// The platform; its state is in the thread's [`World`].
#[derive(Clone, Copy, Debug)]
pub struct Fake;

/// How long a kicked CPU may take.
pub const ALIVE: u64 = 100_000_000;
/// How long a CPU may take to go.
pub const DIE: u64 = 70_000_000;
/// How long a step may take.
pub const STEP: u64 = 50_000_000;
/// How far the clock goes at each wait.
pub const TICK: u64 = 1_000_000;

/// What a CPU does at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Life {
    /// Off.
    #[default]
    Off,
    /// Kicked, not in the kernel yet.
    Coming,
    /// In the kernel.
    On,
    /// It said its last word and still runs.
    Leaving,
    /// It was told to park and still runs on what PREPARE made.
    Parking,
    /// It rests off everything that PREPARE made.
    Parked,
    /// Its entry was refused; it does nothing more.
    Refused(Misuse),
}

/// One CPU of the fake machine.
#[derive(Clone, Copy, Debug)]
pub struct Sim {
    /// What it does.
    pub life: Life,
    /// When it comes after a kick: this time or later.
    pub comes_at: u64,
    /// How many polls it runs on after its last word; `u32::MAX` for ever.
    pub lingers: u32,
    /// What a kick answers.
    pub refusal: Option<KickError>,
    /// What firmware says of it.
    pub present: bool,
    /// In which wave it is kicked.
    pub wave: u8,
    /// Whether it can be stopped.
    pub can_off: Option<bool>,
    /// The epoch bits it was handed at its last kick.
    pub hint: Option<u8>,
    polls: u32,
}

impl Default for Sim {
    fn default() -> Self {
        Self {
            life: Life::Off,
            comes_at: 0,
            lingers: 1,
            refusal: None,
            present: true,
            wave: 0,
            can_off: None,
            hint: None,
            polls: 0,
        }
    }
}

impl World {
    /// Changes what the machine knows of `cpu`.
    pub fn sim(&self, cpu: u32, change: impl FnOnce(&mut Sim)) {
        change(&mut self.sims.borrow_mut()[cpu as usize]);
    }

    /// What `cpu` does.
    pub fn life(&self, cpu: u32) -> Life {
        self.sims.borrow()[cpu as usize].life
    }

    /// The CPU that runs at the moment.
    pub fn here(&self) -> u32 {
        self.here.get()
    }

    /// Lets the clock go on.
    pub fn pass(&self, time: u64) {
        self.now.set(self.now.get() + time);
    }

    /// The time.
    pub fn time(&self) -> u64 {
        self.now.get()
    }

    /// Runs `run` as CPU `cpu`.
    pub fn as_cpu<R>(&self, cpu: u32, run: impl FnOnce() -> R) -> R {
        let before = self.here.replace(cpu);
        let result = run();
        self.here.set(before);
        result
    }

    /// Lets every CPU but the calling one poll once.
    pub fn poll_all(&self) {
        let count = u32::try_from(self.sims.borrow().len()).unwrap_or(u32::MAX);
        (0..count)
            .filter(|cpu| *cpu != self.here.get())
            .for_each(|cpu| {
                self.poll_cpu(cpu);
            });
    }

    /// As [`Self::poll_all`], three times.
    pub fn poll_all_now() {
        (0..3).for_each(|_| with(Self::poll_all));
    }

    /// Lets `cpu` do its next thing; returns what the core answered, if it was asked.
    pub fn poll_cpu(&self, cpu: u32) -> Option<ApNext> {
        let (hp, id) = (self.hp(), CpuId::new(cpu));
        let sim = self.sims.borrow()[cpu as usize];
        let next = match sim.life {
            Life::Off | Life::Refused(_) => return None,
            Life::Coming if self.time() < sim.comes_at => return None,
            Life::Coming => {
                self.books.borrow_mut()[cpu as usize].irqs_off = true;
                self.as_cpu(cpu, || hp.ap_enter(id, sim.hint))
            }
            Life::On if hp.tag(id) == Some(Tag::Dead) => {
                self.as_cpu(cpu, || hp.ap_enter(id, sim.hint))
            }
            Life::On => self.as_cpu(cpu, || hp.poll_ap(id)),
            Life::Parked if hp.parked_poll(id) => {
                self.books.borrow_mut()[cpu as usize].irqs_off = true;
                self.as_cpu(cpu, || hp.ap_enter(id, None))
            }
            Life::Parked => return None,
            Life::Leaving | Life::Parking => {
                self.go(cpu, sim);
                return None;
            }
        };
        self.sim(cpu, |sim| {
            sim.polls = 0;
            sim.life = match next {
                ApNext::Wait | ApNext::Spin | ApNext::Idle => Life::On,
                ApNext::Off => Life::Leaving,
                ApNext::Park => Life::Parking,
                ApNext::Refused(why) => Life::Refused(why),
            };
        });
        Some(next)
    }

    /// A CPU that has said its last word runs on for a while, then is off or at rest.
    fn go(&self, cpu: u32, now: Sim) {
        self.sim(cpu, |sim| {
            sim.polls = now.polls.saturating_add(1);
            if now.lingers != u32::MAX && sim.polls >= now.lingers {
                sim.life = if now.life == Life::Parking {
                    Life::Parked
                } else {
                    Life::Off
                };
            }
        });
    }
}

impl Platform for Fake {
    fn now(&self) -> u64 {
        with(World::time)
    }

    fn this_cpu(&self) -> CpuId {
        CpuId::new(with(|w| w.here.get()))
    }

    fn kick(&self, cpu: CpuId, epoch: u16) -> Result<(), KickError> {
        with(|w| {
            let mut answer = Ok(());
            w.sim(cpu.get(), |sim| {
                let still = !matches!(sim.life, Life::Off);
                assert!(!still, "{cpu} was kicked while it is {:?} (P1)", sim.life);
                answer = sim.refusal.map_or(Ok(()), Err);
                if answer.is_ok() {
                    sim.life = Life::Coming;
                    sim.hint = u8::try_from(epoch & 0x7f).ok();
                }
            });
            w.note(Event::Kick(cpu.get(), answer));
            answer
        })
    }

    fn confirm(&self, cpu: CpuId) -> Confirm {
        match with(|w| w.life(cpu.get())) {
            Life::Off => Confirm::Off,
            Life::Parked => Confirm::Parked,
            Life::Coming | Life::On | Life::Leaving | Life::Parking | Life::Refused(_) => {
                Confirm::Running
            }
        }
    }

    fn present(&self, cpu: CpuId) -> bool {
        with(|w| w.sims.borrow()[cpu.index()].present)
    }

    fn wave(&self, cpu: CpuId) -> u8 {
        with(|w| w.sims.borrow()[cpu.index()].wave)
    }

    fn kick_done(&self, cpu: CpuId, how: KickOutcome) {
        with(|w| w.note(Event::KickDone(cpu.get(), how)));
    }

    fn wait(&self, who: Who, deadline: u64) {
        with(|w| {
            w.waits.set(w.waits.get() + 1);
            let tick = (w.time() + TICK).min(deadline.max(w.time() + 1));
            w.now.set(tick);
            if let Who::Control(_) = who {
                w.poll_all();
            }
        });
    }

    fn relax(&self) {
        with(|w| w.pass(TICK));
    }

    fn unpark(&self, cpu: CpuId) {
        with(|w| w.note(Event::Unpark(cpu.get())));
    }

    fn enter_atomic(&self) {
        with(|w| w.books.borrow_mut()[w.here.get() as usize].irqs_off = true);
    }

    fn leave_atomic(&self) {
        with(|w| w.books.borrow_mut()[w.here.get() as usize].irqs_off = false);
    }

    fn can_off(&self, cpu: CpuId) -> bool {
        with(|w| w.sims.borrow()[cpu.index()].can_off.unwrap_or(true))
    }

    fn should_abort(&self) -> bool {
        with(|w| match w.aborts.get() {
            Some(0) => true,
            Some(left) => {
                w.aborts.set(Some(left - 1));
                false
            }
            None => false,
        })
    }

    fn alive_timeout(&self) -> u64 {
        ALIVE
    }

    fn die_timeout(&self) -> u64 {
        DIE
    }

    fn step_timeout(&self) -> u64 {
        STEP
    }

    fn ap_patience(&self) -> u64 {
        with(|w| w.patience.get()).unwrap_or(u64::MAX)
    }
}
