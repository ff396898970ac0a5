//! One execution's world: the storage under test, the data the protocol hands over, and the log.
//!
//! All model threads are fibers of one host thread, so a thread-local of the host reaches it from
//! step callbacks, which carry no data. Whatever is a plain `std` cell here is the observer's, never
//! the protocol's; what threads hand to each other is a loom cell.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use cpuhp_core::{
    Confirm, CpuId, Direction, DynSlot, LockWord, MaskWord, Record, StateId, StepError, Storage,
};
use loom::cell::Cell as Data;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread::{self, Thread};

/// The control CPU.
pub(crate) const BOOT: CpuId = CpuId::new(0);
/// The CPU that two-thread models move.
pub(crate) const AP: CpuId = CpuId::new(1);
/// The second CPU of three-thread models.
pub(crate) const AP2: CpuId = CpuId::new(2);

/// How threads wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    /// Yield; give the execution up after too many.
    Spinning,
    /// Park until notified.
    Blocking,
}

/// How a kicked CPU comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kick {
    /// Its entry code runs after everything that came before the kick, as the contract says.
    Ordered,
    /// It is polling from the start, unordered with the kick; its entry code touches nothing.
    Early,
    /// It never comes, and the hardware says it is off.
    Lost,
    /// Before it comes, a start of the first kick comes late.
    Stale,
    /// The platform refuses.
    Refused,
}

/// How long an AP waits for its release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Patience {
    /// Until it comes.
    Endless,
    /// Not at all the first time, then until it comes.
    LostOnce,
}

/// What the hardware's answer carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Firmware {
    /// `confirm` acquires the CPU's last access, which comes after its last word to the core.
    Edge,
    /// `confirm` carries nothing; the CPU touches nothing after its last word.
    NoEdge,
}

/// What one model lets happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) family: Family,
    /// CPUs of the machine; CPU 0 is the boot CPU.
    pub(crate) cpus: usize,
    /// Slots for dynamic states.
    pub(crate) slots: usize,
    pub(crate) kick: Kick,
    pub(crate) firmware: Firmware,
    /// Whether a wait that spins returns at any time, or only when notified or when all wait.
    pub(crate) spurious: bool,
    /// Waits that nobody ended after which a spinning thread gives the execution up.
    pub(crate) limit: u32,
    /// Waits in all after which any thread gives up.
    pub(crate) most: u64,
    /// Time-outs, counted in waits of the control CPU; `u64::MAX` is never.
    pub(crate) alive: u64,
    pub(crate) step: u64,
    pub(crate) die: u64,
    pub(crate) patience: Patience,
    /// What a half of the last ONLINE step answers on `fails_on`.
    pub(crate) fails: Option<(Direction, StepError)>,
    pub(crate) fails_on: CpuId,
    /// Epoch that firmware hands to the entry.
    pub(crate) hint: Option<u8>,
}

impl Plan {
    /// Nothing goes wrong and nothing times out.
    pub(crate) const fn of(family: Family) -> Self {
        Self {
            family,
            cpus: 2,
            slots: 0,
            kick: Kick::Ordered,
            firmware: Firmware::Edge,
            spurious: false,
            limit: 2,
            most: 20,
            alive: u64::MAX,
            step: u64::MAX,
            die: u64::MAX,
            patience: Patience::Endless,
            fails: None,
            fails_on: AP,
            hint: None,
        }
    }
}

/// One thing that happened, in the order it did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// An operation began.
    Begin(CpuId, StateId),
    /// It ended; whether it failed, and with which error first.
    End(CpuId, Option<StepError>),
    /// A half was called: the moved CPU, the CPU that ran it, the state, which half.
    Call(CpuId, CpuId, StateId, Direction),
    /// It succeeded.
    Done(CpuId, StateId, Direction),
    /// The hardware was told to start the CPU.
    Kick(CpuId),
    /// The core told how a kick ended: whether the CPU came.
    KickDone(CpuId, bool),
    /// The CPU began to run kernel code.
    Enter(CpuId),
    /// It left all that PREPARE made.
    Rest(CpuId, Confirm),
}

/// Data of one CPU that the protocol hands over.
#[derive(Debug)]
pub(crate) struct PerCpu {
    /// Made by PREPARE, stood on by the AP from its first instruction to its last.
    pub(crate) stack: Data<u32>,
    /// Made by PREPARE, read in STARTING.
    pub(crate) area: Data<u32>,
    /// Written by the control CPU between kick and release, read in STARTING.
    pub(crate) config: Data<u32>,
    /// Written by STARTING, read by ONLINE and by the control CPU.
    pub(crate) local: Data<u32>,
    /// Written by the control CPU before it asks for more than `AP_IDLE`, read by ONLINE.
    pub(crate) task: Data<u32>,
    /// Written by ONLINE, read by the control CPU.
    pub(crate) work: Data<u32>,
    /// What the hardware would answer.
    power: AtomicU32,
    /// The same for the observer: whether it can reach what PREPARE made.
    pub(crate) reaches: Cell<bool>,
    /// The control CPU's and the AP's own clocks: each counts its waits.
    pub(crate) clock: Cell<u64>,
    pub(crate) waits: Cell<u32>,
    /// A notification that no wait has taken yet.
    notified: Cell<bool>,
    /// It has lost patience, or come too late, before.
    pub(crate) has_parked: Cell<bool>,
    /// It waits, has ended, or was never started.
    rests: Cell<bool>,
    /// Whether the control CPU was told of its last word.
    pub(crate) has_told: Cell<bool>,
    thread: RefCell<Option<Thread>>,
}

