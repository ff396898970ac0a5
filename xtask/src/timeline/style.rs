//! Colours and shapes, and what the legend calls them.
//!
//! The colours are those of Okabe and Ito, which people with any kind of colour vision can tell apart; every mark has a shape of
//! its own besides. The picture brings its background along, so that it reads the same on a light and on a dark page.

use svg::node::element::{Definitions, Path, Pattern, Rectangle, Style};

use super::model::{Manner, MarkKind, Section};
use super::phase::Phase;

/// Everything that can be drawn, in the order of the legend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    Bar(Manner, Section),
    /// What a CPU does for others.
    Strip,
    Band(Phase),
    Point(MarkKind),
}

const SHEET: &str = "
text{font-family:'DejaVu Sans Mono',Menlo,Consolas,'Liberation Mono',monospace;fill:#1c2733}
.quiet{fill:#55626f}
.strong{font-weight:700}
.bad{fill:#a63603;font-weight:700}
.light{fill:#fff}
.page{fill:#fbfcfd;stroke:#c8d0d8}
.zebra{fill:#f1f4f7}
.grid{stroke:#dde3e9;stroke-width:1}
.zero{stroke:#8a97a5;stroke-width:1}
.prepare{fill:#0072b2}
.starting{fill:#e69f00}
.online{fill:#009e73}
.prepare-down{fill:url(#prepare-down)}
.starting-down{fill:url(#starting-down)}
.online-down{fill:url(#online-down)}
.rollback{fill:#b0508d}
.failed{fill:#d55e00}
.strip{fill:#0072b2}
.is-kicked{fill:#e4e9ee}
.is-coming{fill:#cfd7df}
.is-online{fill:#d3efe5}
.is-going{fill:#e7dfd0}
.is-given-up{fill:#fbd3bd}
.is-parked{fill:#dcd6ec}
.stem{stroke:#1c2733;stroke-width:1}
.kick{fill:#1c2733}
.alive{fill:#fff;stroke:#1c2733;stroke-width:1.2}
.is-up{fill:#00694d}
.dead{fill:#55626f}
.parked{fill:#6a51a3}
.late{fill:#f0e442;stroke:#1c2733;stroke-width:1.2}
.gave-up,.wrong{stroke:#a63603;stroke-width:2.4;fill:none}
";

/// The style sheet.
pub(super) fn sheet() -> Style {
    Style::new(SHEET)
}

/// The stripes of the way down.
pub(super) fn patterns() -> Definitions {
    let mut all = Definitions::new();
    for (name, colour) in [
        ("prepare-down", "#0072b2"),
        ("starting-down", "#e69f00"),
        ("online-down", "#009e73"),
    ] {
        let pattern = Pattern::new()
            .set("id", name)
            .set("width", 6)
            .set("height", 6)
            .set("patternUnits", "userSpaceOnUse")
            .set("patternTransform", "rotate(45)")
            .add(square(6).set("fill", colour))
            .add(square(2).set("height", 6).set("fill", "#fff"));
        all = all.add(pattern);
    }
    all
}

fn square(size: u32) -> Rectangle {
    Rectangle::new().set("width", size).set("height", size)
}

impl Look {
    /// Its class in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Bar(Manner::Up, Section::Prepare) => "prepare",
            Self::Bar(Manner::Up, Section::Starting) => "starting",
            Self::Bar(Manner::Up, Section::Online) => "online",
            Self::Bar(Manner::Down, Section::Prepare) => "prepare-down",
            Self::Bar(Manner::Down, Section::Starting) => "starting-down",
            Self::Bar(Manner::Down, Section::Online) => "online-down",
            Self::Bar(Manner::Rollback, _) => "rollback",
            Self::Bar(Manner::Failed, _) => "failed",
            Self::Strip => "strip",
            Self::Band(phase) => band_class(phase),
            Self::Point(kind) => point_class(kind),
        }
    }

    /// Whether one sample in the legend stands for both.
    pub(super) fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Bar(one, _), Self::Bar(two, _)) if one == two => self.class() == other.class(),
            _ => self == other,
        }
    }

    /// What the legend says.
    pub(super) fn text(self) -> String {
        match self {
            Self::Bar(Manner::Up, section) => section.name().to_owned(),
            Self::Bar(Manner::Down, section) => format!("{} down", section.name()),
            Self::Bar(Manner::Rollback, _) => "rollback".to_owned(),
            Self::Bar(Manner::Failed, _) => "step that failed".to_owned(),
            Self::Strip => "PREPARE of other CPUs".to_owned(),
            Self::Band(phase) => phase.name().to_owned(),
            Self::Point(kind) => kind.name().to_owned(),
        }
    }
}

fn band_class(phase: Phase) -> &'static str {
    match phase {
        Phase::Off => "",
        Phase::Kicked => "is-kicked",
        Phase::Coming => "is-coming",
        Phase::Online => "is-online",
        Phase::Going => "is-going",
        Phase::GivenUp => "is-given-up",
        Phase::Parked => "is-parked",
    }
}

fn point_class(kind: MarkKind) -> &'static str {
    match kind {
        MarkKind::Kick => "kick",
        MarkKind::Alive => "alive",
        MarkKind::Online => "is-up",
        MarkKind::Dead => "dead",
        MarkKind::Parked => "parked",
        MarkKind::Late => "late",
        MarkKind::GaveUp => "gave-up",
        MarkKind::Failed => "wrong",
    }
}

/// Whether a mark has to catch the eye.
pub(super) fn is_alarming(kind: MarkKind) -> bool {
    matches!(kind, MarkKind::Late | MarkKind::GaveUp | MarkKind::Failed)
}

/// The shape of a mark around a point; `r` is half its height.
pub(super) fn shape(kind: MarkKind, x: f64, y: f64, r: f64) -> Path {
    // As it will be written: a circle has to close.
    let r = (10.0 * r).round() / 10.0;
    let d = match kind {
        MarkKind::Kick => format!(
            "M{:.1} {:.1}v{:.1}l{:.1} {:.1}z",
            x,
            y - r,
            2.0 * r,
            1.6 * r,
            -r
        ),
        MarkKind::Alive | MarkKind::Late => format!(
            "M{:.1} {y:.1}a{r:.1} {r:.1} 0 1 0 {w:.1} 0a{r:.1} {r:.1} 0 1 0 -{w:.1} 0z",
            x - r,
            w = 2.0 * r
        ),
        MarkKind::Online => format!(
            "M{:.1} {y:.1}l{r:.1} {r:.1} {r:.1} -{r:.1} -{r:.1} -{r:.1}z",
            x - r
        ),
        MarkKind::Dead => format!(
            "M{:.1} {:.1}h{w:.1}v{w:.1}h-{w:.1}z",
            x - r,
            y - r,
            w = 2.0 * r
        ),
        MarkKind::Parked => {
            let (bar, height) = (0.7 * r, 2.0 * r);
            let one = format!("v{height:.1}h{bar:.1}v-{height:.1}z");
            format!(
                "M{:.1} {:.1}{one}M{:.1} {:.1}{one}",
                x - r,
                y - r,
                x + 0.3 * r,
                y - r
            )
        }
        MarkKind::GaveUp | MarkKind::Failed => format!(
            "M{:.1} {:.1}l{w:.1} {w:.1}m0 -{w:.1}l-{w:.1} {w:.1}",
            x - r,
            y - r,
            w = 2.0 * r
        ),
    };
    let class = Look::Point(kind).class();
    Path::new().set("class", class).set("d", d)
}
