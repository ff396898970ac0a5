//! Together or one after the other: both lead to the same.
//!
//! Random tables, batches, faults and CPUs that come late or never, run twice: once CPU by CPU, once as bulk
//! operations. Afterwards every CPU has to be in the same state, with the same error, and its callbacks must
//! have been called in the same order with the same answers. Steps that take one CPU at a time have one.
//!
//! `CPUHP_SEED=… CPUHP_CASES=… cargo test -p cpuhp-sim --test equivalence` replays one seed, or runs more of them.

mod case;
mod machine;
mod world;

use case::Case;
use machine::{How, Trace, run};

/// Cases of an ordinary run. Leaked tables and records take about 10 KiB each.
const CASES: u64 = if cfg!(miri) { 5 } else { 10_000 };

fn number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |text| text.parse().expect("a number"))
}

/// What a case showed, to see that the cases show enough.
#[derive(Default, Debug)]
struct Seen {
    calls: usize,
    failures: usize,
    second_failures: usize,
    given_up: usize,
    in_between: usize,
}

impl Seen {
    fn add(&mut self, trace: &Trace) {
        self.calls += trace.log.iter().map(Vec::len).sum::<usize>();
        for cpu in trace.ends.iter().flatten() {
            self.failures += usize::from(cpu.first.is_some());
            self.second_failures += usize::from(cpu.second.is_some());
            self.given_up +=
                usize::from(cpu.first.is_some_and(|(_, code)| code == machine::TIMEOUT));
            self.in_between += usize::from(cpu.is_in_between());
        }
    }
}

#[test]
fn many_at_once_end_as_one_after_the_other() {
    let (first, cases) = (number("CPUHP_SEED", 1), number("CPUHP_CASES", CASES));
    let mut seen = Seen::default();
    for seed in first..first + cases {
        let case = Case::random(seed);
        let (serial, together) = (run(&case, How::OneByOne), run(&case, How::Together));
        if let Some(difference) = serial.differs(&together) {
            panic!("CPUHP_SEED={seed} CPUHP_CASES=1\n{difference}\n{case:#?}");
        }
        seen.add(&together);
    }
    println!("{cases} cases from seed {first}: {seen:?}");
    if cases >= 10_000 {
        assert!(seen.calls > 200_000, "{seen:?}");
        assert!(
            seen.failures > 10_000 && seen.second_failures > 200,
            "{seen:?}"
        );
        assert!(seen.given_up > 2_000 && seen.in_between > 5_000, "{seen:?}");
    }
}
