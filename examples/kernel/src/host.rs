//! The kernel as the scenario driver sees it: [`Host`] for the callbacks, [`Machine`] for the rest.

use core::fmt;
use core::marker::PhantomData;

use cpuhp_core::{
    Call, CallError, Confirm, CpuId, Entry, KickError, KickOutcome, Platform, StepError,
    StepResult, Tag, Who,
};
use cpuhp_example_common::{Existence, Host, Hp, Machine, Plugged, Slept, Unable};

use crate::board::Board;
use crate::kernel::Kernel;
use crate::poison;

/// How long a CPU of mode `raw` may take from its one word to its rest, or to obey a reset.
const SETTLE_NS: u64 = 20_000_000;

impl<B: Board> Kernel<B> {
    /// Ends what mode `raw` did with `cpu`: waits for its rest, since it wrote its one word a moment
    /// before, and resets a CPU that never came.
    fn end_raw(&self, cpu: CpuId) {
        if !self.raw.get().contains(cpu) {
            return;
        }
        self.raw.get_mut().remove(cpu);
        let backend = self.wait_backend();
        let has_come = B::cancel(backend, cpu).is_err();
        let deadline = self.now() + SETTLE_NS;
        // Asleep: where all CPUs share one thread of the host, spinning would keep it from its rest.
        while backend.confirm(cpu) == Confirm::Running && self.now() < deadline {
            backend.wait(Who::Control(cpu), deadline);
        }
        if !has_come {
            backend.kick_done(cpu, KickOutcome::Lost);
        }
    }
}

impl<B: Board> Host for Kernel<B> {
    fn now(&self) -> u64 {
        self.wait_backend().now()
    }

    fn this_cpu(&self) -> CpuId {
        B::this_cpu()
    }

    fn print(&self, line: fmt::Arguments<'_>) {
        B::print(format_args!("{line}\n"));
    }

    fn echo(&self, text: &str) {
        B::print(format_args!("{text}"));
    }

    fn typed(&self) -> Result<Option<u8>, Unable> {
        B::typed()
    }

    /// Sleeps on the CPU's own timer. In STARTING interrupts stay closed, however the CPU can wait then;
    /// before its arrival the AP has them closed as well, but nothing forbids to open them.
    fn sleep(&self, cpu: CpuId, until: u64) -> Slept {
        let tag = self.hp().tag(cpu);
        let in_starting = matches!(tag, Some(Tag::Go | Tag::Up | Tag::Die));
        let were_on = B::interrupts_are_on();
        loop {
            let left = until.saturating_sub(self.now());
            if left == 0 {
                return Slept::Over;
            }
            if in_starting && !were_on {
                B::pause_ns(left);
                continue;
            }
            B::interrupts_off();
            B::sleep_ns(left);
            if were_on {
                B::interrupts_on();
            }
        }
    }

    /// # Panics
    /// If interrupts are open inside, or afterwards not as they were before.
    fn section(&self, work: &mut dyn FnMut()) -> Result<(), Unable> {
        let were_on = B::interrupts_are_on();
        let entered = B::section(&mut || {
            assert!(!B::interrupts_are_on(), "interrupts are open in a section");
            work();
        });
        assert!(
            B::interrupts_are_on() == were_on,
            "a section left interrupts other than they were"
        );
        entered
    }

    /// # Panics
    /// If the CPU, which was off, changed any of its memory.
    fn prepare(&self, cpu: CpuId) -> StepResult {
        if cpu == B::this_cpu() {
            return Ok(());
        }
        self.end_raw(cpu);
        let backend = self.wait_backend();
        let changed = poison::check::<B>(backend, cpu);
        assert!(changed == 0, "{cpu} was off and changed {changed} words");
        let no_memory = StepError::user(1).unwrap_or(StepError::TIMEOUT);
        B::give(backend, cpu).ok_or(no_memory)
    }

    fn unprepare(&self, cpu: CpuId) {
        let backend = self.wait_backend();
        B::take_back(backend, cpu);
        poison::mark(cpu);
    }

    fn at_rest(&self, cpu: CpuId) {
        poison::apply::<B>(self.wait_backend(), cpu);
    }

    /// # Panics
    /// If `entry` is not what this kernel has seen of the CPU itself.
    fn start(&self, cpu: CpuId, entry: Entry) {
        B::start(cpu, entry);
        let seen = if self.seen.get().contains(cpu) {
            Entry::Again
        } else {
            Entry::First
        };
        assert!(
            entry == seen,
            "entry of {cpu}: told {entry:?}, seen {seen:?}"
        );
        self.seen.get_mut().insert(cpu);
    }

    fn stop(&self, cpu: CpuId) {
        B::stop(cpu);
    }

    fn call(&self, cpu: CpuId, node: &'static Call, arg: usize) -> Result<(), CallError> {
        self.hp().call(cpu, node, arg)
    }

    fn poll_calls(&self, cpu: CpuId) -> usize {
        self.try_hp().map_or(0, |hp| hp.poll_calls(cpu))
    }

    fn takes_calls(&self, cpu: CpuId) -> bool {
        self.hp().online().contains(cpu)
    }

    fn idle(&self, cpu: CpuId) {
        self.take_job(cpu);
    }
}

impl<B: Board> Machine for Kernel<B> {
    type Backend = &'static B::Backend;

    fn hp(&self) -> &Hp<Self::Backend> {
        self.wait_hp()
    }

    fn arch(&self) -> &'static str {
        B::ARCH
    }

    fn exists(&self, cpu: CpuId) -> Option<Existence> {
        Some(if self.absent.get().contains(cpu) {
            Existence::Absent
        } else {
            Existence::There
        })
    }

    fn refusal(&self, cpu: CpuId) -> Option<i64> {
        B::refusal(self.wait_backend(), cpu)
    }

    fn cancel(&self, cpu: CpuId) -> Result<(), KickError> {
        B::cancel(self.wait_backend(), cpu)
    }

    fn plugged(&self, cpu: CpuId) -> Result<Plugged, Unable> {
        let backend = self.wait_backend();
        match B::is_plugged(backend, cpu) {
            Some(true) => {
                B::set_present(backend, cpu);
                Ok(Plugged::Yes)
            }
            Some(false) => Ok(Plugged::No),
            None => Err("it cannot tell which CPUs are plugged in"),
        }
    }

    fn polls_max(&self, cpu: CpuId) -> Option<u32> {
        B::polls_max(self.wait_backend(), cpu)
    }

    /// Never returns: what called it does not survive the CPU's going off.
    fn run_on(&self, cpu: CpuId, job: fn(&Self)) -> Result<(), Unable> {
        self.hand_over(cpu, job)
    }

    fn raw_kick(&self, cpu: CpuId) -> Option<Result<(), KickError>> {
        let kicked = self.wait_backend().kick(cpu, 1);
        if kicked.is_ok() {
            self.raw.get_mut().insert(cpu);
        }
        Some(kicked)
    }
}

/// Prints while the kernel is falling: takes no lock for long, needs no backend.
pub(crate) struct LastWords<B>(PhantomData<fn() -> B>);

impl<B: Board> LastWords<B> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<B: Board> Host for LastWords<B> {
    fn now(&self) -> u64 {
        B::kernel().backend().map_or(0, Platform::now)
    }

    fn this_cpu(&self) -> CpuId {
        B::this_cpu()
    }

    fn print(&self, line: fmt::Arguments<'_>) {
        B::print_last(format_args!("{line}\n"));
    }

    fn sleep(&self, _cpu: CpuId, _until: u64) -> Slept {
        Slept::Over
    }
}
