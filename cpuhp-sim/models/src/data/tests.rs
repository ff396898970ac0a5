use super::Model;

const FILE: &str = include_str!("../../data/x86-112.toml");

fn refused(from: &str, to: &str) -> String {
    assert!(FILE.contains(from), "{from}");
    Model::parse(&FILE.replace(from, to))
        .unwrap_err()
        .to_string()
}

#[test]
fn contradictions_are_refused_in_words() {
    assert!(Model::parse(FILE).is_ok());
    let odd = refused("cpus = 112", "cpus = 113");
    assert_eq!(
        odd,
        "x86-112: its CPUs do not divide into packages, cores and threads"
    );
    let lost = refused("resource = \"tsc\"", "resource = \"tcs\"");
    assert_eq!(
        lost,
        "x86-112: tsc:online needs a resource that is not there"
    );
    assert!(refused("capacity = 1", "capacity = 0").contains("nobody can use"));
    let held = refused(
        "section = \"prepare\"",
        "section = \"prepare\"\nresource = \"tsc\"",
    );
    assert_eq!(
        held,
        "x86-112: threads:prepare: PREPARE runs on one CPU and waits for nobody"
    );
    let order = refused(
        "\"sched:online\"\nsection = \"online\"",
        "\"sched:online\"\nsection = \"prepare\"",
    );
    assert_eq!(
        order,
        "x86-112: its steps are not in the order of their sections"
    );
}

#[test]
fn unknown_and_missing_keys_are_refused() {
    assert!(refused("walked = ", "walks = ").contains("walks"));
    assert!(refused("from = ", "form = ").contains("form"));
}

#[test]
fn model_is_fitted_once_and_on_a_serial_figure() {
    let split = refused("mode = \"split\"", "mode = \"split\"\nfitted = \"kick\"");
    assert!(split.ends_with("fitted on one serial time only"), "{split}");
    let parallel = refused("mode = \"serial\"", "mode = \"parallel\"");
    assert!(
        parallel.ends_with("fitted on one serial time only"),
        "{parallel}"
    );
}
