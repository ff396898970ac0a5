//! The picture: on the left time against number of CPUs, on the right what was published beside what is predicted. Both axes of time
//! are logarithmic.
//!
//! The colours are those of Okabe and Ito, and every line has its name at its end.

use svg::Document;
use svg::node::element::{Circle, Line, Polyline, Rectangle, Style, Text};

use super::figures::{Mode, Point, Report, Row, Sweep};
use crate::show;

const WIDTH: f64 = 1340.0;
const HEIGHT: f64 = 640.0;
const TOP: f64 = 96.0;
const BOTTOM: f64 = HEIGHT - 60.0;

/// Where the curves are, and the marks of the machines.
const CURVES: (f64, f64) = (86.0, 640.0);
const MARKS: (f64, f64) = (920.0, WIDTH - 40.0);

/// Pixels from one base line to the next, at least.
const LINE_GAP: f64 = 16.0;

const STYLE: &str = "
text{font-family:'DejaVu Sans Mono',Menlo,Consolas,'Liberation Mono',monospace;font-size:12px;fill:#1c2733}
.title{font-size:15px;font-weight:700}
.quiet{fill:#55626f}
.end{text-anchor:end}
.middle{text-anchor:middle}
.page{fill:#fbfcfd;stroke:#c8d0d8}
.grid{stroke:#dde3e9}
.serial{stroke:#d55e00}
.split{stroke:#b88700}
.parallel{stroke:#0072b2}
.curve{fill:none;stroke-width:2.5}
.wide{stroke-width:5;stroke-opacity:.55}
.critical{fill:none;stroke:#1c2733;stroke-width:1.2;stroke-dasharray:5 4}
.serial-text{fill:#a63603}
.split-text{fill:#7a5a00}
.parallel-text{fill:#00527f}
.serial-dot{fill:#d55e00}
.split-dot{fill:#b88700}
.parallel-dot{fill:#0072b2}
.published{fill:#fbfcfd;stroke-width:2}
";

const MODES: [Mode; 3] = [Mode::Serial, Mode::Split, Mode::Parallel];

/// A logarithmic axis.
#[derive(Clone, Copy, Debug)]
struct Axis {
    least: f64,
    most: f64,
    /// Where the two are drawn.
    from: f64,
    to: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        let part = (value.max(self.least) / self.least).ln() / (self.most / self.least).ln();
        self.from + part * (self.to - self.from)
    }

    /// An axis of time that holds all of these, from one power of ten to another.
    fn of_times(times: &[u64], from: f64, to: f64) -> Self {
        let least = times.iter().copied().min().unwrap_or(1).max(1);
        let most = times.iter().copied().fold(least + 1, u64::max);
        Self {
            least: 10_f64.powf(nanoseconds(least).log10().floor()),
            most: 10_f64.powf(nanoseconds(most).log10().ceil()),
            from,
            to,
        }
    }

    /// The powers of ten on it.
    fn decades(&self) -> impl Iterator<Item = f64> + use<> {
        let (least, most) = (self.least, self.most);
        (0..40)
            .map(move |power| least * 10_f64.powi(power))
            .take_while(move |value| *value <= most * 1.01)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a picture needs no more than three digits"
)]
fn nanoseconds(ns: u64) -> f64 {
    ns as f64
}

/// Draws it.
pub(super) fn draw(sweep: &Sweep, reports: &[Report]) -> String {
    let sheet = Sheet::new();
    let sheet = head(sheet);
    let sheet = curves(sheet, &sweep.points);
    let sheet = machines(sheet, reports);
    sheet.0.to_string()
}

struct Sheet(Document);

impl Sheet {
    fn new() -> Self {
        let page = Rectangle::new()
            .set("class", "page")
            .set("x", 0.5)
            .set("y", 0.5)
            .set("width", WIDTH - 1.0)
            .set("height", HEIGHT - 1.0)
            .set("rx", 6);
        let document = Document::new().set("viewBox", (0, 0, WIDTH, HEIGHT));
        Self(document.add(Style::new(STYLE)).add(page))
    }

    fn add(self, node: impl Into<Box<dyn svg::Node>>) -> Self {
        Self(self.0.add(node))
    }

    fn text(self, class: &str, x: f64, y: f64, text: impl Into<String>) -> Self {
        let text = Text::new(text)
            .set("class", class)
            .set("x", px(x))
            .set("y", px(y));
        self.add(text)
    }

    fn line(self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> Self {
        let line = Line::new().set("class", class);
        let line = line.set("x1", px(x1)).set("y1", px(y1));
        self.add(line.set("x2", px(x2)).set("y2", px(y2)))
    }

    fn curve(self, class: &str, points: &[(f64, f64)]) -> Self {
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        self.add(
            Polyline::new()
                .set("class", class)
                .set("points", points.join(" ")),
        )
    }

    fn dot(self, class: String, (x, y): (f64, f64)) -> Self {
        let dot = Circle::new().set("class", class).set("r", 5);
        self.add(dot.set("cx", px(x)).set("cy", px(y)))
    }
}

/// A tenth of a pixel is enough.
fn px(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn head(sheet: Sheet) -> Sheet {
    let (y, left) = (TOP - 62.0, MARKS.0 - 190.0);
    let mut sheet = sheet
        .text("title", CURVES.0, y, "All CPUs up, by number of CPUs")
        .text(
            "quiet",
            CURVES.0,
            y + 20.0,
            "one machine made larger; dashed: critical path",
        )
        .text("title", left, y, "Machines that somebody measured")
        .text(
            "quiet",
            left,
            y + 20.0,
            "ring: published; dot: cpuhp in virtual time, fitted on serial alone",
        );
    let mut x = left;
    for mode in MODES {
        let name = mode.name();
        sheet = sheet.dot(format!("{name}-dot"), (x + 5.0, y + 35.0)).text(
            &format!("{name}-text"),
            x + 16.0,
            y + 39.0,
            name,
        );
        x += 110.0;
    }
    sheet
}

// ---- the curves

fn curves(sheet: Sheet, points: &[Point]) -> Sheet {
    let rows = points.iter().flat_map(|point| &point.rows);
    let times: Vec<u64> = rows.map(|row| row.ns).collect();
    let y = Axis::of_times(&times, BOTTOM, TOP);
    let cpus = |point: Option<&Point>| point.map_or(2.0, |point| f64::from(point.cpus));
    let x = Axis {
        least: cpus(points.first()),
        most: cpus(points.last()),
        from: CURVES.0,
        to: CURVES.1,
    };
    let curve = |time: &dyn Fn(&Point) -> Option<u64>| -> Vec<(f64, f64)> {
        let place =
            |point: &Point| Some((x.at(f64::from(point.cpus)), y.at(nanoseconds(time(point)?))));
        points.iter().filter_map(place).collect()
    };
    let mut sheet = frame(sheet, points, &x, &y);
    let mut ends = Vec::new();
    for mode in MODES {
        let line = curve(&|point| point.row(mode).map(|row| row.ns));
        let wide = if mode == Mode::Parallel { " wide" } else { "" };
        sheet = sheet.curve(&format!("curve {}{wide}", mode.name()), &line);
        let last = points.last().and_then(|point| point.row(mode));
        let text = format!(
            "{} {}",
            mode.name(),
            show::time(last.map_or(0, |row| row.ns))
        );
        ends.push((line.last().map_or(TOP, |(_, y)| *y), mode, text));
    }
    sheet = sheet.curve("critical", &curve(&|point| Some(point.critical_ns)));
    let mut above = 0.0;
    for (y, mode, text) in ends {
        let base = f64::max(y + 4.0, above + LINE_GAP);
        sheet = sheet.text(
            &format!("{}-text", mode.name()),
            CURVES.1 + 10.0,
            base,
            text,
        );
        above = base;
    }
    sheet
}

/// The axes and their grid.
fn frame(mut sheet: Sheet, points: &[Point], x: &Axis, y: &Axis) -> Sheet {
    for value in y.decades() {
        let at = y.at(value);
        sheet = sheet.line("grid", (CURVES.0, at), (CURVES.1, at)).text(
            "quiet end",
            CURVES.0 - 8.0,
            at + 4.0,
            power_of_ten(value),
        );
    }
    for point in points {
        let at = x.at(f64::from(point.cpus));
        sheet = sheet.line("grid", (at, TOP), (at, BOTTOM)).text(
            "quiet middle",
            at,
            BOTTOM + 20.0,
            point.cpus.to_string(),
        );
    }
    sheet.text("quiet end", CURVES.1, BOTTOM + 42.0, "CPUs")
}

/// A power of ten of nanoseconds in its unit.
fn power_of_ten(ns: f64) -> String {
    let (value, unit) = if ns >= 0.99e9 {
        (ns / 1e9, "s")
    } else if ns >= 0.99e6 {
        (ns / 1e6, "ms")
    } else {
        (ns / 1e3, "us")
    };
    format!("{value:.0} {unit}")
}

// ---- the machines

fn machines(mut sheet: Sheet, reports: &[Report]) -> Sheet {
    let shown: Vec<&Report> = reports
        .iter()
        .filter(|report| !report.published.is_empty())
        .collect();
    let rows = shown.iter().flat_map(|report| of_published_way(report));
    let published = shown.iter().flat_map(|report| &report.published);
    let times = rows
        .map(|row| row.ns)
        .chain(published.map(|figure| figure.ns));
    let times: Vec<u64> = times.collect();
    let x = Axis::of_times(&times, MARKS.0, MARKS.1);
    for value in x.decades() {
        sheet = sheet
            .line("grid", (x.at(value), TOP), (x.at(value), BOTTOM))
            .text(
                "quiet middle",
                x.at(value),
                BOTTOM + 20.0,
                power_of_ten(value),
            );
    }
    let count = f64::from(u32::try_from(shown.len()).unwrap_or(u32::MAX).max(1));
    let pitch = (BOTTOM - TOP) / count;
    let mut y = TOP + pitch / 2.0;
    for report in shown {
        sheet = machine(sheet, report, &x, y);
        y += pitch;
    }
    sheet
}

/// The runs that go the way something was published of.
fn of_published_way(report: &Report) -> impl Iterator<Item = &Row> {
    let is_of = |row: &&Row| report.published.iter().any(|figure| figure.way == row.way);
    report.rows.iter().filter(is_of)
}

fn machine(mut sheet: Sheet, report: &Report, x: &Axis, y: f64) -> Sheet {
    let way = report
        .published
        .first()
        .map_or("up", |figure| figure.way.name());
    sheet = sheet
        .line("grid", (MARKS.0, y), (MARKS.1, y))
        .text("end", MARKS.0 - 12.0, y - 2.0, report.model.clone())
        .text(
            "quiet end",
            MARKS.0 - 12.0,
            y + 13.0,
            format!("{} CPUs {way}", report.cpus),
        );
    for row in of_published_way(report) {
        let figure = report.published_of(row);
        let ours = figure.map_or(row.ns, |figure| figure.of(row));
        let name = row.mode.name();
        if let Some(figure) = figure {
            // Above and below the line, so that one does not hide the other.
            let theirs = x.at(nanoseconds(figure.ns));
            sheet = sheet
                .line(name, (theirs, y - 7.0), (x.at(nanoseconds(ours)), y + 7.0))
                .dot(format!("published {name}"), (theirs, y - 7.0));
        }
        sheet = sheet.dot(format!("{name}-dot"), (x.at(nanoseconds(ours)), y + 7.0));
    }
    sheet
}

#[cfg(test)]
mod tests;
