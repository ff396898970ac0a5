//! The per-CPU record and the dynamic slot: atomics only, all zero at the start.
//!
//! One record is 128 bytes: a line that the other side polls (the handshake and the operation) and a
//! line that the walking side writes at every step. Every 64-bit value is two words of one owner, so
//! no 64-bit atomics are needed. All-zero is the valid initial state: storage stays in `.bss`.

use crate::aref::AtomicRef;
use crate::handshake::{Busy, Handshake};
use crate::step::{StateId, Step};
use crate::sync::{AtomicU32, MODELLED, Ordering, zero_const};

/// A word with one owner at a time; another side reads it only after an edge of the handshake.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Own(pub(crate) AtomicU32);

impl Own {
    zero_const! {
        fn new() -> Self {
            Self(AtomicU32::new(0))
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads it as a state number.
    #[inline]
    pub(crate) fn state(&self) -> StateId {
        crate::walk::state_of(&self.0)
    }

    #[inline]
    pub(crate) fn set_state(&self, at: StateId) {
        self.set(u32::from(at.get()));
    }
}

/// A 64-bit value with one owner at a time.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Own64 {
    low: Own,
    high: Own,
}

impl Own64 {
    zero_const! {
        fn new() -> Self {
            Self { low: Own::new(), high: Own::new() }
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        u64::from(self.low.get()) | u64::from(self.high.get()) << 32
    }

    #[expect(clippy::cast_possible_truncation, reason = "split into two words")]
    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.low.set(value as u32);
        self.high.set((value >> 32) as u32);
    }
}

/// A failure as record words: what answered, and at which state.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Fault {
    pub(crate) err: Own,
    pub(crate) at: Own,
}

impl Fault {
    zero_const! {
        fn new() -> Self {
            Self { err: Own::new(), at: Own::new() }
        }
    }

    #[inline]
    pub(crate) fn clear(&self) {
        // Without an error, `at` says nothing.
        self.err.set(0);
    }
}

/// Everything the core keeps of one CPU.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Record {
    // Line 0: edges, and the operation. Written by the control CPU, but for `ack` and `sync`.
    pub(crate) edges: Handshake,
    /// Stamp of the operation that may move this CPU; 0 = none.
    pub(crate) owner: AtomicU32,
    /// Phase, flags, what is awaited, and the state seen when its deadline was armed.
    pub(crate) phase: Own,
    pub(crate) target: Own,
    pub(crate) origin: Own,
    pub(crate) first: Fault,
    pub(crate) second: Fault,
    pub(crate) deadline: Own64,
    /// Epoch of the last hardware kick, and in bit 16 whether its outcome is untold.
    pub(crate) kicked: Own,
    pub(crate) kick_code: Own64,
    // Line 1: the walking side.
    /// Last completed state.
    pub(crate) state: AtomicU32,
    pub(crate) busy: Busy,
    /// What the AP's present request does: idle, forward, back, leaving.
    pub(crate) mode: Own,
    /// State at which the AP's present request began.
    pub(crate) walk_origin: Own,
    pub(crate) walk_first: Fault,
    pub(crate) walk_second: Fault,
    /// Bits 0..3: sections this CPU has ever completed upwards. Bits 16..32: the torn state.
    pub(crate) entered: Own,
    /// Errors a forced teardown passed over.
    pub(crate) ignored: Own,
    /// The armed fault: state in bits 0..16, directions in 16..18; 0 = none.
    pub(crate) fail: Own,
    /// Inside a multi-instance step: instances done in bits 0..29, then down, begun, undoing.
    pub(crate) cursor: Own,
    /// What made it undo.
    pub(crate) cursor_err: Own,
    /// Context + 1 that executes a step on this CPU now; 0 = none.
    pub(crate) step_context: Own,
    /// Since when the AP waits for its release; 0 = not waiting.
    pub(crate) since: Own64,
}

