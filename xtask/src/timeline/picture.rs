//! The picture: title, legend and panels on one sheet.

use std::collections::BTreeSet;

use svg::node::element::{Element, Group, Line, Rectangle};
use svg::{Document, Node};

use super::label::{Anchor, Label, Labels, shorten, text_width};
use super::model::Trace;
use super::paint::Painter;
use super::panel::{self, Panel};
use super::rows::Rows;
use super::style::{self, Look};

/// Width of the sheet.
pub(super) const WIDTH: f64 = 1400.0;
/// Free on the left and on the right, for numbers of CPUs and for what does not fit into a row.
pub(super) const LEFT: f64 = 72.0;
pub(super) const RIGHT: f64 = 164.0;
const MARGIN: f64 = 24.0;
/// From the begin of a panel to its first row, and from its last row to the next panel.
const ABOVE: f64 = 34.0;
const BELOW: f64 = 46.0;
const LEGEND_TEXT: f64 = 12.5;
const LEGEND_LINE: f64 = 22.0;

/// A sheet that is being drawn: shapes from back to front, and labels above them all.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) back: Group,
    pub(super) bars: Group,
    pub(super) points: Group,
    pub(super) labels: Labels,
    /// What was drawn and has to be explained.
    pub(super) used: BTreeSet<Look>,
}

/// Draws all panels of these traces.
pub(super) fn draw(traces: &[Trace]) -> String {
    let panels = panel::panels(traces);
    let looks = looks(&panels);
    let legend = Legend::new(&looks);
    let mut top = 76.0 + legend.height;
    let mut placed = Vec::new();
    for panel in &panels {
        let rows = Rows::new(panel.trace.cpus, top + ABOVE);
        top = rows.bottom() + BELOW;
        placed.push((panel, rows));
    }
    let mut sheet = Sheet::new(WIDTH, top);
    sheet.title(traces);
    legend.draw(&mut sheet);
    for (panel, rows) in &placed {
        Painter::new(panel, rows).draw(&mut sheet);
    }
    sheet.finish(&title(traces), top)
}

