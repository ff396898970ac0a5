//! Paints one panel: axis, bands, bars, marks, and as many labels as there is room for.

use std::collections::BTreeMap;

use svg::Node;

use super::bars::{Bar, bars};
use super::label::{Anchor, Area, Label, Labels, shorten, text_width};
use super::model::{Manner, Mark, MarkKind, Section};
use super::panel::Panel;
use super::phase::{Phase, Span, spans};
use super::picture::{LEFT, RIGHT, Sheet, WIDTH, rect, tip, vertical};
use super::rows::Rows;
use super::scale::{Scale, ticks};
use super::style::{Look, is_alarming, shape};
use crate::show;

/// More bars than this have no tips: the file would be too large.
const MOST_TIPS: usize = 3_000;

/// Marks of one kind in one row are at least this far apart.
const MARK_GAP: f64 = 1.5;

/// Paints one panel.
pub(super) struct Painter<'p> {
    panel: &'p Panel<'p>,
    rows: &'p Rows,
    scale: Scale,
}

impl<'p> Painter<'p> {
    pub(super) fn new(panel: &'p Panel<'p>, rows: &'p Rows) -> Self {
        let width = WIDTH - LEFT - RIGHT;
        let scale = Scale::new(LEFT, width, panel.origin, panel.before, panel.after);
        Self { panel, rows, scale }
    }

    pub(super) fn draw(&self, sheet: &mut Sheet) {
        self.head(&mut sheet.labels);
        self.names(sheet);
        self.axis(sheet);
        let bars = bars(self.panel, self.rows, &self.scale);
        let spans = self.spans();
        let marks = self.marks();
        for span in &spans {
            self.band(span, sheet);
        }
        for bar in &bars {
            self.bar(bar, bars.len(), sheet);
        }
        for mark in &marks {
            self.mark(mark, sheet);
        }
        self.alarm_labels(&marks, &mut sheet.labels);
        self.online_labels(&marks, &mut sheet.labels);
        self.band_labels(&spans, &mut sheet.labels);
        self.bar_labels(&bars, &mut sheet.labels);
    }

    fn head(&self, labels: &mut Labels) {
        let y = self.rows.top_of(0) - 12.0;
        let title = Label {
            text: self.panel.title.clone(),
            x: LEFT,
            y,
            size: 15.0,
            anchor: Anchor::Start,
            class: "strong",
        };
        let note_x = LEFT + title.width() + 16.0;
        let note = shorten(&self.panel.note, 12.0, WIDTH - note_x - 24.0);
        labels.place(title);
        labels.place(Label {
            text: note,
            x: note_x,
            y,
            size: 12.0,
            anchor: Anchor::Start,
            class: "quiet",
        });
    }

    // ---- the frame

    fn axis(&self, sheet: &mut Sheet) {
        let (top, bottom) = (self.rows.top_of(0), self.rows.bottom());
        let panel = self.panel;
        let width = WIDTH - RIGHT - self.scale.x(panel.origin);
        for (t, text) in ticks(panel.after, width) {
            let x = self.scale.x(panel.origin + t);
            let class = if t == 0 { "zero" } else { "grid" };
            sheet
                .back
                .append(vertical(class, x, top - 2.0, bottom + 5.0));
            sheet.labels.place(Label {
                text,
                x,
                y: bottom + 19.0,
                size: 11.0,
                anchor: Anchor::Middle,
                class: "quiet",
            });
        }
    }

    fn names(&self, sheet: &mut Sheet) {
        let (rows, every) = (self.rows, self.rows.numbered());
        let width = WIDTH - LEFT - RIGHT;
        sheet.labels.place(Label {
            text: "CPU".to_owned(),
            x: LEFT - 12.0,
            y: rows.top_of(0) - 12.0,
            size: 11.0,
            anchor: Anchor::End,
            class: "quiet",
        });
        for row in 0..rows.count() {
            if row / every % 2 == 1 {
                let stripe = rect("zebra", LEFT, rows.top_of(row), width, rows.pitch);
                sheet.back.append(stripe);
            }
            if row % every == 0 {
                sheet.labels.place(Label {
                    text: rows.name(row),
                    x: LEFT - 12.0,
                    y: rows.middle_of(row) + 4.0,
                    size: 11.0,
                    anchor: Anchor::End,
                    class: "",
                });
            }
        }
    }

