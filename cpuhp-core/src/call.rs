//! Calls to other CPUs: a function that runs on the CPU it is queued for, once.
//!
//! Each CPU has a queue that is open exactly while it is available. It is closed as the first thing that
//! happens when the CPU leaves, and what is in it then runs before anything else: a call is accepted and
//! run, or refused, and never lost. Nothing here is linked unless [`Cpuhp::with_calls`] is called.

mod queue;
mod report;

use core::panic::Location;

use crate::bulk::Which;
use crate::cpu::CpuId;
use crate::drive::pause;
use crate::hotplug::Cpuhp;
use crate::mask::Kind;
use crate::platform::{Platform, Who};
use crate::trace::{CallEvent, CallStage, Ipi, Trace};

pub use queue::{Call, CallFn, CallQueue};
use queue::{Calls, Content, Pushed, Turn, Waits};
pub use report::{CallError, CallReport};

/// The queues, and what the AP's side does with them: by pointers, so that it is linked only if there are
/// queues.
#[derive(Debug)]
pub(crate) struct Calling<'a, P: Platform, T: Trace> {
    queues: &'a [CallQueue],
    serve: for<'x> fn(&Cpuhp<'x, P, T>, CpuId) -> usize,
    leave: for<'x> fn(&Cpuhp<'x, P, T>, CpuId) -> Leave,
}

impl<P: Platform, T: Trace> Clone for Calling<'_, P, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform, T: Trace> Copy for Calling<'_, P, T> {}

/// Whether a CPU may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leave {
    /// It takes no calls any more, and has run what it had.
    Done,
    /// Another context of it is inside a call, and has to come to its end first.
    NotYet,
}

impl<'a, P: Platform, T: Trace> Calling<'a, P, T> {
    pub(crate) const fn new(queues: &'a [CallQueue]) -> Self {
        Self {
            queues,
            serve,
            leave,
        }
    }
}

fn serve<P: Platform, T: Trace>(hp: &Cpuhp<'_, P, T>, cpu: CpuId) -> usize {
    let Some(queue) = hp.queue(cpu) else {
        return 0;
    };
    let mut ran = 0;
    // Again after each exit: a context that came meanwhile found this one inside and went away.
    while queue.has_some() && queue.enter(hp.context_mark()) {
        ran += hp.run_calls(cpu, queue.take());
        queue.exit();
    }
    ran
}

fn leave<P: Platform, T: Trace>(hp: &Cpuhp<'_, P, T>, cpu: CpuId) -> Leave {
    let Some(queue) = hp.queue(cpu) else {
        return Leave::Done;
    };
    if !queue.enter(hp.context_mark()) {
        return Leave::NotYet;
    }
    hp.run_calls(cpu, queue.close());
    queue.exit();
    Leave::Done
}

/// A call as it was asked for.
#[derive(Clone, Copy)]
struct Asked {
    cpu: CpuId,
    node: &'static Call,
    content: Content,
    waits: Waits,
}

/// Returns the place of a call, if anybody wants to know.
#[track_caller]
#[inline]
fn site<T: Trace>() -> Option<&'static Location<'static>> {
    if T::ON {
        Some(Location::caller())
    } else {
        None
    }
}

