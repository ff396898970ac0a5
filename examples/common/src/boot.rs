//! Scenario `boot`: all CPUs from `OFFLINE` to `ONLINE`, in one mode or in several that alternate.

use core::sync::atomic::Ordering;

use cpuhp_core::{Confirm, CpuId, KickOutcome, Platform, StepError, Tag, Which, Who};

use crate::check;
use crate::log::CpuLog;
use crate::machine::{Machine, Unable};
use crate::result::Stage;
use crate::scenario::Mode;
use crate::trace;
use crate::violation::Violation;

/// What the rounds of one mode came to.
#[derive(Clone, Copy, Default)]
struct Totals {
    best: u64,
    control: u64,
    polls: u32,
    violations: u32,
}

/// Times of one window, from its first kick.
struct Window {
    alive: u64,
    online: u64,
    control: u64,
}

/// Runs it.
pub(crate) fn run<M: Machine>(stage: &Stage<'_, M>) {
    let params = &stage.scene.params;
    let mut totals = [Totals::default(); Mode::ALL.len()];
    for samples in stage.scene.parts.samples {
        samples.clear();
    }
    let mut is_first = true;
    // Whatever is found wrong belongs to some mode: before the first window too, and between two.
    let mut counted = 0;
    for _ in 0..params.rounds.unwrap_or(1) {
        for mode in params.modes() {
            let ready = if is_first { Ok(()) } else { clear(stage) };
            is_first = false;
            let Some(total) = totals.get_mut(mode as usize) else {
                continue;
            };
            if let Err(why) = ready.and_then(|()| round(stage, mode, total)) {
                return stage.refuse(why);
            }
            let found = stage.scene.violations.count();
            total.violations += found - counted;
            counted = found;
        }
    }
    stage.scene.violations.print_and_clear(stage.machine);
    for mode in params.modes() {
        if let Some(total) = totals.get(mode as usize) {
            report(stage, mode, *total);
        }
    }
}

/// Takes the CPUs of the last window down, untimed.
fn clear<M: Machine>(stage: &Stage<'_, M>) -> Result<(), Unable> {
    stage.can_stop()?;
    reset_dead(stage);
    let report = stage.hp().take_down(Which::All);
    if !report.is_ok_and(|report| report.is_complete()) {
        let first = stage.others().next().unwrap_or_default();
        stage
            .scene
            .wrong(Violation::OperationFailed, first, 1u32, 0u32);
    }
    check::all(stage.machine, stage.scene);
    Ok(())
}

/// Resets the CPUs that were given up on, and takes back what they were given: once they are off.
fn reset_dead<M: Machine>(stage: &Stage<'_, M>) {
    let platform = stage.hp().platform();
    let dead = || {
        let is_cancelled = |cpu: &CpuId| stage.hp().tag(*cpu) == Some(Tag::Cancelled);
        stage.others().filter(is_cancelled)
    };
    for cpu in dead() {
        if let Err(error) = stage.machine.cancel(cpu) {
            let scene = stage.scene;
            scene.wrong(Violation::Kicks, cpu, error.kind as u32, 0u32);
        }
    }
    let deadline = stage.now().saturating_add(stage.scene.params.timeout_ns);
    for cpu in dead() {
        while platform.confirm(cpu) == Confirm::Running && stage.now() < deadline {
            platform.wait(Who::Control(cpu), deadline);
        }
        stage.expect_done(cpu, stage.hp().cpu_down(cpu));
    }
}

/// One window in one mode, with its checks.
fn round<M: Machine>(stage: &Stage<'_, M>, mode: Mode, total: &mut Totals) -> Result<(), Unable> {
    stage.scene.begin_window();
    let window = match mode {
        Mode::Raw => raw(stage)?,
        Mode::Serial | Mode::Split | Mode::Parallel => up(stage, mode),
    };
    let [alive, online] = [2 * mode as usize, 2 * mode as usize + 1];
    for (set, value) in [(alive, window.alive), (online, window.online)] {
        if let Some(samples) = stage.scene.parts.samples.get(set) {
            samples.add(value);
        }
    }
    let is_best = total.best == 0 || window.online.max(window.alive) < total.best;
    if is_best {
        total.best = window.online.max(window.alive);
        total.control = window.control;
        keep_rows(stage, mode);
    }
    let polls = stage.others().filter_map(|cpu| {
        let seen = || Some(stage.scene.cpu(cpu)?.most_polls.load(Ordering::Relaxed));
        stage.machine.polls_max(cpu).or_else(seen)
    });
    total.polls = total.polls.max(polls.max().unwrap_or(0));
    Ok(())
}

