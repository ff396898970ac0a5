use std::sync::Mutex;
use std::vec;
use std::vec::Vec;

use super::*;

const XAPIC_ON: u64 = 0xfee0_0000 | EN;
const X2APIC_ON: u64 = XAPIC_ON | EXTD;
const OFF: u64 = 0xfee0_0000;

/// One write, in the order made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Did {
    Base(u64),
    Mmio(Reg, u32),
    Msr(Reg, u64),
    Fence,
}
use Did::{Base, Fence, Mmio, Msr};

/// A local APIC with the processor's rules: what would fault there fails the test here.
struct Fake(Mutex<State>);

struct State {
    base: u64,
    /// Reads of the ICR that still say "pending".
    busy: u32,
    errors: u32,
    latched: u32,
    svr: u32,
    /// Local vector table entries that something left open.
    open: Vec<Reg>,
    interrupts: bool,
    did: Vec<Did>,
}

impl Fake {
    fn new(base: u64) -> Apic<Self> {
        Apic::new(Self(Mutex::new(State {
            base,
            busy: 0,
            errors: 0,
            latched: 0,
            svr: 0xff,
            open: Vec::new(),
            interrupts: true,
            did: Vec::new(),
        })))
    }
}

impl Apic<Fake> {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.regs.0.lock().unwrap()
    }

    /// What was written since the last call.
    fn did(&self) -> Vec<Did> {
        std::mem::take(&mut self.state().did)
    }
}

impl State {
    fn read(&self, reg: Reg) -> u32 {
        if self.open.contains(&reg) {
            return 0xef;
        }
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the local vector table entries"
        )]
        match reg {
            Reg::Version => 0x0006_0015, // seven entries, CMCI included
            Reg::Svr => self.svr,
            Reg::Esr => self.latched,
            _ => LVT_MASKED,
        }
    }

    fn write(&mut self, reg: Reg, value: u32) {
        if reg == Reg::Svr {
            self.svr = value;
        } else if reg == Reg::Esr {
            self.latched = std::mem::take(&mut self.errors);
        }
    }
}

impl Registers for Fake {
    fn apic_base(&self) -> u64 {
        self.0.lock().unwrap().base
    }

    fn set_apic_base(&self, value: u64) {
        let mut state = self.0.lock().unwrap();
        let mode = |value: u64| value & (EN | EXTD);
        let legal = match (mode(state.base), mode(value)) {
            (_, EXTD) => false,      // reserved pair
            (now, 0) => now != EXTD, // off, from anywhere
            (0, to) => to == EN,     // from off to xAPIC only
            (now, EN) => now == EN,  // x2APIC cannot go back directly
            _ => true,
        };
        assert!(legal, "#GP: {:#x} to {value:#x}", state.base);
        state.base = value;
        state.did.push(Base(value));
    }

    fn read(&self, reg: Reg) -> u32 {
        let mut state = self.0.lock().unwrap();
        assert_eq!(state.base & (EN | EXTD), EN, "MMIO in the wrong mode");
        if reg == Reg::IcrLow && state.busy > 0 {
            state.busy -= 1;
            return ICR_PENDING;
        }
        state.read(reg) & if reg == Reg::IcrLow { !ICR_PENDING } else { !0 }
    }

    fn write(&self, reg: Reg, value: u32) {
        let mut state = self.0.lock().unwrap();
        assert_eq!(state.base & (EN | EXTD), EN, "MMIO in the wrong mode");
        if matches!(reg, Reg::IcrLow | Reg::IcrHigh) {
            assert!(!state.interrupts, "a handler could send in between");
            assert_eq!(state.busy, 0, "the APIC still delivers");
        }
        state.write(reg, value);
        state.did.push(Mmio(reg, value));
    }

    fn read_msr(&self, reg: Reg) -> u32 {
        let state = self.0.lock().unwrap();
        assert_eq!(
            state.base & (EN | EXTD),
            EN | EXTD,
            "#GP: MSR in xAPIC mode"
        );
        state.read(reg)
    }

    fn write_msr(&self, reg: Reg, value: u64) {
        let mut state = self.0.lock().unwrap();
        assert_eq!(
            state.base & (EN | EXTD),
            EN | EXTD,
            "#GP: MSR in xAPIC mode"
        );
        assert_ne!(reg, Reg::IcrHigh, "#GP: no such register");
        let low = u32::try_from(value & 0xffff_ffff).unwrap();
        state.write(reg, low);
        state.did.push(Msr(reg, value));
    }

    fn fence(&self) {
        self.0.lock().unwrap().did.push(Fence);
    }

    fn without_interrupts<T>(&self, work: impl FnOnce() -> T) -> T {
        let were_on = std::mem::replace(&mut self.0.lock().unwrap().interrupts, false);
        let result = work();
        self.0.lock().unwrap().interrupts = were_on;
        result
    }
}

/// A driver whose boot CPU was in `mode`, and that now runs on an AP found in `found`.
fn on_ap(mode: u64, found: u64) -> Apic<Fake> {
    let apic = Fake::new(mode);
    apic.adopt();
    let mut state = apic.state();
    state.base = found;
    state.svr = 0xff;
    state.did.clear();
    drop(state);
    apic
}

