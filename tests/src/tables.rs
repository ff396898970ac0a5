//! The tables under test, each with its [`Shape`] written by hand beside it.

use cpuhp_core::{StartStep, Step, states};

use crate::shape::Section::{BuiltIn, Online, Prepare, Starting};
use crate::shape::{Shape, State};
use crate::world::{down, start_down, start_up, up};

const fn st(name: &'static str, section: crate::shape::Section, has: &'static str) -> State {
    State { name, section, has }
}

const fn both(name: &'static str, number: u16) -> Step {
    // One function per number would be shorter with const generics over expressions.
    match number {
        1 => Step::new(name).up(up::<1>).down(down::<1>),
        2 => Step::new(name).up(up::<2>).down(down::<2>),
        3 => Step::new(name).up(up::<3>).down(down::<3>),
        4 => Step::new(name).up(up::<4>).down(down::<4>),
        5 => Step::new(name).up(up::<5>).down(down::<5>),
        6 => Step::new(name).up(up::<6>).down(down::<6>),
        7 => Step::new(name).up(up::<7>).down(down::<7>),
        8 => Step::new(name).up(up::<8>).down(down::<8>),
        9 => Step::new(name).up(up::<9>).down(down::<9>),
        14 => Step::new(name).up(up::<14>).down(down::<14>),
        17 => Step::new(name).up(up::<17>).down(down::<17>),
        22 => Step::new(name).up(up::<22>).down(down::<22>),
        _ => panic!("no function for this number"),
    }
}

const fn start(name: &'static str, number: u16) -> StartStep {
    match number {
        3 => StartStep::new(name).up(start_up::<3>).down(start_down::<3>),
        4 => StartStep::new(name).up(start_up::<4>).down(start_down::<4>),
        9 => StartStep::new(name).up(start_up::<9>).down(start_down::<9>),
        12 => StartStep::new(name)
            .up(start_up::<12>)
            .down(start_down::<12>),
        _ => panic!("no function for this number"),
    }
}

states! {
    /// Fourteen steps in every section, some without a half, all dynamic ranges laid out and empty.
    pub mod wide {
        prepare {
            P1 = both("p1:prepare", 1);
            P2 = Step::new("p2:prepare").up(up::<2>);
            P3 = Step::new("p3:prepare").down(down::<3>).parallel();
            P4 = both("p4:prepare", 4).parallel();
        } dynamic[2] parallel_dynamic[1]
        starting {
            S1 = start("s1:starting", 9).parallel();
            S2 = StartStep::new("s2:starting").up(start_up::<10>).parallel();
            S3 = StartStep::new("s3:starting").down(start_down::<11>).parallel();
            S4 = start("s4:starting", 12).parallel();
        }
        online {
            O1 = both("o1:online", 14).parallel();
            O2 = Step::new("o2:online");
            O3 = Step::new("o3:online").up(up::<16>);
            O4 = both("o4:online", 17);
        } dynamic[3] late {
            L1 = Step::new("l1:late").down(down::<21>);
            L2 = both("l2:late", 22).parallel();
        }
    }
}

/// The shape of [`wide`].
pub static WIDE: Shape = Shape {
    kick: 8,
    ap_idle: 13,
    states: &[
        st("offline", BuiltIn, ""),
        st("p1:prepare", Prepare, "ud"),
        st("p2:prepare", Prepare, "u"),
        st("p3:prepare", Prepare, "dp"),
        st("p4:prepare", Prepare, "udp"),
        st("", Prepare, ""),
        st("", Prepare, ""),
        st("", Prepare, ""),
        st("kick", BuiltIn, ""),
        st("s1:starting", Starting, "udp"),
        st("s2:starting", Starting, "up"),
        st("s3:starting", Starting, "dp"),
        st("s4:starting", Starting, "udp"),
        st("ap-idle", BuiltIn, ""),
        st("o1:online", Online, "udp"),
        st("o2:online", Online, ""),
        st("o3:online", Online, "u"),
        st("o4:online", Online, "ud"),
        st("", Online, ""),
        st("", Online, ""),
        st("", Online, ""),
        st("l1:late", Online, "d"),
        st("l2:late", Online, "udp"),
        st("online", BuiltIn, ""),
    ],
};

states! {
    /// Every section has runs of both kinds, so a batch alternates; STARTING goes one by one.
    pub mod runs {
        prepare {
            P1 = both("p1:prepare", 1).parallel();
        }
        starting {
            S1 = start("s1:starting", 3);
            S2 = start("s2:starting", 4).parallel();
        }
        online {
            O1 = both("o1:online", 6).parallel();
            O2 = both("o2:online", 7);
            O3 = both("o3:online", 8).parallel();
            O4 = both("o4:online", 9).parallel();
        }
    }
}

/// The shape of [`runs`].
pub static RUNS: Shape = Shape {
    kick: 2,
    ap_idle: 5,
    states: &[
        st("offline", BuiltIn, ""),
        st("p1:prepare", Prepare, "udp"),
        st("kick", BuiltIn, ""),
        st("s1:starting", Starting, "ud"),
        st("s2:starting", Starting, "udp"),
        st("ap-idle", BuiltIn, ""),
        st("o1:online", Online, "udp"),
        st("o2:online", Online, "ud"),
        st("o3:online", Online, "udp"),
        st("o4:online", Online, "udp"),
        st("online", BuiltIn, ""),
    ],
};

states! {
    /// STARTING is parallel, so a batch is authorised before its kick; the rest alternates.
    pub mod quick {
        prepare {
            P1 = both("p1:prepare", 1);
            P2 = both("p2:prepare", 2).parallel();
        }
        starting {
            S1 = start("s1:starting", 4).parallel();
        }
        online {
            O1 = both("o1:online", 6).parallel();
            O2 = both("o2:online", 7);
            O3 = both("o3:online", 8);
            O4 = both("o4:online", 9).parallel();
        }
    }
}

/// The shape of [`quick`].
pub static QUICK: Shape = Shape {
    kick: 3,
    ap_idle: 5,
    states: &[
        st("offline", BuiltIn, ""),
        st("p1:prepare", Prepare, "ud"),
        st("p2:prepare", Prepare, "udp"),
        st("kick", BuiltIn, ""),
        st("s1:starting", Starting, "udp"),
        st("ap-idle", BuiltIn, ""),
        st("o1:online", Online, "udp"),
        st("o2:online", Online, "ud"),
        st("o3:online", Online, "ud"),
        st("o4:online", Online, "udp"),
        st("online", BuiltIn, ""),
    ],
};

states! {
    /// Nothing but the built-in states.
    pub mod bare { prepare {} starting {} online {} }
}

/// The shape of [`bare`].
pub static BARE: Shape = Shape {
    kick: 1,
    ap_idle: 2,
    states: &[
        st("offline", BuiltIn, ""),
        st("kick", BuiltIn, ""),
        st("ap-idle", BuiltIn, ""),
        st("online", BuiltIn, ""),
    ],
};
