//! The fake-cache test: kick, park, release and take-over over caches that never write back by
//! themselves. A reader without caches has to see every word of a record and of a slot; and every single
//! maintenance operation is needed, since leaving any one out is seen.

use std::boxed::Box;
use std::format;
use std::string::String;
use std::vec::Vec;

use core::sync::atomic::{AtomicU64, Ordering};

use cpuhp_core::{Confirm, CpuId, HwId, KickOutcome};

use crate::cache::Area;
use crate::config::{CpuDesc, Timings, WakeMethod};
use crate::fake::{Fake, records};
use crate::kick::{Engine, KICKED, Places};
use crate::park::pages::{self, CODE};
use crate::park::slot::{self, ParkSlot};
use crate::record::{Boot, BootRecord};
use crate::shared::{Image, Shared, Snapshot};

const PLACES: Places = Places {
    entry: 0x4020_0800,
    records: 0x5000_0000,
};
const A: CpuId = CpuId::new(0);
const B: CpuId = CpuId::new(1);
const CODE_BYTES: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
const OFF: i64 = 1;
const DENIED: i64 = -3;

/// What is wrong with the machine, if anything is.
type Wrong = Result<(), String>;

macro_rules! same {
    ($what:literal, $left:expr, $right:expr) => {
        let (left, right) = ($left, $right);
        if left != right {
            return Err(format!("{}: {left:x?} is not {right:x?}", $what));
        }
    };
}

fn hw(cpu: CpuId) -> HwId {
    HwId(0x1_0000_0200 + u64::from(cpu.get()))
}

/// What the boot CPU's registers hold: no two alike.
const BOOT: Snapshot = Snapshot {
    level: 2,
    sctlr: 0x101,
    tcr: 0x102,
    mair: 0x103,
    ttbr0: 0x104,
    ttbr1: 0x105,
    vbar: 0x106,
    traps: 0x107,
    hcr: 0x108,
    cnthctl: 0x109,
};
/// Virtual address of the first Rust of an AP.
const START: u64 = 0xffff_0000_4020_1000;

/// The entry code's bytes, two lines.
#[repr(C, align(64))]
struct Code([AtomicU64; 16]);

/// The parts of the image that a starting CPU reads, and its record.
#[derive(Clone, Copy)]
struct Booted {
    shared: &'static Shared,
    code: &'static Code,
    records: &'static [BootRecord],
}

/// Fills in what the entry code reads, as the backend's constructor does.
fn boot(fake: &Fake, records: &'static [BootRecord]) -> Booted {
    let shared: &'static Shared = Box::leak(Box::new(Shared::EMPTY));
    let code: &'static Code = Box::leak(Box::new(Code(core::array::from_fn(|word| {
        AtomicU64::new(0xc0de_0000 + word as u64)
    }))));
    let _ = core::ptr::from_ref(shared).expose_provenance();
    let _ = core::ptr::from_ref(code).expose_provenance();
    fake.serve(core::slice::from_ref(shared));
    fake.serve(core::slice::from_ref(code));
    let image = Image {
        code: Area::of(code),
        records: PLACES.records,
        start: START,
        conduit: None,
    };
    shared.fill(&BOOT, records, image, fake);
    Booted {
        shared,
        code,
        records,
    }
}

impl Booted {
    /// What every CPU that starts reads before it has looked at a record: all of its code, and all that is
    /// the same for every CPU.
    fn entry_reads(&self, fake: &Fake) -> Wrong {
        for (word, index) in self.code.0.iter().zip(0..) {
            same!("code", fake.read_long(word), 0xc0de_0000 + index);
        }
        let shared = self.shared;
        let virt = self.records.as_ptr().addr() as u64;
        for (what, word, right) in [
            ("records", &shared.records, PLACES.records),
            ("their address", &shared.records_virt, virt),
            ("cpus", &shared.cpus, 2),
            ("level", &shared.level, 2),
            ("sctlr", &shared.sctlr, 0x101),
            ("tcr", &shared.tcr, 0x102),
            ("mair", &shared.mair, 0x103),
            ("ttbr0", &shared.ttbr0, 0x104),
            ("ttbr1", &shared.ttbr1, 0x105),
            ("vbar", &shared.vbar, 0x106),
            ("traps", &shared.traps, 0x107),
            ("hcr", &shared.hcr, 0x108),
            ("cnthctl", &shared.cnthctl, 0x109),
            ("start", &shared.start, START),
            ("off", &shared.off, 0),
        ] {
            let read = fake.read_long(word);
            if read != right {
                return Err(format!("{what}: {read:x} is not {right:x}"));
            }
        }
        Ok(())
    }
}

/// Two CPUs with a stack each; nothing of them is in memory yet.
fn listed(fake: &Fake, method: WakeMethod) -> &'static [BootRecord] {
    let records = records(2);
    fake.serve(records);
    for (record, cpu) in records.iter().zip([A, B]) {
        let (hw, wave) = (hw(cpu), 0);
        record.list(cpu, CpuDesc { hw, method, wave });
        give(record, 0x9000 + u64::from(cpu.get()));
    }
    records
}

