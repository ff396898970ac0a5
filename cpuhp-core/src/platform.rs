//! What the core asks of a machine: the trait [`Platform`], the whole plug-in surface.
//!
//! A kernel that takes one of the backends writes no `impl Platform`: the backend is one. Nothing
//! else in the core speaks of hardware, and the memory safety of the core never rests on what a
//! platform answers: a wrong one may hang an operation until its deadline, not corrupt memory.

use crate::cpu::{CpuId, HwId};
use crate::error::KickError;

/// What the hardware itself says of a CPU that was started at some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Confirm {
    /// It may still execute kernel code. Also the answer whenever the hardware cannot tell.
    Running,
    /// It is powered off, or held by firmware so that only a kick can start it.
    Off,
    /// It rests on memory of its own, off everything that PREPARE made.
    Parked,
}

/// How a kick ended; told exactly once per kick.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KickOutcome {
    /// The CPU runs kernel code.
    Arrived,
    /// The CPU is certainly off: it did not come and will not.
    Lost,
}

/// Who waits in [`Platform::wait`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// The AP itself, for its record to change.
    Ap(CpuId),
    /// The control CPU, for the named AP to answer.
    Control(CpuId),
}

/// A machine whose CPUs can be started, asked after and, where it can, stopped.
///
/// Waiting and waking are hints: a wait may return at any time for no reason, and the core asks
/// again. A notification that comes between the core's last look and the wait must make that wait
/// return at once (event register, armed monitor, pending interrupt, or a flag), or the operation is
/// delayed until the wait ends by itself.
///
/// Context of every method: as stated; none may call back into [`crate::Cpuhp`].
pub trait Platform: Sync {
    /// Returns monotonic time in nanoseconds, comparable between all CPUs.
    ///
    /// Context: any CPU, interrupts on or off.
    fn now(&self) -> u64;

    /// Returns the logical number of the calling CPU.
    ///
    /// Context: any CPU from the first call into the core on.
    fn this_cpu(&self) -> CpuId;

    /// Starts `cpu` and returns without waiting for it.
    ///
    /// Every store made before the call must be visible to the started CPU. `epoch` counts the
    /// starts of this CPU; its low 7 bits may be handed through firmware and come back from
    /// [`Self::entry_hint`]. A CPU that rests in a park slot is released, never started cold.
    ///
    /// Context: control CPU, hotplug write lock held.
    ///
    /// # Errors
    /// Any error means that `cpu` was certainly not started.
    fn kick(&self, cpu: CpuId, epoch: u16) -> Result<(), KickError>;

    /// Asks the hardware what `cpu` does now. Anything but [`Confirm::Running`] must be certain.
    ///
    /// [`Confirm::Off`] and [`Confirm::Parked`] acquire the CPU's last access to memory. Returns at
    /// once.
    ///
    /// Context: control CPU.
    fn confirm(&self, cpu: CpuId) -> Confirm;

    /// Whether firmware lists `cpu` as usable now. Default: every CPU is.
    fn present(&self, _cpu: CpuId) -> bool {
        true
    }

    /// Returns in which wave [`crate::WriteGuard::bring_up`] kicks `cpu`: lower ones first. Default: all in
    /// one.
    ///
    /// Where CPUs are the threads of a core, the first of each core is 0 and its siblings are 1: what a
    /// core does once for all its threads is then begun by one of them.
    fn wave(&self, _cpu: CpuId) -> u8 {
        0
    }

    /// Returns the epoch bits that firmware handed to this entry of `cpu`, if it can carry any.
    ///
    /// Context: `cpu` itself, on entry.
    fn entry_hint(&self, _cpu: CpuId) -> Option<u8> {
        None
    }

    /// Is told once per accepted kick how it ended; resources of the start may then be freed.
    ///
    /// A time-out alone is no outcome: the CPU may still come. Context: control CPU.
    fn kick_done(&self, _cpu: CpuId, _how: KickOutcome) {}

    /// Waits until notified or until `deadline` (in [`Self::now`]'s time), or returns sooner.
    ///
    /// May open interrupts. Default: one spin-loop hint.
    fn wait(&self, _who: Who, _deadline: u64) {
        core::hint::spin_loop();
    }

    /// Pauses an AP inside STARTING for a moment. Must not open interrupts.
    fn relax(&self) {
        core::hint::spin_loop();
    }

    /// Makes the wait of AP `cpu` return. Context: control CPU; any CPU, interrupts on or off, for a caller
    /// that waits for its call.
    fn notify_ap(&self, _cpu: CpuId) {}

    /// Makes the wait of the control CPU for `cpu` return. Context: `cpu`, interrupts on or off.
    fn notify_ctl(&self, _cpu: CpuId) {}

