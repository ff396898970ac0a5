//! The example of README.md, compiled: what stands between the two markers is what stands there.
#![cfg(all(not(loom), target_arch = "x86_64"))]

use core::task::Poll;

use cpuhp_core::{
    BootSteps, CpuId, Cpuhp, Ctx, OpError, StartStep, Step, StepResult, Store, Which, states, words,
};
use cpuhp_x86::X86 as Board;
use spin::Once;

fn stack_alloc(_: &Ctx<'_>) -> StepResult {
    Ok(())
}
fn stack_free(_: &Ctx<'_>) -> StepResult {
    Ok(())
}
fn timer_on(_: &Ctx<'_>) -> Poll<()> {
    Poll::Ready(())
}
fn timer_off(_: &Ctx<'_>) -> Poll<()> {
    Poll::Ready(())
}
fn sched_add(_: &Ctx<'_>) -> StepResult {
    Ok(())
}
fn sched_remove(_: &Ctx<'_>) -> StepResult {
    Ok(())
}

#[rustfmt::skip]
mod example {
use super::*;
// BEGIN
states! { pub mod hp {
    prepare  { STACK = Step::new("stack:prepare").up(stack_alloc).down(stack_free).parallel(); }
    starting { TIMER = StartStep::new("timer:starting").up(timer_on).down(timer_off).parallel(); }
    online   { SCHED = Step::new("sched:online").up(sched_add).down(sched_remove); }
} }
static STORE: Store<8, { words(8) }, { hp::NDYN }> = Store::new();
static HP: Once<Cpuhp<'static, &'static Board>> = Once::new();

fn boot_main(board: &'static Board) -> Result<(), OpError> {
    let hp = HP.call_once(|| Cpuhp::new(board, &hp::TABLE, STORE.get()));
    hp.adopt_boot_cpu(BootSteps::Run)?;
    println!("{}", hp.bring_up(Which::All)?); // in parallel: "7 done"
    hp.cpu_down(CpuId::new(3))
}
fn ap_main(cpu: CpuId) -> ! { // the backend's entry code calls it, on the CPU's own stack
    let hp = HP.wait();
    let exit = hp.ap_run(cpu); // everything this CPU ever does for hotplug
    hp.platform().rest(exit.into())
}
// END

#[test]
fn has_the_states_it_declares() {
    assert_eq!(hp::TABLE.name(hp::SCHED), "sched:online");
    assert_eq!((hp::STACK.get(), hp::TIMER.get(), hp::SCHED.get()), (1, 3, 5));
    // Compiled, not run: both need a machine.
    let _: fn(&'static Board) -> Result<(), OpError> = boot_main;
    let _: fn(CpuId) -> ! = ap_main;
}
}

/// Lines between two lines that hold `from` and `to` alone.
fn between<'t>(text: &'t str, from: &str, to: &str) -> Vec<&'t str> {
    let after = text.lines().skip_while(|line| line.trim() != from).skip(1);
    after.take_while(|line| line.trim() != to).collect()
}

#[test]
fn readme_shows_what_is_compiled_in_at_most_20_lines() {
    let shown = between(include_str!("../../README.md"), "```rust", "```");
    let compiled = between(include_str!("readme.rs"), "// BEGIN", "// END");
    assert!(
        !shown.is_empty() && shown.len() <= 20,
        "{} lines",
        shown.len()
    );
    assert_eq!(shown, compiled);
}
