//! The interrupt that wakes a CPU: a trait for any controller, and GICv3 with system registers.
//!
//! The backend sets up its own interrupt on every CPU on every entry, because a CPU that was off comes
//! back with its interface reset: no earlier set-up counts. Everything else of the controller is the
//! kernel's, whose own step may set all of it up again, this interrupt enabled.
//!
//! Spec: Arm IHI 0069 (GICv3 and GICv4), "Software Generated Interrupts", "Redistributor registers",
//! "`ICC_SGI1R_EL1`", "`GICR_WAKER`", "`GICR_TYPER`".

use cpuhp_core::HwId;

use crate::config::{Redistributors, SetupError};
use crate::record::BootRecord;

#[cfg(target_arch = "aarch64")]
pub(crate) mod registers;

/// A way to interrupt another CPU. For controllers without a driver here.
///
/// All of it is called with interrupts masked or open, on any CPU; nothing may block.
pub trait WakeIrq: Sync {
    /// Sets up the calling CPU so that `sgi` becomes pending on it, and nothing else that was not set up
    /// before. Called on the boot CPU by `Arm64::new`, and on every entry of every AP, before anything
    /// else of the kernel runs there.
    fn init_cpu(&self, sgi: u8);

    /// Makes `sgi` pending on the CPU `to`, after every store before the call.
    fn send(&self, sgi: u8, to: HwId);

    /// Takes `sgi` back on the calling CPU if it is pending, and says whether it was. Called after a
    /// sleep with interrupts masked, so that no handler has to.
    fn ack(&self) -> bool;
}

/// Registers of a redistributor: offsets in its first frame, and in its second.
const WAKER: usize = 0x14;
const TYPER: usize = 0x08;
const SECOND: usize = 0x1_0000;
const GROUP: usize = SECOND + 0x80;
const ENABLE: usize = SECOND + 0x100;
const PRIORITY: usize = SECOND + 0x400;

const PROCESSOR_SLEEP: u32 = 1 << 1;
const CHILDREN_ASLEEP: u32 = 1 << 2;
/// TYPER: it has frames for virtual interrupts as well; the last one of its region.
const HAS_VIRTUAL: u64 = 1 << 1;
const IS_LAST: u64 = 1 << 4;
/// Bytes of one redistributor, and of one with frames for virtual interrupts.
const FRAMES: u64 = 0x2_0000;
const FRAMES_VIRTUAL: u64 = 0x4_0000;

/// Reads of WAKER before a redistributor that does not wake is given up.
const WAKE_READS: u32 = 100_000;
/// Priority of the wake interrupt: the middle.
const MIDDLE: u32 = 0x80;

/// Access to the registers of a redistributor, by virtual address.
pub(crate) trait Frames {
    fn read(&self, frame: u64, at: usize) -> u32;
    fn write(&self, frame: u64, at: usize, value: u32);
}

/// Gives each record the redistributor of its CPU, and the value that sends `sgi` to it. One pass over the
/// redistributors. A CPU without one is noted as deaf: a list may name a CPU that is not there.
///
/// # Errors
/// [`SetupError::NoRedistributor`] if `boot` has none, [`SetupError::Unmapped`].
pub(crate) fn assign(
    regions: Redistributors,
    sgi: u8,
    (records, boot): (&[BootRecord], HwId),
    to_virt: impl Fn(u64, usize) -> Option<u64>,
    frames: &impl Frames,
) -> Result<(), SetupError> {
    use core::sync::atomic::Ordering::Relaxed;
    for record in records {
        record.sgi.store(sgi_value(sgi, record.hw_id()), Relaxed);
    }
    let mut next = 0;
    for (phys, len) in regions.into_iter().filter(|region| region.1 > 0) {
        let bytes = usize::try_from(len).map_err(|_| SetupError::Unmapped(phys))?;
        let base = to_virt(phys, bytes).ok_or(SetupError::Unmapped(phys))?;
        let mut at = 0;
        while at + FRAMES <= len {
            let frame = base + at;
            let typer = u64::from(frames.read(frame, TYPER))
                | u64::from(frames.read(frame, TYPER + 4)) << 32;
            let id = affinity(typer);
            // Most machines list CPUs and redistributors in one order.
            let (before, from) = records.split_at_checked(next).unwrap_or((&[], &[]));
            let mut both = from.iter().chain(before);
            if let Some(record) = both.find(|record| record.hw_id() == id) {
                record.frame.store(frame, Relaxed);
                next = record.cpu.load(Relaxed) as usize + 1;
            }
            if typer & IS_LAST != 0 {
                break;
            }
            at += if typer & HAS_VIRTUAL == 0 {
                FRAMES
            } else {
                FRAMES_VIRTUAL
            };
        }
    }
    for record in records
        .iter()
        .filter(|record| record.frame.load(Relaxed) == 0)
    {
        if record.hw_id() == boot {
            return Err(SetupError::NoRedistributor(boot));
        }
        record.set_deaf();
    }
    Ok(())
}

/// The CPU that a value of TYPER names.
const fn affinity(typer: u64) -> HwId {
    let id = typer >> 32;
    HwId((id >> 24) << 32 | id & 0xff_ffff)
}

/// Wakes a redistributor and opens one interrupt in it.
pub(crate) fn open(frames: &impl Frames, frame: u64, sgi: u8) {
    let waker = frames.read(frame, WAKER);
    frames.write(frame, WAKER, waker & !PROCESSOR_SLEEP);
    for _ in 0..WAKE_READS {
        if frames.read(frame, WAKER) & CHILDREN_ASLEEP == 0 {
            break;
        }
    }
    let (bit, shift) = (1 << sgi, u32::from(sgi) % 4 * 8);
    let group = frames.read(frame, GROUP);
    frames.write(frame, GROUP, group | bit);
    let at = PRIORITY + usize::from(sgi) / 4 * 4;
    let others = frames.read(frame, at) & !(0xff << shift);
    frames.write(frame, at, others | MIDDLE << shift);
    frames.write(frame, ENABLE, bit);
}

/// The value that makes `sgi` pending on one CPU: its Aff0 as a bit of a range of 16.
pub(crate) const fn sgi_value(sgi: u8, to: HwId) -> u64 {
    let id = to.0;
    let (aff0, aff1, aff2, aff3) = (id & 0xff, id >> 8 & 0xff, id >> 16 & 0xff, id >> 32 & 0xff);
    let range = aff0 >> 4;
    aff3 << 48 | range << 44 | aff2 << 32 | (sgi as u64) << 24 | aff1 << 16 | 1 << (aff0 & 0xf)
}

#[cfg(test)]
mod tests;