    /// Makes a CPU that rests after [`crate::ApExit::Park`] look at its record again.
    ///
    /// Context: control CPU. Default: [`Self::notify_ap`].
    fn unpark(&self, cpu: CpuId) {
        self.notify_ap(cpu);
    }

    /// Makes `cpu` look at its queue of calls: the first one has come, or the first since it looked.
    ///
    /// Whatever `cpu` does then, it has to come to [`crate::Cpuhp::poll_calls`] soon: out of a wait, or by an
    /// interrupt. Orders every earlier store before. Context: any CPU, interrupts on or off. Default:
    /// [`Self::notify_ap`], which is right where that interrupts a CPU that does not wait.
    fn ipi(&self, cpu: CpuId) {
        self.notify_ap(cpu);
    }

    /// Closes interrupts on the calling AP, before its first STARTING step in either direction.
    fn enter_atomic(&self) {}

    /// Opens interrupts on the calling AP, after it reached `AP_IDLE` upwards, or if it cannot leave yet.
    fn leave_atomic(&self) {}

    /// Whether `cpu` can be stopped and started again. Permanent for one CPU. Default: yes.
    fn can_off(&self, _cpu: CpuId) -> bool {
        true
    }

    /// Whether a suspend is to be given up, because a wake-up is pending. Asked between two stages of
    /// an all-or-nothing teardown. Default: never.
    fn should_abort(&self) -> bool {
        false
    }

    /// Returns the hardware id of `cpu`. Default: the logical number.
    fn hw_id(&self, cpu: CpuId) -> HwId {
        HwId(u64::from(cpu.get()))
    }

    /// Names the calling context: the CPU number, or a thread id where steps can be preempted.
    ///
    /// Used to refuse an operation that is started from inside a step of the same context.
    fn context(&self) -> u32 {
        self.this_cpu().get()
    }

    /// How long an AP may take from kick to alive, in nanoseconds. Default: 10 s.
    fn alive_timeout(&self) -> u64 {
        10_000_000_000
    }

    /// How long a CPU may take from the order to die until it is confirmed off. Default: 10 s.
    fn die_timeout(&self) -> u64 {
        10_000_000_000
    }

    /// How long one step may take on an AP before the operation reports STUCK. Default: 10 s.
    fn step_timeout(&self) -> u64 {
        10_000_000_000
    }

    /// How long an AP waits for its release before it parks itself. Default: for ever.
    fn ap_patience(&self) -> u64 {
        u64::MAX
    }
}

/// A shared platform is a platform: interrupt handlers can hold the same one.
impl<P: Platform> Platform for &P {
    fn now(&self) -> u64 {
        (**self).now()
    }
    fn this_cpu(&self) -> CpuId {
        (**self).this_cpu()
    }
    fn kick(&self, cpu: CpuId, epoch: u16) -> Result<(), KickError> {
        (**self).kick(cpu, epoch)
    }
    fn confirm(&self, cpu: CpuId) -> Confirm {
        (**self).confirm(cpu)
    }
    fn present(&self, cpu: CpuId) -> bool {
        (**self).present(cpu)
    }
    fn wave(&self, cpu: CpuId) -> u8 {
        (**self).wave(cpu)
    }
    fn entry_hint(&self, cpu: CpuId) -> Option<u8> {
        (**self).entry_hint(cpu)
    }
    fn kick_done(&self, cpu: CpuId, how: KickOutcome) {
        (**self).kick_done(cpu, how);
    }
    fn wait(&self, who: Who, deadline: u64) {
        (**self).wait(who, deadline);
    }
    fn relax(&self) {
        (**self).relax();
    }
    fn notify_ap(&self, cpu: CpuId) {
        (**self).notify_ap(cpu);
    }
    fn notify_ctl(&self, cpu: CpuId) {
        (**self).notify_ctl(cpu);
    }
    fn unpark(&self, cpu: CpuId) {
        (**self).unpark(cpu);
    }
    fn ipi(&self, cpu: CpuId) {
        (**self).ipi(cpu);
    }
    fn enter_atomic(&self) {
        (**self).enter_atomic();
    }
    fn leave_atomic(&self) {
        (**self).leave_atomic();
    }
    fn can_off(&self, cpu: CpuId) -> bool {
        (**self).can_off(cpu)
    }
    fn should_abort(&self) -> bool {
        (**self).should_abort()
    }
    fn hw_id(&self, cpu: CpuId) -> HwId {
        (**self).hw_id(cpu)
    }
    fn context(&self) -> u32 {
        (**self).context()
    }
    fn alive_timeout(&self) -> u64 {
        (**self).alive_timeout()
    }
    fn die_timeout(&self) -> u64 {
        (**self).die_timeout()
    }
    fn step_timeout(&self) -> u64 {
        (**self).step_timeout()
    }
    fn ap_patience(&self) -> u64 {
        (**self).ap_patience()
    }
}
