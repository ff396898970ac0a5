//! What differs between the kernels: one trait of plain functions, without state.

use core::fmt;

use cpuhp_core::{CpuId, Entry, KickError, Platform};
use cpuhp_example_common::{Rest, Unable, Verdict};

use crate::kernel::Kernel;
use crate::memory::CpuMemory;

/// One architecture's devices, its memory per CPU, and the names its backend has for what all of them do.
///
/// Functions, not methods: interrupt handlers and the panic handler have no `self` to call them on. The
/// backend is handed in where it is there for sure.
pub trait Board: Sized + Sync + 'static {
    /// The backend.
    type Backend: Platform + Send + 'static;

    /// The architecture as the machine lines name it.
    const ARCH: &'static str;

    /// Returns the one static kernel of the program.
    fn kernel() -> &'static Kernel<Self>;

    // ---- console and end

    /// Prints. A CPU that prints while another does waits for it.
    fn print(args: fmt::Arguments<'_>);

    /// Prints for the last time, whoever holds the line: a panic may have come in the middle of one.
    fn print_last(args: fmt::Arguments<'_>);

    /// Takes the next byte that was typed; `None` if there is none now.
    ///
    /// Context: one CPU, interrupts on.
    ///
    /// # Errors
    /// The kernel reads no console. The default.
    fn typed() -> Result<Option<u8>, Unable> {
        Err("it has no console input")
    }

    /// Ends the machine: status 33 for a pass, another one for a failure.
    fn exit(verdict: Verdict) -> !;

    // ---- the calling CPU

    /// Returns the number of the calling CPU, from its first Rust instruction on.
    fn this_cpu() -> CpuId;

    /// Whether interrupts are open.
    fn interrupts_are_on() -> bool;

    /// Opens interrupts.
    fn interrupts_on();

    /// Closes interrupts.
    fn interrupts_off();

    /// Runs `work` in a critical section of the `critical-section` crate, as the backend implements it.
    ///
    /// # Errors
    /// The kernel is built without; `work` did not run. The default.
    fn section(_work: &mut dyn FnMut()) -> Result<(), Unable> {
        Err("it is built without critical sections")
    }

    /// Sleeps until the next interrupt, at most `ns` nanoseconds.
    ///
    /// Context: interrupts off, before and after. No interrupt is missed between the caller's last look
    /// and the sleep.
    fn sleep_ns(ns: u64);

    /// Passes some time, at most `ns` nanoseconds, without ever opening interrupts.
    ///
    /// Context: STARTING. The default spins once; a CPU whose wait wakes with interrupts closed sleeps.
    fn pause_ns(_ns: u64) {
        core::hint::spin_loop();
    }

    /// Sets up tables, units and timer of the calling CPU, whatever is found: a CPU comes back in another
    /// state than it came first.
    ///
    /// Context: STARTING, interrupts off.
    fn start(cpu: CpuId, entry: Entry);

    /// Undoes what of [`Self::start`] has to be undone. Context: STARTING, interrupts off.
    fn stop(cpu: CpuId);

    // ---- memory of a CPU

    /// Fills the memory of `cpu` and sets its boot record. `None` if there is no memory for it.
    ///
    /// Context: control CPU, `cpu` is off and its memory may hold poison.
    fn give(backend: &Self::Backend, cpu: CpuId) -> Option<()>;

    /// Clears the boot record. Context: control CPU, `cpu` is off.
    fn take_back(backend: &Self::Backend, cpu: CpuId);

    /// Everything that `cpu` could touch while it runs and that nobody else needs while it is off.
    fn memory_of(backend: &Self::Backend, cpu: CpuId) -> impl Iterator<Item = CpuMemory>;

    // ---- what the backend says

    /// Returns how many CPUs the backend numbered.
    fn cpus(backend: &Self::Backend) -> u32;

    /// Makes a CPU present that firmware lists as not there.
    fn set_present(backend: &Self::Backend, cpu: CpuId);

    /// Whether a CPU that firmware lists as not there is plugged in now; `None`: nobody can tell. The
    /// default.
    fn is_plugged(_backend: &Self::Backend, _cpu: CpuId) -> Option<bool> {
        None
    }

    /// Returns with which raw code firmware refuses to start a CPU that is absent. `None`: it takes the kick,
    /// and the CPU never comes. The default.
    fn refusal(_backend: &Self::Backend, _cpu: CpuId) -> Option<i64> {
        None
    }

    /// Resets a CPU that was kicked and never came.
    ///
    /// # Errors
    /// The backend's; nothing was done.
    fn cancel(backend: &Self::Backend, cpu: CpuId) -> Result<(), KickError>;

    /// Returns the most polls `cpu` made between two wake-ups, if the backend counts them.
    fn polls_max(backend: &Self::Backend, cpu: CpuId) -> Option<u32>;

    /// Rests as the core, or mode `raw`, says.
    ///
    /// Context: the AP, interrupts off, the last thing it does.
    fn rest(backend: &Self::Backend, how: Rest) -> !;

    // ---- disturbance

    /// Sends `cpu` a wake interrupt that means nothing.
    fn wake(backend: &Self::Backend, cpu: CpuId);

    /// Sends `cpu`, which is off, everything that must not move it.
    fn disturb(backend: &Self::Backend, cpu: CpuId) {
        Self::wake(backend, cpu);
    }
}
