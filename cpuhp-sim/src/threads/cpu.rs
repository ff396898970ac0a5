//! One CPU of the thread machine: its power switch, its wake flag, and a job to run while it idles.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard};

use cpuhp_core::{Confirm, KickError, KickErrorKind};

use super::lock;
use crate::fate::{Fate, Power};

/// Work handed to a CPU that idles.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// The shared side of one CPU.
#[derive(Debug)]
pub(super) struct Cpu {
    inner: Mutex<Inner>,
    /// Anything in it changed.
    pub(super) changed: Condvar,
}

pub(super) struct Inner {
    pub(super) power: Power,
    pub(super) fate: Fate,
    /// Set by a notification, taken by the next wait: none between a look and a wait is lost.
    pub(super) notified: bool,
    pub(super) job: Option<Job>,
}

impl Cpu {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                power: Power::Off,
                fate: Fate::Prompt,
                notified: false,
                job: None,
            }),
            changed: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    pub(super) fn kick(&self) -> Result<(), KickError> {
        let mut inner = self.lock();
        match inner.power {
            Power::Off | Power::Parked => {}
            Power::Starting(_) | Power::Missing | Power::Running => {
                return Err(KickError::new(KickErrorKind::AlreadyOn));
            }
        }
        inner.power = match inner.fate {
            Fate::Prompt => Power::Starting(0),
            Fate::Late(extra) => Power::Starting(extra),
            Fate::Held | Fate::Absent => Power::Missing,
            Fate::Refused(error) => return Err(error),
        };
        drop(inner);
        self.changed.notify_all();
        Ok(())
    }

    pub(super) fn confirm(&self) -> Confirm {
        // The lock acquires everything the thread did before it went to rest.
        match self.lock().power {
            Power::Off => Confirm::Off,
            Power::Parked => Confirm::Parked,
            Power::Starting(_) | Power::Missing | Power::Running => Confirm::Running,
        }
    }

    /// Puts the CPU to rest: its thread touches nothing of the kernel's any more.
    pub(super) fn rest(&self, power: Power) {
        self.lock().power = power;
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("power", &self.power)
            .field("fate", &self.fate)
            .field("notified", &self.notified)
            .finish_non_exhaustive()
    }
}
