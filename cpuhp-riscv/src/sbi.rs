//! The firmware as the backend calls it: four calls, with the codes it answers.
//!
//! A trait, so that tests run the backend on a firmware that lies.
//!
//! **Spec**: RISC-V SBI 1.0, "Binary Encoding", "Hart State Management Extension (EID #0x48534D
//! "HSM")", "IPI Extension (EID #0x735049 "sPI: s-mode IPI")".

use cpuhp_core::{HwId, KickError, KickErrorKind};

/// What a call answers: its value, or the raw error code.
pub(crate) type Answer = Result<u64, i64>;

/// The calls.
pub(crate) trait Firmware: Sync {
    /// Starts a stopped hart at the physical address `entry`, with its id in `a0` and `value` in `a1`.
    fn hart_start(&self, hart: HwId, entry: u64, value: u64) -> Answer;
    /// Returns the hart's state, see [`STOPPED`] and its neighbours.
    fn hart_status(&self, hart: HwId) -> Answer;
    /// Interrupts the hart: sets its `sip.SSIP`.
    fn send_ipi(&self, hart: HwId) -> Answer;
}

/// The hart runs supervisor code.
pub(crate) const STARTED: u64 = 0;
/// The hart is in the firmware, and only a start brings it out.
pub(crate) const STOPPED: u64 = 1;
/// The hart is being stopped.
pub(crate) const STOP_PENDING: u64 = 3;

const NOT_SUPPORTED: i64 = -2;
const INVALID_PARAM: i64 = -3;
const DENIED: i64 = -4;
const INVALID_ADDRESS: i64 = -5;
const ALREADY_AVAILABLE: i64 = -6;
const ALREADY_STARTED: i64 = -7;

/// What a refused start means. Firmware mixes -6 and -7 up, so they mean the same.
pub(crate) fn refusal(code: i64) -> KickError {
    let kind = match code {
        NOT_SUPPORTED => KickErrorKind::NotSupported,
        INVALID_PARAM => KickErrorKind::NotPresent,
        DENIED => KickErrorKind::Denied,
        INVALID_ADDRESS => KickErrorKind::BadAddress,
        ALREADY_AVAILABLE | ALREADY_STARTED => KickErrorKind::AlreadyOn,
        _ => KickErrorKind::Firmware,
    };
    KickError::with_code(kind, code)
}

#[cfg(target_arch = "riscv64")]
pub(crate) use real::Sbi;

#[cfg(target_arch = "riscv64")]
mod real {
    use cpuhp_core::HwId;
    use sbi_rt::{HartMask, Hsm, Ipi, SbiRet};

    use super::{Answer, Firmware};

    /// The machine's own firmware.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Sbi;

    impl Sbi {
        /// Whether it has what the backend needs: harts that start and stop, and IPIs.
        pub(crate) fn serves_harts() -> bool {
            sbi_rt::probe_extension(Hsm).is_available()
                && sbi_rt::probe_extension(Ipi).is_available()
        }

        /// Gives the calling hart back to the firmware. Returns the raw code if it refuses.
        ///
        /// Context: interrupts off; nothing of the hart's state is needed any more.
        pub(crate) fn hart_stop() -> i64 {
            sbi_rt::hart_stop().error.cast_signed() as i64
        }
    }

    impl Firmware for Sbi {
        fn hart_start(&self, hart: HwId, entry: u64, value: u64) -> Answer {
            answer(sbi_rt::hart_start(
                register(hart.0),
                register(entry),
                register(value),
            ))
        }

        fn hart_status(&self, hart: HwId) -> Answer {
            answer(sbi_rt::hart_get_status(register(hart.0)))
        }

        fn send_ipi(&self, hart: HwId) -> Answer {
            let mask = HartMask::from_mask_base(1, register(hart.0));
            answer(sbi_rt::send_ipi(mask))
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a register of riscv64 has 64 bits"
    )]
    const fn register(value: u64) -> usize {
        value as usize
    }

    fn answer(ret: SbiRet) -> Answer {
        match ret.error.cast_signed() as i64 {
            0 => Ok(ret.value as u64),
            code => Err(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_specification_has_its_kind_and_stays_readable() {
        for (code, kind) in [
            (-1, KickErrorKind::Firmware),
            (-2, KickErrorKind::NotSupported),
            (-3, KickErrorKind::NotPresent),
            (-4, KickErrorKind::Denied),
            (-5, KickErrorKind::BadAddress),
            (-6, KickErrorKind::AlreadyOn),
            (-7, KickErrorKind::AlreadyOn),
            (-8, KickErrorKind::Firmware),
            (-4711, KickErrorKind::Firmware),
            (1, KickErrorKind::Firmware),
        ] {
            assert_eq!(refusal(code), KickError::with_code(kind, code));
        }
    }
}