/// Brings all up through the core.
fn up<M: Machine>(stage: &Stage<'_, M>, mode: Mode) -> Window {
    let hp = stage.hp();
    let begin = stage.now();
    // What failed is found by the checks: an absent CPU has to.
    match mode {
        Mode::Raw => {}
        Mode::Serial => {
            for cpu in stage.others() {
                let _ = hp.cpu_up(cpu);
            }
        }
        Mode::Split => {
            for cpu in stage.others() {
                let _ = hp.drive(cpu, hp.table().kick());
            }
            for cpu in stage.others() {
                let _ = hp.cpu_up(cpu);
            }
        }
        Mode::Parallel => {
            let _ = hp.bring_up(Which::All);
        }
    }
    let took = stage.now().saturating_sub(begin);
    trace::window(stage.scene, mode, begin);
    let waited = stage.scene.waited.load(Ordering::Relaxed);
    check::all(stage.machine, stage.scene);
    check_who_came(stage);
    if mode == Mode::Parallel {
        check_waves(stage);
    }
    Window {
        alive: last(stage, |log| log.alive.load(Ordering::Relaxed)),
        online: last(stage, |log| log.online.load(Ordering::Relaxed)),
        control: took.saturating_sub(waited),
    }
}

/// Exactly the absent CPUs failed, in the way absent CPUs do.
fn check_who_came<M: Machine>(stage: &Stage<'_, M>) {
    let (hp, scene) = (stage.hp(), stage.scene);
    let mut failed = 0;
    for cpu in stage.others() {
        let Some(log) = scene.cpu(cpu) else { continue };
        let came = hp.online().contains(cpu);
        if stage.machine.exists(cpu).is_some() && came == stage.is_absent(cpu) {
            scene.wrong(Violation::Existence, cpu, came, !came);
        }
        if came {
            check_times(stage, cpu, log);
            check::list(scene, cpu, log, check::way(scene, 0, scene.order.top()));
            continue;
        }
        failed += 1;
        let failure = hp.last_error(cpu);
        let is_right = failure.is_some_and(|failure| match stage.machine.refusal(cpu) {
            None => failure.first.err == StepError::TIMEOUT,
            Some(code) => failure.kick.is_some_and(|kick| kick.code == code),
        });
        if !is_right {
            let at = failure.map_or(0, |failure| failure.first.at.get());
            scene.wrong(Violation::WrongError, cpu, at, scene.table.kick().get());
        }
    }
    if failed != scene.params.absent {
        let first = stage.others().next().unwrap_or_default();
        scene.wrong(Violation::Existence, first, failed, scene.params.absent);
    }
}

/// No CPU was kicked before one of a lower wave.
fn check_waves<M: Machine>(stage: &Stage<'_, M>) {
    let (mut wave, mut lower) = (Some(0), 0);
    while let Some(this) = wave.take() {
        let mut last = lower;
        for cpu in stage.others() {
            let Some(log) = stage.scene.cpu(cpu) else {
                continue;
            };
            let its = stage.hp().platform().wave(cpu);
            if its > this {
                wave = Some(wave.map_or(its, |next: u8| next.min(its)));
            } else if its == this {
                let kicked = log.kicked.load(Ordering::Relaxed);
                if kicked < lower {
                    stage.scene.wrong(Violation::Wave, cpu, kicked, lower);
                }
                last = last.max(kicked);
            }
        }
        lower = last;
    }
}

/// First kick <= its kick < alive <= online <= now.
fn check_times<M: Machine>(stage: &Stage<'_, M>, cpu: CpuId, log: &CpuLog) {
    let first = stage.scene.first_kick.load(Ordering::Relaxed);
    let times = [&log.kicked, &log.alive, &log.online].map(|word| word.load(Ordering::Relaxed));
    let [kicked, alive, online] = times;
    let is_ordered = first <= kicked && kicked < alive && alive <= online;
    if !is_ordered || kicked == 0 || online > stage.now() {
        stage.scene.wrong(Violation::Time, cpu, alive, online);
    }
}

