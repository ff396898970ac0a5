//! Handing the control side to another CPU, while the caller becomes an AP like any other.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use cpuhp_core::{ApNext, CpuId, Cpuhp, Platform, Trace, Who};

use super::{Threads, lock, wait};
use crate::fate::Power;

/// How long the caller waits for the job before it looks whether a CPU has crashed.
const LOOK: Duration = Duration::from_millis(50);

impl Threads {
    /// Runs `job` on `cpu`, which is online, and returns when it has ended.
    ///
    /// The calling CPU serves its own record meanwhile. If the job takes it down, its next life is on
    /// the CPU's own thread, and the calling thread only waits for the end of the job.
    ///
    /// # Panics
    /// If the job, or a callback on any CPU, panics.
    pub fn run_on<P: Platform, T: Trace>(
        &self,
        cpuhp: &Cpuhp<'_, P, T>,
        cpu: CpuId,
        job: impl FnOnce() + Send + 'static,
    ) {
        let me = self.this_cpu();
        let done = Arc::new((Mutex::new(false), Condvar::new()));
        let told = Arc::clone(&done);
        if let Some(cpu) = self.cpu(cpu) {
            cpu.lock().job = Some(Box::new(move || {
                job();
                *lock(&told.0) = true;
                told.1.notify_all();
            }));
            cpu.changed.notify_all();
        }
        while !*lock(&done.0) {
            match cpuhp.poll_ap(me) {
                ApNext::Off | ApNext::Park => {
                    if let Some(cpu) = self.cpu(me) {
                        cpu.rest(Power::Off);
                    }
                    self.notify_control();
                    break;
                }
                ApNext::Spin => self.relax(),
                ApNext::Wait | ApNext::Idle | ApNext::Refused(_) => {
                    // The end of the job notifies nobody here, so the wait is short.
                    let soon = self.now().saturating_add(1_000_000);
                    self.wait(Who::Ap(me), soon);
                }
            }
            self.check_crash();
        }
        let mut ended = lock(&done.0);
        while !*ended {
            ended = wait(&done.1, ended, LOOK);
            self.check_crash();
        }
    }
}
