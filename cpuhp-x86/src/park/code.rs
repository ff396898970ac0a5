//! The code of the park region: how a CPU comes to rest there, rests, and leaves.
//!
//! Copied into the region and run there only: it is position independent, and reaches everything by
//! the address of its own page. A CPU that rests uses this page, the tables beside it, and its slot,
//! whose upper part is its stack. It never touches a kernel's memory again until it is released.
//!
//! 1. `enter`: control registers to a minimum, own descriptor tables, own stack, own page tables,
//!    then `parked`, the last store.
//! 2. The loop: look at `go` with interrupts off, then `sti; hlt`. No wake-up is lost, since an
//!    interrupt that comes between the two ends the `hlt` at once.
//! 3. Released: `taken`, then to the entry that the slot names. That of this kernel is the stub at
//!    the end of the code, which loads the kernel's page tables and goes to `ap_entry64`.
//!
//! Spec: Intel SDM vol. 3A, "Control Registers", "Interrupt and Exception Handling", "Machine-Check
//! Architecture".
#![expect(
    unsafe_code,
    reason = "a CPU that rests has no Rust around it, only these instructions"
)]
#![expect(
    clippy::too_many_lines,
    reason = "the code is one image; a naked function takes no lint attribute"
)]

use core::arch::{asm, naked_asm};

use super::pages::{CODE_SELECTOR, DATA_SELECTOR, Handlers, from_code};
use super::slot::{SLOT_LEN, at};

/// Bytes of the code.
pub(crate) const CODE_LEN: u32 = 0x280;
/// The code as bytes.
pub(crate) type Code = [u8; CODE_LEN as usize];

const INTERRUPT: usize = 0x100;
const NMI: usize = 0x150;
const MACHINE_CHECK: usize = 0x160;
const STOP: usize = 0x1a0;
const STUB: usize = 0x200;
const STUB_CR0: usize = 0x260;
const STUB_CR3: usize = 0x268;
const STUB_EFER: usize = 0x270;
const STUB_ENTRY: usize = 0x278;

/// CR4: PAE; and what is kept: MCE, so that a machine check is not a shutdown, and LA57, which
/// cannot be changed.
const CR4_PAE: u32 = 1 << 5;
const CR4_KEEP: u32 = 1 << 6 | 1 << 12;
const MSR_APIC_BASE: u32 = 0x1b;
const APIC_EXTD: u32 = 1 << 10;
const XAPIC_EOI: u32 = 0xb0;
const MSR_X2APIC_EOI: u32 = 0x80b;
const MSR_MCG_STATUS: u32 = 0x17a;
const MSR_EFER: u32 = 0xc000_0080;

/// Where the gates lead.
pub(crate) const HANDLERS: Handlers = Handlers {
    interrupt: INTERRUPT as u64,
    nmi: NMI as u64,
    machine_check: MACHINE_CHECK as u64,
    stop: STOP as u64,
};

/// Offset of the 64-bit stub: the entry of a CPU that this kernel releases.
pub(crate) const STUB_AT: u64 = STUB as u64;

/// What the stub loads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    pub(crate) cr0: u64,
    pub(crate) cr3: u64,
    pub(crate) efer: u64,
    pub(crate) entry: u64,
}

/// How a CPU rests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Manner {
    /// Until an interrupt finds it released.
    Ipi = 0,
    /// Until INIT.
    Hlt = 1,
}

/// Makes the code, with the stub's words filled in.
pub(crate) fn image(kernel: Kernel) -> Code {
    let code = (park_code as *const ()).cast::<Code>();
    // SAFETY: the function's body is exactly that long: its last directive says `.org`.
    let mut image = unsafe { code.read_unaligned() };
    for (at, word) in [
        (STUB_CR0, kernel.cr0),
        (STUB_CR3, kernel.cr3),
        (STUB_EFER, kernel.efer),
        (STUB_ENTRY, kernel.entry),
    ] {
        if let Some(to) = image.get_mut(at..at + 8) {
            to.copy_from_slice(&word.to_le_bytes());
        }
    }
    image
}

/// Goes to rest in `slot` with the number `number`, and never comes back.
///
/// # Safety
/// 1. `root` are page tables that map this code, and the region at its physical address with the code
///    executable. `code` and `slot` are such addresses; the slot is this CPU's and installed.
/// 2. Interrupts are off, the local APIC is enabled with all its local vectors masked, and nothing of
///    the calling CPU's state is needed any more.
pub(crate) unsafe fn enter(
    root: u64,
    code: u64,
    slot: u64,
    number: u32,
    class: u8,
    manner: Manner,
) -> ! {
    // SAFETY: promise 1 for both addresses, promise 2 for all that is lost. Loading CR3 loses the
    // stack, perhaps; the jump needs none.
    unsafe {
        asm!("mov cr3, {root}", "jmp {code}", root = in(reg) root, code = in(reg) code,
            in("rdi") slot, in("esi") number, in("rdx") u64::from(class),
            in("ecx") manner as u32, options(noreturn));
    }
}

