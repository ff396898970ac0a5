//! The table: every state in its one order, laid out at compile time by [`states!`].
//!
//! Owns the numbering, the sections and the runs of PARALLEL and other steps. The walk iterates its
//! rows; operations ask it where a section ends. Which CPU runs a step follows from the section it
//! was declared in.

use crate::run::Mode;
use crate::step::{Half, Meta, StartStep, StateId, Step};

/// Highest number a state may have.
const LAST_NUMBER: usize = 0x7ffe;

/// A range of states that are laid out now and registered while the kernel runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DynRange {
    first: StateId,
    len: u16,
    slot: u16,
}

impl DynRange {
    /// Lays out `len` states from `first` on, whose slots begin at `slot`.
    #[doc(hidden)]
    #[inline]
    pub const fn new(first: StateId, len: u16, slot: u16) -> Self {
        Self { first, len, slot }
    }

    /// Returns the first state of the range.
    #[inline]
    pub const fn first(self) -> StateId {
        self.first
    }

    /// Returns how many states it has: an exact count.
    #[inline]
    pub const fn capacity(self) -> u16 {
        self.len
    }

    /// Returns where its slots are.
    pub(crate) const fn slots(self) -> core::ops::Range<usize> {
        self.slot as usize..self.slot as usize + self.len as usize
    }

    /// Returns the slot of one of its states.
    const fn slot_of(self, at: StateId) -> Option<usize> {
        let first = self.first.get();
        if at.get() >= first && at.get() < first + self.len {
            Some((self.slot + (at.get() - first)) as usize)
        } else {
            None
        }
    }
}

/// What a table is made of; filled in by [`states!`].
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Sections {
    pub prepare: &'static [Step],
    pub prepare_dynamic: u16,
    pub parallel_dynamic: u16,
    pub starting: &'static [StartStep],
    pub online: &'static [Step],
    pub online_dynamic: u16,
    pub late: &'static [Step],
}

/// A row of static steps with consecutive numbers.
#[derive(Debug)]
pub(crate) struct Row<S: 'static> {
    /// Number of the first step, or of the state above if the row is empty.
    pub(crate) first: u16,
    pub(crate) steps: &'static [S],
}

impl<S> Row<S> {
    #[inline]
    const fn new(first: u16, steps: &'static [S]) -> Self {
        Self { first, steps }
    }

    /// Returns the number one past the last step. The numbering check keeps it in range.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "`Table::new` checks every number"
    )]
    #[inline]
    pub(crate) const fn end(&self) -> u16 {
        self.first + self.steps.len() as u16
    }

    pub(crate) fn get(&self, at: StateId) -> Option<&'static S> {
        self.steps
            .get(usize::from(at.get()).wrapping_sub(usize::from(self.first)))
    }
}

/// A section whose steps can fail: static steps, registered ones, and the static ones above them.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) low: Row<Step>,
    pub(crate) dynamic: DynRange,
    pub(crate) high: Row<Step>,
}

impl Part {
    fn step(&self, at: StateId) -> Option<&'static Step> {
        self.low.get(at).or_else(|| self.high.get(at))
    }
}

/// One ordered list of states, the only source of order.
///
/// Built-in states without callbacks: `OFFLINE` (0), `KICK` (the CPU has been asked to start),
/// `AP_IDLE` (STARTING is done, the CPU is available), `ONLINE` (the last).
#[derive(Debug)]
pub struct Table {
    /// Its dynamic states are those of `parallel_dyn` too, which come last.
    pub(crate) prepare: Part,
    pub(crate) starting: Row<StartStep>,
    pub(crate) online: Part,
    parallel_dyn: DynRange,
    starting_mode: Mode,
    kick: StateId,
    ap_idle: StateId,
    last: StateId,
}

impl Table {
    /// Lays the sections out. Used by [`states!`], at compile time.
    #[doc(hidden)]
    #[expect(clippy::cast_possible_truncation, reason = "the sum is checked first")]
    #[inline]
    pub const fn new(s: Sections) -> Self {
        let dynamic = s.prepare_dynamic as usize + s.parallel_dynamic as usize;
        let states = s.prepare.len() + dynamic + s.starting.len() + s.online.len();
        let states = states + s.online_dynamic as usize + s.late.len() + 3;
        assert!(states <= LAST_NUMBER, "a table has at most 0x7ffe states");
        check_names(s.prepare);
        check_start_names(s.starting);
        check_names(s.online);
        check_names(s.late);
        let low = Row::new(1, s.prepare);
        let kick = low.end() + dynamic as u16;
        let starting = Row::new(kick + 1, s.starting);
        let ap_idle = starting.end();
        let parallel = StateId::new(low.end() + s.prepare_dynamic);
        let parallel_dyn = DynRange::new(parallel, s.parallel_dynamic, s.prepare_dynamic);
        let prepare = Part {
            dynamic: DynRange::new(StateId::new(low.end()), dynamic as u16, 0),
            low,
            high: Row::new(kick, &[]),
        };
        let low = Row::new(ap_idle + 1, s.online);
        let first = StateId::new(low.end());
        let online = Part {
            dynamic: DynRange::new(first, s.online_dynamic, dynamic as u16),
            high: Row::new(low.end() + s.online_dynamic, s.late),
            low,
        };
        let last = StateId::new(online.high.end());
        Self {
            prepare,
            starting,
            online,
            parallel_dyn,
            starting_mode: mode_of(s.starting),
            kick: StateId::new(kick),
            ap_idle: StateId::new(ap_idle),
            last,
        }
    }

