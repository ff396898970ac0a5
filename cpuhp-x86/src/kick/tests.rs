use std::boxed::Box;
use std::sync::Mutex;
use std::vec;
use std::vec::Vec;

use super::*;

const MS: u64 = 1_000_000;
const PAGE: u8 = 8;

/// A machine of CPUs that answer SIPI in their own way, with a clock that the test moves.
struct Machine {
    engine: Engine,
    records: &'static [BootRecord],
    bus: Bus,
}

/// How a CPU answers.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Arrives with the n-th SIPI.
    Comes(u32),
    Dead,
}

struct Bus(Mutex<Line>);

struct Line {
    now: u64,
    log: Vec<(u64, u32, Ipi)>,
    busy: bool,
    errors: u32,
    manners: Vec<Manner>,
    records: &'static [BootRecord],
}

impl LocalApic for Bus {
    fn enter_cpu(&self) {}
    fn eoi(&self) {}
    fn is_bsp(&self) -> bool {
        true
    }
    fn take_errors(&self) -> u32 {
        std::mem::take(&mut self.0.lock().unwrap().errors)
    }
    fn send(&self, to: u32, ipi: Ipi) -> Result<(), IpiError> {
        let mut line = self.0.lock().unwrap();
        if line.busy {
            return Err(IpiError::Busy);
        }
        if to >= 0xff {
            return Err(IpiError::Unreachable);
        }
        let now = line.now;
        line.log.push((now, to, ipi));
        let index = line
            .records
            .iter()
            .position(|record| record.hw_id().0 == u64::from(to));
        let index = index.expect("a signal to nobody");
        let sipis = line
            .log
            .iter()
            .filter(|(_, id, ipi)| *id == to && *ipi != Ipi::Init);
        let count = u32::try_from(sipis.count()).unwrap();
        if let (Manner::Comes(after), Ipi::Startup { page }) = (line.manners[index], ipi) {
            assert_eq!(page, PAGE);
            let arrived = u32::from(count >= after);
            line.records[index]
                .arrived
                .store(arrived, Ordering::Release);
        }
        Ok(())
    }
}

impl Machine {
    /// CPU i has hardware id 2 i + 1.
    fn new(timings: Timings, manners: &[Manner]) -> Self {
        let records: Vec<BootRecord> = manners.iter().map(|_| BootRecord::ZERO).collect();
        let records: &'static [BootRecord] = Box::leak(records.into_boxed_slice());
        for (index, record) in (0..).zip(records) {
            record.list(CpuId::new(index), 2 * index + 1);
            record.stack_top.store(0x1000, Ordering::Relaxed);
        }
        let line = Line {
            now: 0,
            log: Vec::new(),
            busy: false,
            errors: 0,
            manners: manners.to_vec(),
            records,
        };
        Self {
            engine: Engine::new(records, timings, Slots::NONE),
            records,
            bus: Bus(Mutex::new(line)),
        }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.bus.0.lock().unwrap()
    }

    fn sender(&self) -> Sender<'_> {
        Sender {
            apic: &self.bus,
            page: PAGE,
            vector: 0xf0,
        }
    }

    fn kick(&self, cpu: u32) -> Result<(), KickError> {
        let now = self.line().now;
        self.engine.kick(CpuId::new(cpu), 5, self.sender(), now)
    }

    fn done(&self, cpu: u32, how: KickOutcome) -> Done {
        self.engine.done(CpuId::new(cpu), how)
    }

    fn service(&self) {
        self.engine.service(self.sender(), || self.line().now);
    }

    /// Moves time on in steps of 10 us, and serves at each.
    fn run_until(&self, end: u64) {
        while self.line().now < end {
            self.line().now += 10_000;
            self.service();
        }
    }

    /// What was sent: (time in us, hardware id, SIPI?).
    fn log(&self) -> Vec<(u64, u32, bool)> {
        let line = self.line();
        let short = |(at, id, ipi): &(u64, u32, Ipi)| (*at / 1000, *id, *ipi != Ipi::Init);
        line.log.iter().map(short).collect()
    }
}

