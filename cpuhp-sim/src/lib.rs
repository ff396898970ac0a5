//! Machines to test CPU hotplug on: CPUs as threads ([`Threads`]), and one-thread virtual time
//! ([`VirtualTime`]).
//!
//! Both are [`cpuhp_core::Platform`]s with honest answers: a CPU that was kicked may run until it is
//! known to be off or parked. Both let a test decide what a kick leads to ([`Fate`]). They are used by
//! path only and never published.
//!
//! | | [`Threads`] | [`VirtualTime`] |
//! |---|---|---|
//! | a CPU is | a thread that runs `ap_run` | events that poll its record |
//! | finds | orderings and races, under Miri too | protocol and complexity, up to 65,536 CPUs |
//! | time | the host's | a number that jumps; equal seeds give equal runs |

mod fate;
mod queue;
mod threads;
mod virtual_time;

pub use fate::Fate;
pub use threads::Threads;
pub use virtual_time::{Call, Latencies, VirtualTime};
