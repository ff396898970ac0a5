//! The machine a kernel runs on: the values of `--machine K=V`, checked and typed.

use anyhow::Result;

use crate::arch::Arch;
use crate::exit::usage;

/// How QEMU spreads the CPUs over host threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thread {
    Single,
    Multi,
}

/// Which clock the hosted runner lives by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    Threads,
    Virtual,
}

/// Everything `--machine` can say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// CPUs that firmware lists and that never come.
    pub(crate) absent: u32,
    /// Those of them that run already, in foreign hands, so that firmware refuses to start them; aarch64.
    pub(crate) taken: u32,
    /// CPUs that firmware lists and that are plugged in while the kernel runs.
    pub(crate) hotadd: u32,
    pub(crate) cpu: Option<String>,
    /// CPU features switched on or off, in QEMU's spelling.
    pub(crate) features: Vec<String>,
    pub(crate) thread: Option<Thread>,
    pub(crate) topology: Option<Topology>,
    pub(crate) time: Option<Time>,
    /// Exception level the kernel starts in; aarch64.
    pub(crate) level: Option<Level>,
    /// Machine type; aarch64.
    pub(crate) board: Option<Board>,
}

/// Exception level an aarch64 kernel starts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    El1,
    El2,
}

/// Machine type of QEMU for aarch64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Board {
    Virt,
    /// Its boot stub is a spin table; it has 4 CPUs and no device tree.
    Raspi3b,
}

/// `sockets=S,dies=D,cores=C,threads=T`: dimensions whose sizes are no powers of two give sparse APIC ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topology {
    /// As QEMU's `-smp` takes it.
    pub(crate) text: String,
    /// Product of all dimensions.
    pub(crate) cpus: u32,
    /// Threads of one core.
    pub(crate) threads: u32,
}

impl Machine {
    /// Reads the values of `--machine` for `arch`.
    ///
    /// # Errors
    /// An unknown key, a wrong value, or a key that means nothing on `arch`.
    pub(crate) fn parse(words: &[String], arch: Arch) -> Result<Self> {
        let mut machine = Self::default();
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                return Err(usage(format!(
                    "`--machine {word}` is not of the form K=V, such as absent=4"
                )));
            };
            machine.set(key, value, arch)?;
        }
        machine.absent = machine.absent.saturating_add(machine.taken);
        Ok(machine)
    }

    fn set(&mut self, key: &str, value: &str, arch: Arch) -> Result<()> {
        let bad = |right: &str| usage(format!("`--machine {key}={value}`: {right}"));
        if !keys(arch).contains(&key) {
            return Err(bad(&format!(
                "{} takes only {}",
                arch.name(),
                keys(arch).join(", ")
            )));
        }
        match key {
            "absent" => {
                let number = value.parse();
                self.absent = number.map_err(|_| bad("absent takes a number of CPUs"))?;
            }
            "taken" => {
                let number = value.parse();
                self.taken = number.map_err(|_| bad("taken takes a number of CPUs"))?;
            }
            "hotadd" => {
                let number = value.parse();
                self.hotadd = number.map_err(|_| bad("hotadd takes a number of CPUs"))?;
            }
            "time" => self.time = Some(Time::parse(value)?),
            "cpu" if is_qemu_word(value) => self.cpu = Some(value.to_owned()),
            "cpu" => return Err(bad("cpu takes a QEMU CPU name, such as qemu64")),
            "cpuid-0xb" if matches!(value, "on" | "off") => {
                self.features.push(format!("cpuid-0xb={value}"));
            }
            "cpuid-0xb" => return Err(bad("cpuid-0xb takes on or off")),
            "thread" => self.thread = Some(Thread::parse(value)?),
            "topology" => self.topology = Some(Topology::parse(value)?),
            "el" => self.level = Some(Level::parse(value)?),
            "board" => self.board = Some(Board::parse(value)?),
            _ => return Err(bad("unknown key")),
        }
        Ok(())
    }
}

/// The keys that mean something on `arch`.
fn keys(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::X86_64 => &["absent", "cpu", "cpuid-0xb", "hotadd", "thread", "topology"],
        // QEMU's device tree lists only CPUs that are there: the kernel adds those that firmware does not know.
        Arch::Aarch64 => &[
            "absent", "board", "cpu", "el", "taken", "thread", "topology",
        ],
        Arch::Riscv64 => &["cpu", "thread", "topology"],
        Arch::Hosted => &["absent", "hotadd", "time"],
    }
}

impl Level {
    fn parse(value: &str) -> Result<Self> {
        match value {
            "1" => Ok(Self::El1),
            "2" => Ok(Self::El2),
            _ => Err(usage(format!("`--machine el={value}`: el takes 1 or 2"))),
        }
    }

    pub(crate) fn number(self) -> u32 {
        match self {
            Self::El1 => 1,
            Self::El2 => 2,
        }
    }
}