#[test]
fn one_delay_serves_all() {
    let machine = Machine::new(Timings::conservative(), &[Manner::Comes(1); 4]);
    for cpu in 1..4 {
        machine.kick(cpu).unwrap();
        machine.line().now += 50_000;
    }
    machine.run_until(30 * MS);
    let inits = [(0, 3, false), (50, 5, false), (100, 7, false)];
    let sipis = [(10_000, 3, true), (10_050, 5, true), (10_100, 7, true)];
    assert_eq!(machine.log(), [inits, sipis].concat(), "one SIPI is enough");
}

#[test]
fn slow_cpu_gets_more_signals_until_it_comes() {
    let machine = Machine::new(Timings::conservative(), &[Manner::Dead, Manner::Comes(4)]);
    machine.kick(1).unwrap();
    machine.run_until(30 * MS);
    let times: Vec<u64> = machine.log().iter().map(|entry| entry.0).collect();
    assert_eq!(times, [0, 10_000, 10_200, 11_200, 12_200]);
}

#[test]
fn dead_cpu_is_given_up_after_a_second_and_stays_accounted() {
    let machine = Machine::new(Timings::conservative(), &[Manner::Dead, Manner::Dead]);
    machine.kick(1).unwrap();
    machine.line().errors = 0x4;
    machine.run_until(1_500 * MS);
    let log = machine.log();
    assert!(log.len() > 900, "{}", log.len());
    assert!(log.last().unwrap().0 <= 1_000_000, "{:?}", log.last());
    assert_eq!(log.iter().filter(|entry| !entry.2).count(), 1, "one INIT");
    assert_eq!(machine.records[1].apic_errors(), 0x4);
    assert!(machine.engine.is_kicked(CpuId::new(1)));
    let again = machine.kick(1).unwrap_err();
    assert_eq!(again.kind, KickErrorKind::Busy, "it may still come");
    assert_eq!(machine.log().len(), log.len(), "nothing was sent");
    assert_eq!(
        machine.engine.next_due(),
        u64::MAX,
        "nothing to wake up for"
    );
}

#[test]
fn arrival_ends_a_kick_once_and_a_running_cpu_is_never_reset() {
    let machine = Machine::new(Timings::conservative(), &[Manner::Dead, Manner::Comes(1)]);
    assert_eq!(machine.done(1, KickOutcome::Arrived), Done::Nothing);
    assert_eq!(machine.done(1, KickOutcome::Lost), Done::Nothing);
    machine.kick(1).unwrap();
    machine.run_until(11 * MS);
    assert_eq!(machine.done(1, KickOutcome::Arrived), Done::Ended);
    assert_eq!(machine.done(1, KickOutcome::Arrived), Done::Nothing);
    let again = machine.kick(1).unwrap_err();
    assert_eq!(again.kind, KickErrorKind::AlreadyOn);
    // Confirmed off after it ran: a new kick, but not a second end of the first.
    assert_eq!(machine.done(1, KickOutcome::Lost), Done::Nothing);
    machine.kick(1).unwrap();
    assert!(
        !machine.records[1].has_arrived(),
        "the mark is the last kick's"
    );
}

#[test]
fn late_arrival_counts_and_stops_the_signals() {
    let machine = Machine::new(Timings::conservative(), &[Manner::Dead, Manner::Dead]);
    machine.kick(1).unwrap();
    machine.run_until(20 * MS);
    let sent = machine.log().len();
    machine.records[1].arrived.store(1, Ordering::Release);
    machine.run_until(40 * MS);
    assert_eq!(machine.log().len(), sent);
    assert_eq!(machine.done(1, KickOutcome::Arrived), Done::Ended);
}

#[test]
fn lost_cpu_can_be_kicked_again() {
    let machine = Machine::new(Timings::conservative(), &[Manner::Dead, Manner::Dead]);
    machine.kick(1).unwrap();
    machine.run_until(11 * MS);
    assert_eq!(machine.done(1, KickOutcome::Lost), Done::Ended);
    assert!(!machine.engine.is_kicked(CpuId::new(1)));
    machine.line().log.clear();
    machine.run_until(20 * MS);
    assert_eq!(machine.log(), [], "no signal to a CPU that nobody wants");
    machine.kick(1).unwrap();
    assert_eq!(machine.log(), [(20_000, 3, false)]);
}

