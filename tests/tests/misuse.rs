//! Wrong use of every public call: a clear error that names CPU and step, and nothing changes.
#![cfg(not(loom))]

use core::task::Poll;

use cpuhp_core::{
    ApNext, BootSteps, CpuId, Cpuhp, Direction, LockWord, MaskStore, MaskWord, Misuse, OpFlags,
    Record, StateId, Storage, Tag, Which, Why,
};
use cpuhp_tests::fake::{Fake, Machine};
use cpuhp_tests::refusal::{refused, snapshot};
use cpuhp_tests::tables::{BARE, WIDE, bare, wide};
use cpuhp_tests::verdict::adopted;
use cpuhp_tests::world::{Act, World, fresh, with};

fn cpu(number: u32) -> CpuId {
    CpuId::new(number)
}

/// Three CPUs, CPU 0 boots, CPU 1 is online and CPU 2 off.
fn machine() -> &'static Machine {
    let hp = adopted(3, 0, &wide::TABLE, &WIDE);
    assert_eq!(hp.cpu_up(cpu(1)), Ok(()));
    hp
}

#[test]
fn a_cpu_out_of_range() {
    let hp = machine();
    for number in [3, 64, u32::MAX] {
        let (id, name) = (cpu(number), format!("cpu {number} "));
        refused(hp, Why::NoSuchCpu, &[&name, "online"], || hp.cpu_up(id));
        refused(hp, Why::NoSuchCpu, &[&name, "offline"], || hp.cpu_down(id));
        refused(hp, Why::NoSuchCpu, &[&name, "p4:prepare"], || {
            hp.drive(id, wide::P4)
        });
        let guard = hp.try_write().unwrap();
        refused(hp, Why::NoSuchCpu, &[&name, "o4:online"], || {
            guard.op(id, wide::O4, OpFlags::AUTO)
        });
        refused(hp, Why::NoSuchCpu, &[&name], || guard.resume(id));
        assert_eq!(
            (hp.state(id), hp.target(id), hp.tag(id)),
            (None, None, None)
        );
        assert_eq!(hp.last_error(id), None);
        assert_eq!(hp.poll_ap(id), ApNext::Refused(Misuse::NoSuchCpu));
        assert_eq!(hp.ap_enter(id, None), ApNext::Refused(Misuse::NoSuchCpu));
        assert!(!hp.has_work(id) && !hp.parked_poll(id));
    }
}

#[test]
fn a_cpu_that_is_not_present() {
    let hp = machine();
    with(|w| w.sim(2, |sim| sim.present = false));
    // The mask is brought up to date by the refusal itself; that much may change.
    assert!(hp.drive(cpu(2), wide::KICK).is_err());
    refused(hp, Why::NotPresent, &["cpu 2", "online"], || {
        hp.cpu_up(cpu(2))
    });
    refused(hp, Why::NotPresent, &["cpu 2", "p1:prepare"], || {
        hp.drive(cpu(2), wide::P1)
    });
    assert!(!hp.present().contains(cpu(2)));
    with(|w| w.sim(2, |sim| sim.present = true));
    assert_eq!(hp.cpu_up(cpu(2)), Ok(()));
    // One that went away while it was up can still be taken down.
    with(|w| w.sim(2, |sim| sim.present = false));
    assert_eq!(hp.cpu_down(cpu(2)), Ok(()));
}

#[test]
fn the_last_cpu_online_and_the_calling_cpu() {
    let hp = machine();
    refused(hp, Why::OnSelf, &["cpu 0", "offline"], || {
        hp.cpu_down(cpu(0))
    });
    refused(hp, Why::OnSelf, &["cpu 0", "ap-idle"], || {
        hp.drive(cpu(0), wide::AP_IDLE)
    });
    assert_eq!(hp.drive(cpu(1), wide::AP_IDLE), Ok(()));
    // CPU 1 is available and not online, so the boot CPU is the last one.
    with(|w| {
        w.as_cpu(1, || {
            refused(hp, Why::LastCpu, &["cpu 0", "offline"], || {
                hp.cpu_down(cpu(0))
            });
            refused(hp, Why::LastCpu, &["cpu 0", "l1:late"], || {
                hp.drive(cpu(0), wide::L1)
            });
            refused(hp, Why::LastCpu, &["cpu 0"], || hp.take_down(Which::All));
        });
    });
    let mask = MaskStore::<1>::new();
    mask.get_mut().insert(cpu(0));
    refused(hp, Why::LastCpu, &["cpu 0"], || {
        hp.take_down(Which::Only(mask.get()))
    });
    mask.get_mut().insert(cpu(1));
    refused(hp, Why::LastCpu, &["cpu 0"], || {
        hp.take_down(Which::Only(mask.get()))
    });
    assert_eq!(hp.cpu_up(cpu(1)), Ok(()));
    refused(hp, Why::LastCpu, &[], || {
        hp.take_down(Which::Only(mask.get()))
    });
    mask.get_mut().remove(cpu(1));
    refused(hp, Why::OnSelf, &["cpu 0"], || {
        hp.take_down(Which::Only(mask.get()))
    });
    // Driven by another CPU the boot CPU goes down as any other.
    assert_eq!(with(|w| w.as_cpu(1, || hp.drive(cpu(0), wide::O4))), Ok(()));
}

