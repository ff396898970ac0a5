//! The monitor as a person meets it: `cargo xtask run --scenario shell` on a pseudo-terminal, every word, every
//! wrong input, every key and completion.
//!
//! What is expected stands in `script`, and comes from the layout of the example table and from what the words
//! are documented to do; nothing of it is read from the monitor itself.

use std::time::Instant;

use anyhow::Result;

use crate::arch::Arch;
use crate::boot::Kernel;
use crate::exit::Exit;
use crate::install;

mod ends;
mod pty;
mod script;
mod typing;

use pty::Session;

/// CPUs of each machine: enough for one at each end and two in between.
const SMP: &str = "4";

/// The machines: threads, virtual time, and every kernel that boots.
fn machines() -> Vec<(Arch, &'static [&'static str])> {
    let hosted: [(Arch, &[&str]); 2] = [
        (Arch::Hosted, &[]),
        (Arch::Hosted, &["--machine", "time=virtual"]),
    ];
    let bootable = Arch::BOOTABLE.iter().map(|arch| (*arch, &[][..]));
    hosted.into_iter().chain(bootable).collect()
}

/// Plays the script on every machine, and every way to end on one.
///
/// # Errors
/// A kernel does not build.
pub(crate) fn run() -> Result<Exit> {
    let mut failures = 0;
    for (arch, machine) in machines() {
        let title = [&[arch.name(), "monitor"], machine].concat().join(" ");
        if let Some(missing) = arch
            .emulator()
            .and_then(|name| install::ensure_qemu(name).err())
        {
            failures += usize::from(install::is_ci());
            let word = if install::is_ci() {
                "FAIL   "
            } else {
                "skipped"
            };
            println!("{word}  {title}: {missing}");
            continue;
        }
        Kernel::Scenarios(arch).build()?;
        let started = Instant::now();
        let played = play(arch, machine);
        let seconds = started.elapsed().as_secs_f64();
        failures += usize::from(played.is_err());
        match played {
            Ok((done, refused)) => println!(
                "pass     {title}: {done} lines done and {refused} refused as they should ({seconds:.2} s)"
            ),
            Err(error) => println!("FAIL     {title}: {error:#}"),
        }
    }
    for (name, end) in ends::ALL {
        match end() {
            Ok(()) => println!("pass     hosted monitor ends by {name}"),
            Err(error) => {
                failures += 1;
                println!("FAIL     hosted monitor ends by {name}: {error:#}");
            }
        }
    }
    Ok(Exit::from_failures(failures))
}

/// One whole session; returns how many lines were done and refused.
fn play(arch: Arch, machine: &[&str]) -> Result<(u32, u32)> {
    let mut session = Session::start(&[&["--arch", arch.name()], machine].concat())?;
    session.until_prompt()?;
    session.expect_raw()?;
    script::words(&mut session)?;
    script::wrong_words(&mut session)?;
    typing::keys(&mut session)?;
    typing::completion(&mut session)?;
    let (done, refused) = session.counts();
    session.types("quit\r")?;
    session.until(&format!("commands: {done}"))?;
    session.until(&format!("refused: {refused}"))?;
    session.until(&format!("pass: {} shell", arch.name()))?;
    session.end(Some(0))?;
    Ok((done, refused))
}
