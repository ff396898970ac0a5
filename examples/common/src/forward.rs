//! A platform around a platform: hands everything on, counts, and can hold kicks back.
//!
//! It works around every backend, so the counts and the late CPUs are the same on bare metal, on
//! threads and in virtual time. Timeouts are those of the command line.

use core::sync::atomic::{AtomicU32, Ordering};

use cpuhp_core::{Confirm, CpuId, HwId, KickError, KickOutcome, Platform, Who};

use crate::critical;
use crate::log::CpuLog;
use crate::scenario::Scenario;
use crate::scene::{self, Scene};

/// The platform of every example kernel: `inner`, watched.
#[derive(Debug)]
pub struct Forward<P> {
    inner: P,
}

// The `held` word of a log: 0 = kicks pass, HOLD = they are held back, HOLD + 1 + epoch = one is.
const HOLD: u32 = 1;

impl<P: Platform> Forward<P> {
    /// Puts itself around `inner`.
    pub const fn new(inner: P) -> Self {
        Self { inner }
    }

    /// Returns the platform inside.
    pub const fn inner(&self) -> &P {
        &self.inner
    }

    /// Holds the next kick of `cpu` back. Context: control CPU, as of all these.
    pub(crate) fn hold(&self, cpu: CpuId) {
        if let Some(log) = log(cpu) {
            mark();
            log.held.store(HOLD, Ordering::Relaxed);
        }
    }

    /// Lets kicks of `cpu` pass again, and sends the one that was held back.
    ///
    /// # Errors
    /// The backend refused it.
    pub(crate) fn let_go(&self, cpu: CpuId) -> Result<(), KickError> {
        let held = log(cpu).map_or(0, |log| log.held.swap(0, Ordering::Relaxed));
        match held.checked_sub(HOLD + 1) {
            // The epoch was stored from 16 bits.
            Some(epoch) => self.inner.kick(cpu, u16::try_from(epoch).unwrap_or(0)),
            None => Ok(()),
        }
    }
}

impl<P: Platform> Forward<P> {
    /// Waits as the control CPU, and counts the time. Only `boot` asks: reading the clock costs as much as
    /// waiting.
    fn wait_timed(&self, scene: &Scene, who: Who, deadline: u64) {
        let begin = self.inner.now();
        self.inner.wait(who, deadline);
        let waited = self.inner.now().saturating_sub(begin);
        scene.waited.fetch_add(waited, Ordering::Relaxed);
    }

    /// Waits as the control CPU, and runs the calls to it: not every machine has interrupts, and one may be
    /// taken back by the wait.
    fn wait_served(&self, scene: &Scene, who: Who, deadline: u64) {
        let this = self.inner.this_cpu();
        scene.host.poll_calls(this);
        self.inner.wait(who, deadline);
        scene.host.poll_calls(this);
    }
}

fn log(cpu: CpuId) -> Option<&'static CpuLog> {
    scene::get()?.cpu(cpu)
}

fn timeout(fallback: u64) -> u64 {
    scene::get().map_or(fallback, |scene| scene.params.timeout_ns)
}

/// 1: some log says what the platform shall pretend of its CPU. Most scenarios pretend nothing, and ask often.
static MARKED: AtomicU32 = AtomicU32::new(0);

/// Begins to look at what the logs say: before the first that says anything.
pub(crate) fn mark() {
    MARKED.store(1, Ordering::Relaxed);
}

/// Returns the log of `cpu` if it may say something.
fn marked(cpu: CpuId) -> Option<&'static CpuLog> {
    match MARKED.load(Ordering::Relaxed) {
        0 => None,
        _ => log(cpu),
    }
}

/// 1: the waits of APs are counted here, because the backend does not count polls. Written once.
static COUNTS: AtomicU32 = AtomicU32::new(0);

/// Begins to count the waits of APs. Context: boot CPU, before any CPU moves.
pub(crate) fn count_waits() {
    COUNTS.store(1, Ordering::Relaxed);
}

fn counts_waits() -> bool {
    COUNTS.load(Ordering::Relaxed) != 0
}

fn count_wake(cpu: CpuId) {
    if counts_waits()
        && let Some(log) = log(cpu)
    {
        log.polls.store(0, Ordering::Relaxed);
    }
}

fn count_wait(cpu: CpuId) {
    if let Some(log) = log(cpu) {
        let polls = log.polls.fetch_add(1, Ordering::Relaxed) + 1;
        log.most_polls.fetch_max(polls, Ordering::Relaxed);
    }
}

impl<P: Platform> Platform for Forward<P> {
    fn now(&self) -> u64 {
        self.inner.now()
    }

    fn this_cpu(&self) -> CpuId {
        self.inner.this_cpu()
    }

