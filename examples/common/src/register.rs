//! Scenario `register`: steps and instances come and go while CPUs are up, and fail on each CPU in turn.

mod item;
mod refusals;

use cpuhp_core::{Calls, CpuId, Direction, RegisterError, StateHandle, StateId, StepFailure};

use crate::check;
use crate::log::{Entry, Went};
use crate::machine::Machine;
use crate::registry::{dynamics, objects};
use crate::result::Stage;
use crate::steps::FAULT;
use crate::units::Unit;
use crate::violation::Violation;
use item::Item;

/// Runs it: with all CPUs online, then with CPUs in states of every section.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    stage.bring_all_up();
    if let Err(why) = stage.all_come().and_then(|()| stage.can_stop()) {
        return stage.refuse(why);
    }
    stage.scene.begin_window();
    let mut cases = every_item(stage);
    cases += refusals::run(stage);
    scatter(stage);
    cases += every_item(stage);
    for cpu in stage.others() {
        stage.expect_done(cpu, stage.hp().cpu_up(cpu));
    }
    check::all(stage.machine, stage.scene);
    stage.only_result(|line| line.number("cases", cases));
}

/// Sends the CPUs to states of every section.
fn scatter<M: Machine>(stage: &Stage<'_, M>) {
    let table = stage.scene.table;
    let kick = table.kick();
    let rests = [
        table.online(),
        StateId::OFFLINE,
        StateId::new(kick.get() - 1),
        table.ap_idle(),
        StateId::new(table.ap_idle().get() + 1),
        kick,
        StateId::new(1),
    ];
    for (cpu, rest) in stage.others().zip(rests.into_iter().cycle()) {
        stage.expect_done(cpu, stage.hp().drive(cpu, rest));
    }
    check::all(stage.machine, stage.scene);
}

/// Plays every step and instance there is; returns the number of cases.
fn every_item<M: Machine>(stage: &Stage<'_, M>) -> u32 {
    let mut cases = 0;
    for what in dynamics(stage.scene) {
        let item = Item::Step(what);
        if what.unit.is_some() {
            cases += play(stage, item);
            continue;
        }
        // A multi-instance state is only stored; its instances are what is called.
        clear_lists(stage);
        let handle = up(stage, item, Calls::Run);
        nothing_ran(stage);
        for object in objects()
            .into_iter()
            .filter(|one| one.unit.name() == what.name)
        {
            cases += play(stage, Item::Object(object));
        }
        clear_lists(stage);
        down(stage, item, handle, Calls::Run, 0);
        nothing_ran(stage);
        cases += 1;
    }
    for object in objects() {
        if stage.find(object.unit.name()).is_some() {
            cases += play(stage, Item::Object(object));
        }
    }
    cases
}

/// Plays one: it comes and goes, fails on each CPU in turn, and goes though a CPU complains.
fn play<M: Machine>(stage: &Stage<'_, M>, item: Item) -> u32 {
    let Some(unit) = item.unit() else { return 0 };
    let mut cases = 2;
    come_and_go(stage, item, unit);
    skip(stage, item, unit);
    if !unit.can_fail() {
        return cases;
    }
    let at = item.place(stage);
    for failing in past(stage, at) {
        cases += 1;
        fail(stage, item, unit, failing, None);
    }
    let (first, last) = (past(stage, at).next(), past(stage, at).last());
    if let (Some(first), Some(last)) = (first, last)
        && first != last
    {
        cases += 1;
        fail(stage, item, unit, last, Some(first));
    }
    if let Some(complaining) = last {
        cases += 1;
        go_all_the_same(stage, item, unit, complaining);
    }
    cases
}

/// Every CPU that is past the state, the driving one too.
fn past<M: Machine>(stage: &Stage<'_, M>, at: StateId) -> impl Iterator<Item = CpuId> {
    let is_past = move |cpu: &CpuId| stage.hp().state(*cpu).is_some_and(|state| state >= at);
    stage.scene.cpus().map(|(cpu, _)| cpu).filter(is_past)
}

