//! The tables of the models, and steps that touch what the protocol has to hand over.

use core::task::Poll;

use cpuhp_core::{Ctx, Direction, StartStep, Step, StepError, StepResult, states};

use crate::world::{PerCpu, World, world};

/// What `stack` and `area` read while PREPARE is up.
const MADE: u32 = 1;
/// What `stack` reads once the AP has stood on it.
pub(crate) const USED: u32 = 2;
/// What `stack` and `area` read after PREPARE was undone.
const FREED: u32 = 3;

states! {
    /// Everything after `KICK` is parallel: an AP can be authorised to walk all of it by itself.
    pub(crate) mod hp {
        prepare { STACK = Step::new("stack:prepare").up(stack_up).down(stack_down).parallel(); }
        starting { LOCAL = StartStep::new("local:starting").up(local_up).down(local_down).parallel(); }
        online { WORK = Step::new("work:online").up(work_up).down(work_down).parallel(); }
    }
}

states! {
    /// As few states as possible: an AP that goes on by itself moves its state under the control
    /// CPU's eyes, and every value that may be read is an execution.
    pub(crate) mod lean {
        prepare { STACK = Step::new("stack:prepare").up(stack_up).down(stack_down).parallel(); }
        starting {}
        online { WORK = Step::new("work:online").up(lean_up).down(work_down).parallel(); }
    }
}

states! {
    /// The ONLINE step asks to be called again.
    pub(crate) mod pend {
        prepare { STACK = Step::new("stack:prepare").up(stack_up).down(stack_down).parallel(); }
        starting {}
        online { PEND = Step::new("pend:online").up(pend_up).parallel(); }
    }
}

states! {
    /// The last step answers what the plan says, and takes one CPU at a time.
    pub(crate) mod veto {
        prepare { STACK = Step::new("stack:prepare").up(stack_up).down(stack_down).parallel(); }
        starting { LOCAL = StartStep::new("local:starting").up(local_up).down(local_down).parallel(); }
        online {
            WORK = Step::new("work:online").up(work_up).down(work_down).parallel();
            VETO = Step::new("veto:online").up(veto_up).down(veto_down);
        }
    }
}

states! {
    /// One step, and room for one that is registered while the CPU is up.
    pub(crate) mod grow {
        prepare { STACK = Step::new("stack:prepare").up(stack_up).down(stack_down).parallel(); }
        starting {}
        online { BASE = Step::new("base:online").up(base_up).down(base_down).parallel(); } dynamic[1]
    }
}

/// What is registered in the room of [`grow`].
pub(crate) static GROWN: Step = Step::new("grown:online")
    .up(grown_up)
    .down(grown_down)
    .parallel();

fn with(c: &Ctx<'_>, act: impl FnOnce(&World, &PerCpu)) {
    let world = world();
    act(&world, world.on(c.cpu()));
}

fn stack_up(c: &Ctx<'_>) -> StepResult {
    with(c, |_, on| {
        assert!(!on.reaches.get(), "PREPARE up under a running CPU");
        on.stack.set(MADE);
        on.area.set(MADE);
    });
    Ok(())
}

fn stack_down(c: &Ctx<'_>) -> StepResult {
    with(c, |_, on| {
        assert!(
            !on.reaches.get(),
            "PREPARE down under a CPU that can reach it"
        );
        assert_eq!(on.local.get(), 0, "PREPARE down before STARTING was undone");
        on.stack.set(FREED);
        on.area.set(FREED);
    });
    Ok(())
}

fn local_up(c: &Ctx<'_>) -> Poll<()> {
    with(c, |_, on| {
        assert_eq!(on.area.get(), MADE, "STARTING without what PREPARE made");
        let _ = on.config.get();
        on.local.set(1);
    });
    Poll::Ready(())
}

fn local_down(c: &Ctx<'_>) -> Poll<()> {
    with(c, |_, on| on.local.set(0));
    Poll::Ready(())
}

fn work_up(c: &Ctx<'_>) -> StepResult {
    with(c, |_, on| {
        assert_eq!(on.local.get(), 1, "ONLINE without STARTING");
        on.work.set(on.task.get() + 1);
    });
    Ok(())
}

fn lean_up(c: &Ctx<'_>) -> StepResult {
    with(c, |_, on| {
        assert_eq!(on.area.get(), MADE, "ONLINE without what PREPARE made");
        on.work.set(on.task.get() + 1);
    });
    Ok(())
}

/// Does its work in two calls, which may be of two contexts.
fn pend_up(c: &Ctx<'_>) -> StepResult {
    let work = &world();
    let work = &work.on(c.cpu()).work;
    work.set(work.get() + 1);
    match work.get() {
        1 => Err(StepError::WOULD_BLOCK),
        2 => Ok(()),
        _ => panic!("called after it was done"),
    }
}

fn work_down(c: &Ctx<'_>) -> StepResult {
    with(c, |_, on| on.work.set(0));
    Ok(())
}

fn base_up(_: &Ctx<'_>) -> StepResult {
    Ok(())
}

fn base_down(_: &Ctx<'_>) -> StepResult {
    Ok(())
}

fn grown_up(c: &Ctx<'_>) -> StepResult {
    with(c, |_, on| on.work.set(on.task.get() + 1));
    veto(c, Direction::Up)
}

fn grown_down(c: &Ctx<'_>) -> StepResult {
    with(c, |_, on| on.work.set(0));
    Ok(())
}

fn veto_up(c: &Ctx<'_>) -> StepResult {
    veto(c, Direction::Up)
}

fn veto_down(c: &Ctx<'_>) -> StepResult {
    veto(c, Direction::Down)
}

/// Fails as planned, but never on the way back.
fn veto(c: &Ctx<'_>, half: Direction) -> StepResult {
    let plan = world().plan;
    match plan.fails {
        Some((dir, err)) if dir == half && c.cpu() == plan.fails_on && !c.is_rollback() => Err(err),
        _ => Ok(()),
    }
}
