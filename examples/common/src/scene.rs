//! The one scene of a program: parameters, host, storage; what callbacks and platform write down.
//!
//! Callbacks are plain functions, so they find all this through one static. The storage is the
//! kernel's, a static [`SceneStore`] that is all zero and stays in `.bss`, or parts it allocated.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use cpuhp_core::{Call, CpuId, CpuMask, CpuMaskMut, MaskWord, Table};
use spin::Once;

use crate::calls::{CALLS, CallRecord, Calls, NODES, call_node};
use crate::critical::Critical;
use crate::forward;
use crate::log::CpuLog;
use crate::machine::Host;
use crate::order::Order;
use crate::params::Params;
use crate::samples::Samples;
use crate::scenario::Mode;
use crate::tables::{self, Ranges};
use crate::trace::{self, Event};
use crate::violation::{Violation, Violations};

/// How many sets of measurements a scene has.
pub const SETS: usize = 2 * Mode::ALL.len();

static SCENE: Once<Scene> = Once::new();
static TABLE: Once<(Table, Ranges)> = Once::new();

/// Returns the scene; there is none before [`Scene::install`].
pub(crate) fn get() -> Option<&'static Scene> {
    SCENE.get()
}

/// Everything the driver keeps besides the core's own storage.
pub struct Scene {
    pub(crate) host: &'static dyn Host,
    pub(crate) params: Params,
    pub(crate) table: &'static Table,
    /// Its dynamic ranges.
    pub(crate) ranges: Ranges,
    /// Which units are part of it now.
    pub(crate) order: Order,
    pub(crate) parts: SceneParts,
    pub(crate) violations: Violations,
    /// CPU that drives, and may walk PREPARE of others.
    pub(crate) control: AtomicU32,
    /// Halves that ran so far, on all CPUs.
    pub(crate) stamps: AtomicU32,
    /// Faults that were armed and met.
    pub(crate) hits: AtomicU32,
    /// A freeze is given up once so many halves have run; 0 = never.
    pub(crate) abort_after: AtomicU32,
    /// CPUs inside the step that takes one at a time.
    pub(crate) inside: AtomicU32,
    /// Nanoseconds the control CPU spent in waits.
    pub(crate) waited: AtomicU64,
    pub(crate) critical: Critical,
    pub(crate) calls: Calls,
    /// When the first kick since the last [`Self::begin_window`] was sent; 0 = none.
    pub(crate) first_kick: AtomicU64,
    /// When the last one was.
    pub(crate) last_kick: AtomicU64,
    /// Trace events wanted so far, kept or not.
    pub(crate) events: AtomicU32,
    /// Whether APs enter without a state machine now.
    pub(crate) raw: AtomicU32,
    /// 0 = no result yet, 1 = all results passed, 2 = one did not.
    pub(crate) verdict: AtomicU32,
    /// Whether `done` was printed.
    pub(crate) done: AtomicU32,
}

/// Borrowed storage of a scene, all of it freshly zero.
#[derive(Clone, Copy, Debug)]
pub struct SceneParts {
    /// One per possible CPU.
    pub cpus: &'static [CpuLog],
    /// `words(cpus)` words, for a mask of the driver's own.
    pub mask: &'static [MaskWord],
    /// Room for trace events; what does not fit is counted.
    pub events: &'static [Event],
    /// Sets of measurements, two per mode of `boot`.
    pub samples: &'static [Samples; SETS],
    /// Room for calls between CPUs.
    pub calls: &'static [CallRecord],
    /// Nodes of [`call_node`], [`NODES`] of them.
    pub nodes: &'static [Call],
}

/// Static storage of a scene for up to `CPUS` CPUs; `WORDS` is `words(CPUS)`.
#[derive(Debug)]
pub struct SceneStore<const CPUS: usize, const WORDS: usize, const EVENTS: usize> {
    cpus: [CpuLog; CPUS],
    mask: [MaskWord; WORDS],
    events: [Event; EVENTS],
    samples: [Samples; SETS],
    calls: [CallRecord; CALLS],
    nodes: [Call; NODES],
}

impl<const CPUS: usize, const WORDS: usize, const EVENTS: usize> SceneStore<CPUS, WORDS, EVENTS> {
    /// Makes the storage, all zero.
    pub const fn new() -> Self {
        Self {
            cpus: [const { CpuLog::new() }; CPUS],
            mask: [const { MaskWord::new(0) }; WORDS],
            events: [const { Event::new() }; EVENTS],
            samples: [const { Samples::new() }; SETS],
            calls: [const { CallRecord::new() }; CALLS],
            nodes: [const { call_node() }; NODES],
        }
    }

