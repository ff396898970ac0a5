//! A complete bootable `x86_64` kernel that runs every scenario.
//!
//! Booted by QEMU through a PVH note; finds its CPUs in the firmware's ACPI tables, makes the
//! backend, and hands itself as a machine to the portable scenario driver.
#![no_std]
#![no_main]

mod boot;
mod console;
mod cpu;
mod info;
mod memory;
mod timer;

use core::num::NonZeroU64;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU64, Ordering};

use cpuhp_core::{CpuId, KickOutcome, Platform, Who};
use cpuhp_x86::{BootRecord, Common, Config, X86, acpi, clock};
use spin::Once;

use crate::console::Verdict;
use crate::info::Info;

static RECORDS: [BootRecord; cpu::MAX_CPUS] = [const { BootRecord::ZERO }; cpu::MAX_CPUS];
static BACKEND: Once<X86> = Once::new();

static T0: [AtomicU64; cpu::MAX_CPUS] = [const { AtomicU64::new(0) }; cpu::MAX_CPUS];

fn main(start_info: usize) -> ! {
    let info = Info::read(start_info).expect("start info");
    let rsdp = info.rsdp.expect("rsdp");
    let fadt = acpi::find_table(rsdp, *b"FACP", memory::bytes).expect("fadt");
    let madt = acpi::find_table(rsdp, *b"APIC", memory::bytes).expect("madt");
    let port = acpi::pm_timer_port(fadt).expect("pm timer");
    #[expect(unsafe_code, reason = "x")]
    // SAFETY: x
    let hz = unsafe { clock::calibrate(port) }.expect("hz");
    cpu::prepare(CpuId::new(0));
    cpu::fill_idt();
    cpu::load_tables(CpuId::new(0));
    let low = memory::low_page(info.low_page().expect("low"));
    let mut common = Common::new(&RECORDS, ap_main, hz);
    common.this_cpu = Some(cpu::this_cpu);
    let config = Config {
        common,
        madt,
        low_page: Some(low),
        wake_vector: cpu::WAKE,
        apic: None,
    };
    #[expect(unsafe_code, reason = "x")]
    // SAFETY: x
    let b = BACKEND.call_once(|| unsafe { X86::new(config) }.expect("backend"));
    println!("{b:?} tsc {hz} low {low:?} cmd {}", info.command_line);
    timer::calibrate(hz.get());
    let n = b.cpus();
    let t0 = b.now();
    for c in 1..n {
        let c = CpuId::new(c);
        let boot = cpu::prepare(c).unwrap();
        b.boot_record(c).unwrap().set(boot);
        b.kick(c, 1).unwrap();
    }
    let t1 = b.now();
    loop {
        let alive = (1..n)
            .filter(|c| T0[*c as usize].load(Ordering::Acquire) != 0)
            .count();
        if alive as u32 == n - 1 {
            break;
        }
        if b.now() - t0 > 5_000_000_000 {
            println!("lost: {alive}");
            console::exit(Verdict::Fail);
        }
        b.wait(Who::Control(CpuId::new(1)), u64::MAX);
    }
    let t2 = b.now();
    for c in 1..n {
        b.kick_done(CpuId::new(c), KickOutcome::Arrived);
    }
    println!(
        "cpus {n} kicks {} us all alive {} us",
        (t1 - t0) / 1000,
        (t2 - t0) / 1000
    );
    console::exit(Verdict::Pass)
}

fn ap_main(cpu: CpuId) -> ! {
    let b = BACKEND.get().unwrap();
    T0[cpu.index()].store(b.now(), Ordering::Release);
    b.rest(cpuhp_x86::Rest::Off)
}

fn on_wake() {
    if let Some(b) = BACKEND.get() {
        b.on_wake();
        b.eoi();
    }
}

fn on_timer() {
    if let Some(b) = BACKEND.get() {
        b.eoi();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    console::print_last(format_args!("panic {info}\n"));
    console::exit(Verdict::Fail)
}