fn give(record: &BootRecord, stack_top: u64) {
    record.set(Boot {
        stack_top: stack_top << 8,
        percpu: 0x1111,
        root: 0x2222,
    });
}

/// What a CPU that starts with this value reads: the code, what all share, and all of its record's first line.
fn start_reads(fake: &Fake, booted: Booted, value: u64) -> Wrong {
    booted.entry_reads(fake)?;
    let first = fake.read_long(&booted.shared.records);
    let index = usize::try_from((value - first) / 128).unwrap();
    let record = &booted.records[index];
    let long = |word: &AtomicU64| word.load(Ordering::Relaxed);
    same!("id", fake.read_long(&record.hw_id), long(&record.hw_id));
    same!(
        "stack",
        fake.read_long(&record.stack_top),
        long(&record.stack_top)
    );
    same!("base", fake.read_long(&record.percpu), 0x1111);
    same!("root", fake.read_long(&record.root), 0x2222);
    same!("epoch", u64::from(fake.read(&record.epoch)), value & 0x7f);
    same!("wanted", fake.read(&record.engine) != 0, true);
    Ok(())
}

/// A CPU that was given no value goes on once the kick is complete, and not before.
fn search_enters(fake: &Fake, record: &BootRecord) -> Wrong {
    same!("kicked", fake.read(&record.engine), KICKED);
    Ok(())
}

/// A CPU that starts by mistake finds that nobody wants it.
fn mistake_rests(fake: &Fake, record: &BootRecord) -> Wrong {
    same!("unwanted", fake.read(&record.engine), 0);
    Ok(())
}

fn engine(records: &'static [BootRecord], slots: &'static [ParkSlot], fake: Fake) -> Engine<Fake> {
    Engine::new(records, slots, PLACES, Timings::conservative(), fake)
}

fn arrive(engine: &Engine<Fake>, cpu: CpuId) {
    let record = engine.record(cpu).unwrap();
    record.arrived.store(1, Ordering::Release);
    engine.done(cpu, KickOutcome::Arrived);
}

/// Kick, off, a refused kick, kick again. Whenever firmware is called the CPU may start.
fn by_firmware(mut fake: Fake) -> (Wrong, u32) {
    fake.on = Vec::from([0, DENIED, 0])
        .into_iter()
        .collect::<std::collections::VecDeque<_>>()
        .into();
    fake.info = std::collections::VecDeque::from([OFF]).into();
    let records = listed(&fake, WakeMethod::Psci);
    let booted = boot(&fake, records);
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Ok(())));
    let note = std::sync::Arc::clone(&seen);
    *fake.at_call.lock().unwrap() = Some(Box::new(move |fake: &Fake, value| {
        let now = start_reads(fake, booted, value);
        let mut first = note.lock().unwrap();
        *first = core::mem::replace(&mut *first, Ok(())).and(now);
    }));
    let engine = engine(records, &[], fake);
    let run = || -> Wrong {
        let (fake, record) = (&engine.machine, &records[0]);
        engine.publish_all();
        mistake_rests(fake, record)?;
        mistake_rests(fake, &records[1])?;
        same!("kick", engine.kick(A, 1, 0), Ok(()));
        search_enters(fake, record)?;
        arrive(&engine, A);
        same!("off", engine.confirm(A, || 0), Confirm::Off);
        mistake_rests(fake, record)?;
        give(record, 0x9100);
        same!("refused", engine.kick(A, 2, 0).is_err(), true);
        mistake_rests(fake, record)?;
        same!("again", engine.kick(A, 3, 0), Ok(()));
        search_enters(fake, record)?;
        engine.done(A, KickOutcome::Lost);
        mistake_rests(fake, record)
    };
    let run = run();
    let seen = seen.lock().unwrap().clone();
    (run.and(seen), engine.machine.operations())
}

/// A line with the one word of a spin-table.
#[repr(C, align(64))]
struct Table([AtomicU64; 8]);

fn by_spin_table(mut fake: Fake) -> (Wrong, u32) {
    let table: &'static Table = Box::leak(Box::new(Table([const { AtomicU64::new(0) }; 8])));
    let _ = core::ptr::from_ref(table).expose_provenance();
    fake.serve(&table.0);
    fake.release = table.0.first();
    let records = listed(&fake, WakeMethod::SpinTable { release: 0x100 });
    let booted = boot(&fake, records);
    let engine = engine(records, &[], fake);
    let run = || -> Wrong {
        engine.publish_all();
        mistake_rests(&engine.machine, &records[1])?;
        same!("kick", engine.kick(A, 5, 0), Ok(()));
        let word = engine.machine.read_long(&table.0[0]);
        same!("entry", word, PLACES.entry);
        start_reads(&engine.machine, booted, PLACES.records + 5)?;
        search_enters(&engine.machine, &records[0])?;
        // The other one of the same table starts as well, and waits.
        mistake_rests(&engine.machine, &records[1])
    };
    (run(), engine.machine.operations())
}

/// The region of two CPUs, aligned as the real one.
#[repr(C, align(4096))]
struct Region {
    pages: [AtomicU64; 1024],
    slots: [ParkSlot; 2],
}

