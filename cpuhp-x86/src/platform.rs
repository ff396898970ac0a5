//! What core asks of the backend: [`Platform`], and how a CPU waits.
//!
//! An AP polls a few times, then sleeps so that only the wake interrupt wakes it. The control CPU
//! runs the kick engine whenever it waits, and sleeps only if the kernel gave it a way to.

use core::sync::atomic::{Ordering, fence};

use cpuhp_core::{Confirm, CpuId, HwId, KickError, KickErrorKind, KickOutcome, Platform, Who};

use crate::apic::Ipi;
use crate::apic::registers::{
    disable_interrupts, enable_interrupts, interrupts_enabled, set_priority, sleep,
};
use crate::backend::X86;
use crate::config::Resting;
use crate::entry;
use crate::kick::Done;
use crate::record::{BootRecord, Poke};

/// How long the control CPU sleeps at most while it waits for a CPU to come to rest.
const LOOK_AGAIN_NS: u64 = 20_000;

impl X86 {
    /// Sleeps until a poke. Context: AP, interrupts off before and after.
    pub(crate) fn sleep_ap(&self, record: &BootRecord) {
        if record.begin_sleep() {
            // One class below the wake vector's: nothing else of this machine can wake the CPU, or
            // run a handler on it before the kernel has set it up.
            let old = set_priority((self.wake_vector >> 4) - 1);
            sleep();
            set_priority(old);
            record.end_sleep();
        }
    }

    fn wait_ap(&self, record: &BootRecord, deadline: u64) {
        if record.take_poke() {
            return;
        }
        let polls = record.count_poll();
        // An AP has no timer of ours: with a deadline to watch it polls.
        if deadline != u64::MAX {
            core::hint::spin_loop();
        } else if interrupts_enabled() {
            // Past AP_IDLE: the CPU lives a normal life, and any interrupt may end its wait. Nobody
            // is about to need it, so it does not poll.
            disable_interrupts();
            if record.begin_sleep() {
                sleep();
                record.end_sleep();
            }
            enable_interrupts();
        } else if polls < self.spin_polls {
            core::hint::spin_loop();
        } else {
            self.sleep_ap(record);
        }
    }

    fn wait_control(&self, deadline: u64) {
        let this = (self.this_cpu)();
        self.service();
        if self.control.swap(this.get(), Ordering::SeqCst) != this.get() {
            // Whoever published to the last control CPU did not wake this one: look again first.
            fence(Ordering::SeqCst);
            return;
        }
        let (Some(idle), Some(record)) = (self.idle, self.record(this)) else {
            return core::hint::spin_loop();
        };
        if record.take_poke() || record.count_poll() < self.spin_polls {
            return core::hint::spin_loop();
        }
        let were_on = interrupts_enabled();
        disable_interrupts();
        if record.begin_sleep() {
            let mut until = deadline.min(self.engine.next_due());
            if self.is_unsettled.swap(0, Ordering::Relaxed) != 0 {
                // A CPU that comes to stand in its slot, or obeys an INIT, tells nobody: look again.
                until = until.min(self.now().saturating_add(LOOK_AGAIN_NS));
            }
            idle(until);
            record.end_sleep();
        }
        if were_on {
            enable_interrupts();
        }
        self.service();
    }

    /// Makes the next or running sleep of `cpu` end.
    fn poke(&self, cpu: CpuId, poke: fn(&BootRecord) -> Poke) {
        let Some(record) = self.record(cpu) else {
            return;
        };
        if poke(record) == Poke::Interrupt {
            let vector = self.wake_vector;
            let id = record.hw_id.load(Ordering::Relaxed);
            // Busy past the bound cannot be reported here; the next poke tries again.
            if self.apic.send(id, Ipi::Fixed { vector }).is_err() {
                record.unpoke();
            }
        }
    }
}

impl Platform for X86 {
    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn this_cpu(&self) -> CpuId {
        (self.this_cpu)()
    }