impl<P: Platform, T: Trace> Cpuhp<'_, P, T> {
    /// Has `cpu` run the function of `node` with `arg`, and returns at once.
    ///
    /// Calls to one CPU run in the order in which they were queued. A call to the calling CPU runs before
    /// this returns, unless it is made inside a call: then it runs after that one. `node` is taken until the
    /// function has returned ([`Call::is_done`]).
    ///
    /// ```
    /// use cpuhp_core::{Call, CallError, CpuId, Cpuhp, Platform};
    ///
    /// static FLUSH: Call = Call::new(|_cpu, _page| { /* forget a translation */ });
    ///
    /// fn forget<P: Platform>(hp: &Cpuhp<'_, P>, page: usize) -> Result<(), CallError> {
    ///     match hp.call_and_wait(CpuId::new(1), &FLUSH, page) {
    ///         Err(CallError::Offline) => Ok(()), // it knows no translation
    ///         other => other,
    ///     }
    /// }
    /// ```
    ///
    /// Context: any CPU, which the caller does not leave meanwhile; interrupts on or off; also inside a step
    /// or a call.
    ///
    /// # Errors
    /// [`CallError`], but for `Timeout` and `WouldDeadlock`: nothing was queued.
    #[track_caller]
    #[inline]
    pub fn call(&self, cpu: CpuId, node: &'static Call, arg: usize) -> Result<(), CallError> {
        let asked = self.ask(cpu, node, arg, Waits::No, site::<T>());
        self.queue_call(&asked).map(|_| ())
    }

    /// As [`Self::call`], and returns when the function has returned. What it wrote is visible then.
    ///
    /// The calling CPU runs the calls that come to it meanwhile.
    ///
    /// Context: any CPU, which the caller does not leave meanwhile; not in an interrupt handler nor a STARTING
    /// step. Waits through [`Platform::wait`], as an AP does, at most [`Platform::step_timeout`].
    ///
    /// # Errors
    /// [`CallError`]; only after `Timeout` the function may still run.
    #[track_caller]
    #[inline]
    pub fn call_and_wait(
        &self,
        cpu: CpuId,
        node: &'static Call,
        arg: usize,
    ) -> Result<(), CallError> {
        let asked = self.ask(cpu, node, arg, Waits::Yes, site::<T>());
        self.call_to_its_end(&asked)
    }

    /// Has many CPUs run a function: CPU i that of `nodes[i]`. Returns at once.
    ///
    /// [`Which::All`]: every available CPU but the calling one.
    ///
    /// Context: as [`Self::call`].
    #[track_caller]
    #[inline]
    pub fn call_mask(&self, which: Which<'_>, nodes: &'static [Call], arg: usize) -> CallReport {
        self.queue_calls(which, nodes, arg, Waits::No, site::<T>())
    }

    /// As [`Self::call_mask`], and returns when none of the nodes is in use, busy ones and those of CPUs that
    /// leave meanwhile included, or after [`Platform::step_timeout`] for all of them together. What the
    /// functions wrote is visible then, unless some are late.
    ///
    /// Context: as [`Self::call_and_wait`]. Inside a call it does not wait: those that have not ended are
    /// [`CallReport::late`].
    #[track_caller]
    #[inline]
    pub fn call_mask_and_wait(
        &self,
        which: Which<'_>,
        nodes: &'static [Call],
        arg: usize,
    ) -> CallReport {
        let report = self.queue_calls(which, nodes, arg, Waits::Yes, site::<T>());
        self.await_calls(report, which, nodes)
    }

    /// Runs the calls that are queued for `cpu`, and returns how many.
    ///
    /// A context that is interrupted inside goes on with those that come meanwhile; the handler gets 0.
    ///
    /// Context: `cpu` itself, else nothing happens; from the handler of the wake interrupt, and after each
    /// wait of a loop of one's own: the blocking forms and [`Self::ap_run`] do so. Functions run as the caller is: with interrupts on or off.
    pub fn poll_calls(&self, cpu: CpuId) -> usize {
        match self.calling {
            Some(calling) if self.platform().this_cpu() == cpu => (calling.serve)(self, cpu),
            _ => 0,
        }
    }

    /// Whether calls are queued for `cpu`. For idle loops; a hint.
    ///
    /// Context: any CPU, interrupts on or off.
    pub fn has_calls(&self, cpu: CpuId) -> bool {
        self.queue(cpu).is_some_and(CallQueue::has_some)
    }

    /// Lets calls to `cpu` be accepted. Context: `cpu` itself, before it is available.
    #[inline]
    pub(crate) fn open_calls(&self, cpu: CpuId) {
        if let Some(queue) = self.queue(cpu) {
            queue.open();
        }
    }

    /// Runs what is queued. Context: `cpu` itself, after a wait.
    #[inline]
    pub(crate) fn serve_calls(&self, cpu: CpuId) {
        if let Some(calling) = self.calling {
            (calling.serve)(self, cpu);
        }
    }

    /// Takes no calls any more, and runs those that are queued. Context: `cpu` itself, which leaves,
    /// interrupts off. If it cannot leave yet they are open again, and this returns `false`.
    #[inline]
    pub(crate) fn close_calls(&self, cpu: CpuId) -> bool {
        let is_closed = self
            .calling
            .is_none_or(|calling| (calling.leave)(self, cpu) == Leave::Done);
        if !is_closed {
            self.platform().leave_atomic();
        }
        is_closed
    }

    #[inline]
    fn queue(&self, cpu: CpuId) -> Option<&CallQueue> {
        let queues = self.calling?.queues;
        queues.get(cpu.index())
    }

    fn ask(
        &self,
        cpu: CpuId,
        node: &'static Call,
        arg: usize,
        waits: Waits,
        site: Option<&'static Location<'static>>,
    ) -> Asked {
        let from = self.platform().this_cpu();
        let content = Content { from, arg, site };
        Asked {
            cpu,
            node,
            content,
            waits,
        }
    }

    // ---- caller

    #[inline(never)]
    fn queue_call(&self, asked: &Asked) -> Result<Turn, CallError> {
        let refuse = |turn, error| {
            self.tell(asked, turn, CallStage::Refused(error));
            Err(error)
        };
        let queue = match self.queue(asked.cpu) {
            Some(queue) if asked.cpu.index() < self.cpus() => queue,
            _ => return refuse(None, CallError::NoSuchCpu),
        };
        if queue.is_closed() {
            return refuse(None, CallError::Offline);
        }
        let Some(turn) = asked.node.claim(asked.waits, &asked.content) else {
            return refuse(None, CallError::Busy);
        };
        // Before the target can see it: never after `Entry`.
        self.tell(asked, Some(turn), CallStage::Queued);
        let is_own = asked.cpu == asked.content.from;
        let ipi = match queue.push(asked.node) {
            Pushed::Closed => {
                asked.node.free(turn);
                return refuse(Some(turn), CallError::Offline);
            }
            Pushed::First | Pushed::Behind if is_own => Ipi::Own,
            Pushed::First => Ipi::Sent,
            Pushed::Behind => Ipi::Coalesced,
        };
        // From copies: the node may be anybody's by now.
        self.tell(asked, Some(turn), CallStage::Pushed(ipi));
        match ipi {
            Ipi::Own => {
                self.poll_calls(asked.cpu);
            }
            Ipi::Sent => self.platform().ipi(asked.cpu),
            Ipi::Coalesced => {}
        }
        Ok(turn)
    }

    #[inline(never)]
    fn call_to_its_end(&self, asked: &Asked) -> Result<(), CallError> {
        if self.is_inside_call() {
            let error = CallError::WouldDeadlock;
            self.tell(asked, None, CallStage::Refused(error));
            return Err(error);
        }
        let turn = self.queue_call(asked)?;
        if self.wait_for(&|| asked.node.has_ended(turn)) {
            Ok(())
        } else {
            Err(CallError::Timeout)
        }
    }

    #[inline(never)]
    fn queue_calls(
        &self,
        which: Which<'_>,
        nodes: &'static [Call],
        arg: usize,
        waits: Waits,
        site: Option<&'static Location<'static>>,
    ) -> CallReport {
        let mut report = CallReport::default();
        self.each_called(which, &mut |cpu| {
            let Some(node) = nodes.get(cpu.index()) else {
                report.unknown += 1;
                return;
            };
            let asked = self.ask(cpu, node, arg, waits, site);
            let counter = match self.queue_call(&asked) {
                Ok(_) => &mut report.queued,
                Err(CallError::Offline) => &mut report.offline,
                Err(CallError::Busy) => &mut report.busy,
                Err(_) => &mut report.unknown,
            };
            *counter += 1;
        });
        report
    }

    #[inline(never)]
    fn await_calls(
        &self,
        mut report: CallReport,
        which: Which<'_>,
        nodes: &'static [Call],
    ) -> CallReport {
        let this = self.platform().this_cpu();
        let is_late = |cpu: &CpuId| nodes.get(cpu.index()).is_some_and(|node| !node.is_done());
        let late = || match which {
            // Not only those available by now: that a CPU has left does not show that its call has ended.
            Which::All => {
                let others = self.all_cpus().filter(|cpu| *cpu != this);
                others.filter(is_late).count()
            }
            Which::Only(mask) => mask.each().filter(is_late).count(),
        };
        let has_ended = !self.is_inside_call() && self.wait_for(&|| late() == 0);
        if !has_ended {
            report.late = u32::try_from(late()).unwrap_or(u32::MAX);
        }
        report
    }

    fn each_called(&self, which: Which<'_>, each: &mut dyn FnMut(CpuId)) {
        let this = self.platform().this_cpu();
        match which {
            Which::All => {
                let available = self.storage.each(Kind::Available);
                available.filter(|cpu| *cpu != this).for_each(each);
            }
            Which::Only(mask) => mask.each().for_each(each),
        }
    }

    fn is_inside_call(&self) -> bool {
        let queue = self.queue(self.platform().this_cpu());
        queue.is_some_and(|queue| queue.is_inside(self.context_mark()))
    }

    /// Waits for an end, at most `step_timeout`, and serves this CPU's own calls meanwhile.
    fn wait_for(&self, is_over: &dyn Fn() -> bool) -> bool {
        let (platform, limit) = (self.platform(), self.platform().step_timeout());
        let (this, begun) = (platform.this_cpu(), platform.now());
        loop {
            self.poll_calls(this);
            if is_over() {
                return true;
            }
            let now = platform.now();
            let taken = now.saturating_sub(begun);
            if taken >= limit {
                return false;
            }
            platform.wait(Who::Ap(this), now.saturating_add(pause(taken, limit)));
        }
    }

    // ---- target

    fn run_calls(&self, cpu: CpuId, calls: Calls) -> usize {
        calls.map(|node| self.run_call(cpu, node)).count()
    }

    fn run_call(&self, cpu: CpuId, node: &'static Call) {
        let (turn, content) = (node.turn(), node.content());
        let asked = Asked {
            cpu,
            node,
            content,
            waits: Waits::No,
        };
        self.tell(&asked, Some(turn), CallStage::Entry);
        node.run(cpu, content.arg);
        self.tell(&asked, Some(turn), CallStage::Exit);
        node.free(turn);
        if turn.is_waited() {
            self.platform().notify_ap(content.from);
        }
    }

    fn tell(&self, asked: &Asked, turn: Option<Turn>, stage: CallStage) {
        let Some(site) = asked.content.site.filter(|_| T::ON) else {
            return;
        };
        self.tracer().call(&CallEvent {
            stage,
            node: core::ptr::from_ref(asked.node).addr(),
            turn: turn.map_or(0, Turn::number),
            from: asked.content.from,
            cpu: asked.cpu,
            arg: asked.content.arg,
            site,
        });
    }
}