    /// Returns the built-in state `KICK`: PREPARE is up and the CPU has been asked to start.
    #[inline]
    pub const fn kick(&self) -> StateId {
        self.kick
    }

    /// Returns the built-in state `AP_IDLE`: STARTING is up, the CPU is available.
    #[inline]
    pub const fn ap_idle(&self) -> StateId {
        self.ap_idle
    }

    /// Returns the built-in state `ONLINE`, the last one.
    #[inline]
    pub const fn online(&self) -> StateId {
        self.last
    }

    /// Returns how many dynamic states the table has room for.
    pub const fn dynamic_states(&self) -> usize {
        self.online.dynamic.slots().end
    }

    /// Whether steps of this range are prepared for all CPUs before the first kick.
    pub(crate) fn is_parallel(&self, range: DynRange) -> bool {
        range == self.parallel_dyn
    }

    /// Returns the slot of a dynamic state.
    pub(crate) fn slot_of(&self, at: StateId) -> Option<usize> {
        let slot = self.prepare.dynamic.slot_of(at);
        slot.or_else(|| self.online.dynamic.slot_of(at))
    }

    /// Returns the static step of PREPARE or ONLINE at `at`.
    pub(crate) fn step(&self, at: StateId) -> Option<&'static Step> {
        self.prepare.step(at).or_else(|| self.online.step(at))
    }

    /// Returns the name of a state, or an empty name for a dynamic state that nobody registered
    /// and for a number beyond the table.
    #[inline(never)]
    pub fn name(&self, at: StateId) -> &'static str {
        if at == StateId::OFFLINE {
            "offline"
        } else if at == self.kick {
            "kick"
        } else if at == self.ap_idle {
            "ap-idle"
        } else if at == self.last {
            "online"
        } else {
            self.meta(at).map_or("", |meta| meta.name)
        }
    }

    /// Returns what is known of the static step at `at`, in any section.
    pub(crate) fn meta(&self, at: StateId) -> Option<&'static Meta> {
        let start = self.starting.get(at).map(Half::meta);
        start.or_else(|| self.step(at).map(Half::meta))
    }

    /// Returns the state with this name.
    pub fn find(&self, name: &str) -> Option<StateId> {
        let named = |number: &u16| !name.is_empty() && self.name(StateId::new(*number)) == name;
        (0..=self.last.get()).find(named).map(StateId::new)
    }

    /// Whether a CPU can rest at `at`: anywhere but strictly inside STARTING and above `ONLINE`.
    pub fn is_target(&self, at: StateId) -> bool {
        at <= self.last && (at <= self.kick || at >= self.ap_idle)
    }

    /// Whether all of STARTING may run on several CPUs at once.
    pub(crate) const fn starting_mode(&self) -> Mode {
        self.starting_mode
    }
}

/// Whether all of these may run on several CPUs at once.
const fn mode_of(steps: &[StartStep]) -> Mode {
    let mut at = 0;
    while at < steps.len() {
        if let Mode::OneByOne = steps[at].mode() {
            return Mode::OneByOne;
        }
        at += 1;
    }
    Mode::Together
}

const fn check_names(steps: &[Step]) {
    let mut at = 0;
    while at < steps.len() {
        check_name(steps[at].name());
        at += 1;
    }
}

const fn check_start_names(steps: &[StartStep]) {
    let mut at = 0;
    while at < steps.len() {
        check_name(steps[at].name());
        at += 1;
    }
}

const fn check_name(name: &str) {
    assert!(
        is_name(name),
        "a state has a name, and it must not end in `:up` or `:down`"
    );
}

/// Whether a state may have this name: not empty, and not ending like a direction of the control
/// interface.
pub(crate) const fn is_name(name: &str) -> bool {
    !matches!(
        name.as_bytes(),
        [] | [.., b':', b'u', b'p'] | [.., b':', b'd', b'o', b'w', b'n']
    )
}

