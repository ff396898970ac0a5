//! Which CPUs are plugged in now: QEMU's CPU hotplug registers, behind the power-management ports of q35.
//!
//! A kernel with an ACPI interpreter learns this from the method `_STA` of each processor, which reads
//! the same registers.
//!
//! Spec: QEMU, "QEMU<->ACPI BIOS CPU hotplug interface".
#![expect(unsafe_code, reason = "the registers are ports, known by number only")]

use core::arch::asm;

/// First port of the registers.
const BASE: u16 = 0x0cd8;
/// Write, 32 bits: which CPU the other registers are about. The first write of 0 leaves the older, fixed
/// layout.
const SELECT: u16 = BASE;
/// Read, 8 bits: its flags.
const FLAGS: u16 = BASE + 4;
/// Write, 8 bits: what `DATA` answers.
const COMMAND: u16 = BASE + 5;
/// Read, 32 bits.
const DATA: u16 = BASE + 8;
/// Flag: it is there and may be used.
const ENABLED: u8 = 1;
/// Command: answer the APIC id.
const GET_ID: u8 = 3;
/// More CPUs than any such machine lists.
const MOST: u32 = 512;

/// Whether the CPU with this APIC id is plugged in.
///
/// Context: one CPU at a time, on a machine with these registers; elsewhere the answer is no.
pub(crate) fn is_plugged(apic_id: u32) -> bool {
    select(0);
    let mut first = None;
    for number in 0..MOST {
        select(number);
        command(GET_ID);
        let id = data();
        // A number beyond the last selects nothing, and every answer is the same as for none.
        if number > 0 && Some(id) == first {
            return false;
        }
        first = first.or(Some(id));
        if id == apic_id {
            return flags() & ENABLED != 0;
        }
    }
    false
}

fn select(number: u32) {
    // SAFETY: writing the selector changes what the other registers show, and nothing else.
    unsafe {
        asm!("out dx, eax", in("dx") SELECT, in("eax") number, options(nostack, preserves_flags))
    };
}

fn command(number: u8) {
    // SAFETY: this command only decides what `DATA` answers.
    unsafe {
        asm!("out dx, al", in("dx") COMMAND, in("al") number, options(nostack, preserves_flags))
    };
}

fn data() -> u32 {
    let value: u32;
    // SAFETY: reading it changes nothing.
    unsafe {
        asm!("in eax, dx", in("dx") DATA, out("eax") value, options(nostack, preserves_flags))
    };
    value
}

fn flags() -> u8 {
    let value: u8;
    // SAFETY: reading them changes nothing.
    unsafe {
        asm!("in al, dx", in("dx") FLAGS, out("al") value, options(nostack, preserves_flags))
    };
    value
}
