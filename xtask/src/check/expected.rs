//! How many cases there are: counted from what each scenario is said to try, not from what a kernel printed.

use crate::plan::Plan;

/// Fields of a result and their numbers.
type Fields<const N: usize> = [(&'static str, u64); N];

/// Every legal pair of states, and every legal state with every one that is none.
pub(super) fn partial(plan: &Plan) -> Fields<2> {
    // OFFLINE, two steps and KICK; AP_IDLE, two steps, the late one and ONLINE; two inside STARTING.
    let extra = steps(plan);
    let legal = 9 + 2 * extra;
    let inside = 2 + extra;
    unless_alone(
        plan,
        [("pairs", legal * legal), ("refused", legal * inside)],
    )
}

/// A fault in every half that can fail, by itself and by the core, alone and with each half that the way
/// back passes.
pub(super) fn fault(plan: &Plan) -> Fields<2> {
    // Halves of the states that can fail, in their order: two instances in each multi-instance state.
    // percpu, stack, pool, cache, slab; sched, work, queue, stat, probe, active
    let states = [1, 1, 2, 1, 1, 1, 1, 2, 1, 2, 1];
    let halves: u64 = states.iter().sum();
    let pairs = halves * (halves - 1) / 2;
    // The core does not call the state at all; what is behind or before the whole of it is undone.
    let count = states.len() as u64;
    let before = |at: usize| states[..at].iter().sum::<u64>();
    let behind = |at: usize| states[at + 1..].iter().sum::<u64>();
    let by_core: u64 = (0..states.len()).map(|at| before(at) + behind(at)).sum();
    let cases = 2 * (halves + pairs) + 2 * count + by_core;
    unless_alone(
        plan,
        [("cases", cases), ("rolled_back", 2 * (halves + count))],
    )
}

/// Steps and instances come and go, and fail on each CPU in turn: with all CPUs online, then with CPUs
/// scattered over the sections.
pub(super) fn register(plan: &Plan) -> Fields<1> {
    let cpus = u64::from(plan.served());
    // Registered and removed with calls and without; a failure on each CPU, one with a failing undo if
    // there is another CPU to fail, and one removal that meets an error.
    let can_fail = |past: u64| 2 + past + u64::from(past > 1) + 1;
    // Instances in STARTING, which cannot fail, and states that only have instances.
    let others = 2 * 2 + 2;
    let online = 13 * can_fail(cpus) + others;
    // online, OFFLINE, prepared, AP_IDLE, the first step of ONLINE, KICK, the first step of PREPARE.
    let rests = |wanted: &[u64]| {
        let others = (0..cpus.saturating_sub(1)).filter(|at| wanted.contains(&(at % 7)));
        1 + others.count() as u64
    };
    let scattered = 7 * can_fail(rests(&[0, 2, 3, 4, 5])) + 6 * can_fail(rests(&[0])) + others;
    let refusals = 7;
    [("cases", online + refusals + scattered)]
}

/// In every second round one CPU is off before, if another is left to freeze.
pub(super) fn suspend(plan: &Plan) -> Fields<3> {
    let rounds = plan.number("rounds").unwrap_or(10);
    let others = u64::from(plan.served().saturating_sub(1));
    let off = if others > 1 { rounds / 2 } else { 0 };
    let moved = rounds * others - off;
    let aborted = if others > 0 { rounds } else { 0 };
    [("frozen", moved), ("thawed", moved), ("aborted", aborted)]
}

/// From none to two more than there are, each from one CPU and from there.
pub(super) fn limit(plan: &Plan) -> Fields<2> {
    let cpus = u64::from(plan.served());
    [("limits", 2 * (cpus + 3)), ("most", cpus)]
}

/// One to four disablements: four questions at each, taken and given back, and four about a CPU that
/// never stops.
pub(super) fn disable(plan: &Plan) -> Fields<2> {
    let questions: u64 = (1..=4).map(|deepest| 2 * deepest * 4).sum();
    unless_alone(plan, [("nested", 4), ("refused", questions + 4)])
}

/// Every state a CPU can be sent to and five words more; and the bad ones.
pub(super) fn control(plan: &Plan) -> Fields<2> {
    // OFFLINE, three steps and five slots of PREPARE; three steps, four slots, the late step and ONLINE.
    let states = 9 + 9 + 2 * steps(plan);
    unless_alone(plan, [("good", states + 5), ("bad", 26 + 4 + 4)])
}

/// A machine with one CPU has nobody to try it on.
fn unless_alone<const N: usize>(plan: &Plan, fields: Fields<N>) -> Fields<N> {
    fields.map(|(name, number)| (name, if plan.served() > 1 { number } else { 0 }))
}

fn steps(plan: &Plan) -> u64 {
    plan.number("steps").unwrap_or(0)
}