/// Declares the states of a kernel: a module with a constant per state and the `TABLE`.
///
/// Order of declaration is order of execution. `dynamic[n]`, `parallel_dynamic[n]` and `late { }`
/// may be left out. The module begins with `use super::*`, so the expressions see what surrounds the
/// macro, which therefore stands at module level and not inside a function. A state hides an equal
/// name of that module.
///
/// ```
/// use cpuhp_core::{Ctx, StartStep, Step, StepResult, states};
/// fn alloc(_: &Ctx<'_>) -> StepResult { Ok(()) }
/// fn free(_: &Ctx<'_>) -> StepResult { Ok(()) }
/// states! {
///     /// The states of this kernel.
///     pub mod hp {
///         prepare  { PERCPU = Step::new("percpu:prepare").up(alloc).down(free); }
///                  dynamic[4] parallel_dynamic[2]
///         starting { TIMER = StartStep::new("timer:starting").parallel(); }
///         online   { SCHED = Step::new("sched:online").parallel(); }
///                  dynamic[8] late { ACTIVE = Step::new("sched:active"); }
///     }
/// }
/// # fn main() {
/// assert_eq!(hp::PERCPU.get(), 1);
/// assert_eq!(hp::KICK.get(), 8);
/// assert_eq!(hp::TABLE.name(hp::ACTIVE), "sched:active");
/// assert_eq!(hp::NDYN, 14);
/// # }
/// ```
///
/// A name that reads like a direction, or is empty, does not compile:
/// ```compile_fail,E0080
/// use cpuhp_core::{Step, states};
/// states! { mod hp { prepare { A = Step::new("a:up"); } starting {} online {} } }
/// # fn main() { let _ = &hp::TABLE; }
/// ```
#[macro_export]
macro_rules! states {
    (
        $(#[$meta:meta])* $vis:vis mod $name:ident {
            prepare { $($(#[$pm:meta])* $p:ident = $pe:expr;)* }
                $(dynamic[$pd:expr])? $(parallel_dynamic[$pp:expr])?
            starting { $($(#[$sm:meta])* $s:ident = $se:expr;)* }
            online { $($(#[$om:meta])* $o:ident = $oe:expr;)* }
                $(dynamic[$od:expr])? $(late { $($(#[$lm:meta])* $l:ident = $le:expr;)* })?
        }
    ) => {
        $(#[$meta])*
        #[allow(dead_code, missing_docs, reason = "a kernel need not name every state")]
        $vis mod $name {
            #[allow(unused_imports, clippy::wildcard_imports, reason = "the expressions may use it")]
            use super::*;

            #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "state names")]
            mod __index {
                pub(super) enum Prepare { $($p,)* __End }
                pub(super) enum Starting { $($s,)* __End }
                pub(super) enum Online { $($o,)* __End }
                pub(super) enum Late { $($($l,)*)? __End }
            }

            /// PREPARE states that are registered while the kernel runs.
            pub const PREPARE_DYN: $crate::DynRange = $crate::DynRange::new(
                $crate::StateId::new(1 + __index::Prepare::__End as u16), 0 $(+ $pd)?, 0);
            /// The same for steps that are prepared for all CPUs before the first is kicked.
            pub const PARALLEL_DYN: $crate::DynRange = $crate::DynRange::new(
                $crate::StateId::new(PREPARE_DYN.first().get() + PREPARE_DYN.capacity()),
                0 $(+ $pp)?, PREPARE_DYN.capacity());
            /// ONLINE states that are registered while the kernel runs.
            pub const ONLINE_DYN: $crate::DynRange = $crate::DynRange::new(
                $crate::StateId::new(AP_IDLE.get() + 1 + __index::Online::__End as u16),
                0 $(+ $od)?, PREPARE_DYN.capacity() + PARALLEL_DYN.capacity());
            /// How many dynamic states there are: the `DYN` of [`Store`]($crate::Store).
            pub const NDYN: usize = PREPARE_DYN.capacity() as usize
                + PARALLEL_DYN.capacity() as usize + ONLINE_DYN.capacity() as usize;

            /// The CPU is off.
            pub const OFFLINE: $crate::StateId = $crate::StateId::OFFLINE;
            /// The CPU has been asked to start.
            pub const KICK: $crate::StateId = $crate::StateId::new(
                PARALLEL_DYN.first().get() + PARALLEL_DYN.capacity());
            /// STARTING is done, the CPU is available.
            pub const AP_IDLE: $crate::StateId =
                $crate::StateId::new(KICK.get() + 1 + __index::Starting::__End as u16);
            /// Everything is up.
            pub const ONLINE: $crate::StateId = $crate::StateId::new(ONLINE_DYN.first().get()
                + ONLINE_DYN.capacity() + __index::Late::__End as u16);

            $($(#[$pm])* pub const $p: $crate::StateId =
                $crate::StateId::new(1 + __index::Prepare::$p as u16);)*
            $($(#[$sm])* pub const $s: $crate::StateId =
                $crate::StateId::new(KICK.get() + 1 + __index::Starting::$s as u16);)*
            $($(#[$om])* pub const $o: $crate::StateId =
                $crate::StateId::new(AP_IDLE.get() + 1 + __index::Online::$o as u16);)*
            $($($(#[$lm])* pub const $l: $crate::StateId = $crate::StateId::new(
                ONLINE_DYN.first().get() + ONLINE_DYN.capacity() + __index::Late::$l as u16);)*)?

            /// The states in their order.
            pub static TABLE: $crate::Table = $crate::Table::new($crate::Sections {
                prepare: &[$($pe),*],
                prepare_dynamic: PREPARE_DYN.capacity(),
                parallel_dynamic: PARALLEL_DYN.capacity(),
                starting: &[$($se),*],
                online: &[$($oe),*],
                online_dynamic: ONLINE_DYN.capacity(),
                late: &[$($($le),*)?],
            });
        }
    };
}