#[test]
fn busy_apic_on_init_starts_nothing() {
    let machine = Machine::new(Timings::conservative(), &[Manner::Dead, Manner::Comes(1)]);
    machine.line().busy = true;
    assert_eq!(machine.kick(1).unwrap_err().kind, KickErrorKind::Busy);
    assert!(!machine.engine.is_kicked(CpuId::new(1)));
    machine.run_until(20 * MS);
    machine.line().busy = false;
    machine.run_until(30 * MS);
    assert_eq!(machine.log(), []);
    machine.kick(1).unwrap();
}

#[test]
fn busy_apic_on_sipi_is_tried_again() {
    let machine = Machine::new(Timings::conservative(), &[Manner::Dead, Manner::Comes(1)]);
    machine.kick(1).unwrap();
    machine.line().busy = true;
    machine.run_until(15 * MS);
    machine.line().busy = false;
    machine.run_until(30 * MS);
    assert_eq!(machine.log(), [(0, 3, false), (15_200, 3, true)], "soon");
    assert!(machine.records[1].has_arrived());
}

#[test]
fn refusals_name_their_cause_and_send_nothing() {
    let machine = Machine::new(Timings::conservative(), &[Manner::Dead, Manner::Dead]);
    assert_eq!(machine.kick(2).unwrap_err().kind, KickErrorKind::NotPresent);
    machine.records[1].clear();
    assert_eq!(machine.kick(1).unwrap_err().kind, KickErrorKind::BadAddress);
    machine.records[1]
        .stack_top
        .store(0x1000, Ordering::Relaxed);
    machine.records[1].hw_id.store(300, Ordering::Relaxed);
    let unreachable = KickError::with_code(KickErrorKind::NotSupported, 300);
    assert_eq!(machine.kick(1), Err(unreachable));
    assert!(!machine.engine.is_kicked(CpuId::new(1)));
    assert_eq!(machine.log(), []);
}

#[test]
fn no_delay_means_init_and_sipi_at_once() {
    let machine = Machine::new(Timings::modern(), &[Manner::Dead, Manner::Comes(2)]);
    machine.line().now = 7 * MS;
    machine.kick(1).unwrap();
    machine.service();
    assert_eq!(machine.log(), [(7_000, 3, false), (7_000, 3, true)]);
    machine.run_until(9 * MS);
    assert_eq!(machine.log()[2..], [(7_010, 3, true)]);
}

#[test]
fn one_service_sends_a_few_signals_and_starves_nobody() {
    let mut manners = vec![Manner::Dead; 100];
    manners[99] = Manner::Comes(1);
    let machine = Machine::new(Timings::modern(), &manners);
    for cpu in 1..100 {
        machine.kick(cpu).unwrap();
    }
    for round in 0..7 {
        let before = machine.log().len();
        machine.service();
        let sent = machine.log().len() - before;
        assert!(sent <= 16, "{sent} in round {round}");
        // Long enough for all those served before to be due again.
        machine.line().now += MS;
    }
    let served = |id| machine.log().iter().any(|(_, to, sipi)| *to == id && *sipi);
    let missed: Vec<u32> = (1..100)
        .map(|cpu| 2 * cpu + 1)
        .filter(|id| !served(*id))
        .collect();
    assert_eq!(missed, [], "without a first SIPI");
}

#[test]
fn many_control_cpus_send_each_signal_once() {
    let machine = Machine::new(Timings::conservative(), &[Manner::Comes(1); 64]);
    std::thread::scope(|scope| {
        for part in 0..4 {
            let machine = &machine;
            scope.spawn(move || {
                for cpu in (1..64).filter(|cpu| cpu % 4 == part) {
                    machine.kick(cpu).unwrap();
                }
            });
        }
    });
    machine.line().now = 10 * MS;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|_| machine.service()));
        }
    });
    let log = machine.log();
    assert_eq!(log.iter().filter(|entry| !entry.2).count(), 63);
    assert_eq!(log.iter().filter(|entry| entry.2).count(), 63);
}