/// The guard counts what is already on its way out: two operations under one guard cannot take the
/// last two CPUs.
#[test]
fn two_operations_at_once_leave_one_cpu_online() {
    let hp = adopted(3, 0, &bare::TABLE, &BARE);
    assert_eq!((hp.cpu_up(cpu(1)), hp.cpu_up(cpu(2))), (Ok(()), Ok(())));
    with(|w| {
        w.as_cpu(1, || assert_eq!(hp.drive(cpu(0), bare::AP_IDLE), Ok(())));
    });
    let guard = hp.try_write().unwrap();
    let first = guard.op(cpu(1), bare::OFFLINE, OpFlags::empty());
    let second = guard.op(cpu(2), bare::OFFLINE, OpFlags::empty());
    for mut op in [first, second].into_iter().flatten() {
        while op.poll(&guard).is_pending() {
            with(|w| {
                w.pass(1_000_000);
                w.poll_all();
            });
        }
    }
    assert!(!hp.online().is_empty(), "no cpu is online any more");
}

#[test]
fn a_target_where_no_cpu_can_rest() {
    let hp = machine();
    let inside = WIDE.kick + 1..WIDE.ap_idle;
    for number in inside.chain([WIDE.online() + 1, 0x7fff, u16::MAX]) {
        let name = WIDE
            .states
            .get(usize::from(number))
            .map_or("", |state| state.name);
        for id in [1, 2].map(cpu) {
            let text = [id.to_string(), name.to_owned()];
            let names: Vec<&str> = text.iter().map(String::as_str).collect();
            refused(hp, Why::BadTarget, &names, || {
                hp.drive(id, StateId::new(number))
            });
        }
    }
}

#[test]
fn a_second_operation_in_flight() {
    let hp = machine();
    let guard = hp.try_write().unwrap();
    refused(hp, Why::Busy, &["cpu 0", "in flight"], || {
        hp.try_write().map(drop)
    });
    refused(hp, Why::Busy, &[], || hp.cpu_up(cpu(2)));
    refused(hp, Why::Busy, &[], || hp.cpu_down(cpu(1)));
    refused(hp, Why::Busy, &[], || hp.bring_up(Which::All));
    refused(hp, Why::Busy, &[], || hp.take_down(Which::All));
    refused(hp, Why::Busy, &[], || hp.adopt_boot_cpu(BootSteps::Run));
    let mut op = guard.op(cpu(2), wide::ONLINE, OpFlags::AUTO).unwrap();
    refused(hp, Why::Busy, &["cpu 2", "offline"], || {
        guard.op(cpu(2), wide::OFFLINE, OpFlags::AUTO)
    });
    assert!(op.poll(&guard).is_pending());
    refused(hp, Why::Busy, &["cpu 2", "online"], || {
        guard.op(cpu(2), wide::ONLINE, OpFlags::AUTO)
    });
    // A batch passes over it, and there is one batch at a time.
    let mut bulk = guard.bring_up(Which::All).unwrap();
    refused(hp, Why::Busy, &[], || guard.bring_up(Which::All).map(drop));
    assert!(matches!(bulk.poll(&guard), Poll::Ready(Ok(r)) if (r.done, r.skipped) == (1, 1)));
    refused(hp, Why::Stale, &["stale"], || match bulk.poll(&guard) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("pending after its end"),
    });
}