const _: () = assert!(MODELLED || size_of::<Record>() == 128);

impl Record {
    zero_const! {
        /// Makes the record of a CPU that is off and was never started: all zero.
        pub fn new() -> Self {
            Self {
                edges: Handshake::new(),
                owner: AtomicU32::new(0),
                phase: Own::new(),
                target: Own::new(),
                origin: Own::new(),
                first: Fault::new(),
                second: Fault::new(),
                deadline: Own64::new(),
                kicked: Own::new(),
                kick_code: Own64::new(),
                state: AtomicU32::new(0),
                busy: Busy::new(),
                mode: Own::new(),
                walk_origin: Own::new(),
                walk_first: Fault::new(),
                walk_second: Fault::new(),
                entered: Own::new(),
                ignored: Own::new(),
                fail: Own::new(),
                cursor: Own::new(),
                cursor_err: Own::new(),
                step_context: Own::new(),
                since: Own64::new(),
            }
        }
    }

    /// Returns the last completed state.
    #[inline]
    pub(crate) fn state(&self) -> StateId {
        crate::walk::state_of(&self.state)
    }

    #[inline]
    pub(crate) fn set_state(&self, at: StateId) {
        self.state.store(u32::from(at.get()), Ordering::Relaxed);
    }

    /// Returns the multi-instance state that is half up, if there is one.
    pub(crate) fn torn(&self) -> Option<StateId> {
        let at = StateId::new((self.entered.get() >> 16) as u16);
        (at != StateId::OFFLINE).then_some(at)
    }

    /// Notes a state that is half up.
    pub(crate) fn set_torn(&self, at: StateId) {
        self.entered
            .set(self.entered.get() & 0xffff | u32::from(at.get()) << 16);
    }

    /// Forgets it once a forced walk has passed it.
    pub(crate) fn mend(&self) {
        if self.torn().is_some_and(|at| self.state() < at) {
            self.entered.set(self.entered.get() & 0xffff);
        }
    }
}

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a CPU that never answered may still be inside what is being removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leftover {
    None,
    Inside,
}

/// Room for one dynamic state. All zero: free.
#[derive(Debug)]
#[repr(C)]
pub struct DynSlot {
    step: AtomicRef<Step>,
    /// Counts what was registered here; a handle of an older one is stale.
    pub(crate) generation: Own,
    /// 1 while a CPU may be inside a step that is not registered yet, or no longer.
    pub(crate) haunted: Own,
}

impl DynSlot {
    zero_const! {
        /// Makes a free slot.
        pub fn new() -> Self {
            Self { step: AtomicRef::new(), generation: Own::new(), haunted: Own::new() }
        }
    }

    /// Returns the step that is registered here.
    #[inline]
    pub fn get(&self) -> Option<&'static Step> {
        self.step.get().filter(|_| self.haunted.get() == 0)
    }

    /// Returns what is not registered yet, or no longer, but may be called.
    pub(crate) fn haunting(&self) -> Option<&'static Step> {
        self.step.get()
    }

    /// Takes the slot for a state that can be called but is passed over by walks; returns its
    /// generation. Under the write lock.
    pub(crate) fn reserve(&self, step: &'static Step) -> u32 {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        self.haunted.set(1);
        self.step.set(Some(step));
        generation
    }

    /// Lets walks see what was reserved. Under the write lock.
    pub(crate) fn register(&self) {
        self.haunted.set(0);
    }

    /// Ends what is registered here: its handle is stale, walks pass it over, the slot stays taken.
    pub(crate) fn retire(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
        self.haunted.set(1);
    }

    /// Frees it if nothing is registered. Under the write lock, with no CPU in flight.
    pub(crate) fn lay(&self) {
        if self.haunted.get() != 0 {
            self.step.set(None);
            self.haunted.set(0);
        }
    }
}

impl Default for DynSlot {
    fn default() -> Self {
        Self::new()
    }
}
