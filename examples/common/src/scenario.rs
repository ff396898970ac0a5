//! What to run and how, by the names of the command line and of the machine lines.

/// What to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scenario {
    /// All present CPUs from `OFFLINE` to `ONLINE`.
    Boot,
    /// Every CPU but the driving one down and up again, one at a time.
    Cycle,
    /// All secondaries down together, then up together.
    Bulk,
    /// Every legal pair of states.
    Partial,
    /// A fault at every step in both directions.
    Fault,
    /// CPUs that miss the deadline.
    Dead,
    /// States and instances registered and removed while CPUs are online.
    Register,
    /// All but one frozen and thawed.
    Suspend,
    /// Random legal operations.
    Storm,
    /// Up to each number of CPUs.
    Limit,
    /// Hotplug disabled for now, and CPUs that can never be stopped.
    Disable,
    /// Calls from every CPU to every other one.
    Ipi,
    /// CPUs that are plugged in while the kernel runs.
    Hotadd,
    /// The states as text.
    Control,
    /// All CPUs in critical sections at once.
    Critical,
    /// The monitor: words typed on the console.
    Shell,
}

/// How `boot` brings the CPUs up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The backend alone.
    Raw,
    /// `cpu_up`, one CPU after the other.
    Serial,
    /// All to `KICK`, then each to `ONLINE`.
    Split,
    /// `bring_up`.
    Parallel,
}

impl Scenario {
    pub(crate) const ALL: [(&'static str, Self); 16] = [
        ("boot", Self::Boot),
        ("cycle", Self::Cycle),
        ("bulk", Self::Bulk),
        ("partial", Self::Partial),
        ("fault", Self::Fault),
        ("dead", Self::Dead),
        ("register", Self::Register),
        ("suspend", Self::Suspend),
        ("storm", Self::Storm),
        ("limit", Self::Limit),
        ("disable", Self::Disable),
        ("hotadd", Self::Hotadd),
        ("ipi", Self::Ipi),
        ("control", Self::Control),
        ("critical", Self::Critical),
        ("shell", Self::Shell),
    ];
    /// What is right, for the error of a wrong name.
    pub(crate) const NAMES: &'static str = "one of boot, cycle, bulk, partial, fault, dead, register, \
        suspend, storm, limit, disable, hotadd, ipi, control, critical, shell";

    /// Whether it is about multi-instance states or dynamic ones.
    pub(crate) fn needs_full_table(self) -> bool {
        match self {
            Self::Fault | Self::Register | Self::Storm | Self::Control | Self::Shell => true,
            Self::Boot | Self::Cycle | Self::Bulk | Self::Partial | Self::Dead => false,
            Self::Suspend | Self::Limit | Self::Disable | Self::Hotadd | Self::Critical => false,
            Self::Ipi => false,
        }
    }

    /// Whether CPUs call each other in it.
    pub fn has_calls(self) -> bool {
        matches!(self, Self::Ipi | Self::Storm | Self::Shell)
    }

    /// Returns the name the command line and the machine lines use.
    pub fn name(self) -> &'static str {
        name_in(&Self::ALL, self)
    }
}

impl Mode {
    /// Every mode with its name.
    pub const ALL: [(&'static str, Self); 4] = [
        ("raw", Self::Raw),
        ("serial", Self::Serial),
        ("split", Self::Split),
        ("parallel", Self::Parallel),
    ];

    /// Returns the name the command line and the machine lines use.
    pub fn name(self) -> &'static str {
        name_in(&Self::ALL, self)
    }
}

fn name_in<T: PartialEq>(all: &[(&'static str, T)], one: T) -> &'static str {
    all.iter()
        .find(|(_, item)| *item == one)
        .map_or("", |(name, _)| name)
}

/// Which CPU drives `cycle`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// The boot CPU.
    Boot,
    /// The last secondary; the boot CPU goes down and up as well.
    Last,
}

/// Off or on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Toggle {
    /// 0.
    Off,
    /// 1.
    On,
}

impl Toggle {
    /// Reads a value of the command line: 0 or 1.
    pub fn read(value: &str) -> Option<Self> {
        match value {
            "0" => Some(Self::Off),
            "1" => Some(Self::On),
            _ => None,
        }
    }
}
