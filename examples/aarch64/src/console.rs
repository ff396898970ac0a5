//! The serial console, and the way to end the machine.
#![expect(
    unsafe_code,
    reason = "the registers of the serial line are known by address only"
)]

use core::fmt::{self, Write};

use cpuhp_example_common::Verdict;
use qemu_exit::QEMUExit;
use spin::Mutex;

use crate::raspi;

/// A PL011: data, flags, line control, control.
///
/// **Spec**: Arm DDI 0183 (PrimeCell UART PL011), "Summary of registers".
const DATA: usize = 0x00;
const FLAGS: usize = 0x18;
const LINE: usize = 0x2c;
const CONTROL: usize = 0x30;
/// Flags: nothing was received; the transmit queue is full.
const EMPTY: u32 = 1 << 4;
const FULL: u32 = 1 << 5;
/// Line control: 8 bits, queues of 16 instead of single bytes.
const QUEUES: u32 = 3 << 5 | 1 << 4;
/// Control: the line, its transmitter and its receiver on.
const ON: u32 = 1 | 1 << 8 | 1 << 9;
/// Where it is on `virt`.
const VIRT: usize = 0x0900_0000;
/// Looks at a full queue before a byte is given up.
const PATIENCE: u32 = 10_000_000;
/// QEMU's status: given by the semihosting call.
const PASS: u32 = 33;
const FAIL: u32 = 255;

struct Uart;

static CONSOLE: Mutex<Uart> = Mutex::new(Uart);

impl Uart {
    fn place(at: usize) -> *mut u32 {
        let base = if raspi::is_here() { raspi::UART } else { VIRT };
        core::ptr::with_exposed_provenance_mut(base + at)
    }

    fn put(byte: u8) {
        // SAFETY: the serial line's registers, mapped as a device.
        let flags = || unsafe { Self::place(FLAGS).read_volatile() };
        for _ in 0..PATIENCE {
            if flags() & FULL == 0 {
                break;
            }
        }
        // SAFETY: as above.
        unsafe { Self::place(DATA).write_volatile(u32::from(byte)) };
    }

    fn take() -> Option<u8> {
        // SAFETY: as in `put`.
        let flags = unsafe { Self::place(FLAGS).read_volatile() };
        if flags & EMPTY != 0 {
            return None;
        }
        // SAFETY: as in `put`; reading takes the byte, and the caller holds the lock.
        let word = unsafe { Self::place(DATA).read_volatile() };
        // What is above the byte says how it was received.
        word.to_le_bytes().first().copied()
    }
}

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(Self::put);
        Ok(())
    }
}

/// Switches the line on. Context: boot CPU, first of all.
pub(crate) fn start() {
    // SAFETY: as in `put`; the line is not on yet.
    unsafe { Uart::place(LINE).write_volatile(QUEUES) };
    // SAFETY: as in `put`.
    unsafe { Uart::place(CONTROL).write_volatile(ON) };
}

/// Prints. A CPU that prints while another does waits for it.
pub(crate) fn print(args: fmt::Arguments<'_>) {
    // The line itself never fails.
    let _ = CONSOLE.lock().write_fmt(args);
}

/// Takes the next byte that was typed.
pub(crate) fn typed() -> Option<u8> {
    let _line = CONSOLE.lock();
    Uart::take()
}

/// Prints for the last time, whoever holds the line: a panic may have come in the middle of one.
pub(crate) fn print_last(args: fmt::Arguments<'_>) {
    for _ in 0..1_000_000 {
        if !CONSOLE.is_locked() {
            return print(args);
        }
        core::hint::spin_loop();
    }
    let _ = Uart.write_fmt(args);
}

/// Ends the machine.
pub(crate) fn exit(verdict: Verdict) -> ! {
    let device = qemu_exit::AArch64::new();
    device.exit(match verdict {
        Verdict::Pass => PASS,
        Verdict::Fail => FAIL,
    })
}
