//! A CPU of the model: what entry code, idle loop and rest do around the core's side of an AP.

use cpuhp_core::{ApExit, ApNext, Confirm, CpuId, Misuse, Platform, Table, Tag, Who};
use loom::thread;

use crate::board::{Hotplug, hotplug};
use crate::check;
use crate::steps::USED;
use crate::world::{Event, Family, Firmware, Kick, World, world};

/// Starts the thread that is `cpu`.
pub(crate) fn spawn(cpu: CpuId, table: &'static Table) {
    let world = world();
    world.live.set(world.live.get() + 1);
    let thread = thread::spawn(move || main(cpu, table)).thread().clone();
    world.on(cpu).runs_on(thread);
}

fn main(cpu: CpuId, table: &'static Table) {
    let world = world();
    let hp = hotplug(&world, table, cpu);
    if world.kick.get() == Kick::Stale {
        let next = hp.ap_enter(cpu, Some(1));
        assert_eq!(
            next,
            ApNext::Refused(Misuse::Stale),
            "a stale start was let in (P18)"
        );
    }
    loop {
        enter(&world, cpu);
        let exit = match world.plan.family {
            Family::Blocking => Some(hp.ap_run(cpu)),
            Family::Spinning => spin(&world, &hp, cpu),
        };
        match exit {
            None => break,
            Some(ApExit::Off) => {
                rest(&world, cpu, Confirm::Off);
                break;
            }
            Some(ApExit::Park) => {
                rest(&world, cpu, Confirm::Parked);
                if !wait_parked(&world, &hp, cpu) {
                    break;
                }
                world
                    .on(cpu)
                    .set_power(Confirm::Running, world.plan.firmware);
            }
            Some(ApExit::Stale) => panic!("the start of the last kick was refused"),
        }
    }
    world.on(cpu).ends_here();
    check::leave(&world, table);
}

/// Entry code: stands on what PREPARE made before it knows whether it is wanted.
fn enter(world: &World, cpu: CpuId) {
    world.note(Event::Enter(cpu));
    if world.kick.get() != Kick::Early {
        world.on(cpu).stack.set(USED);
    }
}

/// Leaves the stack, and tells the hardware.
fn rest(world: &World, cpu: CpuId, how: Confirm) {
    let on = world.on(cpu);
    if world.plan.firmware == Firmware::Edge && world.kick.get() != Kick::Early {
        assert_eq!(on.stack.get(), USED, "the stack went away under the CPU");
    }
    world.note(Event::Rest(cpu, how));
    on.set_power(how, world.plan.firmware);
    // Hardware tells nobody; a control CPU that was told of the last word polls it from then on.
    if on.has_told.get() {
        world.on(crate::world::BOOT).wake(world.plan.family);
    }
}

/// Waits until wanted again; `false` if the model is over.
fn wait_parked(world: &World, hp: &Hotplug<'_>, cpu: CpuId) -> bool {
    while !hp.parked_poll(cpu) {
        if ends(world) {
            return false;
        }
        hp.platform().wait(Who::Ap(cpu), u64::MAX);
    }
    true
}

fn ends(world: &World) -> bool {
    world.over.get() || world.cut.get()
}

/// `Cpuhp::ap_run` as a loop that gives up: `None` if it did.
fn spin(world: &World, hp: &Hotplug<'_>, cpu: CpuId) -> Option<ApExit> {
    let hint = hp.platform().entry_hint(cpu);
    let mut next = hp.ap_enter(cpu, hint);
    loop {
        match next {
            ApNext::Off => return Some(ApExit::Off),
            ApNext::Park => return Some(ApExit::Park),
            ApNext::Spin | ApNext::Wait | ApNext::Idle => {}
            ApNext::Refused(Misuse::Stale) => return Some(ApExit::Stale),
            ApNext::Refused(why) => panic!("{cpu} was refused: {why:?}"),
        }
        if ends(world) {
            return None;
        }
        hp.platform().wait(Who::Ap(cpu), u64::MAX);
        next = if hp.tag(cpu) == Some(Tag::Dead) {
            hp.ap_enter(cpu, hint)
        } else {
            hp.poll_ap(cpu)
        };
    }
}
