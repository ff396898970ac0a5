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
const TEXT_BOUND: u64 = 30 << 10;

/// CPUs whose storage the probe holds.
const CPUS: u64 = 64;

/// The verdict of a figure that misses its bound.
const MISSED: &str = "MISSED";

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
        for (figure, bytes, bound) in measured.rows() {
            let verdict = bound.verdict(bytes);
            missed += usize::from(verdict == MISSED);
            table.add_row([target, figure, &bytes.to_string(), &bound.text(), verdict]);
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

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Exactly(u64),
    AtMost(u64),
    AtLeast(u64),
    /// Shown only.
    Free,
}

impl Bound {
    fn text(self) -> String {
        match self {
            Self::Exactly(bound) => format!("= {bound}"),
            Self::AtMost(bound) => format!("<= {bound}"),
            Self::AtLeast(bound) => format!(">= {bound}"),
            Self::Free => "-".to_owned(),
        }
    }

    fn verdict(self, bytes: u64) -> &'static str {
        let is_met = match self {
            Self::Exactly(bound) => bytes == bound,
            Self::AtMost(bound) => bytes <= bound,
            Self::AtLeast(bound) => bytes >= bound,
            Self::Free => return "-",
        };
        if is_met { "pass" } else { MISSED }
    }
}

impl Measured {
    fn rows(&self) -> [(&'static str, u64, Bound); 5] {
        [
            ("record", self.record, Bound::Exactly(RECORD)),
            ("text and rodata", self.text, Bound::AtMost(TEXT_BOUND)),
            (
                "the same with errors' texts",
                self.text_with_display,
                Bound::Free,
            ),
            (".data of 64 CPUs", self.data, Bound::Exactly(0)),
            (".bss of 64 CPUs", self.bss, Bound::AtLeast(CPUS * RECORD)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_beyond_their_bound_are_missed() {
        for (bound, good, bad) in [
            (Bound::Exactly(128), 128, 136),
            (Bound::AtMost(12), 12, 13),
            (Bound::AtLeast(12), 12, 11),
        ] {
            assert_eq!(
                (bound.verdict(good), bound.verdict(bad)),
                ("pass", MISSED),
                "{bound:?}"
            );
        }
    }
}
