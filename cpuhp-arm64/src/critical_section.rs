//! Critical sections on several CPUs, for everything that asks the `critical-section` crate for them.
//!
//! A section closes the interrupts of its CPU and holds one lock of all CPUs, so it excludes both the
//! handlers of the CPU and the other CPUs; a section inside another only counts. The lock is the core's
//! ([`OwnerLock`]); how interrupts are closed is all that this file adds for the machine.
//!
//! Before [`crate::Arm64::new`] nobody knows the CPU's number, and nobody but the boot CPU runs: it holds
//! the lock under a name of its own. A section that is open while `new` runs goes on under its number.
//!
//! What no section may be begun from, because there is no number yet or any more, or because closing
//! interrupts does not close it:
//!
//! * the first instructions of an AP, until `ap_main`;
//! * a handler of an SError or of an interrupt that DAIF does not mask, and whatever prints from one;
//! * a CPU inside [`crate::Arm64::rest`]. One that rests, or dies, inside a section keeps it for ever.
//!
//! Every section waits for those of the others, without a bound: the trait has no way to say "not now".
//! So what is inside is short, and waits for no other CPU.
#![expect(
    unsafe_code,
    reason = "the trait is unsafe, and a function pointer comes back out of an atomic word"
)]

use core::mem;
use core::sync::atomic::{AtomicPtr, Ordering};

use critical_section::{Impl, RawRestoreState};

use cpuhp_core::{CpuId, OwnerLock};

use crate::hardware::{disable_interrupts, enable_interrupts, interrupts_enabled, relax};

/// What the boot CPU is called before it has a number. No record has this one.
const UNNUMBERED: CpuId = CpuId::new(u32::MAX - 1);

static LOCK: OwnerLock = OwnerLock::new();

/// Null, or a `fn() -> CpuId`. Written by `install` before the first kick, which orders it.
static THIS_CPU: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Says from now on which CPU begins a section.
///
/// Context: boot CPU, before the first kick. `this_cpu` is right on every CPU from `ap_main` on.
pub(crate) fn install(this_cpu: fn() -> CpuId) {
    let were_on = close();
    LOCK.rename(UNNUMBERED, this_cpu());
    THIS_CPU.store(this_cpu as *mut (), Ordering::Relaxed);
    if were_on {
        enable_interrupts();
    }
}

/// Names the calling CPU. Context: interrupts off.
fn caller() -> CpuId {
    let this_cpu = THIS_CPU.load(Ordering::Relaxed);
    if this_cpu.is_null() {
        return UNNUMBERED;
    }
    // SAFETY: only `install` writes the word, and writes such a function into it.
    let this_cpu = unsafe { mem::transmute::<*mut (), fn() -> CpuId>(this_cpu) };
    this_cpu()
}

/// Closes interrupts, and says whether they were open.
fn close() -> bool {
    let were_on = interrupts_enabled();
    disable_interrupts();
    were_on
}

struct Section;

critical_section::set_impl!(Section);

// SAFETY: from a successful `try_lock` to its `unlock` no other CPU has the lock and this one takes no
// interrupt, so nothing else is inside; `try_lock` acquires what the last `unlock` released. A section
// inside another finds interrupts closed and leaves them closed, so only the outermost opens them.
unsafe impl Impl for Section {
    unsafe fn acquire() -> RawRestoreState {
        loop {
            let were_on = close();
            // Asked anew each time: while interrupts are open, the caller may move to another CPU.
            if LOCK.try_lock(caller()) {
                return were_on;
            }
            // Whoever waits can be interrupted, where it could before.
            if were_on {
                enable_interrupts();
            }
            relax();
        }
    }

    unsafe fn release(were_on: RawRestoreState) {
        LOCK.unlock(caller());
        if were_on {
            enable_interrupts();
        }
    }
}