    // ---- shapes

    fn spans(&self) -> Vec<Span> {
        let (from, to) = (self.panel.from, self.panel.to);
        let all = spans(self.panel.trace).into_iter();
        let shown = all.filter(|span| span.t1 >= from && span.t0 < to);
        let clipped = shown.map(|span| Span {
            t0: span.t0.max(from),
            t1: span.t1.min(to),
            ..span
        });
        let mut spans: Vec<Span> = clipped.collect();
        if self.rows.group > 1 {
            // Where CPUs share a row, the one that needs attention is seen.
            spans.sort_by_key(|span| span.phase);
        }
        spans
    }

    fn band(&self, span: &Span, sheet: &mut Sheet) {
        let look = Look::Band(span.phase);
        let (x0, x1) = (self.scale.x(span.t0), self.scale.x(span.t1));
        if x1 - x0 < 0.5 {
            return;
        }
        sheet.used.insert(look);
        let height = self.rows.bar_height();
        let y = self.rows.middle_of(self.rows.of(span.cpu)) - height / 2.0;
        sheet
            .back
            .append(rect(look.class(), x0, y, x1 - x0, height));
    }

    fn bar(&self, bar: &Bar, count: usize, sheet: &mut Sheet) {
        sheet.used.insert(bar.look);
        let height = self.rows.bar_height();
        let middle = self.rows.middle_of(bar.row);
        let (y, height) = match bar.look {
            Look::Strip => (middle + height / 2.0, (self.rows.pitch * 0.14).max(1.0)),
            Look::Bar(..) | Look::Band(_) | Look::Point(_) => (middle - height / 2.0, height),
        };
        let shape = rect(bar.look.class(), bar.x0, y, bar.x1 - bar.x0, height);
        if count > MOST_TIPS {
            sheet.bars.append(shape);
        } else {
            sheet.bars.append(shape.add(tip(&bar.tip)));
        }
    }

    /// The marks of this panel, none on top of one of its kind.
    fn marks(&self) -> Vec<Mark> {
        let (from, to) = (self.panel.from, self.panel.to);
        let all = self.panel.trace.marks.iter().copied();
        let mut last: BTreeMap<(u64, MarkKind), f64> = BTreeMap::new();
        let mut marks: Vec<Mark> = all
            .filter(|mark| (from..=to).contains(&mark.t))
            .filter(|mark| {
                let x = self.scale.x(mark.t);
                let before = last.insert((mark.cpu, mark.kind), x);
                before.is_none_or(|before| x - before >= MARK_GAP)
            })
            .collect();
        marks.sort_by_key(|mark| mark.kind);
        marks
    }

    /// Quiet marks stand on the upper edge of a row and leave the bars free; alarming ones stand in its middle.
    fn mark(&self, mark: &Mark, sheet: &mut Sheet) {
        sheet.used.insert(Look::Point(mark.kind));
        let row = self.rows.of(mark.cpu);
        let (x, pitch) = (self.scale.x(mark.t), self.rows.pitch);
        let r = (pitch * 0.17).clamp(1.6, 4.5);
        let middle = self.rows.middle_of(row);
        let text = format!("CPU {}: {}", mark.cpu, self.panel.trace.text(mark));
        let glyph = if is_alarming(mark.kind) {
            shape(mark.kind, x, middle, 1.3 * r)
        } else if self.rows.text().is_some() {
            let top = middle - self.rows.bar_height() / 2.0;
            let stem = vertical("stem", x, top, top + self.rows.bar_height());
            sheet.points.append(stem);
            shape(mark.kind, x, top, r)
        } else {
            shape(mark.kind, x, middle, r)
        };
        sheet.points.append(glyph.add(tip(&text)));
        sheet.labels.block(Area {
            left: x - r,
            top: self.rows.top_of(row),
            right: x + r,
            bottom: self.rows.top_of(row) + pitch,
        });
    }

    // ---- labels

    fn in_row(&self, row: u64, x: f64, text: String, size: f64) -> Label {
        Label {
            text,
            x,
            y: self.rows.middle_of(row) + 0.36 * size,
            size,
            anchor: Anchor::Start,
            class: "",
        }
    }