/// The backend alone: kick all, and each writes one flag.
fn raw<M: Machine>(stage: &Stage<'_, M>) -> Result<Window, Unable> {
    let scene = stage.scene;
    let platform = stage.hp().platform();
    for cpu in stage.others() {
        if stage.machine.prepare(cpu).is_err() {
            return Err("a CPU could not be prepared");
        }
    }
    scene.raw.store(1, Ordering::Release);
    scene
        .first_kick
        .store(stage.now().max(1), Ordering::Relaxed);
    let begin = stage.now();
    for cpu in stage.others() {
        match stage.machine.raw_kick(cpu) {
            None => {
                scene.raw.store(0, Ordering::Release);
                return Err("it has no mode `raw`");
            }
            Some(Ok(())) => {}
            Some(Err(error)) => scene.wrong(Violation::Kicks, cpu, error.kind as u32, 0u32),
        }
    }
    let sent = stage.now();
    let deadline = sent.saturating_add(scene.params.timeout_ns);
    let came = |cpu: &CpuId| {
        let log = scene.cpu(*cpu);
        log.is_some_and(|log| log.alive.load(Ordering::Acquire) != 0)
    };
    while stage.now() < deadline {
        let Some(missing) = stage.others().find(|cpu| !came(cpu)) else {
            break;
        };
        platform.wait(Who::Control(missing), deadline);
    }
    scene.raw.store(0, Ordering::Release);
    let mut failed = 0;
    for cpu in stage.others() {
        if came(&cpu) {
            platform.inner().kick_done(cpu, KickOutcome::Arrived);
        } else {
            failed += 1;
        }
    }
    if failed != scene.params.absent {
        let first = stage.others().next().unwrap_or_default();
        scene.wrong(Violation::Existence, first, failed, scene.params.absent);
    }
    let alive = last(stage, |log| log.alive.load(Ordering::Acquire));
    Ok(Window {
        alive,
        online: 0,
        control: sent.saturating_sub(begin),
    })
}

/// Returns the last of the times `time`, from the first kick on.
fn last<M: Machine>(stage: &Stage<'_, M>, time: impl Fn(&CpuLog) -> u64) -> u64 {
    let first = stage.scene.first_kick.load(Ordering::Relaxed);
    let logs = stage.others().filter_map(|cpu| stage.scene.cpu(cpu));
    let last = logs.map(time).max().unwrap_or(0);
    last.saturating_sub(first)
}

/// Keeps the times of this window as the mode's.
fn keep_rows<M: Machine>(stage: &Stage<'_, M>, mode: Mode) {
    let first = stage.scene.first_kick.load(Ordering::Relaxed);
    for log in stage.others().filter_map(|cpu| stage.scene.cpu(cpu)) {
        let Some(row) = log.rows.get(mode as usize) else {
            continue;
        };
        for (from, to) in [(&log.alive, &row.alive), (&log.online, &row.online)] {
            let time = from.load(Ordering::Relaxed).saturating_sub(first);
            to.store(time, Ordering::Relaxed);
        }
    }
}

fn report<M: Machine>(stage: &Stage<'_, M>, mode: Mode, total: Totals) {
    let scene = stage.scene;
    let row = |cpu: CpuId, is_wanted: fn(u64) -> bool| {
        let row = scene.cpu(cpu)?.rows.get(mode as usize)?;
        let alive = row.alive.load(Ordering::Relaxed);
        let online = row.online.load(Ordering::Relaxed);
        let came = if mode == Mode::Raw { alive } else { online };
        is_wanted(came).then_some((cpu, alive, online))
    };
    let came = || stage.others().filter_map(|cpu| row(cpu, |came| came > 0));
    let failed = || stage.others().filter_map(|cpu| row(cpu, |came| came == 0));
    for failure in failed().filter_map(|(cpu, ..)| stage.hp().last_error(cpu)) {
        stage.machine.print(format_args!("failed: {failure}"));
    }
    let [alive, online] = [2 * mode as usize, 2 * mode as usize + 1];
    let samples = |set: usize| scene.parts.samples.get(set);
    let least = |set| samples(set).map_or(0, |samples| samples.least());
    let median = |set| samples(set).map_or(0, |samples| samples.median());
    stage.result(total.violations, |line| {
        line.text("mode", &mode.name())?;
        let cpus = stage.hp().cpus() as u64;
        line.number("cpus", cpus)?;
        if mode != Mode::Raw {
            line.number("online", 1 + came().count() as u64)?;
            line.numbers("failed", failed().map(|(cpu, ..)| cpu.get()))?;
            line.numbers("not_present", stage.not_present().map(CpuId::get))?;
            line.number("ap_polls_max", total.polls)?;
        }
        line.number("kick_to_alive_ns", least(alive))?;
        line.number("kick_to_alive_ns_median", median(alive))?;
        if mode != Mode::Raw {
            line.number("kick_to_online_ns", least(online))?;
            line.number("kick_to_online_ns_median", median(online))?;
            line.number("control_ns_per_cpu", total.control / cpus.max(1))?;
        }
        line.objects("per_cpu", came(), |object, (cpu, alive, online)| {
            object.number("cpu", cpu.get())?;
            object.number("wave", stage.hp().platform().wave(cpu))?;
            object.number("alive_ns", alive)?;
            match mode {
                Mode::Raw => Ok(()),
                Mode::Serial | Mode::Split | Mode::Parallel => object.number("online_ns", online),
            }
        })
    });
}
