//! This kernel's part of the GICv3: the distributor, and the timer's interrupt of each CPU.
//!
//! The backend has opened the calling CPU's interface before [`init_cpu`] runs, on every entry; what is
//! opened here is reset with it, so it is opened on every entry as well.
//!
//! Spec: Arm IHI 0069 (GICv3 and GICv4), "GICD_CTLR", "GICR_ISENABLER0", "ICC_IAR1_EL1".
#![expect(
    unsafe_code,
    reason = "the interrupt controller's registers are reached by instructions and addresses only"
)]

use core::arch::asm;

/// The wake interrupt, and the physical timer's.
pub(crate) const WAKE: u8 = 1;
const TIMER: u32 = 30;

/// Distributor: affinity routing, group 1.
const ON: u32 = 1 << 4 | 1 << 1;
/// Registers of the second frame of a redistributor.
const GROUP: usize = 0x1_0080;
const ENABLE: usize = 0x1_0100;
const PRIORITY: usize = 0x1_0400;

fn place(base: u64, at: usize) -> *mut u32 {
    core::ptr::with_exposed_provenance_mut(usize::try_from(base).unwrap_or(0) + at)
}

/// Switches the distributor on. Context: boot CPU, once.
pub(crate) fn init_distributor(base: u64) {
    // SAFETY: the first register of the distributor, where the device tree has it; mapped as a device.
    unsafe { place(base, 0).write_volatile(ON) };
}

/// Opens the timer's interrupt on the calling CPU, whose redistributor is at `frame`.
pub(crate) fn init_cpu(frame: u64) {
    let bit = 1 << TIMER;
    // SAFETY: registers of this CPU's own redistributor, mapped as a device.
    let group = unsafe { place(frame, GROUP).read_volatile() };
    // SAFETY: as above.
    unsafe { place(frame, GROUP).write_volatile(group | bit) };
    // SAFETY: as above: one byte of priorities.
    unsafe {
        place(frame, PRIORITY + TIMER as usize)
            .cast::<u8>()
            .write_volatile(0x80)
    };
    // SAFETY: as above.
    unsafe { place(frame, ENABLE).write_volatile(bit) };
}

/// Takes what is pending on the calling CPU. 1020 and more: nothing.
pub(crate) fn take() -> u32 {
    let number: u64;
    // SAFETY: ICC_IAR1_EL1; the caller ends what it takes.
    unsafe {
        asm!("mrs {}, S3_0_C12_C12_0", "dsb sy", out(reg) number, options(nostack, preserves_flags))
    };
    (number & 0xff_ffff) as u32
}

/// Ends what was taken.
pub(crate) fn end(number: u32) {
    let number = u64::from(number);
    // SAFETY: ICC_EOIR1_EL1, for a number that this CPU has taken.
    unsafe {
        asm!("msr S3_0_C12_C12_1, {}", "isb", in(reg) number, options(nostack, preserves_flags))
    };
}

/// Takes the wake interrupt back if it is what is pending.
pub(crate) fn ack_wake() -> bool {
    let pending: u64;
    // SAFETY: ICC_HPPIR1_EL1 says what is pending and changes nothing.
    unsafe { asm!("mrs {}, S3_0_C12_C12_2", out(reg) pending, options(nostack, preserves_flags)) };
    if pending & 0xff_ffff != u64::from(WAKE) {
        return false;
    }
    end(take());
    true
}

/// Whether the number is the wake interrupt's.
pub(crate) fn is_wake(number: u32) -> bool {
    number == u32::from(WAKE)
}

/// Whether the number says that nothing was pending.
pub(crate) fn is_nothing(number: u32) -> bool {
    number >= 1020
}

/// Sends the wake interrupt to the CPU with this affinity, for nothing.
pub(crate) fn send_wake(id: u64) {
    let (aff0, aff1) = (id & 0xff, id >> 8 & 0xff);
    let (aff2, aff3) = (id >> 16 & 0xff, id >> 32 & 0xff);
    let target = aff3 << 48 | (aff0 >> 4) << 44 | aff2 << 32 | aff1 << 16 | 1 << (aff0 & 0xf);
    let value = target | u64::from(WAKE) << 24;
    // SAFETY: ICC_SGI1R_EL1: the interrupt is this kernel's, and means nothing to whoever gets it.
    unsafe {
        asm!("msr S3_0_C12_C11_5, {}", "isb", in(reg) value, options(nostack, preserves_flags))
    };
}
