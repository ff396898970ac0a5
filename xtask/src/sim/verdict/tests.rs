use super::{Report, Spread, Sweep, Verdict, of_case, of_row};
use crate::sim::figures::{Case, Document};

const ANSWER: &str = r#"{
    "reports": [{
        "model": "m", "title": "a machine", "cpus": 4, "critical": [["up", 1000]],
        "published": [
            {"way": "up", "mode": "serial", "counts": "time", "ns": 5000, "fitted": "arrival", "explained": null, "from": ""},
            {"way": "up", "mode": "split", "counts": "wait", "ns": 2000, "fitted": null, "explained": null, "from": ""}
        ],
        "rows": [
            {"way": "up", "mode": "serial", "ns": 5099, "last_ns": 7, "wait_ns": 9, "done": 3, "failed": 0, "polls_per_cpu": 5.0, "wall_s": 0.0},
            {"way": "up", "mode": "split", "ns": 9999, "last_ns": 7, "wait_ns": 2500, "done": 3, "failed": 0, "polls_per_cpu": 5.0, "wall_s": 0.0},
            {"way": "up", "mode": "parallel", "ns": 1150, "last_ns": 7, "wait_ns": 9, "done": 3, "failed": 0, "polls_per_cpu": 5.0, "wall_s": 0.0}
        ]
    }],
    "sweep": {
        "model": "m",
        "points": [
            {"cpus": 256, "critical_ns": 1, "rows": [{"way": "up", "mode": "parallel", "ns": 1, "last_ns": 7, "wait_ns": 0, "done": 255, "failed": 0, "polls_per_cpu": 90.0, "wall_s": 0.0}]},
            {"cpus": 1024, "critical_ns": 1, "rows": [{"way": "up", "mode": "parallel", "ns": 1, "last_ns": 7, "wait_ns": 0, "done": 1023, "failed": 0, "polls_per_cpu": 12.0, "wall_s": 0.0}]},
            {"cpus": 4096, "critical_ns": 1, "rows": [{"way": "up", "mode": "parallel", "ns": 1, "last_ns": 7, "wait_ns": 0, "done": 4095, "failed": 0, "polls_per_cpu": 8.0, "wall_s": 0.0}]}
        ],
        "cases": [{
            "what": "dead", "cpus": 1024, "hit": 10, "must_fail": 10, "may_cost_ns": 100, "without_ns": 50, "last_by_ns": 7,
            "row": {"way": "up", "mode": "parallel", "ns": 150, "last_ns": 7, "wait_ns": 0, "done": 1013, "failed": 10, "polls_per_cpu": 32.0, "wall_s": 0.0}
        }]
    }
}"#;

fn document() -> Document {
    serde_json::from_str(ANSWER).expect("a document")
}

fn judge(report: &Report, row: usize) -> Verdict {
    let row = &report.rows[row];
    let published = report.published_of(row);
    of_row(
        published,
        published.map(|figure| figure.deviation(row)),
        report.ratio(row),
    )
}

#[test]
fn fitted_figure_is_near_and_a_prediction_within_a_quarter() {
    let mut report = document().reports.remove(0);
    assert_eq!(
        [0, 1, 2].map(|row| judge(&report, row)),
        [Verdict::Fitted, Verdict::Pass, Verdict::Pass]
    );
    report.rows[0].ns = 5101;
    assert_eq!(judge(&report, 0), Verdict::Missed);
    // Only the waiting was published, so only the waiting counts.
    report.rows[1].wait_ns = 2501;
    assert_eq!(judge(&report, 1), Verdict::Missed);
    report.rows[1].wait_ns = 1499;
    assert_eq!(judge(&report, 1), Verdict::Missed);
}

#[test]
fn miss_is_explained_and_nothing_else_is() {
    let mut report = document().reports.remove(0);
    report.published[1].explained = Some("because".to_owned());
    assert_eq!(
        judge(&report, 1),
        Verdict::Missed,
        "a reason that has outlived its miss"
    );
    report.rows[1].wait_ns = 9_000;
    assert_eq!(judge(&report, 1), Verdict::Explained);
    let note = report.published[1]
        .note(&report, &report.rows[1])
        .expect("a note");
    assert_eq!(
        note,
        "m (a machine), split, 2.00 us published, off by +350 %: because"
    );
}

#[test]
fn parallel_beyond_the_critical_path_is_missed_whatever_was_published() {
    let mut report = document().reports.remove(0);
    report.rows[2].ns = 1151;
    assert_eq!(judge(&report, 2), Verdict::Missed);
    // Serial and split are not meant to follow it.
    assert_eq!(judge(&report, 0), Verdict::Fitted);
}

fn sweep() -> Sweep {
    document().sweep.expect("a sweep")
}

#[test]
fn polls_are_flat_within_a_fifth_of_their_middle_from_1024_cpus_on() {
    let mut sweep = sweep();
    let spread = Spread::of(&sweep);
    assert_eq!(
        (spread.from, spread.to, spread.verdict()),
        (1024, 4096, Verdict::Pass)
    );
    sweep.points[1].rows[0].polls_per_cpu = 12.1;
    assert_eq!(Spread::of(&sweep).verdict(), Verdict::Missed);
    sweep.points.truncate(2);
    assert_eq!(
        Spread::of(&sweep).verdict(),
        Verdict::Missed,
        "one size alone shows nothing"
    );
}

#[test]
fn trouble_is_judged_by_who_failed_what_it_cost_and_how_often_was_polled() {
    let case = || sweep().cases.remove(0);
    let spoiled = |spoil: fn(&mut Case)| {
        let mut case = case();
        spoil(&mut case);
        of_case(&case)
    };
    assert_eq!(of_case(&case()), Verdict::Pass);
    assert_eq!(spoiled(|case| case.row.ns = 151), Verdict::Missed);
    assert_eq!(
        spoiled(|case| case.row.polls_per_cpu = 32.1),
        Verdict::Missed
    );
    assert_eq!(spoiled(|case| case.row.failed = 11), Verdict::Missed);
    assert_eq!(spoiled(|case| case.row.done = 1012), Verdict::Missed);
}
