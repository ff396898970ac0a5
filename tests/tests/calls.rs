//! Calls between CPUs: on one CPU, on many, waited for or not; what is refused; who runs them when.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use cpuhp_core::{
    ApNext, BootSteps, Call, CallError, CallQueue, CallStage, Confirm, CpuId, Cpuhp, Ipi,
    KickError, MaskStore, OpFlags, Platform, Ring, RingCursor, StateId, Store, What, Which, Who,
    states, words,
};

states! {
    mod hp {
        prepare {}
        starting {}
        online {}
    }
}

const CPUS: usize = 4;

/// A machine on one thread: CPUs are who the test says that it is.
struct Board {
    here: AtomicU32,
    context: AtomicU32,
    time: AtomicU64,
    ipis: AtomicU32,
    woken: AtomicU32,
    /// The CPU whose calls are run while somebody waits; `u32::MAX`: none.
    runs: AtomicU32,
}

impl Board {
    const fn new() -> Self {
        Self {
            here: AtomicU32::new(0),
            context: AtomicU32::new(0),
            time: AtomicU64::new(0),
            ipis: AtomicU32::new(0),
            woken: AtomicU32::new(0),
            runs: AtomicU32::new(u32::MAX),
        }
    }

    fn as_cpu<R>(&self, cpu: u32, run: impl FnOnce() -> R) -> R {
        let before = self.here.swap(cpu, Ordering::Relaxed);
        let context = self.context.swap(cpu, Ordering::Relaxed);
        let result = run();
        self.context.store(context, Ordering::Relaxed);
        self.here.store(before, Ordering::Relaxed);
        result
    }
}

impl Platform for &'static Board {
    fn now(&self) -> u64 {
        self.time.load(Ordering::Relaxed)
    }
    fn this_cpu(&self) -> CpuId {
        CpuId::new(self.here.load(Ordering::Relaxed))
    }
    fn context(&self) -> u32 {
        self.context.load(Ordering::Relaxed)
    }
    fn kick(&self, _: CpuId, _: u16) -> Result<(), KickError> {
        Ok(())
    }
    fn confirm(&self, _: CpuId) -> Confirm {
        Confirm::Off
    }
    fn wait(&self, _: Who, until: u64) {
        assert!(until > self.now(), "time goes on");
        self.time.store(until, Ordering::Relaxed);
        let runs = self.runs.load(Ordering::Relaxed);
        if runs != u32::MAX {
            self.as_cpu(runs, || the_machine().poll_calls(CpuId::new(runs)));
        }
        if let Some(then) = WAITED.get() {
            then(self);
        }
    }
    fn step_timeout(&self) -> u64 {
        1_000_000
    }
    fn ipi(&self, _: CpuId) {
        self.ipis.fetch_add(1, Ordering::Relaxed);
    }
    fn notify_ap(&self, _: CpuId) {
        self.woken.fetch_add(1, Ordering::Relaxed);
    }
}

type Machine = Cpuhp<'static, &'static Board>;

std::thread_local! {
    static MACHINE: std::cell::Cell<Option<&'static Machine>> = const { std::cell::Cell::new(None) };
    static RAN: std::cell::RefCell<Vec<(u32, usize)>> = const { std::cell::RefCell::new(Vec::new()) };
    /// What a function does besides; taken by the next one that runs.
    static THEN: std::cell::Cell<Option<fn(CpuId)>> = const { std::cell::Cell::new(None) };
    /// What happens in each wait.
    static WAITED: std::cell::Cell<Option<fn(&Board)>> = const { std::cell::Cell::new(None) };
}

fn the_machine() -> &'static Machine {
    MACHINE.get().expect("a test began")
}

fn cpu(number: u32) -> CpuId {
    CpuId::new(number)
}

/// Writes down that it ran, and where.
fn note(on: CpuId, arg: usize) {
    assert_eq!(
        the_machine().platform().this_cpu(),
        on,
        "on the CPU that was called"
    );
    RAN.with_borrow_mut(|ran| ran.push((on.get(), arg)));
    if let Some(then) = THEN.take() {
        then(on);
    }
}

fn ran() -> Vec<(u32, usize)> {
    RAN.take()
}

/// Nodes that live as long as the program.
fn nodes() -> &'static [Call] {
    Vec::leak((0..CPUS).map(|_| Call::new(note)).collect())
}

/// Begins a test: CPU 0 adopted, CPUs 1 and 2 online, CPU 3 off.
fn begin() -> (&'static Board, &'static Machine) {
    begin_with(CPUS)
}

