//! What a call answers: why it was not made, and what became of many.

use core::fmt;

/// Why a call was not made, or not waited for to its end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CallError {
    /// There is no record, or no queue, with this number. Nothing was queued.
    NoSuchCpu,
    /// The CPU is not available, or has just begun to leave. Nothing was queued.
    Offline,
    /// The node is in use. Nothing was queued.
    Busy,
    /// Waiting from inside a call: the CPU waited for might wait for this one. Nothing was queued.
    WouldDeadlock,
    /// The call has not ended within [`crate::Platform::step_timeout`]. It is queued and runs at most once: when
    /// its CPU goes on, or never if that is stuck for good. Its node is taken until then.
    Timeout,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchCpu => "no such cpu",
            Self::Offline => "the cpu is not available",
            Self::Busy => "the node is in use",
            Self::WouldDeadlock => "waiting from inside a call",
            Self::Timeout => "the call did not end before the deadline",
        })
    }
}

impl core::error::Error for CallError {}

/// What became of the calls to several CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
#[must_use = "CPUs that were not called are only here"]
pub struct CallReport {
    /// Accepted.
    pub queued: u32,
    /// Not available, or just leaving.
    pub offline: u32,
    /// Their node is in use: by an earlier call that has not ended.
    pub busy: u32,
    /// No record, no queue or no node with this number.
    pub unknown: u32,
    /// Of all nodes named, those still in use when the waiting ended, at once inside a call; 0 without
    /// a wait.
    pub late: u32,
}
