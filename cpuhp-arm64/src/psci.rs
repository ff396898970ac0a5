//! PSCI: the three calls that move a CPU, behind a trait so that a scripted firmware tests them, and
//! what their answers mean.
//!
//! Raw answers are kept: an error carries the number that firmware gave, known or not.
//!
//! Spec: Arm DEN0022 (PSCI) 1.1, "CPU_ON", "CPU_OFF", "AFFINITY_INFO", "Return error codes".

use cpuhp_core::{KickError, KickErrorKind};
use smccc::psci::error;

/// Firmware, or the hypervisor in its place.
pub(crate) trait Firmware: Sync {
    /// Asks that the CPU `target` starts at the physical address `entry` with `context` in x0.
    ///
    /// Everything written before the call is complete before firmware sees it.
    fn cpu_on(&self, target: u64, entry: u64, context: u64) -> i64;

    /// Asks for the state of the CPU `target`. What it did before it went off is visible after an
    /// answer `OFF`.
    fn affinity_info(&self, target: u64) -> i64;

    /// Turns the calling CPU off. Returns firmware's refusal, or not at all.
    fn cpu_off(&self) -> i64;

    /// Lets other CPUs of the same core, or of the same emulator thread, go on.
    fn relax(&self);

    /// Makes every CPU leave its WFE.
    fn send_event(&self);
}

/// `AFFINITY_INFO`: every CPU of the instance is off.
pub(crate) const STATE_OFF: i64 = 1;

/// What an answer of `CPU_ON` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnAnswer {
    /// The CPU is being started: not more than that.
    Started,
    /// Perhaps in a moment.
    Again,
    /// It was not started by this call.
    Refused,
}

/// Reads an answer of `CPU_ON`.
pub(crate) fn answer(code: i64) -> OnAnswer {
    match i32::try_from(code) {
        Ok(error::SUCCESS) => OnAnswer::Started,
        Ok(error::ON_PENDING | error::INTERNAL_FAILURE) => OnAnswer::Again,
        _ => OnAnswer::Refused,
    }
}

/// Makes the error of an answer of `CPU_ON` that is not success.
pub(crate) fn refusal(code: i64) -> KickError {
    let kind = match i32::try_from(code) {
        Ok(error::NOT_SUPPORTED) => KickErrorKind::NotSupported,
        Ok(error::INVALID_PARAMETERS | error::NOT_PRESENT) => KickErrorKind::NotPresent,
        Ok(error::DENIED | error::DISABLED) => KickErrorKind::Denied,
        Ok(error::ALREADY_ON) => KickErrorKind::AlreadyOn,
        Ok(error::ON_PENDING | error::INTERNAL_FAILURE) => KickErrorKind::Busy,
        Ok(error::INVALID_ADDRESS) => KickErrorKind::BadAddress,
        _ => KickErrorKind::Firmware,
    };
    KickError::with_code(kind, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_keeps_its_number() {
        // The numbers of the specification, table "Return error codes".
        let kinds = [
            (-1, KickErrorKind::NotSupported),
            (-2, KickErrorKind::NotPresent),
            (-3, KickErrorKind::Denied),
            (-4, KickErrorKind::AlreadyOn),
            (-5, KickErrorKind::Busy),
            (-6, KickErrorKind::Busy),
            (-7, KickErrorKind::NotPresent),
            (-8, KickErrorKind::Denied),
            (-9, KickErrorKind::BadAddress),
            (-10, KickErrorKind::Firmware),
            (5, KickErrorKind::Firmware),
            (i64::MIN, KickErrorKind::Firmware),
        ];
        for (code, kind) in kinds {
            let error = refusal(code);
            assert_eq!((error.kind, error.code), (kind, code));
        }
    }

    #[test]
    fn only_two_answers_are_worth_another_try() {
        assert_eq!(answer(0), OnAnswer::Started);
        for code in -20..20 {
            let again = matches!(code, -5 | -6);
            assert_eq!(answer(code) == OnAnswer::Again, again, "{code}");
        }
        assert_eq!(answer(1 << 32), OnAnswer::Refused, "no success in 64 bits");
    }
}
