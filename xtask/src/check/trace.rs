//! Checks of the trace events that a kernel prints with `trace=1`: CPUs that exist, times that do not run backwards.

use crate::plan::Plan;
use crate::record::{Fault, Log, Record};

/// Checks every trace event of the log, and that a traced run says how many it lost.
pub(super) fn check(plan: &Plan, log: &Log) -> Vec<String> {
    let records = log.records.iter();
    let events = records.filter_map(|record| check_event(record, plan.cpus()));
    let is_total = |record: &&Record| matches!(record, Record::TraceLost(_));
    let totals = log.records.iter().filter(is_total).count();
    let wrong = (plan.number("trace") == Some(1) && totals != 1)
        .then(|| format!("{totals} `trace_lost` lines, expected 1"));
    events.chain(wrong).collect()
}

fn check_event(record: &Record, cpus: u64) -> Option<String> {
    let (what, ids, times): (String, &[u64], [u64; 2]) = match record {
        Record::Step(step) => {
            let what = format!("step {} of state {}", step.name, step.state);
            (what, &[step.cpu, step.on], [step.t0, step.t1])
        }
        Record::Edge(edge) => (
            format!("edge {} to {}", edge.from, edge.to),
            &[edge.cpu],
            [edge.t, edge.t],
        ),
        Record::Kick(kick) => ("kick".to_owned(), &[kick.cpu], [kick.t, kick.t]),
        Record::Fault(Fault { cpu: Some(cpu), .. }) => ("fault".to_owned(), &[*cpu], [0, 0]),
        Record::Call(call) => {
            let what = format!("call {} at {}", call.id, call.site);
            (
                what,
                &[call.from, call.cpu],
                [call.queue.min(call.entry), call.exit],
            )
        }
        Record::Window(window) => {
            let what = format!("window of mode {}", window.mode);
            (what, &[], [window.t0, window.t1])
        }
        Record::Table(table) => {
            let starts = [table.kick, table.ap_idle, table.online];
            let wrong = format!("the sections of the table begin at {starts:?}");
            return (!starts.is_sorted()).then_some(wrong);
        }
        Record::Start(_)
        | Record::Result(_)
        | Record::Fault(_)
        | Record::TraceLost(_)
        | Record::Panic(_)
        | Record::Done(_) => return None,
    };
    if let Some(cpu) = ids.iter().find(|cpu| **cpu >= cpus) {
        return Some(format!("{what} names CPU {cpu} of {cpus} CPUs"));
    }
    let [begin, end] = times;
    (begin > end).then(|| format!("{what} begins at {begin} ns and ends at {end} ns"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;

    const STEP: &str = r#"@cpuhp {"ev":"step","cpu":3,"state":13,"name":"sched:online","dir":"up","rollback":false,"on":3,"t0":5,"t1":7,"err":null}"#;
    const CALL: &str = r#"@cpuhp {"ev":"call","id":1,"from":0,"cpu":3,"site":"a.rs:3","queue":1,"ipi":"sent","entry":2,"exit":3}"#;

    fn wrong(serial: &str) -> String {
        check(&Plan::new(Arch::X86_64), &Log::parse(serial)).join("; ")
    }

    #[test]
    fn good_events_pass() {
        assert_eq!(wrong(&format!("{STEP}\n{CALL}\n")), "");
        assert_eq!(wrong(r#"@cpuhp {"ev":"kick","cpu":7,"t":4}"#), "");
    }

    #[test]
    fn events_of_cpus_that_do_not_exist_fail() {
        assert!(wrong(&STEP.replace(r#""cpu":3"#, r#""cpu":8"#)).contains("CPU 8 of 8"));
        assert!(wrong(&STEP.replace(r#""on":3"#, r#""on":8"#)).contains("CPU 8 of 8"));
        assert!(wrong(&CALL.replace(r#""from":0"#, r#""from":9"#)).contains("CPU 9 of 8"));
        assert!(wrong(r#"@cpuhp {"ev":"kick","cpu":8,"t":4}"#).contains("kick names CPU 8"));
        assert!(wrong(r#"@cpuhp {"ev":"fault","cpu":8}"#).contains("fault names CPU 8"));
        let edge = r#"@cpuhp {"ev":"edge","cpu":8,"from":"KICKED","to":"ALIVE","t":5}"#;
        assert!(wrong(edge).contains("KICKED to ALIVE names CPU 8"));
    }

    #[test]
    fn time_that_runs_backwards_fails() {
        assert!(wrong(&STEP.replace(r#""t1":7"#, r#""t1":4"#)).contains("begins at 5 ns"));
        assert!(wrong(&CALL.replace(r#""exit":3"#, r#""exit":0"#)).contains("ends at 0 ns"));
        let window = r#"@cpuhp {"ev":"window","mode":"serial","t0":5,"t1":4}"#;
        assert!(wrong(window).contains("mode serial begins at 5 ns"));
    }

    #[test]
    fn traced_run_says_once_how_many_events_it_lost() {
        let mut plan = Plan::new(Arch::X86_64);
        plan.params = vec![("trace".to_owned(), "1".to_owned())];
        let lost = r#"@cpuhp {"ev":"trace_lost","n":3}"#;
        let wrong = |serial: &str| check(&plan, &Log::parse(serial)).join("; ");
        assert_eq!(wrong(lost), "");
        assert!(wrong(STEP).contains("0 `trace_lost` lines"));
        assert!(wrong(&format!("{lost}\n{lost}")).contains("2 `trace_lost` lines"));
    }

    #[test]
    fn table_whose_sections_are_not_in_order_fails() {
        let table = r#"@cpuhp {"ev":"table","kick":3,"ap_idle":6,"online":10}"#;
        assert_eq!(wrong(table), "");
        assert!(wrong(&table.replace("10", "5")).contains("[3, 6, 5]"));
    }
}