impl Board {
    fn parse(value: &str) -> Result<Self> {
        match value {
            "virt" => Ok(Self::Virt),
            "raspi3b" => Ok(Self::Raspi3b),
            _ => Err(usage(format!(
                "`--machine board={value}`: board takes virt or raspi3b"
            ))),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Virt => "virt",
            Self::Raspi3b => "raspi3b",
        }
    }
}

impl Thread {
    fn parse(value: &str) -> Result<Self> {
        match value {
            "single" => Ok(Self::Single),
            "multi" => Ok(Self::Multi),
            _ => Err(usage(format!(
                "`--machine thread={value}`: thread takes single or multi"
            ))),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Multi => "multi",
        }
    }
}

impl Time {
    fn parse(value: &str) -> Result<Self> {
        match value {
            "threads" => Ok(Self::Threads),
            "virtual" => Ok(Self::Virtual),
            _ => Err(usage(format!(
                "`--machine time={value}`: time takes virtual or threads"
            ))),
        }
    }
}

impl Topology {
    fn parse(text: &str) -> Result<Self> {
        let (mut cpus, mut threads) = (1_u32, 1);
        for part in text.split(',') {
            let bad = || {
                usage(format!(
                    "`--machine topology={text}`: write sizes like topology=sockets=3,cores=3,threads=3 (also dies=)"
                ))
            };
            let (name, size) = part.split_once('=').ok_or_else(bad)?;
            let size = match name {
                "sockets" | "dies" | "cores" | "threads" => size.parse::<u32>().ok(),
                _ => None,
            };
            let size = size.filter(|size| *size > 0).ok_or_else(bad)?;
            cpus = cpus.checked_mul(size).ok_or_else(bad)?;
            if name == "threads" {
                threads = size;
            }
        }
        Ok(Self {
            text: text.to_owned(),
            cpus,
            threads,
        })
    }
}

/// Whether `word` can stand inside a QEMU option without being taken for another option.
fn is_qemu_word(word: &str) -> bool {
    !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str], arch: Arch) -> Result<Machine> {
        Machine::parse(
            &words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>(),
            arch,
        )
    }

    #[test]
    fn all_keys_are_read() {
        let words = [
            "absent=4",
            "cpuid-0xb=off",
            "cpu=qemu64",
            "thread=single",
            "topology=sockets=3,cores=3",
        ];
        let machine = parse(&words, Arch::X86_64).unwrap();
        assert_eq!(machine.absent, 4);
        assert_eq!(machine.features, ["cpuid-0xb=off"]);
        assert_eq!(machine.cpu.as_deref(), Some("qemu64"));
        assert_eq!(machine.thread, Some(Thread::Single));
        assert_eq!(
            machine.topology,
            Some(Topology {
                text: "sockets=3,cores=3".to_owned(),
                cpus: 9,
                threads: 1,
            })
        );
        assert_eq!(
            parse(&["time=virtual"], Arch::Hosted).unwrap().time,
            Some(Time::Virtual)
        );
        let machine = parse(&["topology=cores=4,threads=2"], Arch::X86_64).unwrap();
        assert_eq!(
            machine.topology.map(|has| (has.cpus, has.threads)),
            Some((8, 2))
        );
        let machine = parse(&["el=2", "board=raspi3b"], Arch::Aarch64).unwrap();
        assert_eq!(machine.level, Some(Level::El2));
        assert_eq!(machine.board, Some(Board::Raspi3b));
    }

    #[test]
    fn wrong_words_are_refused_with_what_is_right() {
        for (words, arch, right) in [
            ("absent", Arch::X86_64, "K=V"),
            ("absent=x", Arch::X86_64, "number"),
            (
                "time=virtual",
                Arch::X86_64,
                "x86_64 takes only absent, cpu",
            ),
            ("el=3", Arch::Aarch64, "1 or 2"),
            ("board=pi", Arch::Aarch64, "virt or raspi3b"),
            ("el=2", Arch::Riscv64, "riscv64 takes only"),
            ("absent=2", Arch::Riscv64, "riscv64 takes only"),
            ("hotadd=2", Arch::Aarch64, "aarch64 takes only"),
            ("taken=2", Arch::X86_64, "x86_64 takes only"),
            ("taken=x", Arch::Aarch64, "number"),
            ("time=fast", Arch::Hosted, "virtual or threads"),
            ("cpu=qemu64", Arch::Hosted, "absent"),
            ("cpu=max,foo=on", Arch::X86_64, "CPU name"),
            ("cpuid-0xb=maybe", Arch::X86_64, "on or off"),
            ("thread=many", Arch::X86_64, "single or multi"),
            ("topology=3", Arch::X86_64, "sockets=3"),
            ("topology=cores=0", Arch::X86_64, "sockets=3"),
            ("el=2", Arch::X86_64, "x86_64 takes only"),
        ] {
            let line = parse(&[words], arch).unwrap_err().to_string();
            assert!(line.contains(right), "{line}");
        }
    }
}
