//! What core asks of the backend: [`Platform`], and how a CPU waits.
//!
//! An AP polls a few times, then sleeps so that only an IPI wakes it. The control CPU sleeps as soon as
//! it can, and only if the kernel gave it a way to: where harts share a processor, one that spins keeps
//! the one from running that it waits for.

use core::sync::atomic::{Ordering, fence};

use cpuhp_core::{Confirm, CpuId, HwId, KickError, KickErrorKind, KickOutcome, Platform, Who};

use crate::backend::Riscv;
use crate::csr;
use crate::record::{BootRecord, Poke};

impl Riscv {
    /// Sleeps until a poke. Context: AP, interrupts off before and after.
    fn sleep_ap(&self, record: &BootRecord) {
        if record.begin_sleep() {
            csr::sleep_until_wake();
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
        } else if csr::interrupts_enabled() {
            // Past AP_IDLE: the CPU lives a normal life, and any interrupt may end its wait. Nobody
            // is about to need it, so it does not poll.
            csr::disable_interrupts();
            if record.begin_sleep() {
                csr::allow_wake();
                csr::sleep();
                record.end_sleep();
            }
            // The interrupt is still pending: the kernel's handler takes it here.
            csr::enable_interrupts();
        } else if polls < self.timings.spin_polls {
            core::hint::spin_loop();
        } else {
            self.sleep_ap(record);
        }
    }

    fn wait_control(&self, deadline: u64) {
        let this = (self.this_cpu)();
        self.engine.service(self.now());
        if self.control.swap(this.get(), Ordering::SeqCst) != this.get() {
            // Whoever published to the last control CPU did not wake this one: look again first.
            fence(Ordering::SeqCst);
            return;
        }
        let (Some(idle), Some(record)) = (self.idle, self.record(this)) else {
            return core::hint::spin_loop();
        };
        let is_unsettled = self.is_unsettled.swap(0, Ordering::Relaxed) != 0;
        let has_polled = is_unsettled || record.count_poll() >= self.timings.spin_polls;
        if record.take_poke() || !has_polled {
            return core::hint::spin_loop();
        }
        let were_on = csr::disable_interrupts();
        if record.begin_sleep() {
            let mut until = deadline.min(self.engine.next_look());
            if is_unsettled {
                // A CPU that comes to be off tells nobody: look again.
                until = until.min(self.now().saturating_add(self.poll_ns));
            }
            csr::allow_wake();
            idle(until);
            record.end_sleep();
        }
        if were_on {
            csr::enable_interrupts();
        }
    }

    /// Makes the next or running sleep of `cpu` end.
    fn poke(&self, cpu: CpuId, poke: fn(&BootRecord) -> Poke) {
        let Some(record) = self.record(cpu) else {
            return;
        };
        // A refusal cannot be reported here; the next poke tries again.
        if poke(record) == Poke::Interrupt && self.engine.interrupt(record).is_err() {
            record.unpoke();
        }
    }
}

impl Platform for Riscv {
    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn this_cpu(&self) -> CpuId {
        (self.this_cpu)()
    }

    /// Asks the firmware to start `cpu`, and returns without waiting for it.
    ///
    /// # Errors
    /// Nothing was started and the CPU is as it was. With the firmware's raw code:
    /// * `AlreadyOn` (-6, -7): it runs. `NotPresent` (-3): the firmware does not serve it, or it is on its way
    ///   in or out of the firmware, which OpenSBI calls the same.
    /// * `Denied` (-4), `BadAddress` (-5), `NotSupported` (-2), `Firmware` (any other).
    ///
    /// Without one:
    /// * `NotPresent`: no such CPU.
    /// * `BadAddress`: no stack was given, or a per-CPU base where the record has to be it.
    /// * `Busy`: it was kicked before and may still come.
    ///
    /// **Spec**: RISC-V SBI 1.0, "Function: HART start".
    fn kick(&self, cpu: CpuId, epoch: u16) -> Result<(), KickError> {
        let record = self.record(cpu);
        let record = record.ok_or(KickError::new(KickErrorKind::NotPresent))?;
        if self.base_is_record && record.percpu.load(Ordering::Relaxed) != 0 {
            return Err(KickError::new(KickErrorKind::BadAddress));
        }
        self.engine.kick(cpu, epoch, self.now())
    }

    fn confirm(&self, cpu: CpuId) -> Confirm {
        let answer = self.engine.confirm(cpu);
        if answer == Confirm::Running {
            self.is_unsettled.store(1, Ordering::Relaxed);
        }
        answer
    }

    fn present(&self, cpu: CpuId) -> bool {
        self.is_present(cpu)
    }

    fn wave(&self, cpu: CpuId) -> u8 {
        self.record(cpu).map_or(0, BootRecord::wave)
    }

    /// Returns the epoch bits of the start value. The entry code has refused a value that does not
    /// belong to the last kick.
    fn entry_hint(&self, cpu: CpuId) -> Option<u8> {
        let started = self.record(cpu)?.started.load(Ordering::Relaxed);
        u8::try_from(started).ok()
    }

    fn kick_done(&self, cpu: CpuId, how: KickOutcome) {
        self.engine.done(cpu, how);
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
        if let Some(record) = self.record(cpu) {
            self.engine.unpark(record);
        }
    }

    fn enter_atomic(&self) {
        csr::disable_interrupts();
    }

    fn leave_atomic(&self) {
        csr::enable_interrupts();
    }

    /// Every hart that the firmware serves can stop itself and be started again, the boot hart too.
    fn can_off(&self, cpu: CpuId) -> bool {
        self.record(cpu).is_some_and(BootRecord::is_present)
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