fn begin_with(queues: usize) -> (&'static Board, &'static Machine) {
    let board: &'static Board = Box::leak(Box::new(Board::new()));
    let store: &'static Store<CPUS, { words(CPUS) }, 0> = Box::leak(Box::new(Store::new()));
    let queues: &'static [CallQueue] = Vec::leak((0..queues).map(|_| CallQueue::new()).collect());
    let machine = Cpuhp::new(board, &hp::TABLE, store.get()).with_calls(queues);
    let machine: &'static Machine = Box::leak(Box::new(machine));
    MACHINE.set(Some(machine));
    machine
        .adopt_boot_cpu(BootSteps::Run)
        .expect("first of all");
    for number in 1..3 {
        drive(board, machine, number, hp::ONLINE);
    }
    board.woken.store(0, Ordering::Relaxed);
    (board, machine)
}

/// Moves a CPU with both sides on this thread.
fn drive(board: &Board, machine: &Machine, number: u32, target: StateId) {
    let guard = machine.try_write().expect("nobody else has it");
    let mut op = guard.op(cpu(number), target, OpFlags::AUTO).expect("legal");
    while op.poll(&guard).is_pending() {
        board.as_cpu(number, || {
            let _: ApNext = machine.ap_enter(cpu(number), None);
            let _: ApNext = machine.poll_ap(cpu(number));
        });
    }
}

fn poll(board: &Board, machine: &Machine, number: u32) -> usize {
    board.as_cpu(number, || machine.poll_calls(cpu(number)))
}

#[test]
fn call_runs_once_on_its_cpu_and_only_the_first_sends_an_ipi() {
    let (board, machine) = begin();
    let nodes = nodes();
    for (at, node) in nodes.iter().take(3).enumerate() {
        assert_eq!(machine.call(cpu(1), node, at), Ok(()));
        assert!(!node.is_done() && machine.has_calls(cpu(1)));
    }
    assert_eq!(
        board.ipis.load(Ordering::Relaxed),
        1,
        "the others are coalesced"
    );
    assert_eq!(machine.poll_calls(cpu(1)), 0, "CPU 0 cannot run them");
    assert_eq!(poll(board, machine, 1), 3);
    assert_eq!(ran(), [(1, 0), (1, 1), (1, 2)], "in order");
    assert!(nodes.iter().all(Call::is_done) && !machine.has_calls(cpu(1)));
    assert_eq!(poll(board, machine, 1), 0, "once");
    assert_eq!(machine.call(cpu(1), &nodes[0], 7), Ok(()));
    assert_eq!(board.ipis.load(Ordering::Relaxed), 2, "it was empty again");
    assert_eq!(board.woken.load(Ordering::Relaxed), 0, "nobody waits");
}

#[test]
fn what_cannot_be_called_is_refused_and_nothing_is_queued() {
    let (board, machine) = begin();
    let nodes = nodes();
    let refused = |number, error| {
        assert_eq!(machine.call(cpu(number), &nodes[0], 0), Err(error));
        assert!(nodes[0].is_done());
    };
    refused(3, CallError::Offline);
    refused(4, CallError::NoSuchCpu);
    refused(u32::MAX, CallError::NoSuchCpu);
    assert_eq!(machine.call(cpu(1), &nodes[1], 0), Ok(()));
    for target in [0, 1, 2] {
        let again = machine.call(cpu(target), &nodes[1], 0);
        assert_eq!(again, Err(CallError::Busy), "the node is in use");
    }
    assert_eq!(poll(board, machine, 1), 1);
    let store: Store<2, { words(2) }, 0> = Store::new();
    let without = Cpuhp::new(board, &hp::TABLE, store.get());
    assert_eq!(without.adopt_boot_cpu(BootSteps::AlreadyDone), Ok(()));
    let none = without.call(cpu(0), &nodes[0], 0);
    assert_eq!(none, Err(CallError::NoSuchCpu), "there are no queues");
    assert_eq!(
        (without.poll_calls(cpu(0)), without.has_calls(cpu(0))),
        (0, false)
    );
}

#[test]
fn cpu_without_a_queue_comes_and_leaves_but_cannot_be_called() {
    let (board, machine) = begin_with(1);
    let report = machine.call_mask_and_wait(Which::All, nodes(), 0);
    assert_eq!((report.unknown, report.queued), (2, 0));
    drive(board, machine, 1, hp::OFFLINE);
}

#[test]
fn own_call_runs_at_once_but_after_the_one_that_makes_it() {
    let (board, machine) = begin();
    static OWN: Call = Call::new(note);
    let nodes = nodes();
    assert_eq!(machine.call(cpu(0), &nodes[0], 5), Ok(()));
    assert_eq!(
        (ran(), board.ipis.load(Ordering::Relaxed)),
        (vec![(0, 5)], 0)
    );
    THEN.set(Some(|on| {
        assert_eq!(the_machine().call(on, &OWN, 9), Ok(()));
        RAN.with_borrow(|ran| assert_eq!(ran.len(), 1, "not inside"));
    }));
    assert_eq!(machine.call(cpu(0), &nodes[0], 6), Ok(()));
    assert_eq!(ran(), [(0, 6), (0, 9)]);
}

