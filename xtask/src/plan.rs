//! One boot, planned: kernel, CPUs, machine, scenario, and the limits that are known before it starts.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::arch::Arch;
use crate::cli::Accel;
use crate::exit::usage;
use crate::machine::{Board, Machine, Time};

/// The scenarios the examples in the tree can run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// All CPUs from OFFLINE to ONLINE
    #[default]
    Boot,
    /// Each CPU down and up again, one at a time
    Cycle,
    /// All secondaries down together, then up together
    Bulk,
    /// Every legal pair of states
    Partial,
    /// A fault at every step in both directions
    Fault,
    /// CPUs that miss the deadline, and late ones
    Dead,
    /// States and instances that come and go while CPUs are up
    Register,
    /// All but one frozen and thawed, given up in between
    Suspend,
    /// Random legal operations from the seed
    Storm,
    /// Up to each number of CPUs
    Limit,
    /// Hotplug disabled, nested, and a CPU that never stops
    Disable,
    /// Calls from every CPU to every other one
    Ipi,
    /// CPUs that are plugged in while the kernel runs
    Hotadd,
    /// The states as text, good words and bad ones
    Control,
    /// All CPUs in critical sections at once, nested and interrupted
    Critical,
    /// The monitor: a console that takes words, on this terminal or piped
    Shell,
}

impl Scenario {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Cycle => "cycle",
            Self::Bulk => "bulk",
            Self::Partial => "partial",
            Self::Fault => "fault",
            Self::Dead => "dead",
            Self::Register => "register",
            Self::Suspend => "suspend",
            Self::Storm => "storm",
            Self::Limit => "limit",
            Self::Disable => "disable",
            Self::Hotadd => "hotadd",
            Self::Ipi => "ipi",
            Self::Control => "control",
            Self::Critical => "critical",
            Self::Shell => "shell",
        }
    }
}

/// Everything that decides what one boot does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) arch: Arch,
    /// CPUs that exist, the boot CPU included.
    pub(crate) smp: u32,
    pub(crate) accel: Accel,
    pub(crate) scenario: Scenario,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) machine: Machine,
    pub(crate) seed: u64,
    /// Host time the boot may take.
    pub(crate) limit: Duration,
}

/// CPUs of a run that names neither a number nor a topology.
pub(crate) const DEFAULT_SMP: u32 = 8;

/// Harts that the OpenSBI in QEMU 7.2 starts and answers for; its device tree lists any number.
const SERVED_HARTS: u32 = 128;

/// CPUs of the board `raspi3b`, which has no other number.
pub(crate) const RASPI_SMP: u32 = 4;

impl Plan {
    /// Plans scenario `boot` with the defaults of `run`.
    pub(crate) fn new(arch: Arch) -> Self {
        Self {
            arch,
            smp: DEFAULT_SMP,
            accel: Accel::Tcg,
            scenario: Scenario::Boot,
            params: Vec::new(),
            machine: Machine::default(),
            seed: 1,
            limit: Duration::from_secs(60),
        }
    }

    /// Sets `smp`: what was asked for, else what the topology leaves after the absent CPUs, else the default.
    ///
    /// # Errors
    /// More CPUs than the topology has.
    pub(crate) fn set_smp(&mut self, asked: Option<u32>) -> Result<()> {
        let absent = self.machine.absent;
        self.smp = match (&self.machine.topology, asked) {
            (None, None) if self.machine.board == Some(Board::Raspi3b) => RASPI_SMP,
            (None, asked) => asked.unwrap_or(DEFAULT_SMP),
            (Some(topology), None) if topology.cpus > absent => topology.cpus - absent,
            (Some(topology), Some(smp))
                if u64::from(smp) + u64::from(absent) <= topology.cpus.into() =>
            {
                smp
            }
            (Some(topology), _) => {
                return Err(usage(format!(
                    "topology={} has {} CPUs: give --smp and absent= that fit into it",
                    topology.text, topology.cpus
                )));
            }
        };
        Ok(())
    }

    /// Existing CPUs, absent ones and ones that are plugged in later: what the kernel finds in the firmware's tables.
    pub(crate) fn cpus(&self) -> u64 {
        u64::from(self.smp) + u64::from(self.machine.absent) + u64::from(self.machine.hotadd)
    }

    /// CPUs that are listed and exist, and that the firmware does not serve: a kernel reports them as not
    /// present.
    pub(crate) fn unserved(&self) -> u32 {
        match self.arch {
            Arch::Riscv64 => self.smp.saturating_sub(SERVED_HARTS),
            Arch::X86_64 | Arch::Aarch64 | Arch::Hosted => 0,
        }
    }

    /// CPUs that come online, the boot CPU included.
    pub(crate) fn served(&self) -> u32 {
        self.smp - self.unserved()
    }

    /// Whether the guest's clock runs with the host's, so that its times cannot exceed the wall time.
    pub(crate) fn is_clock_real(&self) -> bool {
        match self.arch {
            Arch::X86_64 | Arch::Aarch64 | Arch::Riscv64 => self.accel != Accel::Icount,
            Arch::Hosted => self.machine.time != Some(Time::Virtual),
        }
    }

    /// The modes `boot` reports on, one result each.
    pub(crate) fn boot_modes(&self) -> Vec<&str> {
        let modes = self.param("mode").unwrap_or("parallel");
        modes.split(',').collect()
    }