    /// What went wrong, beside its mark, or else in the margin; a CPU that came late is not said to have not come there.
    fn alarm_labels(&self, marks: &[Mark], labels: &mut Labels) {
        let is_late = |cpu: u64| {
            let mut marks = marks.iter();
            marks.any(|mark| mark.cpu == cpu && mark.kind == MarkKind::Late)
        };
        for kind in [MarkKind::GaveUp, MarkKind::Late, MarkKind::Failed] {
            for mark in marks.iter().filter(|mark| mark.kind == kind) {
                let text = self.panel.trace.text(mark);
                if self.place_alarm(mark, &text, labels) {
                    continue;
                }
                if kind == MarkKind::GaveUp && is_late(mark.cpu) {
                    continue;
                }
                let size = (self.rows.pitch / 1.26).clamp(8.0, 9.0);
                let text = format!("CPU {} {text}", mark.cpu);
                let text = shorten(&text, size, RIGHT - 18.0);
                let row = self.rows.of(mark.cpu);
                let beside = self.in_row(row, WIDTH - RIGHT + 12.0, text, size);
                labels.place(Label {
                    class: "bad",
                    ..beside
                });
            }
        }
    }

    fn place_alarm(&self, mark: &Mark, text: &str, labels: &mut Labels) -> bool {
        let Some(size) = self.rows.text() else {
            return false;
        };
        let x = self.scale.x(mark.t) + 10.0;
        let near = self.in_row(self.rows.of(mark.cpu), x, text.to_owned(), size);
        labels.place(Label {
            class: "bad",
            ..near
        })
    }

    /// When each CPU was online.
    fn online_labels(&self, marks: &[Mark], labels: &mut Labels) {
        let Some(size) = self.rows.text() else { return };
        for mark in marks.iter().filter(|mark| mark.kind == MarkKind::Online) {
            if mark.t <= self.panel.origin || self.rows.group > 1 {
                continue;
            }
            let text = format!("online {}", show::time(mark.t - self.panel.origin));
            let x = self.scale.x(mark.t) + 9.0;
            labels.place(self.in_row(self.rows.of(mark.cpu), x, text, size));
        }
    }

    /// How long a CPU took to come, where that fits between kick and alive.
    fn band_labels(&self, spans: &[Span], labels: &mut Labels) {
        let Some(size) = self.rows.text() else { return };
        let next = spans.iter().skip(1).map(Some).chain([None]);
        for (span, next) in spans.iter().zip(next) {
            let next = next.filter(|next| next.cpu == span.cpu && next.t0 == span.t1);
            let what = match (span.phase, next.map(|next| next.phase)) {
                (Phase::Kicked, Some(Phase::Coming)) => "kick to alive",
                (Phase::Kicked, Some(Phase::GivenUp)) => "waited",
                _ => continue,
            };
            let (x0, x1) = (self.scale.x(span.t0), self.scale.x(span.t1));
            let took = show::time(span.t1 - span.t0);
            let text = [format!("{what} {took}"), took]
                .into_iter()
                .find(|text| text_width(text, size) + 20.0 <= x1 - x0);
            let Some(text) = text else { continue };
            let label = self.in_row(self.rows.of(span.cpu), f64::midpoint(x0, x1), text, size);
            labels.place(Label {
                anchor: Anchor::Middle,
                class: "quiet",
                ..label
            });
        }
    }

    fn bar_labels(&self, bars: &[Bar], labels: &mut Labels) {
        let Some(size) = self.rows.text() else { return };
        for bar in bars {
            let width = bar.x1 - bar.x0 - 8.0;
            let text = bar
                .texts
                .iter()
                .find(|text| text_width(text, size) <= width);
            let (Some(text), Look::Bar(manner, section)) = (text, bar.look) else {
                continue;
            };
            let class = match (manner, section) {
                (Manner::Up, Section::Starting) | (Manner::Down, _) => "strong",
                _ => "light",
            };
            let middle = f64::midpoint(bar.x0, bar.x1);
            let label = self.in_row(bar.row, middle, text.clone(), size);
            labels.place(Label {
                anchor: Anchor::Middle,
                class,
                ..label
            });
        }
    }
}