/// Bug 17 of the list in `history`: calls queued just before a CPU leaves were lost.
#[test]
fn call_queued_before_a_cpu_leaves_runs_on_its_way_out_and_later_ones_are_refused() {
    let (board, machine) = begin();
    let nodes = nodes();
    assert_eq!(machine.call(cpu(2), &nodes[0], 1), Ok(()));
    assert_eq!(machine.call(cpu(2), &nodes[1], 2), Ok(()));
    // A call to itself from there comes too late.
    THEN.set(Some(|on| {
        static LATE: Call = Call::new(note);
        assert_eq!(the_machine().call(on, &LATE, 0), Err(CallError::Offline));
    }));
    drive(board, machine, 2, hp::AP_IDLE);
    assert_eq!(ran(), [], "it takes calls still");
    drive(board, machine, 2, hp::OFFLINE);
    assert_eq!(ran(), [(2, 1), (2, 2)]);
    assert_eq!(machine.call(cpu(2), &nodes[0], 3), Err(CallError::Offline));
    assert_eq!(
        poll(board, machine, 2),
        0,
        "a late interrupt finds it closed"
    );
    drive(board, machine, 2, hp::ONLINE);
    assert_eq!(machine.call(cpu(2), &nodes[0], 4), Ok(()));
    assert_eq!(poll(board, machine, 2), 1);
}

#[test]
fn cpu_leaves_only_when_its_other_context_is_out_of_its_call() {
    let (board, machine) = begin();
    let nodes = nodes();
    assert_eq!(machine.call(cpu(1), &nodes[0], 1), Ok(()));
    assert_eq!(machine.call(cpu(1), &nodes[1], 2), Ok(()));
    drive(board, machine, 1, hp::AP_IDLE);
    let guard = machine.try_write().expect("nobody else has it");
    let mut op = guard
        .op(cpu(1), hp::OFFLINE, OpFlags::empty())
        .expect("legal");
    assert!(op.poll(&guard).is_pending(), "the order to die is posted");
    THEN.set(Some(|on| {
        assert_eq!(the_machine().poll_ap(on), ApNext::Wait, "not from inside");
        assert!(the_machine().available().contains(on));
    }));
    assert_eq!(poll(board, machine, 1), 2);
    assert_eq!(board.as_cpu(1, || machine.poll_ap(cpu(1))), ApNext::Off);
    assert!(op.poll(&guard).is_ready());
    assert_eq!(ran(), [(1, 1), (1, 2)]);
}

#[test]
fn who_waits_is_woken_serves_its_own_calls_and_gives_up_in_time() {
    let (board, machine) = begin();
    let nodes = nodes();
    // Somebody has called the CPU that is about to wait.
    board.as_cpu(2, || assert_eq!(machine.call(cpu(0), &nodes[3], 3), Ok(())));
    board.runs.store(1, Ordering::Relaxed);
    assert_eq!(machine.call_and_wait(cpu(1), &nodes[0], 1), Ok(()));
    assert_eq!(ran(), [(0, 3), (1, 1)]);
    assert_eq!(board.woken.load(Ordering::Relaxed), 1);
    board.runs.store(u32::MAX, Ordering::Relaxed);
    let begun = board.now_ns();
    let late = machine.call_and_wait(cpu(1), &nodes[0], 2);
    assert_eq!(late, Err(CallError::Timeout));
    let waited = board.now_ns() - begun;
    assert!((1_000_000..2_000_000).contains(&waited), "{waited}");
    assert!(!nodes[0].is_done(), "it is taken until it has run");
    assert_eq!((poll(board, machine, 1), ran()), (1, vec![(1, 2)]));
}

impl Board {
    fn now_ns(&self) -> u64 {
        self.time.load(Ordering::Relaxed)
    }
}

/// No handler runs here: the interrupt does nothing but end the wait.
#[test]
fn control_cpu_runs_its_calls_after_each_wait_of_a_blocking_form() {
    static NODE: Call = Call::new(note);
    let (_, machine) = begin();
    WAITED.set(Some(|board| {
        let machine = the_machine();
        assert!(!machine.has_calls(cpu(0)), "those of the wait before ran");
        board.as_cpu(2, || {
            assert_eq!(machine.call(cpu(0), &NODE, 7), Ok(()));
        });
        let _: ApNext = board.as_cpu(1, || machine.poll_ap(cpu(1)));
    }));
    assert_eq!(machine.cpu_down(cpu(1)), Ok(()));
    WAITED.set(None);
    let ran = ran();
    assert!(ran.len() > 1, "AP_IDLE and off: it waited twice");
    assert!(ran.iter().all(|one| *one == (0, 7)) && NODE.is_done());
}