/// What has to be explained: drawn once into nowhere.
fn looks(panels: &[Panel<'_>]) -> BTreeSet<Look> {
    let mut sheet = Sheet::new(0.0, 0.0);
    for panel in panels {
        let rows = Rows::new(panel.trace.cpus, 0.0);
        Painter::new(panel, &rows).draw(&mut sheet);
    }
    sheet.used
}

impl Sheet {
    fn new(width: f64, height: f64) -> Self {
        Self {
            back: Group::new(),
            bars: Group::new(),
            points: Group::new(),
            labels: Labels::new(width, height),
            used: BTreeSet::new(),
        }
    }

    fn title(&mut self, traces: &[Trace]) {
        let params: Vec<&str> = traces.iter().map(|trace| trace.params.as_str()).collect();
        let is_same = params.windows(2).all(|pair| pair[0] == pair[1]);
        let params = params.first().filter(|_| is_same).copied().unwrap_or("");
        let gap = if params.is_empty() { "" } else { "; " };
        let what = format!("one row per CPU, time from the first kick{gap}{params}");
        let lines = [
            (title(traces), 34.0, 19.0, "strong"),
            (what, 58.0, 12.0, "quiet"),
        ];
        for (text, y, size, class) in lines {
            let text = shorten(&text, size, WIDTH - 2.0 * MARGIN);
            self.labels.place(Label {
                text,
                x: MARGIN,
                y,
                size,
                anchor: Anchor::Start,
                class,
            });
        }
    }

    fn finish(self, title: &str, height: f64) -> String {
        let page = Rectangle::new()
            .set("class", "page")
            .set("x", 0.5)
            .set("y", 0.5)
            .set("width", WIDTH - 1.0)
            .set("height", height - 1.0)
            .set("rx", 8);
        let mut texts = Group::new();
        for label in self.labels.into_placed() {
            texts.append(text(&label));
        }
        let document = Document::new()
            .set("viewBox", format!("0 0 {WIDTH} {height}"))
            .set("width", WIDTH)
            .set("height", height)
            .add(tip(title))
            .add(style::sheet())
            .add(style::patterns())
            .add(page)
            .add(self.back)
            .add(self.bars)
            .add(self.points)
            .add(texts);
        format!("{document}\n")
    }
}

fn title(traces: &[Trace]) -> String {
    let name = |trace: &Trace| {
        let words = [trace.arch.as_str(), trace.scenario.as_str()];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        format!("{}, {} CPUs", words.join(" "), trace.cpus)
    };
    let names: Vec<String> = traces.iter().map(name).collect();
    names.join(" / ")
}

fn text(label: &Label) -> Element {
    let anchor = match label.anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let width = label.width();
    let mut text = element("text", &label.text);
    text.assign("x", format!("{:.1}", label.x));
    text.assign("y", format!("{:.1}", label.y));
    text.assign("font-size", label.size);
    text.assign("text-anchor", anchor);
    text.assign("textLength", format!("{width:.1}"));
    text.assign("lengthAdjust", "spacingAndGlyphs");
    if !label.class.is_empty() {
        text.assign("class", label.class);
    }
    text
}

/// XML has no way to write control characters.
fn clean(text: &str) -> String {
    text.replace(
        |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'),
        "?",
    )
}

/// A rectangle of a class.
pub(super) fn rect(class: &str, x: f64, y: f64, width: f64, height: f64) -> Rectangle {
    Rectangle::new()
        .set("class", class)
        .set("x", format!("{x:.1}"))
        .set("y", format!("{y:.1}"))
        .set("width", format!("{width:.1}"))
        .set("height", format!("{height:.1}"))
}

/// A line from top to bottom.
pub(super) fn vertical(class: &str, x: f64, y0: f64, y1: f64) -> Line {
    Line::new()
        .set("class", class)
        .set("x1", format!("{x:.1}"))
        .set("x2", format!("{x:.1}"))
        .set("y1", format!("{y0:.1}"))
        .set("y2", format!("{y1:.1}"))
}

/// What a pointer that rests on a shape is told.
pub(super) fn tip(text: &str) -> Element {
    element("title", text)
}

/// An element that holds text and, unlike the typed ones, no line ends around it.
fn element(name: &str, text: &str) -> Element {
    let mut element = Element::new(name);
    element.append(svg::node::Text::new(clean(text)));
    element
}

/// The legend: samples with their names, in as many lines as it takes.
struct Legend {
    items: Vec<(Look, f64, f64)>,
    height: f64,
}

impl Legend {
    fn new(looks: &BTreeSet<Look>) -> Self {
        let (mut x, mut y) = (MARGIN, 84.0);
        let mut items = Vec::new();
        let mut last: Option<Look> = None;
        for look in looks {
            if last.replace(*look).is_some_and(|last| last.is_like(*look)) {
                continue;
            }
            let width = 46.0 + text_width(&look.text(), LEGEND_TEXT);
            if x + width > WIDTH - MARGIN && x > MARGIN {
                (x, y) = (MARGIN, y + LEGEND_LINE);
            }
            items.push((*look, x, y));
            x += width;
        }
        let height = y - 84.0 + LEGEND_LINE;
        Self { items, height }
    }

    fn draw(&self, sheet: &mut Sheet) {
        for &(look, x, y) in &self.items {
            let sample: Element = match look {
                Look::Bar(..) | Look::Band(_) => rect(look.class(), x, y - 10.0, 20.0, 12.0).into(),
                Look::Strip => rect(look.class(), x, y - 5.0, 20.0, 3.0).into(),
                Look::Point(kind) => style::shape(kind, x + 10.0, y - 4.0, 5.0).into(),
            };
            sheet.points.append(sample);
            sheet.labels.place(Label {
                text: look.text(),
                x: x + 26.0,
                y,
                size: LEGEND_TEXT,
                anchor: Anchor::Start,
                class: "",
            });
        }
    }
}
