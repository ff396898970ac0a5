//! What a person reads: tables, times, and the result of a boot.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use crate::boot::Booted;
use crate::plan::Plan;
use crate::record::{BootResult, Outcome, PerCpu, Record};

/// Rows of the CPU table; above that only the slowest CPUs are shown.
const ROWS: usize = 64;

/// A plain table with these column titles; columns after the first `left` ones are aligned to the right.
pub(crate) fn table(titles: &[&str], left: usize) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_header(titles.to_vec());
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Nanoseconds in the unit that suits them, with three digits.
pub(crate) fn time(ns: u64) -> String {
    let seconds = Duration::from_nanos(ns).as_secs_f64();
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (seconds * 1e6, "us"),
        1_000_000..1_000_000_000 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    let digits = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// Prints the results of a boot that passed.
pub(crate) fn booted(plan: &Plan, booted: &Booted) {
    for outcome in booted.log.results() {
        match outcome.boot() {
            Ok(boot) if outcome.scenario == "boot" => boot_result(plan, &boot),
            _ => fields(plan, outcome),
        }
    }
    let lost = booted.log.records.iter().map(|record| match record {
        Record::TraceLost(lost) => lost.n,
        Record::Start(_)
        | Record::Result(_)
        | Record::Step(_)
        | Record::Edge(_)
        | Record::Kick(_)
        | Record::Fault(_)
        | Record::Call(_)
        | Record::Table(_)
        | Record::Window(_)
        | Record::Panic(_)
        | Record::Done(_) => 0,
    });
    let lost: u64 = lost.sum();
    if lost > 0 {
        println!("note: the trace buffer had no room for {lost} events");
    }
    println!(
        "pass: {} in {:.2} s of host time\n",
        plan.title(),
        booted.wall.as_secs_f64()
    );
}

fn boot_result(plan: &Plan, boot: &BootResult) {
    println!("\n{} boot, mode {}:\n", plan.arch.name(), boot.mode);
    println!("{}", cpu_table(boot));
    let online = boot.online.unwrap_or(boot.per_cpu.len() as u64 + 1);
    let word = if boot.is_raw() { "alive" } else { "online" };
    println!("\n{online} of {} CPUs {word}", boot.cpus);
    if boot.per_cpu.is_empty() {
        return;
    }
    println!("first kick to last alive:  {}", time(boot.kick_to_alive_ns));
    if let Some(total) = boot.kick_to_online_ns {
        println!("first kick to last online: {}", time(total));
    }
    if let Some(control) = boot.control_ns_per_cpu {
        println!("control CPU busy per CPU:  {}", time(control));
    }
    if let Some(polls) = boot.ap_polls_max {
        println!("polls per wake, at most:   {polls}");
    }
}

/// A CPU's total and its cells.
type Cells = (u64, [String; 5]);

fn cpu_table(boot: &BootResult) -> Table {
    let [alive, online] = ["kick→alive", "alive→online"];
    let mut table = table(&["CPU", "state", "wave", alive, online, "total"], 2);
    let mut rows = BTreeMap::new();
    for row in &boot.per_cpu {
        rows.insert(row.cpu, times_of(row));
    }
    for cpu in boot.failed.iter().flatten() {
        rows.insert(*cpu, without_times("failed"));
    }
    let boot_cpu = (0..boot.cpus).find(|cpu| !rows.contains_key(cpu));
    if let Some(cpu) = boot_cpu {
        rows.insert(cpu, without_times("online (boot CPU)"));
    }
    let hidden = rows.len().saturating_sub(ROWS);
    let mut totals: Vec<u64> = rows.values().map(|(total, _)| *total).collect();
    totals.sort_unstable();
    let bound = if hidden > 0 { totals[hidden] } else { 0 };
    for (cpu, (_, cells)) in rows.iter().filter(|(_, (total, _))| *total >= bound) {
        table.add_row([&[cpu.to_string()], &cells[..]].concat());
    }
    if hidden > 0 {
        table.add_row([
            "...".to_owned(),
            format!("{hidden} faster CPUs are not shown"),
        ]);
    }
    table
}

fn times_of(row: &PerCpu) -> Cells {
    let total = row.online_ns.unwrap_or(row.alive_ns);
    let (state, rest) = match row.online_ns {
        Some(online) => ("online", time(online - row.alive_ns)),
        None => ("alive", "-".to_owned()),
    };
    let cells = [
        state.to_owned(),
        row.wave.to_string(),
        time(row.alive_ns),
        rest,
        time(total),
    ];
    (total, cells)
}

fn without_times(state: &str) -> Cells {
    let [wave, alive, rest, total] = ["-"; 4].map(str::to_owned);
    (u64::MAX, [state.to_owned(), wave, alive, rest, total])
}

fn fields(plan: &Plan, outcome: &Outcome) {
    println!("\n{} {}:", plan.arch.name(), outcome.scenario);
    let width = outcome.fields.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in &outcome.fields {
        let (name, text) = match value.as_u64() {
            Some(ns) if name.contains("_ns") => (name.replace("_ns", ""), time(ns)),
            _ => (name.clone(), value_text(value)),
        };
        println!("  {:width$} {text}", name.replace('_', " ") + ":");
    }
}

fn value_text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_carry_their_unit() {
        assert_eq!(time(900), "900 ns");
        assert_eq!(time(4_539), "4.54 us");
        assert_eq!(time(170_000), "170 us");
        assert_eq!(time(10_400_000), "10.4 ms");
        assert_eq!(time(12_000_000_000), "12.0 s");
    }

    fn boot(secondaries: u64) -> BootResult {
        let rows: Vec<Value> = (1..=secondaries)
            .map(|cpu| serde_json::json!({"cpu": cpu, "wave": 0, "alive_ns": cpu * 10, "online_ns": cpu * 20}))
            .collect();
        let fields = serde_json::json!({
            "mode": "parallel", "cpus": secondaries + 2, "failed": [secondaries + 1],
            "kick_to_alive_ns": 1, "kick_to_alive_ns_median": 1, "per_cpu": rows,
        });
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn table_names_boot_cpu_and_failed_cpus() {
        let text = cpu_table(&boot(2)).to_string();
        assert!(text.contains("| 0   | online (boot CPU)"), "{text}");
        assert!(text.contains("| 3   | failed"), "{text}");
        assert!(text.contains("20 ns") && text.contains("40 ns"), "{text}");
    }

    #[test]
    fn long_table_keeps_the_slowest() {
        let text = cpu_table(&boot(254)).to_string();
        assert!(text.contains("192 faster CPUs are not shown"), "{text}");
        assert!(
            text.contains("| 254 |") && !text.contains("| 100 |"),
            "{text}"
        );
        assert!(text.contains("| 255 | failed"), "{text}");
    }
}
