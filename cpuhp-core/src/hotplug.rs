//! [`Cpuhp`]: one machine's hotplug, made of a platform, a table, storage and a tracer.
//!
//! Holds references only; everything that changes lives in the storage. Looking is lock-free and may
//! be stale; changing goes through [`WriteGuard`](crate::WriteGuard), which the blocking forms
//! (`everyday`, `machine`) take for one operation.

use core::cell::Cell;

use crate::call::{CallQueue, Calling};
use crate::cpu::CpuId;
use crate::error::Why;
use crate::handshake::Tag;
use crate::mask::{CpuMask, Kind};
use crate::platform::Platform;
use crate::record::{DynSlot, Own, Record};
use crate::step::{Ctx, Direction, Entry, Half, How, Meta, Section, StateId, Step};
use crate::storage::Storage;
use crate::table::Table;
use crate::trace::Trace;
use crate::walk::{Invoke, Stop, Walk};

/// The hotplug of one machine. `T = ()` traces nothing and costs nothing.
#[derive(Debug)]
pub struct Cpuhp<'a, P: Platform, T: Trace = ()> {
    platform: P,
    trace: T,
    table: &'a Table,
    pub(crate) storage: Storage<'a>,
    /// The calls to other CPUs, if this machine has them.
    pub(crate) calling: Option<Calling<'a, P, T>>,
}

/// What is to be called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// The steps on the way to this state.
    Walk(StateId),
    /// One half of one step, without moving the state.
    Invoke(StateId, Direction, Invoke),
}

impl<'a, P: Platform> Cpuhp<'a, P> {
    /// Makes an untraced hotplug machine. Nothing runs yet.
    pub const fn new(platform: P, table: &'a Table, storage: Storage<'a>) -> Self {
        Self::with_trace(platform, (), table, storage)
    }
}

impl<'a, P: Platform, T: Trace> Cpuhp<'a, P, T> {
    /// Makes a traced hotplug machine. Nothing runs yet.
    pub const fn with_trace(platform: P, trace: T, table: &'a Table, storage: Storage<'a>) -> Self {
        Self {
            platform,
            trace,
            table,
            storage,
            calling: None,
        }
    }

    /// Lets CPUs call each other ([`Self::call`]): one queue per CPU, all of them fresh. Without it
    /// nothing of calls is linked but the question whether there are queues.
    ///
    /// Comes before [`Self::adopt_boot_cpu`].
    #[must_use]
    pub const fn with_calls(mut self, queues: &'a [CallQueue]) -> Self {
        self.calling = Some(Calling::new(queues));
        self
    }

    // ---- looking: lock-free, possibly stale

    /// Returns the platform.
    pub const fn platform(&self) -> &P {
        &self.platform
    }

    /// Returns the tracer.
    pub const fn tracer(&self) -> &T {
        &self.trace
    }

