//! `cargo xtask size`: what the core adds to a kernel, on every bare-metal target, beside its bounds.
//!
//! The program in `xtask/probe` is linked three times: empty, with every operation of the core, and with every text
//! the core can print as well. What the core adds is the difference to the empty one.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};

use crate::cargo;
use crate::ci::BARE_METAL;
use crate::exit::Exit;
use crate::install;
use crate::show;

mod image;

use image::Image;

/// Bytes of one record.
const RECORD: u64 = 128;

/// Bytes of code and constants, everything but the texts.
const TEXT_BOUND: u64 = 12 << 10;

/// CPUs whose storage the probe holds.
const CPUS: u64 = 64;

/// What was measured for one target.
struct Measured {
    record: u64,
    text: u64,
    text_with_display: u64,
    data: u64,
    bss: u64,
    /// The functions to look at if the text is too long.
    largest: Vec<String>,
}

/// Measures every target and prints each figure beside its bound.
///
/// # Errors
/// A target cannot be had, or the probe does not build.
pub(crate) fn run() -> Result<Exit> {
    let mut table = show::table(&["target", "figure", "bytes", "bound", "verdict"], 2);
    let mut missed = 0;
    for target in BARE_METAL {
        install::ensure_target(target)?;
        let measured = measure(target)?;
        for (figure, bytes, bound, is_met) in measured.rows() {
            let verdict = if is_met { "pass" } else { "MISSED" };
            missed += usize::from(!is_met);
            table.add_row([
                target.to_owned(),
                figure,
                bytes.to_string(),
                bound,
                verdict.to_owned(),
            ]);
        }
        if measured.text > TEXT_BOUND {
            println!(
                "largest functions on {target}:\n{}",
                measured.largest.join("\n")
            );
        }
    }
    println!("\n{table}");
    println!(
        "release, opt-level 3; the texts bring the library's formatting with them and have no bound"
    );
    Ok(Exit::from_failures(missed))
}

impl Measured {
    /// Figure, bytes, bound, and whether it is met.
    fn rows(&self) -> [(String, u64, String, bool); 5] {
        let storage = CPUS * RECORD;
        [
            (
                "record".to_owned(),
                self.record,
                format!("= {RECORD}"),
                self.record == RECORD,
            ),
            (
                "text and rodata".to_owned(),
                self.text,
                format!("<= {TEXT_BOUND}"),
                self.text <= TEXT_BOUND,
            ),
            (
                "text and rodata, errors' texts too".to_owned(),
                self.text_with_display,
                "-".to_owned(),
                true,
            ),
            (
                format!(".data of {CPUS} CPUs"),
                self.data,
                "= 0".to_owned(),
                self.data == 0,
            ),
            (
                format!(".bss of {CPUS} CPUs"),
                self.bss,
                format!(">= {storage}"),
                self.bss >= storage,
            ),
        ]
    }
}

fn measure(target: &'static str) -> Result<Measured> {
    let empty = build(target, None)?;
    let operations = build(target, Some("operations"))?;
    let display = build(target, Some("display"))?;
    let record = operations.symbol("PROBE_RECORD");
    let largest = operations.largest("cpuhp_", 20);
    let largest = largest
        .iter()
        .map(|(size, name)| format!("{size:8} {name}"))
        .collect();
    Ok(Measured {
        record: record.ok_or_else(|| anyhow!("{target}: the probe has no symbol PROBE_RECORD"))?,
        text: operations.text.saturating_sub(empty.text),
        text_with_display: display.text.saturating_sub(empty.text),
        data: operations.data.saturating_sub(empty.data),
        bss: operations.bss.saturating_sub(empty.bss),
        largest,
    })
}

/// Links the probe with one of its features and reads it.
fn build(target: &str, feature: Option<&str>) -> Result<Image> {
    let folder = cargo::metadata()?.target_directory.join("size");
    let mut command = cargo::cargo();
    command.args([
        "build",
        "--quiet",
        "--release",
        "--target",
        target,
        "--manifest-path",
    ]);
    command
        .arg(cargo::root().join("xtask/probe/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder);
    if let Some(feature) = feature {
        command.args(["--features", feature]);
    }
    // Addresses are fixed, as in a kernel; else tables of functions would need relocation.
    command
        .env("RUSTFLAGS", "-Crelocation-model=static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let built = cargo::build(&mut command)?;
    let path: PathBuf = built
        .into_iter()
        .find(|executable| executable.name == "cpuhp-probe")
        .map(|executable| executable.path)
        .ok_or_else(|| anyhow!("building the probe made no executable"))?;
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Image::read(&bytes).with_context(|| format!("cannot read {}", path.display()))
}
