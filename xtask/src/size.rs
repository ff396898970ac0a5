//! `cargo xtask size`: what the core adds to a kernel, on every bare-metal target, beside its bounds.
//!
//! The program in `xtask/probe` is linked without an operation of the core, with every one of them, with every text the
//! core can print as well, and with a tracer. What the core adds is the difference to the first.

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

/// Bytes of one reader's cell: its count is alone on its lines.
const READER: u64 = 128;

/// CPUs whose storage the probe holds.
const CPUS: u64 = 64;

/// What a name of the tracing interface has in it.
const TRACE: &str = "::trace::";

/// The verdict of a figure that misses its bound.
const MISSED: &str = "MISSED";

/// How a kernel may be built.
#[derive(Debug)]
struct Setting {
    name: &'static str,
    opt_level: &'static str,
    lto: &'static str,
    /// Bytes of code and constants: everything but the texts.
    text_bound: u64,
    /// Of what moves one CPU at a time.
    single_bound: u64,
}

/// The first one is what cargo's release profile does.
const SETTINGS: [Setting; 2] = [
    Setting {
        name: "release",
        opt_level: "3",
        lto: "off",
        text_bound: 34 << 10,
        single_bound: 15 << 10,
    },
    Setting {
        name: "opt-level z, fat LTO",
        opt_level: "z",
        lto: "fat",
        text_bound: 30 << 10,
        // Half a KiB above 12: the hooks of calls are there whether a kernel makes calls or not.
        single_bound: 25 << 9,
    },
];

/// What the probe is linked with.
#[derive(Clone, Copy, Debug)]
enum With {
    Nothing,
    Single,
    Operations,
    Display,
    Traced,
}

impl With {
    const fn feature(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Single => "single",
            Self::Operations => "operations",
            Self::Display => "display",
            Self::Traced => "traced",
        }
    }
}

/// One figure beside its bound.
#[derive(Debug)]
struct Row {
    figure: String,
    value: u64,
    bound: Bound,
}

/// Measures every target and prints each figure beside its bound.
///
/// # Errors
/// A target cannot be had, or the probe does not build.
pub(crate) fn run() -> Result<Exit> {
    let mut table = show::table(&["target", "figure", "value", "bound", "verdict"], 2);
    let mut missed = 0;
    for target in BARE_METAL {
        install::ensure_target(target)?;
        for row in measure(target)? {
            let verdict = row.bound.verdict(row.value);
            missed += usize::from(verdict == MISSED);
            let value = row.value.to_string();
            table.add_row([target, &row.figure, &value, &row.bound.text(), verdict]);
        }
    }
    println!("\n{table}");
    println!(
        "bytes, but for functions; text is code and constants. The errors' texts bring the library's formatting with \
         them and have no bound"
    );
    Ok(Exit::from_failures(missed))
}

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Exactly(u64),
    AtMost(u64),
    /// Shown only.
    Free,
}

impl Bound {
    fn text(self) -> String {
        match self {
            Self::Exactly(bound) => format!("= {bound}"),
            Self::AtMost(bound) => format!("<= {bound}"),
            Self::Free => "-".to_owned(),
        }
    }

    fn verdict(self, value: u64) -> &'static str {
        let is_met = match self {
            Self::Exactly(bound) => value == bound,
            Self::AtMost(bound) => value <= bound,
            Self::Free => return "-",
        };
        if is_met { "pass" } else { MISSED }
    }
}

/// No function of the tracing interface: what an untraced program has to keep, and a traced one cannot.
const UNTRACED: Bound = Bound::Exactly(0);

fn measure(target: &'static str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for setting in &SETTINGS {
        let frame = build(target, setting, With::Nothing)?;
        for (what, with, most) in [
            ("everything", With::Operations, setting.text_bound),
            ("one CPU at a time", With::Single, setting.single_bound),
        ] {
            let image = build(target, setting, with)?;
            let value = image.text.saturating_sub(frame.text);
            let figure = format!("text, {what}, {}", setting.name);
            if value > most {
                println!("{target}: {figure}: the largest functions");
                for (size, name) in image.largest("cpuhp_", 20) {
                    println!("{size:8} {name}");
                }
            }
            let bound = Bound::AtMost(most);
            rows.push(Row {
                figure,
                value,
                bound,
            });
        }
    }
    rows.extend(measure_release(target)?);
    Ok(rows)
}

/// What is measured in the release profile alone.
fn measure_release(target: &'static str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut add = |figure: &str, value, bound| {
        let figure = figure.to_owned();
        rows.push(Row {
            figure,
            value,
            bound,
        });
    };
    let release = &SETTINGS[0];
    let frame = build(target, release, With::Nothing)?;
    let operations = build(target, release, With::Operations)?;
    let display = build(target, release, With::Display)?;
    let traced = build(target, release, With::Traced)?;
    add(
        "text, everything and the errors' texts, release",
        display.text.saturating_sub(frame.text),
        Bound::Free,
    );
    let size_of = |name: &str| {
        let size = operations.symbol(name);
        size.ok_or_else(|| anyhow!("{target}: the probe has no symbol {name}"))
    };
    add("record", size_of("PROBE_RECORD")?, Bound::Exactly(RECORD));
    add(
        "storage of 64 CPUs",
        size_of("PROBE_STORE")?,
        // Records and reader cells, then masks and slots.
        Bound::AtMost(CPUS * (RECORD + READER) + 1024),
    );
    let zero = operations.zero_symbol("PROBE_STORE");
    add(
        "of it not in .bss",
        size_of("PROBE_STORE")? - zero,
        Bound::Exactly(0),
    );
    let own = operations.data.saturating_sub(frame.data);
    add(".data", own, Bound::Exactly(0));
    add("functions of the tracer", operations.count(TRACE), UNTRACED);
    // The same check has to fail where there is a tracer, or it would find none anywhere.
    let is_found = UNTRACED.verdict(traced.count(TRACE)) == MISSED;
    add(
        "the same, traced: is it found",
        u64::from(is_found),
        Bound::Exactly(1),
    );
    Ok(rows)
}

/// Links the probe and reads it.
fn build(target: &str, setting: &Setting, with: With) -> Result<Image> {
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
        .arg(&folder)
        .args(["--features", with.feature()]);
    // Addresses are fixed, as in a kernel; else tables of functions would need relocation.
    command
        .env("RUSTFLAGS", "-Crelocation-model=static")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", setting.opt_level)
        .env("CARGO_PROFILE_RELEASE_LTO", setting.lto)
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
            (UNTRACED, 0, 1),
        ] {
            assert_eq!(
                (bound.verdict(good), bound.verdict(bad)),
                ("pass", MISSED),
                "{bound:?}"
            );
        }
    }
}
