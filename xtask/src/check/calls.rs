//! Checks of what is reported of calls between CPUs: each accepted one was run, once.

use super::fields::{exactly, number};
use crate::plan::{Plan, Scenario};
use crate::record::Outcome;

/// Rounds of `ipi` that is not told a number.
const ROUNDS: u64 = 5;

/// From every CPU to every other one, in each round; times in order, and an IPI for some.
pub(super) fn check_ipi(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let cpus = u64::from(plan.served());
    let rounds = plan.number("rounds").unwrap_or(ROUNDS);
    let calls = rounds * cpus * (cpus - 1);
    let mut wrong = exactly(
        plan,
        outcome,
        &[("calls", calls), ("lost", 0), ("duplicated", 0)],
    );
    let (median, p99) = (
        number(outcome, "queue_to_entry_ns_median"),
        number(outcome, "queue_to_entry_ns_p99"),
    );
    // A clock that only goes on while a CPU sleeps may show no time at all.
    let shows_time = plan.is_clock_real() && calls > 0;
    if median > p99 || (shows_time && median == 0) {
        wrong.push(format!(
            "half of the calls within {median} ns, 99 of 100 within {p99} ns"
        ));
    }
    // Those that give the order to call are calls as well, and may need one each.
    let (ipis, most) = (number(outcome, "ipis"), calls + rounds * (cpus - 1));
    if ipis > most || (calls > 0 && ipis == 0) {
        wrong.push(format!("{ipis} IPIs for {calls} calls"));
    }
    wrong
}

/// None is lost, none runs twice, and there are some unless nobody asked for them.
pub(super) fn check_storm(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    debug_assert_eq!(plan.scenario, Scenario::Storm);
    let mut wrong = exactly(plan, outcome, &[("lost", 0), ("duplicated", 0)]);
    let calls = number(outcome, "calls");
    let least = match plan.number("calls") {
        Some(0) => 0,
        _ => number(outcome, "ops"),
    };
    if calls < least || (plan.number("calls") == Some(0) && calls > 0) {
        wrong.push(format!("{calls} calls, expected at least {least}"));
    }
    wrong
}