/// It is called on every CPU that is past it and on no other; a walk takes it like any step; it goes, and
/// everything is as before.
fn come_and_go<M: Machine>(stage: &Stage<'_, M>, item: Item, unit: Unit) {
    let at = item.place(stage);
    clear_lists(stage);
    let handle = up(stage, item, Calls::Run);
    check_ran(stage, at, &[(unit, Direction::Up, Went::Well)]);
    check_sequence(stage, item, at, Direction::Up);
    check::all(stage.machine, stage.scene);
    walk_through(stage);
    if let Item::Object(object) = item {
        let again = stage.add(object, Calls::Run);
        expect(stage, again.err(), RegisterError::AlreadyLinked(at));
    }
    clear_lists(stage);
    down(stage, item, handle, Calls::Run, 0);
    check_ran(stage, at, &[(unit, Direction::Down, Went::Well)]);
    check_sequence(stage, item, at, Direction::Down);
    check::all(stage.machine, stage.scene);
    walk_through(stage);
    // What has gone cannot go again.
    clear_lists(stage);
    match (item, handle) {
        (Item::Step(what), Some(handle)) => {
            let again = stage.unregister(what, handle, Calls::Run);
            expect(stage, again.err(), RegisterError::Stale(handle));
        }
        (Item::Object(object), _) => {
            let again = stage.remove(object, Calls::Run);
            expect(stage, again.err(), RegisterError::NotLinked(at));
        }
        (Item::Step(_), None) => {}
    }
    nothing_ran(stage);
}

/// Moves a CPU through the whole table, down and up, as it is now.
fn walk_through<M: Machine>(stage: &Stage<'_, M>) {
    let (scene, top) = (stage.scene, stage.scene.order.top());
    let Some((cpu, log)) = stage.pick(0).and_then(|cpu| Some((cpu, scene.cpu(cpu)?))) else {
        return;
    };
    log.clear_list();
    stage.expect_done(cpu, stage.hp().cpu_down(cpu));
    check::list(scene, cpu, log, check::way(scene, top, 0));
    stage.expect_done(cpu, stage.hp().cpu_up(cpu));
    check::list(scene, cpu, log, check::way(scene, 0, top));
}

/// Without calls nothing runs; what its author did by other means is put into the logs by hand.
fn skip<M: Machine>(stage: &Stage<'_, M>, item: Item, unit: Unit) {
    let at = item.place(stage);
    clear_lists(stage);
    let handle = up(stage, item, Calls::Skip);
    nothing_ran(stage);
    past(stage, at)
        .filter_map(|cpu| stage.scene.cpu(cpu))
        .for_each(|log| log.pretend(unit, Direction::Up));
    check::all(stage.machine, stage.scene);
    down(stage, item, handle, Calls::Skip, 0);
    nothing_ran(stage);
    past(stage, at)
        .filter_map(|cpu| stage.scene.cpu(cpu))
        .for_each(|log| log.pretend(unit, Direction::Down));
    check::all(stage.machine, stage.scene);
}

/// It fails on one CPU: exactly those that did it undo it, in reverse, and nothing is left of it. The
/// undo may fail as well, on another CPU; both are reported.
fn fail<M: Machine>(
    stage: &Stage<'_, M>,
    item: Item,
    unit: Unit,
    failing: CpuId,
    undo_fails: Option<CpuId>,
) {
    let (scene, at) = (stage.scene, item.place(stage));
    clear_lists(stage);
    arm(stage, failing, 0, unit, Direction::Up);
    if let Some(cpu) = undo_fails {
        arm(stage, cpu, 1, unit, Direction::Down);
    }
    let result = item.up(stage, Calls::Run);
    disarm(stage);
    let (name, err) = (unit.name(), FAULT);
    let failure = StepFailure { at, name, err };
    let right = RegisterError::Failed {
        cpu: failing,
        first: failure,
        undo: undo_fails.map(|cpu| (cpu, failure)),
    };
    expect(stage, result.err(), right);
    let mut undone = None;
    for (cpu, log) in scene.cpus() {
        let is_past = stage.hp().state(cpu).is_some_and(|state| state >= at);
        let did_it = is_past && cpu != failing && (cpu < failing || item.is_parallel());
        let went = if undo_fails == Some(cpu) {
            Went::Wrong
        } else {
            Went::Well
        };
        let done = [
            (unit, Direction::Up, Went::Well),
            (unit, Direction::Down, went),
        ];
        let failed = [(unit, Direction::Up, Went::Wrong)];
        let expected: &[_] = match cpu {
            _ if cpu == failing => &failed,
            _ if did_it => &done,
            _ => &[],
        };
        // In reverse: the higher the CPU, the earlier its undo.
        let stamp = log.stamp();
        if did_it {
            if undone.is_some_and(|before| stamp > before) {
                scene.wrong(Violation::Order, cpu, stamp, undone.unwrap_or(0));
            }
            undone = Some(stamp);
        }
        check::list(scene, cpu, log, expected.iter().map(entry));
    }
    if item.is_there(stage) {
        scene.wrong(Violation::WrongState, failing, at.get(), 0u32);
    }
    check::all(stage.machine, scene);
}

