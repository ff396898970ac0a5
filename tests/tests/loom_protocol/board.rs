//! The modelled machine: a [`Platform`] and a [`Trace`] over the world of the execution.

use cpuhp_core::{
    Confirm, CpuId, Cpuhp, KickError, KickErrorKind, KickOutcome, Platform, StepEvent, StepResult,
    Table, Tag, Trace, Who,
};
use loom::thread;

use crate::ap;
use crate::world::{Event, Kick, Patience, World, world};

/// The machine as one CPU sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Board {
    pub(crate) cpu: CpuId,
    pub(crate) context: u32,
    pub(crate) table: &'static Table,
}

/// The hotplug under test.
pub(crate) type Hotplug<'w> = Cpuhp<'w, Board, Log>;

/// Returns the view of `cpu`; every thread builds its own over the shared storage.
pub(crate) fn hotplug<'w>(world: &'w World, table: &'static Table, cpu: CpuId) -> Hotplug<'w> {
    hotplug_in(world, table, cpu, cpu.get())
}

/// Returns the view of one of several contexts of `cpu`.
pub(crate) fn hotplug_in<'w>(
    world: &'w World,
    table: &'static Table,
    cpu: CpuId,
    context: u32,
) -> Hotplug<'w> {
    let board = Board {
        cpu,
        context,
        table,
    };
    Cpuhp::with_trace(board, Log, table, world.storage())
}

impl Platform for Board {
    fn now(&self) -> u64 {
        world().on(self.cpu).clock.get()
    }

    fn this_cpu(&self) -> CpuId {
        self.cpu
    }

    fn context(&self) -> u32 {
        self.context
    }

    fn kick(&self, cpu: CpuId, _epoch: u16) -> Result<(), KickError> {
        let world = world();
        let on = world.on(cpu);
        let how = world.kick.get();
        if how == Kick::Refused {
            return Err(KickError::with_code(KickErrorKind::Denied, -3));
        }
        world.note(Event::Kick(cpu));
        if how == Kick::Lost {
            return Ok(());
        }
        assert!(!on.reaches.get(), "{cpu} was kicked while it ran");
        on.set_power(Confirm::Running, world.plan.firmware);
        match how {
            Kick::Ordered | Kick::Stale => ap::spawn(cpu, self.table),
            Kick::Early | Kick::Lost | Kick::Refused => on.wake(world.plan.family),
        }
        Ok(())
    }

    fn confirm(&self, cpu: CpuId) -> Confirm {
        let world = world();
        world.on(cpu).power(world.plan.firmware)
    }

    fn entry_hint(&self, _cpu: CpuId) -> Option<u8> {
        world().plan.hint
    }

    fn kick_done(&self, cpu: CpuId, how: KickOutcome) {
        world().note(Event::KickDone(cpu, how == KickOutcome::Arrived));
    }

    fn wait(&self, _who: Who, deadline: u64) {
        world().wait(self.cpu, deadline);
    }

    fn relax(&self) {
        thread::yield_now();
    }

    fn notify_ap(&self, cpu: CpuId) {
        let world = world();
        world.on(cpu).wake(world.plan.family);
    }

    fn notify_ctl(&self, cpu: CpuId) {
        let world = world();
        world.on(cpu).has_told.set(true);
        world.on(crate::world::BOOT).wake(world.plan.family);
    }

    fn alive_timeout(&self) -> u64 {
        let world = world();
        world.within(world.plan.alive)
    }

    fn step_timeout(&self) -> u64 {
        let world = world();
        world.within(world.plan.step)
    }

    fn die_timeout(&self) -> u64 {
        let world = world();
        world.within(world.plan.die)
    }

    fn ap_patience(&self) -> u64 {
        let world = world();
        // Once is enough to lose a race; a CPU that never has patience comes never.
        if world.plan.patience == Patience::LostOnce && !world.on(self.cpu).has_parked.get() {
            0
        } else {
            u64::MAX
        }
    }
}

/// Writes every call into the world's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log;

impl Trace for Log {
    const ON: bool = true;

    fn enter(&self, e: &StepEvent) {
        world().note(Event::Call(e.cpu, e.on, e.state, e.dir));
    }

    fn exit(&self, e: &StepEvent, result: StepResult) {
        if result.is_ok() {
            world().note(Event::Done(e.cpu, e.state, e.dir));
        }
    }

    fn edge(&self, cpu: CpuId, _from: Tag, to: Tag) {
        let world = world();
        let on = world.on(cpu);
        on.has_parked.set(on.has_parked.get() || to == Tag::Parked);
        if matches!(to, Tag::Parked | Tag::Gone) {
            on.has_told.set(false);
        }
    }
}