#[test]
fn a_handle_that_is_over() {
    let hp = machine();
    let guard = hp.try_write().unwrap();
    refused(hp, Why::NothingToResume, &["cpu 2", "resume"], || {
        guard.resume(cpu(2))
    });
    let mut first = guard.op(cpu(2), wide::ONLINE, OpFlags::AUTO).unwrap();
    assert!(first.poll(&guard).is_pending());
    let mut second = guard.resume(cpu(2)).unwrap();
    let stale = |op: &mut cpuhp_core::CpuOp| match op.poll(&guard) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("a stale handle is pending"),
    };
    refused(hp, Why::Stale, &["cpu 2", "stale"], || stale(&mut first));
    let result = loop {
        if let Poll::Ready(result) = second.poll(&guard) {
            break result;
        }
        with(World::poll_all);
    };
    assert_eq!(result, Ok(()));
    refused(hp, Why::Stale, &["cpu 2", "stale"], || stale(&mut second));
    refused(hp, Why::NothingToResume, &["cpu 2"], || {
        guard.resume(cpu(2))
    });
    // A batch ends with its guard.
    let mut bulk = guard.take_down(Which::All).unwrap();
    assert!(bulk.poll(&guard).is_pending());
    drop(guard);
    let guard = hp.try_write().unwrap();
    refused(hp, Why::Stale, &["stale"], || match bulk.poll(&guard) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("pending without its guard"),
    });
    for number in [1, 2] {
        let mut op = guard.resume(cpu(number)).unwrap();
        while op.poll(&guard).is_pending() {
            with(World::poll_all);
        }
        assert_eq!(hp.state(cpu(number)), Some(StateId::OFFLINE));
    }
}

#[test]
fn an_operation_from_inside_a_step() {
    for at in [1, 9, 14, 22] {
        for dir in [Direction::Up, Direction::Down] {
            let hp = machine();
            with(|w| w.rule(Some(2), at, dir, Act::Hook(from_inside)));
            assert_eq!(hp.cpu_up(cpu(2)), Ok(()), "up around {at}");
            assert_eq!(hp.cpu_down(cpu(2)), Ok(()), "down around {at}");
        }
    }
}

/// Everything a callback might try.
fn from_inside(_: u32) {
    let hp = with(World::hp);
    let here = with(World::here);
    let name = format!("cpu {here} ");
    let names: &[&str] = &[&name, "inside a step"];
    let moved = cpu(2);
    refused(hp, Why::WouldDeadlock, names, || hp.cpu_up(moved));
    refused(hp, Why::WouldDeadlock, names, || hp.cpu_down(cpu(1)));
    refused(hp, Why::WouldDeadlock, names, || hp.drive(moved, wide::P1));
    refused(hp, Why::WouldDeadlock, names, || hp.bring_up(Which::All));
    refused(hp, Why::WouldDeadlock, names, || hp.take_down(Which::All));
    refused(hp, Why::WouldDeadlock, names, || hp.try_write().map(drop));
    let adopting = hp.adopt_boot_cpu(BootSteps::Run);
    assert!(adopting.is_err(), "a callback adopts the boot cpu");
    let before = snapshot(hp);
    if here == 2 {
        assert_eq!(hp.poll_ap(moved), ApNext::Refused(Misuse::Reentered));
    } else {
        assert_eq!(hp.poll_ap(moved), ApNext::Refused(Misuse::WrongCpu));
    }
    assert!(matches!(hp.ap_enter(moved, None), ApNext::Refused(_)));
    assert_eq!(snapshot(hp), before);
}

#[test]
fn a_poll_by_the_wrong_cpu_and_a_second_entry() {
    let hp = machine();
    let wrong = |expected: ApNext, poll: &dyn Fn() -> ApNext| {
        let before = snapshot(hp);
        assert_eq!(poll(), expected);
        assert_eq!(snapshot(hp), before);
    };
    let refused = ApNext::Refused;
    wrong(refused(Misuse::WrongCpu), &|| hp.poll_ap(cpu(1)));
    wrong(refused(Misuse::WrongCpu), &|| hp.poll_ap(cpu(2)));
    wrong(refused(Misuse::NotStarted), &|| {
        with(|w| w.as_cpu(1, || hp.ap_enter(cpu(1), None)))
    });
    assert_eq!(hp.drive(cpu(2), wide::KICK), Ok(()));
    wrong(refused(Misuse::WrongCpu), &|| hp.ap_enter(cpu(2), None));
    with(World::poll_all);
    assert_eq!(hp.tag(cpu(2)), Some(Tag::Alive));
    wrong(refused(Misuse::NotStarted), &|| {
        with(|w| w.as_cpu(2, || hp.ap_enter(cpu(2), None)))
    });
    // Before its kick is accounted a CPU waits and touches nothing (H3).
    assert_eq!(hp.cpu_down(cpu(2)), Ok(()));
    wrong(ApNext::Wait, &|| {
        with(|w| w.as_cpu(2, || hp.ap_enter(cpu(2), Some(99))))
    });
}

