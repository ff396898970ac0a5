//! The serial console, and the two ways to end the machine.
#![expect(
    unsafe_code,
    reason = "the ports of the serial line and the exit device are known by number only"
)]

use core::fmt::{self, Write};

use cpuhp_example_common::Verdict;
use qemu_exit::QEMUExit;
use spin::Mutex;
use uart_16550::backend::PioBackend;
use uart_16550::{Config, Uart16550};

const SERIAL: u16 = 0x3f8;
const EXIT: u16 = 0xf4;
/// QEMU's status when the guest writes 0x10 to the exit device.
const PASS: u32 = 33;
/// Becomes status 255.
const FAIL: u32 = 0x7f;

/// `None` until the first line; initialised by whoever prints first.
static CONSOLE: Mutex<Option<Uart16550<PioBackend>>> = Mutex::new(None);

struct Port<'a>(&'a mut Uart16550<PioBackend>);

impl Write for Port<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.send_bytes_exact(text.as_bytes());
        Ok(())
    }
}

/// Prints. A CPU that prints while another does waits for it.
pub(crate) fn print(args: fmt::Arguments<'_>) {
    let mut console = CONSOLE.lock();
    if console.is_none() {
        // SAFETY: these are the first serial line's ports, and the lock makes it the only user.
        let uart = unsafe { Uart16550::new_port(SERIAL) };
        *console = uart.ok().and_then(|mut uart| {
            uart.init(Config::default()).ok()?;
            Some(uart)
        });
    }
    if let Some(uart) = console.as_mut() {
        // The port itself never fails.
        let _ = Port(uart).write_fmt(args);
    }
}

/// Takes the next byte that was typed. The line is switched on by whoever printed first.
pub(crate) fn typed() -> Option<u8> {
    CONSOLE.lock().as_mut()?.try_receive_byte().ok()
}

/// Prints for the last time, whoever holds the line: a panic may have come in the middle of one.
pub(crate) fn print_last(args: fmt::Arguments<'_>) {
    for _ in 0..1_000_000 {
        if !CONSOLE.is_locked() {
            return print(args);
        }
        core::hint::spin_loop();
    }
    // SAFETY: as above; the holder of the lock is this CPU or hangs, the machine ends in any case.
    if let Ok(mut uart) = unsafe { Uart16550::new_port(SERIAL) } {
        let _ = Port(&mut uart).write_fmt(args);
    }
}

/// Ends the machine.
pub(crate) fn exit(verdict: Verdict) -> ! {
    // SAFETY: QEMU is started with its exit device at this port.
    let device = unsafe { qemu_exit::X86::new(EXIT, PASS) };
    match verdict {
        Verdict::Pass => device.exit_success(),
        Verdict::Fail => device.exit(FAIL),
    }
}
