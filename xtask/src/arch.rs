//! The architectures in the tree: names, programs, targets.

use anyhow::Result;

use crate::exit::usage;

/// The kernels in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Arch {
    X86_64,
    Aarch64,
    Riscv64,
    Hosted,
}

impl Arch {
    /// Architectures whose kernel boots, in the order `run` takes them.
    pub(crate) const BOOTABLE: &[Self] = &[Self::X86_64, Self::Aarch64, Self::Riscv64];

    const ALL: [Self; 4] = [Self::X86_64, Self::Aarch64, Self::Riscv64, Self::Hosted];

    /// Name as typed and as the kernel prints it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
            Self::Hosted => "hosted",
        }
    }

    /// The emulator its kernels run on.
    pub(crate) fn emulator(self) -> Option<&'static str> {
        match self {
            Self::X86_64 => Some("qemu-system-x86_64"),
            Self::Aarch64 => Some("qemu-system-aarch64"),
            Self::Riscv64 => Some("qemu-system-riscv64"),
            Self::Hosted => None,
        }
    }

    /// The package of the kernel that runs every scenario.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::X86_64 => "cpuhp-example-x86_64",
            Self::Aarch64 => "cpuhp-example-aarch64",
            Self::Riscv64 => "cpuhp-example-riscv64",
            Self::Hosted => "cpuhp-example-hosted",
        }
    }

    /// The target its kernels are built for; none = the host.
    pub(crate) fn target(self) -> Option<&'static str> {
        match self {
            Self::X86_64 => Some("x86_64-unknown-none"),
            // Without floating point: an AP needs no unit switched on before its first Rust.
            Self::Aarch64 => Some("aarch64-unknown-none-softfloat"),
            Self::Riscv64 => Some("riscv64gc-unknown-none-elf"),
            Self::Hosted => None,
        }
    }

    /// Reads `--arch`; nothing given or `all` = every kernel that boots.
    ///
    /// # Errors
    /// A name that is not in the tree.
    pub(crate) fn select(name: Option<&str>) -> Result<Vec<Self>> {
        let name = match name {
            None | Some("all") => return Ok(Self::BOOTABLE.to_vec()),
            Some(name) => name,
        };
        if let Some(arch) = Self::ALL.into_iter().find(|arch| arch.name() == name) {
            return Ok(vec![arch]);
        }
        let names = Self::ALL.map(Self::name).join(", ");
        Err(usage(format!(
            "architecture `{name}` is not in the tree; there are {names} and all"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_architecture_names_those_in_the_tree() {
        let line = Arch::select(Some("mips")).unwrap_err().to_string();
        assert!(
            line.contains("x86_64, aarch64, riscv64, hosted and all"),
            "{line}"
        );
    }

    #[test]
    fn every_name_selects_its_architecture() {
        for arch in Arch::ALL {
            assert_eq!(Arch::select(Some(arch.name())).unwrap(), [arch]);
        }
        assert_eq!(Arch::select(None).unwrap(), Arch::BOOTABLE);
        assert_eq!(Arch::select(Some("all")).unwrap(), Arch::BOOTABLE);
    }
}
