//! Every scenario on this computer: CPUs as threads, or all of them in one thread's virtual time.
//!
//! Takes the same words as the kernels' command line, in one argument or in several:
//! `cpuhp-example-hosted scenario=boot smp=8 time=virtual seed=1 mode=serial,parallel rounds=3`.
//! Prints the machine lines and ends with status 33 if everything passed, 1 if not, 2 if a word is
//! wrong. In virtual time equal seeds print equal bytes.

mod in_virtual_time;
mod machine;
mod on_threads;

use std::process::ExitCode;

use cpuhp_core::CpuId;
use cpuhp_example_common::{Params, Scenario, Verdict};

/// The status that says everything passed, as the kernels' exit device says it.
const PASSED: u8 = 33;

/// CPUs if the command line names no number.
const CPUS: u32 = 8;

/// Most listed CPUs, absent ones included.
const MOST_ON_THREADS: u32 = 4096;
const MOST_IN_VIRTUAL_TIME: u32 = 1 << 17;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // The parameters live as long as the program.
    let text: &'static str = Box::leak(words.join(" ").into_boxed_str());
    let plan = match Plan::read(text) {
        Ok(plan) => plan,
        Err(line) => {
            eprintln!("error: {line}");
            return ExitCode::from(2);
        }
    };
    let verdict = match plan.time {
        Time::Threads => on_threads::run(&plan),
        Time::Virtual => in_virtual_time::run(&plan),
    };
    match verdict {
        Verdict::Pass => ExitCode::from(PASSED),
        Verdict::Fail => ExitCode::FAILURE,
    }
}

/// What the CPUs are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Time {
    Threads,
    Virtual,
}

/// A command line that can be run here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    params: Params,
    time: Time,
    /// CPUs that exist.
    smp: u32,
    /// CPUs that are listed.
    listed: u32,
}

impl Plan {
    fn read(text: &'static str) -> Result<Self, String> {
        let params = Params::parse(text, &["time"]).map_err(|error| error.to_string())?;
        let (time, most) = match params.get("time") {
            None | Some("threads") => (Time::Threads, MOST_ON_THREADS),
            Some("virtual") => (Time::Virtual, MOST_IN_VIRTUAL_TIME),
            Some(other) => return Err(format!("`time={other}`: threads or virtual")),
        };
        if params.scenario == Scenario::Boot && params.modes().any(|mode| mode.name() == "raw") {
            return Err("`mode=raw`: only where there is hardware to kick".to_owned());
        }
        let smp = params.smp.unwrap_or(CPUS);
        let listed = smp
            .saturating_add(params.hotadd)
            .saturating_add(params.absent);
        if listed > most {
            return Err(format!(
                "`smp={smp}`: at most {most} CPUs here, absent ones included"
            ));
        }
        Ok(Self {
            params,
            time,
            smp,
            listed,
        })
    }

    /// CPUs that are listed and plugged in later: behind those that exist.
    fn hotadd(&self) -> impl Iterator<Item = CpuId> + use<> {
        (self.smp..self.smp + self.params.hotadd).map(CpuId::new)
    }

    /// Whether the CPU with this number is listed and never comes: the last ones.
    fn is_absent(&self, cpu: u32) -> bool {
        cpu >= self.smp + self.params.hotadd
    }
}
