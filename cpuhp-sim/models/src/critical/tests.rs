use super::critical_path;
use crate::data::{Model, Way};

/// Three CPUs to bring up, with times that can be added up in the head.
fn model(more: &str) -> Model {
    let plain = r#"
        name = "three"
        title = "three CPUs beside the boot CPU"
        cpus = 4
        kick = { ns = 1, from = "" }
        arrival = { ns = 100, from = "" }
        notify = { ns = 0, from = "" }
        off = { ns = 7, from = "" }
        look = { ns = 0, from = "" }
        resource = [{ name = "one", capacity = 1 }, { name = "two", capacity = 2 }]
        [[step]]
        name = "p:prepare"
        section = "prepare"
        walked = "parallel"
        up_ns = 10
        down_ns = 10
        from = ""
        [[step]]
        name = "s:starting"
        section = "starting"
        walked = "parallel"
        up_ns = 5
        down_ns = 5
        from = ""
        [[step]]
        name = "o:online"
        section = "online"
        from = ""
    "#;
    Model::parse(&format!("{plain}{more}")).unwrap()
}

fn up(more: &str) -> u64 {
    critical_path(&model(more), Way::Up)
}

#[test]
fn parallel_steps_overlap_and_what_the_control_cpu_does_adds_up() {
    // Prepared after 30, kicked until 33, the last one kicked at 32.
    assert_eq!(up("walked = 'parallel'\nup_ns = 20"), 32 + 100 + 5 + 20);
}

#[test]
fn last_kick_counts_where_the_cpus_are_quicker() {
    let mut model = model("walked = 'parallel'");
    (model.kick.ns, model.arrival.ns) = (1_000, 1);
    assert_eq!(critical_path(&model, Way::Up), 30 + 3 * 1_000);
}

#[test]
fn what_one_cpu_holds_at_a_time_is_waited_for_by_the_others() {
    let one_by_one = up("walked = 'one-by-one'\nup_ns = 20");
    assert_eq!(one_by_one, 30 + 100 + 5 + 3 * 20);
    assert_eq!(
        up("walked = 'parallel'\nup_ns = 20\nresource = 'one'"),
        one_by_one
    );
    assert_eq!(
        up("walked = 'parallel'\nup_ns = 20\nresource = 'two'"),
        30 + 105 + 2 * 20
    );
}

#[test]
fn step_that_grows_sees_the_cpus_that_are_available_when_it_begins() {
    // All four for the last one, the boot CPU included.
    assert_eq!(
        up("walked = 'parallel'\nup_ns_per_available = 10"),
        32 + 105 + 4 * 10
    );
}

#[test]
fn nobody_dies_before_all_have_agreed_and_the_control_cpu_clears_up_behind_each() {
    let more = "walked = 'parallel'\ndown_ns = 20\nresource = 'one'";
    assert_eq!(
        critical_path(&model(more), Way::Down),
        3 * 20 + 5 + 7 + 3 * 10
    );
}

#[test]
fn first_cpu_of_another_package_alone_is_slow() {
    let mut model = model("walked = 'parallel'\nup_ns = 20\non = 'first-of-package'");
    model.packages = 2;
    // CPU 2, kicked at 31; CPU 3 is sooner through.
    assert_eq!(critical_path(&model, Way::Up), 31 + 105 + 20);
}
