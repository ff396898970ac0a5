//! What core asks of the backend: [`Platform`], and how a CPU waits.
//!
//! An AP polls a few times, then sleeps in WFI with interrupts masked, so that a pending interrupt ends
//! its sleep without a handler. The control CPU sleeps only if the kernel gave it a way to. Every poll
//! gives way by `yield`: others may need this very core, or this very thread of an emulator, to answer.

use core::sync::atomic::{Ordering, fence};

use cpuhp_core::{Confirm, CpuId, HwId, KickError, KickErrorKind, KickOutcome, Platform, Who};

use crate::backend::Arm64;
use crate::hardware::{disable_interrupts, enable_interrupts, interrupts_enabled, relax, sleep};
use crate::record::{BootRecord, Poke};

impl Arm64 {
    /// Sleeps until a poke. Context: interrupts off before and after.
    fn sleep_ap(&self, record: &BootRecord) {
        if record.begin_sleep() {
            sleep();
            let hardware = &self.engine.machine;
            hardware.gic.ack(hardware.sgi);
            record.end_sleep();
        }
    }

    fn wait_ap(&self, record: &BootRecord, deadline: u64) {
        if record.take_poke() {
            return;
        }
        // An AP has no timer of ours: with a deadline to watch it polls.
        if deadline != u64::MAX {
            record.count_poll();
            relax();
        } else if interrupts_enabled() {
            // Past AP_IDLE: the CPU lives a normal life, and any interrupt may end its wait. Nobody
            // is about to need it, so it does not poll.
            disable_interrupts();
            self.sleep_ap(record);
            enable_interrupts();
        } else if record.count_poll() < self.spin_polls {
            relax();
        } else {
            self.sleep_ap(record);
        }
    }

    fn wait_control(&self, deadline: u64) {
        let this = (self.this_cpu)();
        self.service();
        if self.control.load(Ordering::Relaxed) != this.get() {
            self.control.store(this.get(), Ordering::SeqCst);
            // Whoever published to the last control CPU did not wake this one: look again first.
            fence(Ordering::SeqCst);
            return;
        }
        let (Some(idle), Some(record)) = (self.idle, self.boot_record(this)) else {
            return relax();
        };
        if record.take_poke() || record.count_poll() < self.spin_polls {
            return relax();
        }
        let were_on = interrupts_enabled();
        disable_interrupts();
        if record.begin_sleep() {
            let mut until = deadline;
            let is_unsettled = self.is_unsettled.swap(0, Ordering::Relaxed) != 0;
            if is_unsettled || self.engine.is_waking() {
                // A CPU that comes to rest tells nobody: look again.
                until = until.min(self.now().saturating_add(self.look_again_ns));
            }
            idle(until);
            let hardware = &self.engine.machine;
            hardware.gic.ack(hardware.sgi);
            record.end_sleep();
        }
        if were_on {
            enable_interrupts();
        }
        self.service();
    }

    /// Makes the next or running sleep of `cpu` end.
    fn poke(&self, cpu: CpuId, poke: fn(&BootRecord) -> Poke) {
        if let Some(record) = self.boot_record(cpu)
            && poke(record) == Poke::Interrupt
        {
            let hardware = &self.engine.machine;
            hardware.gic.send(hardware.sgi, record);
        }
    }
}

impl Platform for Arm64 {
    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn this_cpu(&self) -> CpuId {
        (self.this_cpu)()
    }

    /// Releases a CPU that rests in its slot; starts any other that is off by firmware or its spin-table.
    ///
    /// Waits for nothing but a firmware that puts the start off, `Timings::yields` times.
    ///
    /// # Errors
    /// Nothing was started and the CPU is as it was; `code` is firmware's raw answer, or 0 if it was not
    /// asked:
    /// * `NotPresent`: no such CPU; `INVALID_PARAMETERS`, `NOT_PRESENT`.
    /// * `Denied`: the caller itself; `DENIED`, `DISABLED`. Final for this CPU.
    /// * `BadAddress`: no stack was given, a per-CPU base where the record has to be it, its spin-table has
    ///   no usable word, or its slot is spoilt; `INVALID_ADDRESS`.
    /// * `AlreadyOn`: it runs; `ALREADY_ON`: somebody else has started it.
    /// * `Busy`: it was kicked and may still come; `ON_PENDING`, `INTERNAL_FAILURE`, every time.
    /// * `NotSupported`: firmware has no such call, or no redistributor could wake the CPU. `Firmware`: an answer that nobody specified.
    ///
    /// Order: the record is cleaned to memory, with a barrier, before firmware is called.
    fn kick(&self, cpu: CpuId, epoch: u16) -> Result<(), KickError> {
        let record = self.boot_record(cpu);
        let record = record.ok_or(KickError::new(KickErrorKind::NotPresent))?;
        if cpu == (self.this_cpu)() {
            return Err(KickError::new(KickErrorKind::Denied));
        }
        if self.base_is_record && record.percpu.load(Ordering::Relaxed) != 0 {
            return Err(KickError::new(KickErrorKind::BadAddress));
        }
        self.engine.kick(cpu, epoch, self.now())
    }

    fn confirm(&self, cpu: CpuId) -> Confirm {
        self.service();
        let answer = self.engine.confirm(cpu, || self.now());
        if answer == Confirm::Running {
            self.is_unsettled.store(1, Ordering::Relaxed);
        }
        answer
    }

    fn present(&self, cpu: CpuId) -> bool {
        self.is_present(cpu)
    }

    /// Returns the epoch bits of the start value, or those of the record where the start carried none. The
    /// entry code has refused a value that does not belong to the last kick.
    fn entry_hint(&self, cpu: CpuId) -> Option<u8> {
        let started = self.boot_record(cpu)?.started.load(Ordering::Relaxed);
        u8::try_from(started).ok()
    }

    fn kick_done(&self, cpu: CpuId, how: KickOutcome) {
        self.engine.done(cpu, how);
    }

    fn wait(&self, who: Who, deadline: u64) {
        match who {
            Who::Ap(cpu) => {
                if let Some(record) = self.boot_record(cpu) {
                    self.wait_ap(record, deadline);
                }
            }
            Who::Control(_) => self.wait_control(deadline),
        }
    }

    fn relax(&self) {
        relax();
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
        // Each has a way: firmware, its slot, or this kernel's text.
        self.boot_record(cpu).is_some()
    }

    fn hw_id(&self, cpu: CpuId) -> HwId {
        self.boot_record(cpu)
            .map_or(HwId(u64::MAX), BootRecord::hw_id)
    }

    fn wave(&self, cpu: CpuId) -> u8 {
        self.wave_of(cpu)
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