    /// Lends the storage of the first `cpus` CPUs out.
    pub fn get(&'static self, cpus: usize) -> SceneParts {
        SceneParts {
            cpus: self.cpus.get(..cpus).unwrap_or(&self.cpus),
            mask: &self.mask,
            events: &self.events,
            samples: &self.samples,
            calls: &self.calls,
            nodes: &self.nodes,
        }
    }
}

impl<const C: usize, const W: usize, const E: usize> Default for SceneStore<C, W, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// Installs the one scene of this program. A second call returns the first scene.
    ///
    /// Context: boot CPU, before `Cpuhp` is made, since the table is the scene's.
    pub fn install(parts: SceneParts, params: Params, host: &'static dyn Host) -> &'static Self {
        SCENE.call_once(|| {
            let (table, ranges) = TABLE.call_once(|| tables::build(&params));
            trace::begin(&params);
            Self {
                host,
                params,
                table,
                ranges: *ranges,
                order: Order::new(table),
                parts,
                violations: Violations::new(),
                control: AtomicU32::new(host.this_cpu().get()),
                stamps: AtomicU32::new(0),
                hits: AtomicU32::new(0),
                abort_after: AtomicU32::new(0),
                inside: AtomicU32::new(0),
                waited: AtomicU64::new(0),
                critical: Critical::new(),
                calls: Calls::new(),
                first_kick: AtomicU64::new(0),
                last_kick: AtomicU64::new(0),
                events: AtomicU32::new(0),
                raw: AtomicU32::new(0),
                verdict: AtomicU32::new(0),
                done: AtomicU32::new(0),
            }
        })
    }

    /// Returns the table that the parameters ask for, for `Cpuhp::with_trace`.
    pub fn table(&self) -> &'static Table {
        self.table
    }

    /// Returns the parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    pub(crate) fn cpu(&self, cpu: CpuId) -> Option<&'static CpuLog> {
        self.parts.cpus.get(cpu.index())
    }

    /// Returns every CPU with its log.
    pub(crate) fn cpus(&self) -> impl Iterator<Item = (CpuId, &'static CpuLog)> + use<> {
        (0..).map(CpuId::new).zip(self.parts.cpus)
    }

    /// Says that `cpu` is listed and not plugged in, on a machine that plays that itself.
    pub fn unplug(&self, cpu: CpuId) {
        if let Some(log) = self.cpu(cpu) {
            forward::mark();
            log.unplugged.store(1, Ordering::Relaxed);
        }
    }

    /// Says that it is there now.
    pub fn plug(&self, cpu: CpuId) {
        if let Some(log) = self.cpu(cpu) {
            log.unplugged.store(0, Ordering::Relaxed);
        }
    }

    /// Whether a freeze is to be given up now.
    pub(crate) fn wants_abort(&self) -> bool {
        let after = self.abort_after.load(Ordering::Relaxed);
        after != 0 && self.stamps.load(Ordering::Relaxed) >= after
    }

    /// Returns the driver's own mask.
    pub(crate) fn mask(&self) -> CpuMask<'static> {
        CpuMaskMut::new(self.parts.mask).get()
    }

    /// Returns the driver's own mask, emptied.
    pub(crate) fn empty_mask(&self) -> CpuMaskMut<'static> {
        let mask = CpuMaskMut::new(self.parts.mask);
        mask.clear();
        mask
    }

    /// Begins a timed window: forgets the times of the last one.
    pub(crate) fn begin_window(&self) {
        self.waited.store(0, Ordering::Relaxed);
        self.first_kick.store(0, Ordering::Relaxed);
        self.last_kick.store(0, Ordering::Relaxed);
        for (_, log) in self.cpus() {
            log.begin_window();
        }
    }

    /// Counts a violation; `found` and `right` are two numbers that help to understand it.
    pub(crate) fn wrong(
        &self,
        what: Violation,
        cpu: CpuId,
        found: impl Into<u64>,
        right: impl Into<u64>,
    ) {
        self.violations.add(what, cpu, found.into(), right.into());
    }
}

impl core::fmt::Debug for Scene {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Scene")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}
