//! Virtual time: one thread, a queue of events, a clock that jumps from one to the next.
//!
//! The control CPU runs as ordinary code. Whenever it waits, and for the time a kick costs it, the
//! machine works the queue off: a CPU that arrives or was notified is polled at its own time. A step
//! takes time by arming [`VirtualTime::wake_at`] and answering "call me again", so that its effect
//! appears at its end. Everything follows from the seed.

mod platform;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cpuhp_core::{ApNext, CpuId};

use crate::fate::{Fate, Power};
use crate::queue::{Event, Queue};

/// How long things take, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latencies {
    /// From the kick to the first look of the CPU.
    pub arrival: u64,
    /// Of that, at random up to this many thousandths more.
    pub arrival_spread: u64,
    /// What a kick costs the control CPU.
    pub kick: u64,
    /// From a notification to the look that it causes.
    pub notify: u64,
    /// From a CPU's last word to its being off.
    pub off: u64,
    /// Between two looks of a CPU inside STARTING that armed no timer, and the least a wait takes.
    pub poll: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            arrival: 100_000,
            arrival_spread: 200,
            kick: 1_000,
            notify: 2_000,
            off: 5_000,
            poll: 500,
        }
    }
}

/// Which side of the core an event calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// [`cpuhp_core::Cpuhp::ap_enter`].
    Enter,
    /// [`cpuhp_core::Cpuhp::poll_ap`].
    Poll,
}

type Ap = Box<dyn Fn(CpuId, Call) -> ApNext + Send + Sync>;

/// A machine in virtual time. Clones are the same machine.
///
/// ```
/// use std::sync::Arc;
/// use cpuhp_core::{BootSteps, Cpuhp, Store, Which, states, words};
/// use cpuhp_sim::{Call, Latencies, VirtualTime};
///
/// states! { mod hp { prepare {} starting {} online {} } }
/// static STORE: Store<1000, { words(1000) }, { hp::NDYN }> = Store::new();
///
/// # fn main() -> Result<(), cpuhp_core::OpError> {
/// let machine = VirtualTime::new(1000, 1, Latencies::default());
/// let cpuhp = Arc::new(Cpuhp::new(machine.clone(), &hp::TABLE, STORE.get()));
/// // Weak: the machine is inside what it calls.
/// let ap = Arc::downgrade(&cpuhp);
/// machine.attach(move |cpu, call| match (ap.upgrade(), call) {
///     (Some(cpuhp), Call::Enter) => cpuhp.ap_enter(cpu, None),
///     (Some(cpuhp), Call::Poll) => cpuhp.poll_ap(cpu),
///     (None, _) => cpuhp_core::ApNext::Off,
/// });
/// cpuhp.adopt_boot_cpu(BootSteps::Run)?;
/// assert_eq!(cpuhp.bring_up(Which::All)?.done, 999);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct VirtualTime {
    shared: Arc<Shared>,
    timeout_ns: u64,
    patience_ns: u64,
}

struct Shared {
    latencies: Latencies,
    ap: OnceLock<Ap>,
    /// Never held while a CPU is polled.
    state: Mutex<State>,
}

struct State {
    now: u64,
    this: CpuId,
    queue: Queue,
    cpus: Vec<Cpu>,
    wake: Wake,
    random: u64,
    polls: u64,
}

/// What has become of the last notification of the control CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wake {
    /// There is none, or a wait has taken it.
    No,
    /// It is on its way: another one would change nothing.
    Coming,
    /// The next wait ends at once.
    Here,
}

#[derive(Clone, Copy, Debug)]
struct Cpu {
    power: Power,
    fate: Fate,
    /// When the running step wants to be called again; 0 = no timer.
    timer: u64,
    /// Whether it has said its last word: the power goes off soon, and nothing is asked of it.
    is_leaving: bool,
}

