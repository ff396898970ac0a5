//! A machine whose CPUs rest in all kinds of states, and registrations on it.

use cpuhp_core::{Calls, CpuId, DynRange, RegisterError, StateHandle, StateId, Step, Which};

use crate::fake::Machine;
use crate::full::{EMPTY, IDLE, KICK, ONLINE, empty};
use crate::shape::{Section, Shape, State};
use crate::world::{World, with};

/// How many CPUs it has.
pub const CPUS: u32 = 8;
/// The calling one.
pub const BOOT: u32 = 3;
/// Off, in PREPARE, at KICK, the calling one, at AP_IDLE, partly and wholly online.
pub const RESTS: [u16; CPUS as usize] = [0, 4, KICK, ONLINE, IDLE, 12, ONLINE, 14];

/// Names a CPU.
pub fn cpu(number: u32) -> CpuId {
    CpuId::new(number)
}

/// A machine whose CPUs rest at [`RESTS`].
///
/// # Panics
/// If they do not.
pub fn scattered() -> &'static Machine {
    let hp = empty(CPUS as usize, BOOT);
    for (number, at) in (0..).zip(RESTS) {
        assert_eq!(hp.drive(cpu(number), StateId::new(at)), Ok(()));
    }
    with(World::poll_all);
    with(World::take_log);
    hp
}

/// The shape with a step registered at `at`.
///
/// # Panics
/// If the table has no such state.
pub fn shape_with(at: u16, name: &'static str) -> &'static Shape {
    let mut states = EMPTY.states.to_vec();
    let section = if at < KICK {
        Section::Prepare
    } else {
        Section::Online
    };
    states[usize::from(at)] = State::new(name, section, "ud");
    Box::leak(Box::new(Shape {
        states: states.leak(),
        ..EMPTY
    }))
}

/// The CPUs that are past `at`, ascending.
pub fn past(at: u16) -> Vec<u32> {
    let all = (0..).zip(RESTS).filter(|(_, rest)| *rest >= at);
    all.map(|(number, _)| number).collect()
}

/// Registers `step`, which gets the number `at`.
///
/// # Errors
/// What the core answers.
pub fn register(
    hp: &Machine,
    range: DynRange,
    at: u16,
    step: &'static Step,
) -> Result<StateHandle, RegisterError> {
    with(|w| w.reshape(shape_with(at, "dyn:one")));
    let result = with(|w| w.registering(|| hp.register(range, step, Calls::Run)));
    if result.is_err() {
        with(|w| w.reshape(&EMPTY));
    }
    result
}

/// Removes it.
///
/// # Errors
/// What the core answers.
pub fn unregister(hp: &Machine, handle: StateHandle) -> Result<u32, RegisterError> {
    let result = with(|w| w.registering(|| hp.unregister(handle, Calls::Run)));
    if result.is_ok() {
        with(|w| w.reshape(&EMPTY));
    }
    result
}

/// All CPUs can be driven both ways.
///
/// # Panics
/// If they cannot.
pub fn cycle(hp: &Machine) {
    assert!(hp.bring_up(Which::All).is_ok_and(|r| r.is_complete()));
    assert!(hp.take_down(Which::All).is_ok_and(|r| r.is_complete()));
}