#[test]
fn a_start_of_an_earlier_kick() {
    let hp = machine();
    assert_eq!(hp.drive(cpu(2), wide::KICK), Ok(()));
    let enter = |hint| with(|w| w.as_cpu(2, || hp.ap_enter(cpu(2), Some(hint))));
    let before = snapshot(hp);
    for hint in [0, 2, 0x7f] {
        assert_eq!(enter(hint), ApNext::Refused(Misuse::Stale), "hint {hint}");
        assert_eq!(snapshot(hp), before);
    }
    // Firmware hands seven bits on; the start of the last kick is welcome.
    assert_eq!(enter(1), ApNext::Wait);
    assert_eq!(hp.tag(cpu(2)), Some(Tag::Alive));
}

#[test]
fn adoption_twice_and_operations_before_it() {
    let hp = fresh(3, 1, &wide::TABLE, &WIDE);
    refused(hp, Why::CallerOffline, &["cpu 1"], || hp.cpu_up(cpu(2)));
    refused(hp, Why::CallerOffline, &["cpu 1"], || hp.cpu_down(cpu(2)));
    refused(hp, Why::CallerOffline, &["cpu 1"], || {
        hp.bring_up(Which::All)
    });
    refused(hp, Why::CallerOffline, &["cpu 1"], || {
        hp.take_down(Which::All)
    });
    refused(hp, Why::CallerOffline, &["cpu 1"], || {
        hp.try_write().map(drop)
    });
    with(|w| {
        w.as_cpu(7, || {
            refused(hp, Why::NoSuchCpu, &["cpu 7"], || hp.cpu_up(cpu(2)))
        })
    });
    with(|w| {
        let adopt = || hp.adopt_boot_cpu(BootSteps::Run);
        w.as_cpu(7, || refused(hp, Why::NoSuchCpu, &["cpu 7"], adopt));
    });
    assert_eq!(hp.adopt_boot_cpu(BootSteps::Run), Ok(()));
    assert_eq!(hp.target(cpu(1)), Some(wide::ONLINE), "bug 12");
    for steps in [BootSteps::Run, BootSteps::AlreadyDone] {
        refused(hp, Why::AlreadyAdopted, &["cpu 1"], || {
            hp.adopt_boot_cpu(steps)
        });
        let other = || hp.adopt_boot_cpu(steps);
        with(|w| w.as_cpu(0, || refused(hp, Why::AlreadyAdopted, &["cpu 0"], other)));
    }
    with(|w| {
        w.as_cpu(0, || {
            refused(hp, Why::CallerOffline, &["cpu 0"], || hp.cpu_up(cpu(2)))
        })
    });
}

#[test]
fn a_cpu_that_cannot_be_stopped() {
    let hp = machine();
    with(|w| w.sim(1, |sim| sim.can_off = Some(false)));
    for _ in 0..2 {
        refused(hp, Why::NotSupported, &["cpu 1", "offline"], || {
            hp.cpu_down(cpu(1))
        });
        refused(hp, Why::NotSupported, &["cpu 1", "kick"], || {
            hp.drive(cpu(1), wide::KICK)
        });
        refused(hp, Why::NotSupported, &["cpu 1"], || {
            hp.take_down(Which::All)
        });
    }
    assert_eq!(hp.drive(cpu(1), wide::AP_IDLE), Ok(()));
    refused(hp, Why::NotSupported, &["cpu 1", "p1:prepare"], || {
        hp.drive(cpu(1), wide::P1)
    });
    assert_eq!(hp.cpu_up(cpu(1)), Ok(()));
}

#[test]
fn storage_that_is_too_small() {
    let records = vec![Record::new(), Record::new()];
    let masks: Vec<_> = (0..Storage::mask_words(2))
        .map(|_| MaskWord::new(0))
        .collect();
    let lock = LockWord::new();
    assert!(Storage::from_parts(&records, &masks[1..], &[], &lock).is_none());
    let storage = Storage::from_parts(&records, &masks, &[], &lock).unwrap();
    let hp = Cpuhp::new(Fake, &wide::TABLE, storage);
    fresh(2, 0, &wide::TABLE, &WIDE);
    let adopting = hp.adopt_boot_cpu(BootSteps::AlreadyDone);
    assert_eq!(adopting.unwrap_err().why(), Some(Why::StorageTooSmall));
    assert_eq!(hp.state(cpu(0)), Some(StateId::OFFLINE));
    assert!(hp.available().is_empty() && hp.present().is_empty());
}