    /// Releases a CPU that rests in its slot; sends INIT to any other that is off, and the SIPIs follow
    /// from the engine. Waits for nothing but a busy ICR, about 1 ms.
    ///
    /// # Errors
    /// Nothing was sent and the CPU is as it was:
    /// * `NotPresent`: no such CPU.
    /// * `Denied`: the CPU that started the machine, which INIT would reset, is not in its slot; or it is
    ///   the caller itself.
    /// * `BadAddress`: its slot is spoilt, no stack was given, a per-CPU base where the record has to be it, or the low
    ///   page does not open.
    /// * `AlreadyOn`: it was kicked and has arrived. `Busy`: it was kicked and may still come, or the
    ///   local APIC stayed busy.
    /// * `NotSupported`: its APIC id (the code) needs x2APIC, and the system runs in xAPIC mode.
    ///
    /// Order: record and trampoline, core's KICKED, then the ICR, which [`crate::LocalApic::send`] puts
    /// behind every earlier store.
    fn kick(&self, cpu: CpuId, epoch: u16) -> Result<(), KickError> {
        let record = self.record(cpu);
        let record = record.ok_or(KickError::new(KickErrorKind::NotPresent))?;
        if cpu == (self.this_cpu)() {
            return Err(KickError::new(KickErrorKind::Denied));
        }
        if self.base_is_record && record.percpu.load(Ordering::Relaxed) != 0 {
            return Err(KickError::new(KickErrorKind::BadAddress));
        }
        if self.engine.rests(cpu) == Some(Resting::Ipi) {
            let released = self.engine.release(cpu, epoch, self.sender(), self.now());
            self.service();
            return released;
        }
        if !self.takes_init(cpu) {
            return Err(KickError::new(KickErrorKind::Denied));
        }
        let page = self.window.phys();
        self.window.get(|| entry::image(&self.boot, page))?;
        let kicked = self.engine.kick(cpu, epoch, self.sender(), self.now());
        if kicked.is_err() {
            self.window.put();
        }
        self.service();
        kicked
    }

    fn confirm(&self, cpu: CpuId) -> Confirm {
        self.service();
        let answer = self.engine.confirm(cpu, self.now());
        if answer == Confirm::Running {
            self.is_unsettled.store(1, Ordering::Relaxed);
        }
        answer
    }

    fn present(&self, cpu: CpuId) -> bool {
        self.is_present(cpu)
    }

    /// 0 for the first thread of each core, 1 for its siblings.
    fn wave(&self, cpu: CpuId) -> u8 {
        self.record(cpu).map_or(0, BootRecord::wave)
    }

    /// Returns the epoch bits of the start value, or those of the record where a SIPI carried none. The
    /// entry code has refused a value that does not belong to the last kick.
    fn entry_hint(&self, cpu: CpuId) -> Option<u8> {
        let started = self.record(cpu)?.started.load(Ordering::Relaxed);
        u8::try_from(started).ok()
    }

    fn kick_done(&self, cpu: CpuId, how: KickOutcome) {
        if self.engine.done(cpu, how) == Done::Ended {
            self.window.put();
        }
    }

    fn wait(&self, who: Who, deadline: u64) {
        match who {
            Who::Ap(cpu) => {
                if let Some(record) = self.record(cpu) {
                    self.wait_ap(record, deadline);
                }
            }
            Who::Control(_) => self.wait_control(deadline),
        }
    }

    fn notify_ap(&self, cpu: CpuId) {
        self.poke(cpu, BootRecord::poke);
    }

    fn notify_ctl(&self, _cpu: CpuId) {
        // A control CPU that cannot sleep needs no interrupt, nor the store that asks for it.
        if self.idle.is_some() {
            // SeqCst: either this finds the CPU that waits now, or that CPU, which looks again after it
            // said so, finds what was published before.
            fence(Ordering::SeqCst);
            let control = CpuId::new(self.control.load(Ordering::Relaxed));
            self.poke(control, BootRecord::poke_waiter);
        }
    }

    fn unpark(&self, cpu: CpuId) {
        if self.park.is_none() {
            return self.poke(cpu, BootRecord::poke);
        }
        self.engine.wake(cpu);
        self.service();
    }

    fn enter_atomic(&self) {
        disable_interrupts();
    }

    fn leave_atomic(&self) {
        enable_interrupts();
    }

    fn can_off(&self, cpu: CpuId) -> bool {
        self.park.is_some() && self.record(cpu).is_some()
    }

    fn hw_id(&self, cpu: CpuId) -> HwId {
        self.record(cpu).map_or(HwId(u64::MAX), BootRecord::hw_id)
    }

    fn context(&self) -> u32 {
        self.context
            .map_or_else(|| self.this_cpu().get(), |context| context())
    }

    fn alive_timeout(&self) -> u64 {
        self.timeouts.alive_ns
    }

    fn die_timeout(&self) -> u64 {
        self.timeouts.die_ns
    }

    fn step_timeout(&self) -> u64 {
        self.timeouts.step_ns
    }
}