#[test]
fn nobody_waits_inside_a_call() {
    let (board, machine) = begin();
    let nodes = nodes();
    THEN.set(Some(|on| {
        static INSIDE: Call = Call::new(note);
        let other = cpu(if on == cpu(1) { 2 } else { 1 });
        let waited = the_machine().call_and_wait(other, &INSIDE, 0);
        assert_eq!(waited, Err(CallError::WouldDeadlock));
        assert!(INSIDE.is_done());
    }));
    assert_eq!(machine.call(cpu(1), &nodes[0], 0), Ok(()));
    assert_eq!(poll(board, machine, 1), 1);
}

#[test]
fn many_are_called_and_what_became_of_each_is_counted() {
    let (board, machine) = begin();
    let nodes = nodes();
    let report = machine.call_mask(Which::All, nodes, 4);
    assert_eq!((report.queued, report.offline, report.busy), (2, 0, 0));
    let again = machine.call_mask(Which::All, nodes, 4);
    assert_eq!((again.queued, again.busy, again.late), (0, 2, 0));
    assert_eq!(poll(board, machine, 1) + poll(board, machine, 2), 2);
    assert_eq!(ran(), [(1, 4), (2, 4)], "and not the calling one");
    let mask: MaskStore<{ words(64) }> = MaskStore::new();
    for number in [0, 2, 3, 5] {
        mask.get_mut().insert(cpu(number));
    }
    let report = machine.call_mask(Which::Only(mask.get()), nodes, 6);
    assert_eq!((report.queued, report.offline, report.unknown), (2, 1, 1));
    assert_eq!(
        ran(),
        [(0, 6)],
        "the calling one is in the mask, and runs its own"
    );
    board.runs.store(2, Ordering::Relaxed);
    let report = machine.call_mask_and_wait(Which::Only(mask.get()), nodes, 8);
    assert_eq!((report.queued, report.busy, report.late), (1, 1, 0));
    assert_eq!(
        ran(),
        [(0, 8), (2, 6)],
        "the busy one is waited for as well"
    );
    let report = machine.call_mask_and_wait(Which::All, nodes, 9);
    assert_eq!(
        (report.queued, report.late),
        (2, 1),
        "CPU 1 does not answer"
    );
}

/// Each accepted call has one set of events, in order, with the place where it was made.
#[test]
fn trace_of_a_call_is_whole_and_in_order() {
    static RING: Ring<2, 64> = Ring::new();
    static STORE: Store<2, { words(2) }, 0> = Store::new();
    static QUEUES: [CallQueue; 2] = [const { CallQueue::new() }; 2];
    static BOARD: Board = Board::new();
    static NODE: Call = Call::new(|_, _| {});
    let recorder = RING.with_clock(|| 3, || CpuId::new(0));
    let machine = Cpuhp::with_trace(&BOARD, recorder, &hp::TABLE, STORE.get()).with_calls(&QUEUES);
    assert_eq!(machine.adopt_boot_cpu(BootSteps::AlreadyDone), Ok(()));
    let mut cursor = RingCursor::default();
    assert_eq!(RING.drain(cpu(0), &mut cursor, |_| ()), 0);
    let line = line!() + 1;
    assert_eq!(machine.call(cpu(0), &NODE, 1), Ok(()));
    assert_eq!(BOARD.as_cpu(1, || machine.call(cpu(0), &NODE, 2)), Ok(()));
    assert_eq!(machine.call(cpu(0), &NODE, 3), Err(CallError::Busy));
    assert_eq!(machine.call(cpu(1), &NODE, 4), Err(CallError::Offline));
    assert_eq!(machine.poll_calls(cpu(0)), 1);
    let mut seen = Vec::new();
    let lost = RING.drain(cpu(0), &mut cursor, |event| {
        let What::Call(call) = event.what else {
            panic!("nothing else happened: {event:?}");
        };
        let site = call.site.expect("known");
        assert!(site.file().ends_with("calls.rs"), "{site}");
        assert_eq!(call.node, std::ptr::from_ref(&NODE).addr());
        seen.push((call.stage, call.turn, call.from.get(), site.line() - line));
    });
    let refused = CallStage::Refused;
    let right = [
        (CallStage::Queued, 0, 0, 0),
        (CallStage::Pushed(Ipi::Own), 0, 0, 0),
        (CallStage::Entry, 0, 0, 0),
        (CallStage::Exit, 0, 0, 0),
        (CallStage::Queued, 1, 1, 1),
        (CallStage::Pushed(Ipi::Sent), 1, 1, 1),
        (refused(CallError::Busy), 0, 0, 2),
        (refused(CallError::Offline), 0, 0, 3),
        (CallStage::Entry, 1, 1, 1),
        (CallStage::Exit, 1, 1, 1),
    ];
    assert_eq!((lost, &*seen), (0, right.as_slice()));
}
