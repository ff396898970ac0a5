//! One context of the storm: a stream of operations, and what their results may be.

use std::sync::atomic::Ordering;
use std::task::Poll;

use cpuhp_core::{
    Calls, ControlRequest, CpuId, DynRange, Left, MaskStore, OpError, OpFlags, Policy,
    RegisterError, StateHandle, StateId, Tag, Which, Why,
};
use cpuhp_sim::Fate;

use crate::random::Random;
use crate::stage::{Hotplug, Stage};
use crate::steps::{CPUS, EXTRA, INSTANCE, STATIC, book, hp, truthful};

/// Kinds of operations, for the report.
pub(crate) const KINDS: [&str; 14] = [
    "drive",
    "bring up",
    "limit",
    "take down",
    "freeze",
    "register",
    "instance",
    "fault",
    "disable",
    "read",
    "force",
    "abandon",
    "late",
    "show",
];

const RANGES: [DynRange; 3] = [hp::PREPARE_DYN, hp::PARALLEL_DYN, hp::ONLINE_DYN];
const RESTS: [StateId; 11] = [
    StateId::OFFLINE,
    hp::P0,
    hp::P1,
    hp::PM,
    hp::KICK,
    hp::AP_IDLE,
    hp::O4,
    hp::OM,
    hp::O5,
    hp::ONLINE,
    hp::ONLINE,
];

/// One context.
#[derive(Debug)]
pub(crate) struct Script {
    stage: &'static Stage,
    own: usize,
    random: Random,
    handles: [Option<StateHandle>; 3],
    linked: [bool; 2],
    pub(crate) done: [u64; KINDS.len()],
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    pub(crate) injected: u64,
    pub(crate) stuck: u64,
    pub(crate) late: u64,
}

impl Script {
    pub(crate) fn new(stage: &'static Stage, own: usize, seed: u64) -> Self {
        Self {
            stage,
            own,
            random: Random(crate::random::mix(seed ^ (own as u64) << 40)),
            handles: [None; 3],
            linked: [false; 2],
            done: [0; KINDS.len()],
            failed: 0,
            refused: 0,
            injected: 0,
            stuck: 0,
            late: 0,
        }
    }

