//! Every operation of the core once, so that none of them is dropped: everything but the control interface and the
//! trace ring.

use core::hint::black_box;
use core::task::Poll;

use cpuhp_core::{
    BootSteps, BulkOp, CpuId, CpuOp, Cpuhp, FaultAt, OpError, OpFlags, Policy, StateId, Storage,
    Which, WriteGuard,
};

use crate::machine::{Bare, CHOSEN, LOCK, Machine, PROBE_STORE, hp};
use crate::registration;
use crate::tracer::{TRACER, Tracer};

pub(crate) type Guard<'h> = WriteGuard<'h, 'static, Bare, Tracer>;

/// Calls everything a kernel can call on a [`Cpuhp`]; one function per group, so that the sizes can be told apart.
pub(crate) fn call_all(word: usize) {
    let machine = Cpuhp::with_trace(Bare, TRACER, &hp::TABLE, storage(word));
    let cpu = CpuId::new(word as u32);
    boot_cpu(&machine, word);
    one_cpu(&machine, cpu);
    many_cpus(&machine, word);
    whole_machine(&machine);
    registration::by_one_call(&machine, word);
    if let Ok(guard) = machine.try_write() {
        one_by_hand(&guard, cpu);
        many_by_hand(&guard);
        registration::by_hand(&guard, word);
    }
    lock(&machine);
    ap_side(&machine, cpu);
    look(&machine, cpu);
}

/// Storage of a kernel that does not allocate it, and of one that does.
fn storage(word: usize) -> Storage<'static> {
    let fixed = PROBE_STORE.get();
    let (records, masks, slots) = black_box((&[], &[], &[]));
    let allocated = Storage::from_parts(records, masks, slots, &LOCK);
    let allocated = allocated.map_or(fixed, |storage| storage.with_readers(black_box(&[])));
    if word == 0 { fixed } else { allocated }
}

/// What a caller does with an answer here: as little as it can.
pub(crate) fn keep(answer: bool) {
    black_box(answer);
}

#[inline(never)]
fn boot_cpu(machine: &Machine, word: usize) {
    let steps = if word == 0 {
        BootSteps::Run
    } else {
        BootSteps::AlreadyDone
    };
    keep(machine.adopt_boot_cpu(steps).is_ok());
}

#[inline(never)]
fn one_cpu(machine: &Machine, cpu: CpuId) {
    keep(machine.cpu_up(cpu).is_ok());
    keep(machine.drive(cpu, hp::FIRST).is_ok());
    keep(machine.cpu_down(cpu).is_ok());
}

#[inline(never)]
fn many_cpus(machine: &Machine, word: usize) {
    let cpu = CpuId::new(word as u32);
    keep(CHOSEN.get_mut().insert(cpu));
    let chosen = Which::Only(CHOSEN.get());
    keep(machine.bring_up(Which::All).is_ok());
    keep(machine.bring_up_to(chosen, cpu.get()).is_ok());
    keep(machine.take_down(chosen).is_ok());
    let policy = if word == 0 {
        Policy::Force
    } else {
        Policy::AllOrNothing
    };
    keep(machine.take_down_with(Which::All, policy).is_ok());
    CHOSEN.get_mut().remove(cpu);
    CHOSEN.get_mut().clear();
}

#[inline(never)]
fn whole_machine(machine: &Machine) {
    keep(machine.freeze().is_ok());
    keep(machine.thaw().is_ok());
    keep(machine.shutdown_nonboot().is_ok());
    keep(machine.survivors().next().is_some());
}

#[inline(never)]
fn one_by_hand(guard: &Guard<'_>, cpu: CpuId) {
    poll_op(guard, guard.op(cpu, hp::TABLE.online(), OpFlags::AUTO));
    poll_op(guard, guard.op(cpu, hp::OFFLINE, OpFlags::FORCE));
    poll_op(guard, guard.resume(cpu));
    keep(guard.arm_fault(cpu, hp::FIRST, FaultAt::Either).is_ok());
    keep(guard.disarm_fault(cpu).is_ok());
}

#[inline(never)]
fn poll_op(guard: &Guard<'_>, begun: Result<CpuOp, OpError>) {
    if let Ok(mut op) = begun {
        keep(op.poll(guard).is_ready());
        keep(op.deadline(guard) == 0);
    }
}

#[inline(never)]
fn many_by_hand(guard: &Guard<'_>) {
    poll_bulk(guard, guard.bring_up(Which::All));
    poll_bulk(guard, guard.bring_up_to(Which::All, 5));
    poll_bulk(guard, guard.take_down(Which::All));
    poll_bulk(
        guard,
        guard.take_down_with(Which::All, Policy::AllOrNothing),
    );
}

#[inline(never)]
fn poll_bulk(guard: &Guard<'_>, begun: Result<BulkOp, OpError>) {
    if let Ok(mut op) = begun {
        keep(op.poll(guard).is_ready());
        keep(op.awaited(guard).1 == 0);
    }
}

#[inline(never)]
fn lock(machine: &Machine) {
    if let Ok(reading) = machine.try_read() {
        black_box(reading.stable());
    }
    let Ok(mut writing) = machine.begin_write() else {
        return;
    };
    if let Poll::Ready(guard) = writing.poll() {
        black_box(guard.stable());
        keep(guard.disable().is_ok());
    }
}

#[inline(never)]
fn ap_side(machine: &Machine, cpu: CpuId) {
    let _ = black_box(machine.ap_enter(cpu, None));
    let _ = black_box(machine.poll_ap(cpu));
    keep(machine.has_work(cpu));
    keep(machine.parked_poll(cpu));
    let _ = black_box(machine.ap_run(cpu));
}

#[inline(never)]
fn look(machine: &Machine, cpu: CpuId) {
    keep(machine.state(cpu) == machine.target(cpu));
    keep(machine.last_error(cpu).is_some());
    keep(machine.tag(cpu).is_some() && machine.armed_fault(cpu).is_some());
    keep(machine.ignored(cpu) == Some(0));
    keep(machine.present().count() == machine.available().count());
    keep(machine.dying().is_empty() && machine.frozen().contains(cpu));
    black_box(machine.online().iter().next());
    let at = StateId::new(cpu.get() as u16);
    keep(machine.name(at).is_empty() || machine.table().is_target(at));
    black_box(machine.table().find(machine.table().name(at)));
}