/// A removal that began always succeeds: what a CPU says to it is counted.
fn go_all_the_same<M: Machine>(stage: &Stage<'_, M>, item: Item, unit: Unit, complaining: CpuId) {
    let handle = up(stage, item, Calls::Run);
    arm(stage, complaining, 0, unit, Direction::Down);
    down(stage, item, handle, Calls::Run, 1);
    disarm(stage);
    if item.is_there(stage) {
        let scene = stage.scene;
        scene.wrong(Violation::WrongState, complaining, 1u32, 0u32);
    }
    check::all(stage.machine, stage.scene);
}

// ---- parts

fn up<M: Machine>(stage: &Stage<'_, M>, item: Item, calls: Calls) -> Option<StateHandle> {
    let done = item.up(stage, calls);
    if done.is_err() || !item.is_there(stage) {
        let scene = stage.scene;
        scene.wrong(Violation::OperationFailed, stage.this_cpu(), 0u32, 1u32);
    }
    done.unwrap_or(None)
}

fn down<M: Machine>(
    stage: &Stage<'_, M>,
    item: Item,
    handle: Option<StateHandle>,
    calls: Calls,
    ignored: u32,
) {
    let done = item.down(stage, handle, calls);
    if done != Ok(ignored) || item.is_there(stage) {
        let scene = stage.scene;
        let found = done.unwrap_or(u32::MAX);
        scene.wrong(Violation::OperationFailed, stage.this_cpu(), found, ignored);
    }
}

fn arm<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId, which: usize, unit: Unit, dir: Direction) {
    if let Some(log) = stage.scene.cpu(cpu) {
        log.arm(which, unit, dir);
    }
}

fn disarm<M: Machine>(stage: &Stage<'_, M>) {
    stage.scene.cpus().for_each(|(_, log)| log.disarm());
}

fn clear_lists<M: Machine>(stage: &Stage<'_, M>) {
    stage.scene.cpus().for_each(|(_, log)| log.clear_list());
}

fn nothing_ran<M: Machine>(stage: &Stage<'_, M>) {
    for (cpu, log) in stage.scene.cpus() {
        check::list(stage.scene, cpu, log, core::iter::empty());
    }
}

fn entry(half: &(Unit, Direction, Went)) -> Entry {
    let (unit, dir, went) = *half;
    Entry { unit, dir, went }
}

/// Every CPU that is past the state ran exactly this, and no other CPU anything.
fn check_ran<M: Machine>(stage: &Stage<'_, M>, at: StateId, halves: &[(Unit, Direction, Went)]) {
    for (cpu, log) in stage.scene.cpus() {
        let is_past = stage.hp().state(cpu).is_some_and(|state| state >= at);
        let expected = if is_past { halves } else { &[] };
        check::list(stage.scene, cpu, log, expected.iter().map(entry));
    }
}

/// One CPU at a time goes in ascending order up, in descending order down.
fn check_sequence<M: Machine>(stage: &Stage<'_, M>, item: Item, at: StateId, dir: Direction) {
    if item.is_parallel() {
        return;
    }
    let scene = stage.scene;
    let stamps = || past(stage, at).filter_map(|cpu| Some((cpu, scene.cpu(cpu)?.stamp())));
    for ((_, before), (cpu, after)) in stamps().zip(stamps().skip(1)) {
        let is_right = match dir {
            Direction::Up => before < after,
            Direction::Down => before > after,
        };
        if !is_right {
            scene.wrong(Violation::Order, cpu, after, before);
        }
    }
}

/// The registration was refused, or failed, with exactly this error.
fn expect<M: Machine>(stage: &Stage<'_, M>, found: Option<RegisterError>, right: RegisterError) {
    if found != Some(right) {
        let line = format_args!("found {found:?}, expected {right:?}");
        stage.machine.print(format_args!("wrong answer: {line}"));
        let scene = stage.scene;
        scene.wrong(Violation::WrongError, stage.this_cpu(), 0u32, 1u32);
    }
}