    fn hp(&self) -> &'static Hotplug {
        self.stage.hotplug
    }

    fn ap(&mut self) -> CpuId {
        CpuId::new(1 + self.random.below(CPUS - 1))
    }

    /// One operation of the stream.
    pub(crate) fn step(&mut self) {
        let kind = self.random.below(20) as usize;
        let kind = if kind < KINDS.len() { kind } else { 0 };
        self.done[kind] += 1;
        match kind {
            0 => self.drive(),
            1..=3 => self.many(kind),
            4 => self.freeze(),
            5 => self.register(),
            6 => self.link(),
            7 => self.arm(),
            8 => self.disable(),
            9 => self.read(),
            10 => {
                let cpu = self.ap();
                let result = self.stage.force(cpu);
                self.judge(result);
            }
            11 => self.abandon(),
            12 => self.delay(),
            _ => self.show(),
        }
    }

    /// Counts what came of an operation; what nobody may answer here is a violation.
    fn judge(&mut self, result: Result<(), OpError>) {
        match result {
            Ok(()) => {}
            Err(OpError::Refused(refusal)) => {
                self.refused += 1;
                let legal = matches!(
                    refusal.why,
                    Why::Busy | Why::Disabled | Why::Torn | Why::LastCpu | Why::NotFrozen
                );
                assert!(legal, "{refusal}");
                if refusal.why == Why::Torn {
                    let forced = self.stage.force(refusal.cpu);
                    self.judge(forced);
                }
            }
            Err(OpError::Failed(failure)) => {
                self.failed += 1;
                let err = failure.first.err;
                self.injected += u64::from(err == cpuhp_core::StepError::INJECTED);
                self.stuck += u64::from(err == cpuhp_core::StepError::STUCK);
                self.late += u64::from(err == cpuhp_core::StepError::TIMEOUT);
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn drive(&mut self) {
        let (cpu, to) = (self.ap(), self.random.one_of(&RESTS));
        let flags = self.random.one_of(&[OpFlags::AUTO, OpFlags::empty()]);
        let result = {
            let guard = self.stage.write();
            let result = self.stage.drive(&guard, cpu, to, flags);
            if result.is_ok() {
                assert_eq!(
                    self.hp().state(cpu),
                    Some(to),
                    "{cpu} is not where it was driven"
                );
            }
            if let Err(OpError::Failed(failure)) = &result
                && let Left::At(at) = failure.left
            {
                assert_eq!(self.hp().state(cpu), Some(at), "{failure}");
            }
            result
        };
        self.judge(result);
    }

    fn many(&mut self, kind: usize) {
        let mask = MaskStore::<1>::new();
        for cpu in (1..CPUS).map(CpuId::new) {
            if self.random.below(3) > 0 {
                mask.get_mut().insert(cpu);
            }
        }
        let which = if self.random.below(2) == 0 {
            Which::All
        } else {
            Which::Only(mask.get())
        };
        let report = match kind {
            1 => self.hp().bring_up(which),
            2 => {
                let limit = self.random.below(CPUS + 2);
                let before = self.hp().online().count();
                let report = self.hp().bring_up_to(which, limit);
                if before == 1 && limit == 0 {
                    assert_ne!(report.as_ref().map(|r| r.failed), Ok(1), "0 kicks nobody");
                }
                report
            }
            _ => {
                let policy = self
                    .random
                    .one_of(&[Policy::AllOrNothing, Policy::BestEffort]);
                self.hp().take_down_with(which, policy)
            }
        };
        self.judge(report.map(|_| ()));
    }

    fn freeze(&mut self) {
        let frozen = self.hp().freeze();
        if frozen.is_ok() {
            // Somebody else may have done it already.
            while let Err(error) = self.hp().thaw() {
                match error.why() {
                    Some(Why::NotFrozen) => break,
                    Some(Why::Busy | Why::Disabled) => std::thread::yield_now(),
                    _ => panic!("{error}"),
                }
            }
        }
        self.judge(frozen.map(|_| ()));
    }

    fn register(&mut self) {
        let which = self.random.below(3) as usize;
        let result = match self.handles[which] {
            Some(handle) => self.hp().unregister(handle, Calls::Run).map(|_| None),
            None => {
                let step = &EXTRA[self.own][which];
                let added = self.hp().register(RANGES[which], step, Calls::Run);
                added.map(Some)
            }
        };
        match result {
            Ok(handle) => self.handles[which] = handle,
            Err(error) => self.judge_registration(error),
        }
    }

    fn link(&mut self) {
        let which = self.random.below(2) as usize;
        let (at, one) = ([hp::PM, hp::OM][which], &INSTANCE[self.own][which]);
        let result = if self.linked[which] {
            self.hp().remove_instance(at, one, Calls::Run).map(|_| ())
        } else {
            self.hp().add_instance(at, one, Calls::Run)
        };
        match result {
            Ok(()) => self.linked[which] ^= true,
            Err(error) => self.judge_registration(error),
        }
    }

    fn judge_registration(&mut self, error: RegisterError) {
        match error {
            RegisterError::Refused(refused) => self.judge(Err(refused)),
            RegisterError::Failed { undo, .. } => {
                let late = |err| err == cpuhp_core::StepError::STUCK;
                let fine = undo.is_none_or(|(_, second)| late(second.err));
                assert!(fine, "no undo fails here, though one may be late: {error}");
                self.failed += 1;
            }
            // Taken by CPUs that have not answered.
            RegisterError::Full(_) | RegisterError::AlreadyLinked(_) => self.refused += 1,
            RegisterError::NotParallel(_)
            | RegisterError::BadName(_)
            | RegisterError::Stale(_)
            | RegisterError::InstancesLeft(..)
            | RegisterError::NotLinked(_)
            | RegisterError::NotMulti(_)
            | _ => panic!("{error}"),
        }
    }

    fn arm(&mut self) {
        let (cpu, side) = (self.ap(), self.random.one_of(&["", ":up", ":down"]));
        let name = self.random.one_of(&[
            "p0:prepare",
            "pm:prepare",
            "o4:online",
            "om:online",
            "l6:late",
        ]);
        let text = format!("{name}{side}");
        let text = if self.random.below(8) == 0 {
            "none"
        } else {
            &text
        };
        let node = format!("cpu{}/fail", cpu.get());
        let asked = self.hp().parse_write(&node, text);
        let guard = self.stage.write();
        let armed = match asked.expect("a good value") {
            // A forced teardown that is still under way would pass over the step without a call.
            ControlRequest::Arm(..) if !self.rests(cpu) => Ok(()),
            ControlRequest::Arm(cpu, at, side) => guard.arm_fault(cpu, at, side),
            ControlRequest::Disarm(cpu) => guard.disarm_fault(cpu),
            ControlRequest::Drive(..) => panic!("not asked for"),
        };
        drop(guard);
        self.judge(armed);
    }

    fn disable(&mut self) {
        let guard = self.stage.write();
        let held = guard.disable().expect("few nest");
        drop(guard);
        let cpu = self.ap();
        let guard = self.stage.write();
        let refused = guard.op(cpu, hp::ONLINE, OpFlags::AUTO);
        assert_eq!(refused.expect_err("disabled").why(), Some(Why::Disabled));
        drop((guard, held));
    }

    /// Under a read guard nobody moves, but for CPUs that were given up in flight; and what their books say
    /// is what their states say.
    fn read(&mut self) {
        if self.stage.loose.load(Ordering::SeqCst) > 0 {
            return;
        }
        let Ok(reader) = self.hp().try_read() else {
            return;
        };
        let rests: Vec<CpuId> = (1..CPUS)
            .map(CpuId::new)
            .filter(|cpu| self.rests(*cpu))
            .collect();
        // What a late registration still does moves no state, but a bit of its own.
        let look = || {
            rests
                .iter()
                .map(|cpu| (self.hp().state(*cpu), book(*cpu) & STATIC))
        };
        let before: Vec<_> = look().collect();
        std::thread::yield_now();
        let same = look().eq(before.iter().copied());
        let loose = self.stage.loose.load(Ordering::SeqCst) > 0;
        drop(reader);
        if loose {
            return;
        }
        assert!(same, "a CPU moved under a read guard");
        for (cpu, (state, up)) in rests.iter().zip(before) {
            truthful(*cpu, state.unwrap_or_default(), up);
        }
    }

    /// Whether a CPU is at rest by its last operation's own word.
    fn rests(&self, cpu: CpuId) -> bool {
        let error = self.hp().last_error(cpu);
        let moving = error.is_some_and(|e| {
            matches!(e.left, Left::InFlight(_)) || e.first.err == cpuhp_core::StepError::STUCK
        });
        let torn = error.is_some_and(|e| e.rollback.is_some());
        let settled = matches!(
            self.hp().tag(cpu),
            Some(Tag::Dead | Tag::Up | Tag::Alive | Tag::Kicked)
        );
        settled && !moving && !torn
    }

    /// Drops an operation in the middle, as a CPU that dies does, and takes it up again.
    fn abandon(&mut self) {
        let cpu = self.ap();
        self.stage.loose.fetch_add(1, Ordering::SeqCst);
        let guard = self.stage.write();
        let begun = guard.op(cpu, self.random.one_of(&RESTS), OpFlags::AUTO);
        let begun = begun.map(|mut op| op.poll(&guard));
        drop(guard);
        let result = match begun {
            Err(error) => Err(error),
            Ok(Poll::Ready(result)) => result,
            Ok(Poll::Pending) => {
                std::thread::yield_now();
                self.stage.take_up(cpu)
            }
        };
        self.stage.loose.fetch_sub(1, Ordering::SeqCst);
        self.judge(result);
    }

    /// Some CPUs come late or are refused from now on, and those that are held back come.
    fn delay(&mut self) {
        let refusal = cpuhp_core::KickError::new(cpuhp_core::KickErrorKind::Busy);
        let fate = match self.random.below(6) {
            0 => Fate::Held,
            1 => Fate::Refused(refusal),
            2 => Fate::Late(u64::from(self.random.below(6)) * 1_000_000),
            _ => Fate::Prompt,
        };
        let cpu = self.ap();
        self.stage.machine.let_go(cpu);
        self.stage.machine.set_fate(cpu, fate);
    }

    fn show(&self) {
        let mut text = String::new();
        for node in ["states", "instances", "online", "cpu3/error", "cpu5/state"] {
            assert_eq!(self.hp().read_node(node, &mut text), Ok(()), "{node}");
        }
        assert!(text.contains("o4:online"));
    }

    /// Takes back what this context registered, once nothing fails any more.
    pub(crate) fn leave(&mut self) {
        for which in 0..3 {
            if let Some(handle) = self.handles[which].take() {
                self.insist(|hp| hp.unregister(handle, Calls::Run).map(|_| ()));
            }
        }
        for which in 0..2 {
            if std::mem::take(&mut self.linked[which]) {
                let (at, one) = ([hp::PM, hp::OM][which], &INSTANCE[self.own][which]);
                self.insist(|hp| hp.remove_instance(at, one, Calls::Run).map(|_| ()));
            }
        }
    }

    fn insist(&self, mut remove: impl FnMut(&Hotplug) -> Result<(), RegisterError>) {
        while let Err(error) = remove(self.hp()) {
            let busy = matches!(error, RegisterError::Refused(e) if e.why() == Some(Why::Busy));
            assert!(busy, "{error}");
            std::thread::yield_now();
        }
    }
}
