//! The smallest kernel that brings all CPUs up: the one to copy.
//!
//! It finds its CPUs in the firmware's tables, declares one table of steps, brings every CPU up
//! through it, prints what came of it, and ends the machine: status 33 if all are online. `boot.rs`
//! is the assembly in front of it.
#![no_std]
#![no_main]

mod boot;

use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use cpuhp_core::{
    BootSteps, CpuId, Cpuhp, Ctx, Step, StepError, StepResult, Store, Which, states, words,
};
use cpuhp_x86::{Boot, BootRecord, Common, Config, LowPage, X86, acpi, clock};
use spin::Once;

/// CPUs this kernel has memory for.
const CPUS: usize = 256;
/// Vector of the wake interrupt.
const WAKE: u8 = 0xf0;
/// What QEMU's exit device is told: status 33 or 255.
const PASS: u8 = 0x10;
const FAIL: u8 = 0x7f;

states! { mod hp {
    prepare { STACK = Step::new("stack:prepare").up(give_stack).down(take_stack).parallel(); }
    starting { }
    online { HELLO = Step::new("hello:online").up(say_hello).parallel(); }
} }

type Hotplug = Cpuhp<'static, &'static X86>;

static STORE: Store<CPUS, { words(CPUS) }, { hp::NDYN }> = Store::new();
static RECORDS: [BootRecord; CPUS] = [const { BootRecord::ZERO }; CPUS];
static STACKS: [[AtomicU64; 1024]; CPUS] = [const { [const { AtomicU64::new(0) }; 1024] }; CPUS];
static BACKEND: Once<X86> = Once::new();
static HOTPLUG: Once<Hotplug> = Once::new();
static HELLOS: AtomicU32 = AtomicU32::new(0);

/// Entered by `boot`, on the boot CPU.
fn main(start_info: u64) -> ! {
    let backend = BACKEND.call_once(|| make_backend(start_info));
    let hotplug = HOTPLUG.call_once(|| Cpuhp::new(backend, &hp::TABLE, STORE.get()));
    hotplug.adopt_boot_cpu(BootSteps::Run).expect("adopt");
    let report = hotplug.bring_up(Which::All).expect("bring up");
    let hellos = HELLOS.load(Ordering::Relaxed);
    let _ = writeln!(Serial, "{hellos} CPUs said hello: {report}");
    end(if report.is_complete() { PASS } else { FAIL })
}

#[expect(
    unsafe_code,
    reason = "here the kernel promises what it knows of its machine"
)]
fn make_backend(start_info: u64) -> X86 {
    let info = boot::bytes(start_info, 0x38).and_then(|info| info.get(0x20..));
    let rsdp = info.and_then(<[u8]>::first_chunk).expect("start info");
    let rsdp = u64::from_le_bytes(*rsdp);
    let table = |name| acpi::find_table(rsdp, name, boot::bytes).expect("ACPI table");
    let timer = acpi::pm_timer_port(table(*b"FACP")).expect("PM timer");
    // SAFETY: the port comes from the FADT.
    let hz = unsafe { clock::calibrate(timer) }.expect("a PM timer that runs");
    let config = Config {
        common: Common::new(&RECORDS, ap_main, hz),
        madt: table(*b"APIC"),
        low_page: Some(LowPage {
            phys: 0x8000, // free in QEMU; a real kernel looks into its memory map
            open: |at| NonNull::new(core::ptr::with_exposed_provenance_mut(at as usize)),
            close: |_| {},
        }),
        wake_vector: WAKE,
        apic: None,
        park: None,
    };
    // SAFETY: 1 the records are used here only, and memory is mapped at its own address; 2 the
    // tables are the firmware's, the page is free; 3 `boot` has loaded all tables, and nothing else
    // uses GS; 4 and 5 image, stacks and page tables are static; 6 the gates of 0xf0 and 0xff are in
    // place, and the result goes into a static.
    unsafe { X86::new(config) }.expect("backend")
}

/// PREPARE: what the CPU starts with.
fn give_stack(ctx: &Ctx<'_>) -> StepResult {
    let cpu = ctx.cpu();
    let record = BACKEND.get().and_then(|backend| backend.boot_record(cpu));
    let (Some(record), Some(stack)) = (record, STACKS.get(cpu.index())) else {
        return Err(StepError::user(1).unwrap_or(StepError::TIMEOUT));
    };
    record.set(Boot {
        stack_top: stack.as_ptr_range().end as u64,
        percpu: 0,
        root: 0,
    });
    Ok(())
}

/// Its undoing.
fn take_stack(ctx: &Ctx<'_>) -> StepResult {
    let record = BACKEND
        .get()
        .and_then(|backend| backend.boot_record(ctx.cpu()));
    record.into_iter().for_each(BootRecord::clear);
    Ok(())
}

/// ONLINE: runs on the CPU itself.
fn say_hello(_: &Ctx<'_>) -> StepResult {
    HELLOS.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Where every other CPU begins, on its own stack.
fn ap_main(cpu: CpuId) -> ! {
    let exit = HOTPLUG.wait().ap_run(cpu);
    BACKEND.wait().rest(exit.into())
}

/// The wake interrupt, on any CPU.
fn on_wake() {
    if let Some(backend) = BACKEND.get() {
        backend.on_wake();
        backend.eoi();
    }
}

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| boot::out(0x3f8, byte));
        Ok(())
    }
}

/// Ends QEMU.
fn end(verdict: u8) -> ! {
    boot::out(0xf4, verdict);
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Serial, "{info}");
    end(FAIL)
}