impl VirtualTime {
    /// Makes a machine of `cpus` CPUs at time 1, CPU 0 being the boot CPU.
    pub fn new(cpus: u32, seed: u64, latencies: Latencies) -> Self {
        let off = Cpu {
            power: Power::Off,
            fate: Fate::Prompt,
            timer: 0,
            is_leaving: false,
        };
        let mut cpus = vec![off; cpus as usize];
        if let Some(boot) = cpus.first_mut() {
            boot.power = Power::Running;
        }
        let state = State {
            now: 1,
            this: CpuId::new(0),
            queue: Queue::default(),
            cpus,
            wake: Wake::No,
            random: seed,
            polls: 0,
        };
        let shared = Shared {
            latencies,
            ap: OnceLock::new(),
            state: Mutex::new(state),
        };
        Self {
            shared: Arc::new(shared),
            timeout_ns: 10_000_000_000,
            patience_ns: u64::MAX,
        }
    }

    /// Sets all three timeouts of the control CPU.
    #[must_use]
    pub fn timeout_ns(mut self, nanoseconds: u64) -> Self {
        self.timeout_ns = nanoseconds;
        self
    }

    /// Sets how long an AP waits for its release.
    #[must_use]
    pub fn patience_ns(mut self, nanoseconds: u64) -> Self {
        self.patience_ns = nanoseconds;
        self
    }

    /// Gives the machine what its CPUs run. Comes before the first kick; only the first call counts.
    pub fn attach(&self, ap: impl Fn(CpuId, Call) -> ApNext + Send + Sync + 'static) {
        let _ = self.shared.ap.set(Box::new(ap));
    }

    /// Decides what the next kicks of `cpu` lead to.
    pub fn set_fate(&self, cpu: CpuId, fate: Fate) {
        if let Some(cpu) = self.lock().cpus.get_mut(cpu.index()) {
            cpu.fate = fate;
        }
    }

    /// Lets a CPU come whose kick was held back; its later kicks are prompt.
    pub fn let_go(&self, cpu: CpuId) {
        let mut state = self.lock();
        let Some(slot) = state.cpus.get_mut(cpu.index()) else {
            return;
        };
        let comes = slot.fate == Fate::Held && slot.power == Power::Missing;
        slot.fate = Fate::Prompt;
        if comes {
            slot.power = Power::Starting(0);
            let at = state.now + self.shared.latencies.arrival;
            state.queue.add(at, Event::Arrive(cpu));
        }
    }

    /// Has `cpu` polled at `time`: for a step that answers "call me again" until then.
    pub fn wake_at(&self, cpu: CpuId, time: u64) {
        let mut state = self.lock();
        let time = time.max(state.now);
        if let Some(slot) = state.cpus.get_mut(cpu.index()) {
            slot.timer = time;
        }
        state.queue.add(time, Event::Poll(cpu));
    }

    /// Ends the control CPU's wait at `time`: the same for a step of PREPARE.
    pub fn wake_control_at(&self, time: u64) {
        let mut state = self.lock();
        let time = time.max(state.now);
        state.queue.add(time, Event::WakeControl);
    }

    /// Lets `nanoseconds` pass for the CPU that calls, as work of its own: the others go on meanwhile. For
    /// the control CPU only, also inside a step of PREPARE.
    pub fn spend(&self, nanoseconds: u64) {
        if nanoseconds > 0 {
            self.pass(nanoseconds);
        }
    }

    /// Runs `job` as CPU `cpu`; the CPU that called it is an AP meanwhile.
    pub fn run_on<R>(&self, cpu: CpuId, job: impl FnOnce() -> R) -> R {
        let before = std::mem::replace(&mut self.lock().this, cpu);
        let result = job();
        self.lock().this = before;
        result
    }

