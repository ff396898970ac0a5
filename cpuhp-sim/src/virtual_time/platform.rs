//! The virtual machine as the core sees it.

use cpuhp_core::{Confirm, CpuId, KickError, KickErrorKind, Platform, Who};

use super::{Latencies, VirtualTime, Wake};
use crate::fate::{Fate, Power};
use crate::queue::Event;

impl Platform for VirtualTime {
    fn now(&self) -> u64 {
        self.lock().now
    }

    fn this_cpu(&self) -> CpuId {
        self.lock().this
    }

    fn kick(&self, cpu: CpuId, _epoch: u16) -> Result<(), KickError> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let there = state.cpus.get_mut(cpu.index());
        let slot = there.ok_or(KickError::new(KickErrorKind::NotPresent))?;
        if !matches!(slot.power, Power::Off | Power::Parked) {
            return Err(KickError::new(KickErrorKind::AlreadyOn));
        }
        let extra = match slot.fate {
            Fate::Prompt => Some(0),
            Fate::Late(extra) => Some(extra),
            Fate::Held | Fate::Absent => None,
            Fate::Refused(error) => return Err(error),
        };
        slot.power = extra.map_or(Power::Missing, Power::Starting);
        if let Some(extra) = extra {
            let Latencies {
                arrival,
                arrival_spread,
                ..
            } = self.shared.latencies;
            let thousandths = random(&mut state.random) % (arrival_spread + 1);
            let at = state.now + arrival + arrival * thousandths / 1000 + extra;
            state.queue.add(at, Event::Arrive(cpu));
        }
        drop(guard);
        self.pass(self.shared.latencies.kick);
        Ok(())
    }

    fn confirm(&self, cpu: CpuId) -> Confirm {
        match self.lock().cpus.get(cpu.index()).map(|cpu| cpu.power) {
            Some(Power::Starting(_) | Power::Missing | Power::Running) => Confirm::Running,
            Some(Power::Parked) => Confirm::Parked,
            Some(Power::Off) | None => Confirm::Off,
        }
    }

    fn wait(&self, who: Who, deadline: u64) {
        match who {
            Who::Control(_) => self.wait_control(deadline),
            // Only a CPU that walks by itself waits here: the boot CPU, when it is adopted.
            Who::Ap(_) => self.pass(self.shared.latencies.poll),
        }
    }

    fn relax(&self) {
        self.pass(self.shared.latencies.poll);
    }

    fn notify_ap(&self, cpu: CpuId) {
        let mut state = self.lock();
        let at = state.now + self.shared.latencies.notify;
        state.queue.add(at, Event::Poll(cpu));
    }

    fn notify_ctl(&self, _cpu: CpuId) {
        let mut state = self.lock();
        if state.wake == Wake::No {
            state.wake = Wake::Coming;
            let at = state.now + self.shared.latencies.notify;
            state.queue.add(at, Event::WakeControl);
        }
    }

    fn alive_timeout(&self) -> u64 {
        self.timeout_ns
    }

    fn die_timeout(&self) -> u64 {
        self.timeout_ns
    }

    fn step_timeout(&self) -> u64 {
        self.timeout_ns
    }

    fn ap_patience(&self) -> u64 {
        self.patience_ns
    }
}

/// One number of the splitmix64 sequence.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