/// Everything of one execution.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    /// How the next kicked CPU comes.
    pub(crate) kick: Cell<Kick>,
    records: Vec<Record>,
    masks: Vec<MaskWord>,
    slots: Vec<DynSlot>,
    lock: LockWord,
    cpus: Vec<PerCpu>,
    /// Guarded by the hotplug lock alone.
    pub(crate) guarded: Data<u32>,
    pub(crate) log: RefCell<Vec<Event>>,
    /// Somebody waited too often: nothing more is checked.
    pub(crate) cut: Cell<bool>,
    /// From here on nothing times out.
    pub(crate) patient: Cell<bool>,
    /// The control CPU is through: APs that wait are let go.
    pub(crate) over: Cell<bool>,
    /// Threads that have not ended.
    pub(crate) live: Cell<u32>,
}

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// Returns the world of the running execution.
pub(crate) fn world() -> Rc<World> {
    WORLD
        .with_borrow(Clone::clone)
        .expect("a model makes its world first")
}

impl PerCpu {
    fn new() -> Self {
        Self {
            stack: Data::new(0),
            area: Data::new(0),
            config: Data::new(0),
            local: Data::new(0),
            task: Data::new(0),
            work: Data::new(0),
            power: AtomicU32::new(Confirm::Off as u32),
            reaches: Cell::new(false),
            clock: Cell::new(0),
            waits: Cell::new(0),
            notified: Cell::new(false),
            has_parked: Cell::new(false),
            has_told: Cell::new(false),
            rests: Cell::new(true),
            thread: RefCell::new(None),
        }
    }
}

impl World {
    /// Makes the world of a new execution.
    pub(crate) fn begin(plan: Plan) -> Rc<Self> {
        let world = Rc::new(Self {
            plan,
            kick: Cell::new(plan.kick),
            records: (0..plan.cpus).map(|_| Record::new()).collect(),
            masks: (0..Storage::mask_words(plan.cpus))
                .map(|_| MaskWord::new(0))
                .collect(),
            slots: (0..plan.slots).map(|_| DynSlot::new()).collect(),
            lock: LockWord::new(),
            cpus: (0..plan.cpus).map(|_| PerCpu::new()).collect(),
            guarded: Data::new(0),
            log: RefCell::new(Vec::new()),
            cut: Cell::new(false),
            patient: Cell::new(false),
            over: Cell::new(false),
            live: Cell::new(1),
        });
        WORLD.replace(Some(Rc::clone(&world)));
        world.on(BOOT).runs_on(thread::current());
        world
    }

    /// Returns how long something may take: `planned`, or for ever once nothing times out.
    pub(crate) fn within(&self, planned: u64) -> u64 {
        if self.patient.get() {
            u64::MAX
        } else {
            planned
        }
    }

    /// Lends the storage under test.
    pub(crate) fn storage(&self) -> Storage<'_> {
        Storage::from_parts(&self.records, &self.masks, &self.slots, &self.lock)
            .expect("the masks fit the records")
    }

    pub(crate) fn on(&self, cpu: CpuId) -> &PerCpu {
        self.cpus.get(cpu.index()).expect("a modelled cpu")
    }

    pub(crate) fn note(&self, event: Event) {
        self.log.borrow_mut().push(event);
    }

    /// Waits on `cpu` until `deadline` at most. A wait that time ends may end now: that is the choice
    /// the models leave open.
    pub(crate) fn wait(&self, cpu: CpuId, deadline: u64) {
        let on = self.on(cpu);
        on.clock.set(on.clock.get() + 1);
        if on.clock.get() > self.plan.most {
            self.cut.set(true);
        }
        if deadline != u64::MAX {
            thread::yield_now();
        } else if self.plan.family == Family::Blocking {
            thread::park();
        } else {
            self.spin(on);
        }
    }

    /// Yields until notified. Notifications order no memory here, unlike loom's.
    fn spin(&self, on: &PerCpu) {
        on.rests.set(true);
        loop {
            thread::yield_now();
            if on.notified.take() {
                break;
            }
            // Nobody will notify: look again, since what is old may be seen for some time.
            if self.plan.spurious || self.cpus.iter().all(|other| other.rests.get()) {
                on.waits.set(on.waits.get() + 1);
                if on.waits.get() > self.plan.limit {
                    self.cut.set(true);
                }
                break;
            }
        }
        on.rests.set(false);
    }

    /// Lets every AP that waits for the control CPU end, at the end of a model.
    pub(crate) fn finish(&self) {
        self.over.set(true);
        for on in self.cpus.iter().skip(1) {
            on.wake(self.plan.family);
        }
    }
}

impl PerCpu {
    /// Its thread exists, and does not wait.
    pub(crate) fn runs_on(&self, thread: Thread) {
        self.rests.set(false);
        self.thread.replace(Some(thread));
    }

    pub(crate) fn ends_here(&self) {
        self.rests.set(true);
        self.thread.replace(None);
    }

    /// Makes the wait of this CPU's thread return.
    pub(crate) fn wake(&self, family: Family) {
        self.notified.set(true);
        if family == Family::Blocking
            && let Some(thread) = self.thread.borrow().as_ref()
        {
            thread.unpark();
        }
    }

    pub(crate) fn set_power(&self, now: Confirm, firmware: Firmware) {
        self.reaches.set(now == Confirm::Running);
        let ordering = match firmware {
            Firmware::Edge => Ordering::Release,
            Firmware::NoEdge => Ordering::Relaxed,
        };
        self.power.store(now as u32, ordering);
    }

    pub(crate) fn power(&self, firmware: Firmware) -> Confirm {
        let ordering = match firmware {
            Firmware::Edge => Ordering::Acquire,
            Firmware::NoEdge => Ordering::Relaxed,
        };
        match self.power.load(ordering) {
            word if word == Confirm::Off as u32 => Confirm::Off,
            word if word == Confirm::Parked as u32 => Confirm::Parked,
            _ => Confirm::Running,
        }
    }
}