    fn kick(&self, cpu: CpuId, epoch: u16) -> Result<(), KickError> {
        let (Some(scene), Some(log)) = (scene::get(), log(cpu)) else {
            return self.inner.kick(cpu, epoch);
        };
        let now = self.inner.now().max(1);
        log.kicked.store(now, Ordering::Relaxed);
        log.kicks.fetch_add(1, Ordering::Relaxed);
        log.polls.store(0, Ordering::Relaxed);
        if scene.first_kick.load(Ordering::Relaxed) == 0 {
            scene.first_kick.store(now, Ordering::Relaxed);
        }
        scene.last_kick.store(now, Ordering::Relaxed);
        if log.held.load(Ordering::Relaxed) != 0 {
            log.held
                .store(HOLD + 1 + u32::from(epoch), Ordering::Relaxed);
            return Ok(());
        }
        let kicked = self.inner.kick(cpu, epoch);
        if kicked.is_err() {
            log.refused.fetch_add(1, Ordering::Relaxed);
        }
        kicked
    }

    fn confirm(&self, cpu: CpuId) -> Confirm {
        // A kick that is held back is on its way: the CPU may still come.
        let held = marked(cpu).is_some_and(|log| log.held.load(Ordering::Relaxed) > HOLD);
        if held {
            Confirm::Running
        } else {
            self.inner.confirm(cpu)
        }
    }

    fn present(&self, cpu: CpuId) -> bool {
        let is_out = marked(cpu).is_some_and(|log| log.unplugged.load(Ordering::Relaxed) != 0);
        !is_out && self.inner.present(cpu)
    }

    fn wave(&self, cpu: CpuId) -> u8 {
        self.inner.wave(cpu)
    }

    fn entry_hint(&self, cpu: CpuId) -> Option<u8> {
        self.inner.entry_hint(cpu)
    }

    fn kick_done(&self, cpu: CpuId, how: KickOutcome) {
        if let Some(log) = log(cpu) {
            let counter = match how {
                KickOutcome::Arrived => &log.arrived,
                KickOutcome::Lost => &log.lost,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.kick_done(cpu, how);
    }

    fn wait(&self, who: Who, deadline: u64) {
        match (who, scene::get()) {
            (Who::Control(_), Some(scene)) => {
                critical::visit_in_wait(scene);
                if scene.params.scenario == Scenario::Boot {
                    self.wait_timed(scene, who, deadline);
                } else if scene.params.scenario.has_calls() {
                    self.wait_served(scene, who, deadline);
                } else {
                    self.inner.wait(who, deadline);
                }
            }
            (Who::Ap(cpu), Some(scene)) => {
                scene.host.idle(cpu);
                if counts_waits() {
                    count_wait(cpu);
                }
                self.inner.wait(who, deadline);
            }
            (_, None) => self.inner.wait(who, deadline),
        }
    }

    fn relax(&self) {
        self.inner.relax();
    }

    fn notify_ap(&self, cpu: CpuId) {
        count_wake(cpu);
        self.inner.notify_ap(cpu);
    }

    fn notify_ctl(&self, cpu: CpuId) {
        self.inner.notify_ctl(cpu);
    }

    fn unpark(&self, cpu: CpuId) {
        count_wake(cpu);
        self.inner.unpark(cpu);
    }

    fn ipi(&self, cpu: CpuId) {
        count_wake(cpu);
        self.inner.ipi(cpu);
    }

    fn enter_atomic(&self) {
        critical::visit();
        self.inner.enter_atomic();
        if let Some(log) = log(self.inner.this_cpu()) {
            log.closed.store(1, Ordering::Relaxed);
        }
    }

    fn leave_atomic(&self) {
        if let Some(log) = log(self.inner.this_cpu()) {
            log.closed.store(0, Ordering::Relaxed);
        }
        self.inner.leave_atomic();
        critical::visit();
    }

    fn can_off(&self, cpu: CpuId) -> bool {
        let is_fixed = marked(cpu).is_some_and(|log| log.fixed.load(Ordering::Relaxed) != 0);
        !is_fixed && self.inner.can_off(cpu)
    }

    fn should_abort(&self) -> bool {
        scene::get().is_some_and(Scene::wants_abort) || self.inner.should_abort()
    }

    fn hw_id(&self, cpu: CpuId) -> HwId {
        self.inner.hw_id(cpu)
    }

    fn context(&self) -> u32 {
        self.inner.context()
    }

    fn alive_timeout(&self) -> u64 {
        timeout(self.inner.alive_timeout())
    }

    fn die_timeout(&self) -> u64 {
        timeout(self.inner.die_timeout())
    }

    fn step_timeout(&self) -> u64 {
        timeout(self.inner.step_timeout())
    }

    fn ap_patience(&self) -> u64 {
        self.inner.ap_patience()
    }
}
