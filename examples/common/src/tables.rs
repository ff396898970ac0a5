//! The tables of the example: the same steps, with 0, 4, 16 or 64 no-op steps more per section.
//!
//! Numbers are fixed when a table is compiled, so each length is a table of its own. For each there is
//! one more in which `work:online` takes one CPU at a time (`solo=1`).

use cpuhp_core::{StartStep, Step, Table, states};

use crate::params::{Params, Toggle};
use crate::steps::{down, start_down, start_up, up};

/// Declares one length: the parallel table and the one with a solo step.
macro_rules! tables {
    ($name:ident, $solo:ident; [$($p:ident)*] [$($s:ident)*] [$($o:ident)*]) => {
        tables! { @one $name, (.parallel()); [$($p)*] [$($s)*] [$($o)*] }
        tables! { @one $solo, (); [$($p)*] [$($s)*] [$($o)*] }
    };
    (@one $name:ident, ($($work:tt)*); [$($p:ident)*] [$($s:ident)*] [$($o:ident)*]) => {
        states! {
            pub(crate) mod $name {
                prepare {
                    PERCPU = Step::new("percpu:prepare").up(up::<1>).down(down::<1>).parallel();
                    STACK = Step::new("stack:prepare").up(up::<2>).down(down::<2>);
                    $($p = extra();)*
                }
                starting {
                    INTC = StartStep::new("intc:starting")
                        .up(start_up::<3>).down(start_down::<3>).parallel();
                    TIMER = StartStep::new("timer:starting")
                        .up(start_up::<4>).down(start_down::<4>).parallel();
                    $($s = extra_start();)*
                }
                online {
                    SCHED = Step::new("sched:online").up(up::<5>).down(down::<5>).parallel();
                    WORK = Step::new("work:online").up(up::<6>).down(down::<6>)$($work)*;
                    $($o = extra();)*
                }
                late {
                    ACTIVE = Step::new("sched:active").up(up::<7>).down(down::<7>).parallel();
                }
            }
        }
    };
}

/// The names of the logged steps, in their order.
pub(crate) const NAMES: [&str; crate::steps::LOGGED] = [
    "percpu:prepare",
    "stack:prepare",
    "intc:starting",
    "timer:starting",
    "sched:online",
    "work:online",
    "sched:active",
];

/// Returns the table that the parameters ask for.
pub(crate) fn choose(params: &Params) -> &'static Table {
    match (params.steps, params.solo) {
        (4, Toggle::Off) => &plus_4::TABLE,
        (4, Toggle::On) => &solo_plus_4::TABLE,
        (16, Toggle::Off) => &plus_16::TABLE,
        (16, Toggle::On) => &solo_plus_16::TABLE,
        (64, Toggle::Off) => &plus_64::TABLE,
        (64, Toggle::On) => &solo_plus_64::TABLE,
        (_, Toggle::Off) => &plain::TABLE,
        (_, Toggle::On) => &solo_plain::TABLE,
    }
}

/// A step that does nothing but be called.
const fn extra() -> Step {
    Step::new("extra")
        .up(|_| Ok(()))
        .down(|_| Ok(()))
        .parallel()
}

const fn extra_start() -> StartStep {
    use core::task::Poll::Ready;
    StartStep::new("extra")
        .up(|_| Ready(()))
        .down(|_| Ready(()))
        .parallel()
}

tables! {
    plain, solo_plain;
    []
    []
    []
}
tables! {
    plus_4, solo_plus_4;
    [P0 P1 P2 P3]
    [S0 S1 S2 S3]
    [O0 O1 O2 O3]
}
tables! {
    plus_16, solo_plus_16;
    [P0 P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11 P12 P13 P14 P15]
    [S0 S1 S2 S3 S4 S5 S6 S7 S8 S9 S10 S11 S12 S13 S14 S15]
    [O0 O1 O2 O3 O4 O5 O6 O7 O8 O9 O10 O11 O12 O13 O14 O15]
}
tables! {
    plus_64, solo_plus_64;
    [P0 P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11 P12 P13 P14 P15 P16 P17 P18 P19 P20 P21 P22 P23 P24
    P25 P26 P27 P28 P29 P30 P31 P32 P33 P34 P35 P36 P37 P38 P39 P40 P41 P42 P43 P44 P45 P46 P47
    P48 P49 P50 P51 P52 P53 P54 P55 P56 P57 P58 P59 P60 P61 P62 P63]
    [S0 S1 S2 S3 S4 S5 S6 S7 S8 S9 S10 S11 S12 S13 S14 S15 S16 S17 S18 S19 S20 S21 S22 S23 S24
    S25 S26 S27 S28 S29 S30 S31 S32 S33 S34 S35 S36 S37 S38 S39 S40 S41 S42 S43 S44 S45 S46 S47
    S48 S49 S50 S51 S52 S53 S54 S55 S56 S57 S58 S59 S60 S61 S62 S63]
    [O0 O1 O2 O3 O4 O5 O6 O7 O8 O9 O10 O11 O12 O13 O14 O15 O16 O17 O18 O19 O20 O21 O22 O23 O24
    O25 O26 O27 O28 O29 O30 O31 O32 O33 O34 O35 O36 O37 O38 O39 O40 O41 O42 O43 O44 O45 O46 O47
    O48 O49 O50 O51 O52 O53 O54 O55 O56 O57 O58 O59 O60 O61 O62 O63]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps;

    #[test]
    fn every_table_has_the_logged_steps_in_their_order_and_the_extra_ones_in_each_section() {
        for (steps, word) in [
            (0, "steps=0"),
            (4, "steps=4"),
            (16, "steps=16"),
            (64, "steps=64"),
        ] {
            for solo in [Toggle::Off, Toggle::On] {
                let mut params = Params::parse(word, &[]).unwrap();
                params.solo = solo;
                let table = choose(&params);
                let states = steps::states(table);
                assert!(states.is_sorted() && states[1] > states[0], "{states:?}");
                assert_eq!(table.kick().get(), 3 + steps);
                assert_eq!(table.ap_idle().get(), 6 + 2 * steps);
                assert_eq!(table.online().get(), 10 + 3 * steps);
            }
        }
    }
}
