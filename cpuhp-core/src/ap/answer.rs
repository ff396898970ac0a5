//! What the AP's side answers to whoever polls it.

/// What an AP does after a poll.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "the answer says what this CPU has to do"]
pub enum ApNext {
    /// Wait, by [`crate::Platform::wait`] or another way that the hotplug wake-up ends, and poll again. Once the
    /// CPU is up this means that a step asked to be called again, which nobody notifies for: poll after
    /// a short time of your own.
    Wait,
    /// Inside STARTING: [`crate::Platform::relax`] and poll again, interrupts stay off.
    Spin,
    /// Up, with nothing to do: run what the kernel likes, poll when [`crate::Cpuhp::has_work`].
    Idle,
    /// Power off, now. The core has forgotten this CPU.
    Off,
    /// Leave everything PREPARE made and rest until [`crate::Cpuhp::parked_poll`] says so.
    Park,
    /// Nothing was touched.
    Refused(Misuse),
}

/// Why a poll was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Misuse {
    /// The number is not below the number of records.
    NoSuchCpu,
    /// Another CPU than the one that calls.
    WrongCpu,
    /// Another context of this CPU is inside: a callback, an interrupt, a second thread.
    Reentered,
    /// A start of an earlier kick.
    Stale,
    /// An entry of a CPU that has arrived already, or has left.
    NotStarted,
}

/// How [`crate::Cpuhp::ap_run`] ended: what the backend's `rest` is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "the answer says how this CPU has to rest"]
pub enum ApExit {
    /// Power off.
    Off,
    /// Rest off everything PREPARE made, until wanted again.
    Park,
    /// This start was refused; nothing was touched. Rest.
    Stale,
}