/// The code. Never executed in place: [`image`] reads its bytes.
///
/// RDI is the slot, ESI the number, RBX this page, RDX the priority class, ECX the manner. The
/// protection bits go before the first far return: shadow stacks would not know it.
#[unsafe(naked)]
extern "C" fn park_code() {
    naked_asm!(
        "2:",
        "cli",
        "cld",
        "lea rbx, [rip + 2b]",
        "mov rax, cr4",
        "and eax, {cr4_keep}",
        "or eax, {cr4_pae}",
        "mov cr4, rax",
        "lea rsp, [rdi + {slot_len}]",
        "lgdt [rbx + {gdtr}]",
        "lidt [rbx + {idtr}]",
        "mov eax, {data}",
        "mov ds, eax",
        "mov es, eax",
        "mov ss, eax",
        "xor eax, eax",
        "mov fs, eax",
        "mov gs, eax",
        "push {code}",
        "lea rax, [rip + 3f]",
        "push rax",
        "retfq",
        "3:",
        "mov rax, [rbx + {top}]",
        "mov cr3, rax",
        "mov cr8, rdx",
        "mov [rdi + {parked}], esi", // from here on nothing else is this CPU's
        "test ecx, ecx",
        "jnz 5f",
        "4:",
        "cli",
        "mov eax, [rdi + {go}]",
        "cmp eax, esi",
        "je 6f",
        "sti",
        "hlt",
        "jmp 4b",
        "5:",
        "cli",
        "hlt",
        "jmp 5b",
        "6:",
        "mov rax, [rdi + {entry}]",
        "mov rdx, [rdi + {arg}]",
        "mov [rdi + {taken}], esi",
        "mov rdi, rdx",
        "jmp rax",
        ".org 2b + {interrupt}, 0xf4",
        "push rax",
        "push rcx",
        "push rdx",
        "mov ecx, {msr_apic_base}",
        "rdmsr",
        "test eax, {extd}",
        "jnz 7f",
        "and eax, 0xfffff000",
        "mov dword ptr [rax + {xapic_eoi}], 0",
        "jmp 8f",
        "7:",
        "xor eax, eax",
        "xor edx, edx",
        "mov ecx, {msr_x2apic_eoi}",
        "wrmsr",
        "8:",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "iretq",
        ".org 2b + {nmi}, 0xf4",
        "iretq",
        // A machine check, perhaps one that all CPUs are told of: it is over if this CPU can go on.
        ".org 2b + {machine_check}, 0xf4",
        "push rax",
        "push rcx",
        "push rdx",
        "mov ecx, {msr_mcg_status}",
        "rdmsr",
        "test al, 1",
        "jz 9f",
        "xor eax, eax",
        "xor edx, edx",
        "wrmsr",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "iretq",
        ".org 2b + {stop}, 0xf4",
        "9:",
        "cli",
        "hlt",
        "jmp 9b",
        // RDI: the start value.
        ".org 2b + {stub}, 0xf4",
        "lea rbx, [rip + 2b]",
        "mov ecx, {msr_efer}",
        "rdmsr",
        "or eax, [rbx + {stub_efer}]",
        "wrmsr",
        "mov rax, [rbx + {stub_cr0}]",
        "mov cr0, rax",
        "mov rax, [rbx + {stub_cr3}]",
        "mov cr3, rax",
        "mov rax, [rbx + {stub_entry}]",
        "jmp rax",
        ".org 2b + {stub_cr0}, 0xf4",
        ".quad 0, 0, 0, 0",
        ".org 2b + {end}",
        cr4_keep = const CR4_KEEP,
        cr4_pae = const CR4_PAE,
        slot_len = const SLOT_LEN,
        gdtr = const from_code::GDTR,
        idtr = const from_code::IDTR,
        top = const from_code::TOP,
        code = const CODE_SELECTOR,
        data = const DATA_SELECTOR,
        parked = const at::PARKED,
        taken = const at::TAKEN,
        go = const at::GO,
        entry = const at::ENTRY,
        arg = const at::ARG,
        msr_apic_base = const MSR_APIC_BASE,
        extd = const APIC_EXTD,
        xapic_eoi = const XAPIC_EOI,
        msr_x2apic_eoi = const MSR_X2APIC_EOI,
        msr_mcg_status = const MSR_MCG_STATUS,
        msr_efer = const MSR_EFER,
        interrupt = const INTERRUPT,
        nmi = const NMI,
        machine_check = const MACHINE_CHECK,
        stop = const STOP,
        stub = const STUB,
        stub_cr0 = const STUB_CR0,
        stub_cr3 = const STUB_CR3,
        stub_efer = const STUB_EFER,
        stub_entry = const STUB_ENTRY,
        end = const CODE_LEN,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gate_leads_to_an_instruction_and_the_stub_has_its_words() {
        let kernel = Kernel {
            cr0: 0x8001_0033,
            cr3: 0x1234_5000,
            efer: 0x901,
            entry: 0xffff_8000_0000_1000,
        };
        let image = image(kernel);
        assert_eq!(image[..2], [0xfa, 0xfc], "`cli`, `cld`");
        assert_eq!(image[INTERRUPT], 0x50, "`push rax`");
        assert_eq!(image[NMI..NMI + 2], [0x48, 0xcf], "`iretq`");
        assert_eq!(image[MACHINE_CHECK], 0x50, "`push rax`");
        assert_eq!(image[STOP..STOP + 2], [0xfa, 0xf4], "`cli`, `hlt`");
        assert_eq!(image[STUB..STUB + 3], [0x48, 0x8d, 0x1d], "`lea rbx`");
        for (at, right) in [
            (STUB_CR0, kernel.cr0),
            (STUB_CR3, kernel.cr3),
            (STUB_EFER, kernel.efer),
            (STUB_ENTRY, kernel.entry),
        ] {
            assert_eq!(image[at..at + 8], right.to_le_bytes(), "{at:#x}");
        }
    }
}
