//! Good and bad machine lines, by hand.

use super::*;

/// The only error of a log, or all of them joined.
fn error(serial: &str) -> String {
    Log::parse(serial).errors.join("; ")
}

#[test]
fn human_lines_are_left_alone() {
    let log = Log::parse("hello\r\n8 CPUs online, mail to a@cpu.example\n\n");
    assert!(log.records.is_empty() && log.errors.is_empty());
}

#[test]
fn every_kind_of_line_is_read() {
    let serial = r#"booting
@cpuhp {"ev":"start","arch":"x86_64","smp":8,"scenario":"boot","params":{"steps":"3"},"version":"0.1.0"}
@cpuhp {"ev":"result","scenario":"cycle","pass":true,"ops":280,"violations":0}
@cpuhp {"ev":"step","cpu":3,"state":13,"name":"sched:online","dir":"up","rollback":false,"on":3,"t0":1,"t1":2,"err":null}
@cpuhp {"ev":"edge","cpu":3,"from":"KICKED","to":"ALIVE","t":5}
@cpuhp {"ev":"kick","cpu":3,"t":4}
@cpuhp {"ev":"fault","cpu":3}
@cpuhp {"ev":"call","id":1,"from":0,"cpu":3,"site":"a.rs:3","queue":1,"ipi":"sent","entry":2,"exit":3}
@cpuhp {"ev":"trace_lost","n":0}
@cpuhp {"ev":"panic","msg":"no"}
@cpuhp {"ev":"done","pass":true}
"#;
    let log = Log::parse(serial);
    assert!(log.errors.is_empty(), "{:?}", log.errors);
    assert_eq!((log.records.len(), log.raw.len()), (10, 10));
    assert_eq!(log.results().next().unwrap().fields["ops"], 280);
}

#[test]
fn line_ending_of_a_serial_line_is_accepted() {
    let log = Log::parse("@cpuhp {\"ev\":\"done\",\"pass\":true}\r\n");
    assert_eq!((log.records.len(), log.errors.len()), (1, 0));
}

#[test]
fn unknown_event_is_an_error() {
    assert!(error(r#"@cpuhp {"ev":"hello"}"#).contains("unknown variant `hello`"));
}

#[test]
fn malformed_json_is_an_error() {
    assert!(error(r#"@cpuhp {"ev":"done","pass":tr"#).contains("not JSON"));
    assert!(error("@cpuhp ").contains("not JSON"));
}

#[test]
fn missing_field_and_wrong_type_are_errors() {
    assert!(error(r#"@cpuhp {"ev":"done"}"#).contains("missing field `pass`"));
    assert!(error(r#"@cpuhp {"pass":true}"#).contains("missing field `ev`"));
    let wrong = r#"@cpuhp {"ev":"result","scenario":"boot","pass":1,"violations":0}"#;
    assert!(error(wrong).contains("invalid type"));
}

#[test]
fn machine_line_inside_another_line_is_an_error() {
    let torn = "cpu 3 is @cpuhp {\"ev\":\"done\",\"pass\":true}";
    assert!(error(torn).contains("does not begin its line"));
    assert!(error("@cpuhp{\"ev\":\"done\",\"pass\":true}").contains("no space"));
}

#[test]
fn boot_fields_are_typed() {
    let serial = r#"@cpuhp {"ev":"result","scenario":"boot","pass":true,"mode":"raw","cpus":2,"kick_to_alive_ns":5,"kick_to_alive_ns_median":5,"per_cpu":[{"cpu":1,"wave":0,"alive_ns":5}],"violations":0}"#;
    let log = Log::parse(serial);
    let boot = log.results().next().unwrap().boot().unwrap();
    assert_eq!(
        (boot.mode.as_str(), boot.cpus, boot.online),
        ("raw", 2, None)
    );
    assert_eq!((boot.per_cpu[0].cpu, boot.per_cpu[0].alive_ns), (1, 5));

    let bad = serial.replace("\"alive_ns\":5", "\"alive_ns\":-5");
    assert!(Log::parse(&bad).results().next().unwrap().boot().is_err());
}