    /// Returns the table.
    pub const fn table(&self) -> &'a Table {
        self.table
    }

    /// Returns how many CPUs are possible: the number of records.
    pub const fn cpus(&self) -> usize {
        self.storage.cpus()
    }

    /// Returns the last completed state of `cpu`, or `None` if there is no such CPU.
    pub fn state(&self, cpu: CpuId) -> Option<StateId> {
        self.record(cpu).map(Record::state)
    }

    /// Returns where the last operation on `cpu` was to go; its state when nothing is in flight.
    pub fn target(&self, cpu: CpuId) -> Option<StateId> {
        self.record(cpu).map(|rec| rec.target.state())
    }

    /// Returns the tag of the sync word of `cpu`, for showing.
    pub fn tag(&self, cpu: CpuId) -> Option<Tag> {
        self.record(cpu).map(|rec| rec.edges.peek().tag())
    }

    /// CPUs that firmware lists as usable, as of the last operation.
    pub fn present(&self) -> CpuMask<'a> {
        self.storage.mask(Kind::Present)
    }

    /// CPUs at `AP_IDLE` or above.
    pub fn available(&self) -> CpuMask<'a> {
        self.storage.mask(Kind::Available)
    }

    /// CPUs at `ONLINE`.
    pub fn online(&self) -> CpuMask<'a> {
        self.storage.mask(Kind::Online)
    }

    /// CPUs on their way out.
    pub fn dying(&self) -> CpuMask<'a> {
        self.storage.mask(Kind::Dying)
    }

    /// Returns the name of a state, dynamic ones included; empty if it has none.
    #[inline(never)]
    pub fn name(&self, at: StateId) -> &'static str {
        self.slot(at)
            .and_then(DynSlot::get)
            .map_or_else(|| self.table.name(at), Step::name)
    }

    /// Returns what is known of the step at `at`, static or registered.
    pub(crate) fn meta(&self, at: StateId) -> Option<&'static Meta> {
        let registered = self.slot(at).and_then(DynSlot::get).map(Half::meta);
        registered.or_else(|| self.table.meta(at))
    }

    /// Returns how many errors the last forced teardown of `cpu` passed over.
    pub fn ignored(&self, cpu: CpuId) -> Option<u32> {
        self.record(cpu).map(|rec| rec.ignored.get())
    }

    // ---- what the modules of the two sides share

    /// Returns the slot of a dynamic state.
    pub(crate) fn slot(&self, at: StateId) -> Option<&'a DynSlot> {
        self.table
            .slot_of(at)
            .and_then(|slot| self.storage.slots.get(slot))
    }

    /// Returns the step of PREPARE or ONLINE at `at`, static or registered.
    pub(crate) fn step(&self, at: StateId) -> Option<&'static Step> {
        self.table
            .step(at)
            .or_else(|| self.slot(at).and_then(DynSlot::get))
    }

    pub(crate) fn record(&self, cpu: CpuId) -> Option<&'a Record> {
        self.storage.records.get(cpu.index())
    }

    /// Refuses a caller that is no available CPU, or that is inside a step.
    pub(crate) fn check_caller(&self, caller: CpuId) -> Result<(), Why> {
        let rec = self.record(caller).ok_or(Why::NoSuchCpu)?;
        if rec.step_context.get() == self.context_mark() {
            return Err(Why::WouldDeadlock);
        }
        let available = self.storage.has(Kind::Available, caller);
        if available {
            Ok(())
        } else {
            Err(Why::CallerOffline)
        }
    }

    pub(crate) fn context_mark(&self) -> u32 {
        self.platform.context().wrapping_add(1).max(1)
    }

    /// Walks `cpu` towards `goal` on the executing CPU `on`.
    pub(crate) fn walk(
        &self,
        cpu: CpuId,
        rec: &Record,
        on: CpuId,
        how: How,
        goal: StateId,
    ) -> Stop {
        self.execute(cpu, rec, on, how, Task::Walk(goal))
    }

    /// Runs callbacks on the executing CPU `on`, which is marked as inside a step meanwhile.
    #[inline(never)]
    pub(crate) fn execute(
        &self,
        cpu: CpuId,
        rec: &Record,
        on: CpuId,
        how: How,
        task: Task,
    ) -> Stop {
        let entered = rec.entered.get() >> how.section_bit() & 1 != 0;
        let entry = if entered { Entry::Again } else { Entry::First };
        let storage = &self.storage;
        let ctx = Ctx {
            cpu,
            entry,
            how,
            storage,
        };
        let marked = self.record(on).map(|rec| &rec.step_context);
        let outer = marked.map_or(0, Own::get);
        if let Some(word) = marked {
            word.set(self.context_mark());
        }
        // The walk is built twice where there is a tracer: one that looks at no step now costs a step nothing.
        let stop = if T::ON && self.trace.wants_steps() {
            self.carry_out(&self.trace, rec, ctx, on, task)
        } else {
            self.carry_out(&(), rec, ctx, on, task)
        };
        if let Some(word) = marked {
            word.set(outer);
        }
        stop
    }

    fn carry_out<U: Trace>(
        &self,
        trace: &U,
        rec: &Record,
        ctx: Ctx<'_>,
        on: CpuId,
        task: Task,
    ) -> Stop {
        let walk = Walk {
            table: self.table,
            slots: self.storage.slots,
            rec,
            ctx,
            on,
            trace,
            undo: Cell::new(None),
        };
        let result = match task {
            Task::Walk(goal) => walk.run(goal),
            Task::Invoke(at, dir, what) => walk.invoke(at, dir, what),
        };
        Stop {
            result,
            undo: walk.undo.get(),
        }
    }

    /// Returns the section of a state.
    pub(crate) fn section(&self, at: StateId) -> Section {
        if at <= self.table.kick() {
            Section::Prepare
        } else if at <= self.table.ap_idle() {
            Section::Starting
        } else {
            Section::Online
        }
    }

    /// Notes that `section` was completed upwards on this CPU.
    pub(crate) fn mark_entered(rec: &Record, section: Section) {
        rec.entered.set(rec.entered.get() | 1 << section as u32);
    }

    pub(crate) fn edge(&self, cpu: CpuId, from: Tag, to: Tag) {
        if T::ON {
            self.trace.edge(cpu, from, to);
        }
    }
}