    /// The number given for the parameter `key`.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.param(key)?.parse().ok()
    }

    fn param(&self, key: &str) -> Option<&str> {
        let mut pairs = self.params.iter().rev();
        pairs
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The kernel's command line, and the hosted runner's one argument.
    pub(crate) fn arguments(&self) -> String {
        let mut words = vec![
            format!("scenario={}", self.scenario.name()),
            format!("smp={}", self.smp),
            format!("seed={}", self.seed),
        ];
        words.extend(
            self.params
                .iter()
                .map(|(key, value)| format!("{key}={value}")),
        );
        if self.machine.absent > 0 {
            words.push(format!("absent={}", self.machine.absent));
        }
        if self.machine.taken > 0 {
            words.push(format!("taken={}", self.machine.taken));
        }
        if self.machine.hotadd > 0 {
            words.push(format!("hotadd={}", self.machine.hotadd));
        }
        if self.unserved() > 0 {
            words.push(format!("unserved={}", self.unserved()));
        }
        match self.machine.time {
            Some(Time::Virtual) => words.push("time=virtual".to_owned()),
            Some(Time::Threads) => words.push("time=threads".to_owned()),
            None => {}
        }
        words.join(" ")
    }

    /// One short line for tables and progress.
    pub(crate) fn title(&self) -> String {
        let mut words = vec![self.arch.name().to_owned(), self.scenario.name().to_owned()];
        words.push(format!("smp={}", self.smp));
        match self.accel {
            _ if self.arch == Arch::Hosted => {}
            Accel::Tcg => {}
            Accel::Icount => words.push("icount".to_owned()),
            Accel::Kvm => words.push("kvm".to_owned()),
        }
        words.extend(self.machine_words());
        words.extend(
            self.params
                .iter()
                .map(|(key, value)| format!("{key}={value}")),
        );
        words.join(" ")
    }

    fn machine_words(&self) -> Vec<String> {
        let machine = &self.machine;
        let mut words = machine.features.clone();
        words.extend(machine.cpu.iter().map(|cpu| format!("cpu={cpu}")));
        words.extend(
            machine
                .thread
                .iter()
                .map(|thread| format!("thread={}", thread.name())),
        );
        words.extend(
            machine
                .topology
                .iter()
                .map(|topology| topology.text.clone()),
        );
        if machine.absent > 0 {
            words.push(format!("absent={}", machine.absent));
        }
        if machine.taken > 0 {
            words.push(format!("taken={}", machine.taken));
        }
        if machine.hotadd > 0 {
            words.push(format!("hotadd={}", machine.hotadd));
        }
        words.extend(
            machine
                .level
                .iter()
                .map(|level| format!("el={}", level.number())),
        );
        words.extend(
            machine
                .board
                .iter()
                .map(|board| format!("board={}", board.name())),
        );
        if machine.time == Some(Time::Virtual) {
            words.push("time=virtual".to_owned());
        }
        words
    }
}

/// Reads the values of `--param`.
///
/// # Errors
/// A word that is not `K=V`, that the command line cannot carry, or whose key has its own flag.
pub(crate) fn parse_params(words: &[String]) -> Result<Vec<(String, String)>> {
    let mut params = Vec::new();
    for word in words {
        let parts = word.split_once('=').filter(|(key, _)| {
            !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        let Some((key, value)) = parts else {
            return Err(usage(format!(
                "`--param {word}` is not of the form K=V, such as timeout_ms=300"
            )));
        };
        if value.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(usage(format!(
                "`--param {word}`: a value cannot hold white space"
            )));
        }
        match key {
            "scenario" | "smp" | "seed" => {
                return Err(usage(format!(
                    "`--param {word}`: say --{key} {value} instead"
                )));
            }
            "unserved" => {
                return Err(usage(format!(
                    "`--param {word}`: the number of CPUs decides it; say --smp N instead"
                )));
            }
            "absent" | "hotadd" | "time" => {
                return Err(usage(format!(
                    "`--param {word}`: say --machine {word} instead"
                )));
            }
            _ => params.push((key.to_owned(), value.to_owned())),
        }
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_carry_scenario_cpus_seed_parameters_and_machine() {
        let mut plan = Plan::new(Arch::Hosted);
        plan.params = parse_params(&["timeout_ms=300".to_owned()]).unwrap();
        plan.machine = Machine::parse(
            &["absent=4".to_owned(), "time=virtual".to_owned()],
            plan.arch,
        )
        .unwrap();
        assert_eq!(
            plan.arguments(),
            "scenario=boot smp=8 seed=1 timeout_ms=300 absent=4 time=virtual"
        );
        assert_eq!(plan.cpus(), 12);
        assert!(!plan.is_clock_real());
    }

    #[test]
    fn parameters_with_their_own_flag_or_white_space_are_refused() {
        for (word, right) in [
            ("smp=4", "--smp 4"),
            ("absent=4", "--machine absent=4"),
            ("unserved=2", "--smp N"),
            ("mode=a b", "white space"),
            ("mode", "K=V"),
            ("=3", "K=V"),
        ] {
            let line = parse_params(&[word.to_owned()]).unwrap_err().to_string();
            assert!(line.contains(right), "{line}");
        }
    }

    #[test]
    fn topology_gives_the_number_of_cpus() {
        let mut plan = Plan::new(Arch::X86_64);
        let words = [
            "topology=sockets=3,cores=3,threads=3".to_owned(),
            "absent=2".to_owned(),
        ];
        plan.machine = Machine::parse(&words, plan.arch).unwrap();
        plan.set_smp(None).unwrap();
        assert_eq!((plan.smp, plan.cpus()), (25, 27));
        assert!(
            plan.set_smp(Some(26))
                .unwrap_err()
                .to_string()
                .contains("27 CPUs")
        );
    }

    #[test]
    fn modes_are_those_asked_for() {
        let mut plan = Plan::new(Arch::X86_64);
        assert_eq!(plan.boot_modes(), ["parallel"]);
        plan.params = parse_params(&["mode=raw,serial".to_owned()]).unwrap();
        assert_eq!(plan.boot_modes(), ["raw", "serial"]);
    }
}