#[test]
fn every_pair_of_modes_reaches_the_systems_by_legal_steps() {
    for (mode, found, steps) in [
        (XAPIC_ON, OFF, vec![Base(XAPIC_ON)]),
        (XAPIC_ON, XAPIC_ON, vec![]),
        (XAPIC_ON, X2APIC_ON, vec![Base(OFF), Base(XAPIC_ON)]),
        (X2APIC_ON, OFF, vec![Base(XAPIC_ON), Base(X2APIC_ON)]),
        (X2APIC_ON, XAPIC_ON, vec![Base(XAPIC_ON), Base(X2APIC_ON)]),
        (X2APIC_ON, X2APIC_ON, vec![]),
    ] {
        let apic = on_ap(mode, found);
        apic.enter_cpu();
        assert_eq!(apic.state().base, mode, "{found:#x}");
        let did = apic.did();
        let (modes, rest) = did.split_at(steps.len());
        assert_eq!(modes, steps, "{found:#x} to {mode:#x}");
        assert!(!rest.iter().any(|did| matches!(did, Base(_))));
    }
}

#[test]
fn init_keeps_x2apic_and_entry_copes() {
    // First start: xAPIC. INIT leaves the mode alone, so the second start finds x2APIC.
    let apic = on_ap(X2APIC_ON, XAPIC_ON);
    apic.enter_cpu();
    apic.did();
    apic.state().svr = 0xff; // what INIT does reset
    apic.enter_cpu();
    let did = apic.did();
    assert_eq!(
        did,
        [Msr(Reg::Svr, 0x1ff), Msr(Reg::Tpr, 0)],
        "no change of mode, and enabled again"
    );
}

#[test]
fn entry_masks_what_is_open_enables_and_accepts_everything() {
    let apic = on_ap(XAPIC_ON, XAPIC_ON);
    apic.state().open = vec![Reg::LvtTimer, Reg::LvtLint1, Reg::LvtCmci];
    apic.enter_cpu();
    assert_eq!(
        apic.did(),
        [
            Mmio(Reg::LvtTimer, LVT_MASKED),
            Mmio(Reg::LvtLint1, LVT_MASKED),
            Mmio(Reg::LvtCmci, LVT_MASKED),
            Mmio(Reg::Svr, 0x1ff),
            Mmio(Reg::Tpr, 0),
        ]
    );
}

#[test]
fn boot_cpu_keeps_what_it_chose() {
    let apic = Fake::new(XAPIC_ON);
    apic.state().svr = 0x1ef;
    apic.adopt();
    assert_eq!(apic.did(), [], "enabled already");
    apic.state().svr = 0xff;
    apic.enter_cpu();
    assert_eq!(
        apic.state().svr,
        0x1ef,
        "its spurious vector is everybody's"
    );

    let apic = Fake::new(OFF);
    apic.adopt();
    assert_eq!(apic.did(), [Base(XAPIC_ON), Mmio(Reg::Svr, 0x1ff)]);
}

#[test]
fn xapic_sends_destination_first_and_atomically() {
    let apic = on_ap(XAPIC_ON, XAPIC_ON);
    apic.state().busy = 3;
    for (to, ipi, low) in [
        (0x2a, Ipi::Init, 0x4500),
        (0x2a, Ipi::Startup { page: 9 }, 0x4609),
        (254, Ipi::Fixed { vector: 0xf0 }, 0x40f0),
    ] {
        assert_eq!(apic.send(to, ipi), Ok(()));
        let high = to << 24;
        assert_eq!(
            apic.did(),
            [Mmio(Reg::IcrHigh, high), Mmio(Reg::IcrLow, low)]
        );
    }
    assert!(apic.state().interrupts, "open again");
}

#[test]
fn xapic_refuses_ids_it_cannot_name() {
    let apic = on_ap(XAPIC_ON, XAPIC_ON);
    for to in [255, 256, 0x1_0000_0001, u64::from(u32::MAX)] {
        let to = u32::try_from(to & 0xffff_ffff).unwrap();
        let expected = if to < 255 {
            Ok(())
        } else {
            Err(IpiError::Unreachable)
        };
        assert_eq!(apic.send(to, Ipi::Init), expected, "{to}");
        assert_eq!(apic.did().is_empty(), expected.is_err());
    }
}

#[test]
fn stuck_delivery_is_an_error_within_a_bound_and_sends_nothing() {
    let apic = on_ap(XAPIC_ON, XAPIC_ON);
    apic.state().busy = u32::MAX;
    assert_eq!(apic.send(1, Ipi::Init), Err(IpiError::Busy));
    assert_eq!(apic.did(), []);
    assert_eq!(u32::MAX - apic.state().busy, ICR_POLLS);
    assert!(apic.state().interrupts, "open again");
}

#[test]
fn x2apic_sends_in_one_write_behind_a_fence() {
    let apic = on_ap(X2APIC_ON, X2APIC_ON);
    assert_eq!(apic.send(0x1_0203, Ipi::Startup { page: 8 }), Ok(()));
    assert_eq!(apic.did(), [Fence, Msr(Reg::IcrLow, 0x0001_0203_0000_4608)]);
}

#[test]
fn errors_are_latched_before_they_are_read() {
    for mode in [XAPIC_ON, X2APIC_ON] {
        let apic = on_ap(mode, mode);
        apic.state().errors = 0x44;
        assert_eq!([apic.take_errors(), apic.take_errors()], [0x44, 0]);
    }
}

#[test]
fn bsp_flag_is_the_hardwares() {
    assert!(Fake::new(XAPIC_ON | BSP).is_bsp());
    assert!(!Fake::new(XAPIC_ON).is_bsp());
}