/// Everything that a CPU at rest, or a kernel without caches, reads of the region.
fn region_reads(fake: &Fake, region: &Region) -> Wrong {
    let words = [0, 1, 2, 3, 4, 5, 8].map(|at: usize| fake.read_long(&region.pages[at]));
    let sum = words
        .iter()
        .fold(0, |sum: u64, word| sum.wrapping_add(*word));
    same!("header", (words[2], words[3], sum), (0x4000, 2, 0));
    let code = [0, 1].map(|at: usize| fake.read_long(&region.pages[CODE / 8 + at]));
    same!("code", code, [0x0807_0605_0403_0201, 0x0c0b_0a09]);
    for (slot, cpu) in region.slots.iter().zip([A, B]) {
        let header = slot.header_in_memory(fake);
        let sum = header
            .iter()
            .fold(0, |sum: u32, word| sum.wrapping_add(*word));
        let id = u64::from(header[5]) << 32 | u64::from(header[4]);
        same!("slot", (header[0], sum, id), (0x4b52_4150, 0, hw(cpu).0));
        same!("released", slot.wake(fake, 1), None);
    }
    Ok(())
}

fn install(fake: &Fake, region: &Region) {
    let header = pages::Header {
        len: 0x4000,
        slots: 2,
        level: 1,
        sgi: 3,
    };
    header.write(&region.pages, &CODE_BYTES, fake);
    for (slot, cpu) in region.slots.iter().zip([A, B]) {
        let of = slot::Header {
            hw_id: hw(cpu).0,
            code: 0x6000_1000,
            code_len: 12,
            sgi: Some(3),
        };
        slot.install(fake, of);
    }
}

/// One kernel installs the region and parks two CPUs; the next one, with nothing in its caches, takes them
/// over, and lets them rest and go again.
fn by_park_region(fake: Fake) -> (Wrong, u32) {
    let region: &'static Region = Box::leak(Box::new(Region {
        pages: [const { AtomicU64::new(0) }; 1024],
        slots: [ParkSlot::zero(), ParkSlot::zero()],
    }));
    let _ = core::ptr::from_ref(region).expose_provenance();
    fake.serve(core::slice::from_ref(region));
    install(&fake, region);
    let records = listed(&fake, WakeMethod::Psci);
    let booted = boot(&fake, records);
    let engine = engine(records, &region.slots, fake);
    let run = || -> Wrong {
        let fake = &engine.machine;
        engine.publish_all();
        region_reads(fake, region)?;
        fake.lose_caches();
        for (record, stack_top) in records.iter().zip([0x9200, 0x9300]) {
            give(record, stack_top);
        }
        for (slot, cpu, index) in [(&region.slots[0], A, 0), (&region.slots[1], B, 1)] {
            slot.park(fake, 1);
            same!("taken over", engine.kick(cpu, 7, 0), Ok(()));
            let value = PLACES.records + 128 * index + 7;
            let (entry, arg) = (PLACES.entry, value);
            let start = Some(slot::Start { entry, arg });
            same!("first start", slot.wake(fake, 1), start);
            start_reads(fake, booted, value)?;
            arrive(&engine, cpu);
        }
        let [first, second] = &region.slots;
        first.park(fake, first.next());
        // Core has parked it, and wants it again: on another stack, with the epoch it has.
        give(&records[0], 0x9500);
        engine.wake(A);
        engine.service(|| 0);
        let (entry, arg) = (PLACES.entry, PLACES.records + 7);
        let start = Some(slot::Start { entry, arg });
        same!("called back", first.wake(fake, 2), start);
        start_reads(fake, booted, arg)?;
        arrive(&engine, A);
        first.park(fake, first.next());
        same!("parked", engine.confirm(A, || 0), Confirm::Parked);
        give(&records[1], 0x9400);
        second.park(fake, second.next());
        same!("release", engine.kick(B, 8, 0), Ok(()));
        let (entry, arg) = (PLACES.entry, PLACES.records + 128 + 8);
        let start = Some(slot::Start { entry, arg });
        same!("second start", second.wake(fake, 2), start);
        start_reads(fake, booted, arg)
    };
    (run(), engine.machine.operations())
}

/// Runs a part whole, then once without each of its maintenance operations.
fn every_operation_is_needed(part: fn(Fake) -> (Wrong, u32)) {
    let (whole, operations) = part(Fake::default());
    assert_eq!(whole, Ok(()));
    assert!(operations > 0);
    for left_out in 0..operations {
        let fake = Fake {
            left_out: Some(left_out),
            ..Fake::default()
        };
        let (wrong, _) = part(fake);
        assert!(
            wrong.is_err(),
            "nothing needs operation {left_out} of {operations}"
        );
    }
}

#[test]
fn every_word_of_a_start_by_firmware_is_in_memory() {
    every_operation_is_needed(by_firmware);
}

#[test]
fn every_word_of_a_start_by_spin_table_is_in_memory() {
    every_operation_is_needed(by_spin_table);
}

#[test]
fn every_word_of_a_rest_and_a_take_over_is_in_memory() {
    every_operation_is_needed(by_park_region);
}