    /// Returns how often CPUs were polled so far.
    pub fn polls(&self) -> u64 {
        self.lock().polls
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let locked = self.shared.state.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    // ---- the event loop

    /// Takes the next event up to `until` and moves the clock to it.
    fn next(&self, until: u64) -> Option<Event> {
        let mut state = self.lock();
        let (time, event) = state.queue.take(until)?;
        state.now = state.now.max(time);
        Some(event)
    }

    fn happen(&self, event: Event) {
        match event {
            Event::WakeControl => self.lock().wake = Wake::Here,
            Event::PowerOff(cpu) => {
                let mut state = self.lock();
                if let Some(slot) = state.cpus.get_mut(cpu.index()) {
                    slot.power = Power::Off;
                    slot.is_leaving = false;
                }
                state.wake = Wake::Here;
            }
            Event::Arrive(cpu) => {
                let mut state = self.lock();
                let slot = state.cpus.get_mut(cpu.index());
                let comes = slot.filter(|slot| matches!(slot.power, Power::Starting(_)));
                let Some(slot) = comes else { return };
                slot.power = Power::Running;
                drop(state);
                self.poll(cpu, Call::Enter);
            }
            Event::Poll(cpu) => {
                let mut state = self.lock();
                let Some(slot) = state.cpus.get_mut(cpu.index()) else {
                    return;
                };
                // A late interrupt.
                if slot.is_leaving {
                    return;
                }
                let call = match slot.power {
                    Power::Running => Call::Poll,
                    Power::Parked => Call::Enter,
                    Power::Off | Power::Starting(_) | Power::Missing => return,
                };
                slot.power = Power::Running;
                drop(state);
                self.poll(cpu, call);
            }
        }
    }

    /// Polls a CPU at its own time, and does with it what it answers.
    fn poll(&self, cpu: CpuId, call: Call) {
        let Some(ap) = self.shared.ap.get() else {
            return;
        };
        let mut state = self.lock();
        state.polls += 1;
        let before = std::mem::replace(&mut state.this, cpu);
        if let Some(slot) = state.cpus.get_mut(cpu.index()) {
            slot.timer = 0;
        }
        drop(state);
        let next = ap(cpu, call);
        let mut state = self.lock();
        state.this = before;
        let (now, latencies) = (state.now, self.shared.latencies);
        let Some(slot) = state.cpus.get_mut(cpu.index()) else {
            return;
        };
        match next {
            ApNext::Spin if slot.timer == 0 => {
                state.queue.add(now + latencies.poll, Event::Poll(cpu));
            }
            ApNext::Spin | ApNext::Wait | ApNext::Idle => {}
            ApNext::Park => {
                slot.power = Power::Parked;
                state.wake = Wake::Here;
            }
            ApNext::Off => {
                slot.is_leaving = true;
                state.queue.add(now + latencies.off, Event::PowerOff(cpu));
            }
            // Only a start that the core does not know rests; a nested poll changes nothing.
            ApNext::Refused(_) if call == Call::Enter => slot.power = Power::Off,
            ApNext::Refused(_) => {}
        }
    }

    /// Lets `time` pass for the control CPU.
    fn pass(&self, time: u64) {
        let until = self.lock().now.saturating_add(time);
        while let Some(event) = self.next(until) {
            self.happen(event);
        }
        let mut state = self.lock();
        state.now = state.now.max(until);
    }

    fn take_wake(&self) -> bool {
        let mut state = self.lock();
        let is_here = state.wake == Wake::Here;
        if is_here {
            state.wake = Wake::No;
        }
        is_here
    }

    fn wait_control(&self, deadline: u64) {
        let least = self.lock().now + self.shared.latencies.poll;
        let deadline = deadline.max(least);
        loop {
            if self.take_wake() {
                return;
            }
            let Some(event) = self.next(deadline) else {
                break;
            };
            self.happen(event);
        }
        let mut state = self.lock();
        assert!(
            deadline < u64::MAX,
            "virtual time: a wait without end, and nothing will ever happen"
        );
        state.now = state.now.max(deadline);
    }
}

impl fmt::Debug for VirtualTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("VirtualTime")
            .field("now", &state.now)
            .field("this", &state.this)
            .field("cpus", &state.cpus.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
