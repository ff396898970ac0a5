//! Labels: their boxes, and who may stand where. No two boxes ever intersect; a label that finds no room is not drawn.
//!
//! Nothing here can measure a font. All text is monospace, every character is taken to be 0.6 em wide, and the width is written
//! into the picture (`textLength`), so that a viewer with another font keeps to it.

/// Width of a character in em.
pub(super) const CHAR: f64 = 0.6;

/// Free pixels around a label.
const GAP: f64 = 2.0;

/// Where a label's x is in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// One line of text at a place.
#[derive(Clone, Debug)]
pub(super) struct Label {
    pub(super) text: String,
    pub(super) x: f64,
    /// The base line.
    pub(super) y: f64,
    pub(super) size: f64,
    pub(super) anchor: Anchor,
    /// Its class in the style sheet.
    pub(super) class: &'static str,
}

/// A rectangle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Area {
    /// Whether the two share more than an edge.
    pub(super) fn intersects(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn contains(&self, other: &Self) -> bool {
        self.left <= other.left
            && other.right <= self.right
            && self.top <= other.top
            && other.bottom <= self.bottom
    }
}

impl Label {
    /// The width of the text.
    pub(super) fn width(&self) -> f64 {
        text_width(&self.text, self.size)
    }

    /// The box the text takes, from the highest to the lowest point a letter may have.
    pub(super) fn area(&self) -> Area {
        let left = match self.anchor {
            Anchor::Start => self.x,
            Anchor::Middle => self.x - self.width() / 2.0,
            Anchor::End => self.x - self.width(),
        };
        Area {
            left,
            top: self.y - self.size,
            right: left + self.width(),
            bottom: self.y + 0.25 * self.size,
        }
    }
}

/// The width `text` takes at `size`.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * CHAR * size
}

/// Shortens `text` to what fits into `width`.
pub(super) fn shorten(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        if text_width(&short, size) + 2.0 * CHAR * size > width {
            break;
        }
        short.push(c);
    }
    short + "…"
}

/// The labels of a picture.
#[derive(Debug)]
pub(super) struct Labels {
    /// What can be seen.
    view: Area,
    placed: Vec<(Area, Label)>,
    /// What no label may cover.
    blocked: Vec<Area>,
}

impl Labels {
    /// A picture of this size without labels.
    pub(super) fn new(width: f64, height: f64) -> Self {
        let view = Area {
            left: 0.0,
            top: 0.0,
            right: width,
            bottom: height,
        };
        Self {
            view,
            placed: Vec::new(),
            blocked: Vec::new(),
        }
    }

    /// Places `label` if it is in the picture and no other box is in its way; whether it was placed.
    pub(super) fn place(&mut self, label: Label) -> bool {
        let area = label.area();
        let wide = Area {
            left: area.left - GAP,
            right: area.right + GAP,
            ..area
        };
        let others = self.placed.iter().map(|(other, _)| other);
        let is_free = !others
            .chain(&self.blocked)
            .any(|other| other.intersects(&wide));
        let fits = is_free && !label.text.is_empty() && self.view.contains(&area);
        if fits {
            self.placed.push((area, label));
        }
        fits
    }

    /// Keeps labels away from `area`.
    pub(super) fn block(&mut self, area: Area) {
        self.blocked.push(area);
    }

    /// What was placed.
    pub(super) fn into_placed(self) -> impl Iterator<Item = Label> {
        self.placed.into_iter().map(|(_, label)| label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str, x: f64, anchor: Anchor) -> Label {
        Label {
            text: text.to_owned(),
            x,
            y: 20.0,
            size: 10.0,
            anchor,
            class: "",
        }
    }

    #[test]
    fn label_is_placed_only_where_no_other_box_and_no_edge_is() {
        let mut labels = Labels::new(100.0, 100.0);
        assert!(labels.place(label("abcde", 10.0, Anchor::Start)));
        assert!(!labels.place(label("a", 38.0, Anchor::Start)));
        assert!(!labels.place(label("abc", 41.0, Anchor::Start)));
        assert!(labels.place(label("abc", 43.0, Anchor::Start)));
        assert!(!labels.place(label("abc", 90.0, Anchor::Start)));
        assert!(labels.place(label("abc", 100.0, Anchor::End)));
        let below = |y| Label {
            y,
            ..label("a", 66.0, Anchor::Start)
        };
        labels.block(label("a", 64.0, Anchor::Start).area());
        assert!(!labels.place(below(30.0)));
        assert!(labels.place(below(33.0)));
        assert_eq!(labels.into_placed().count(), 4);
    }

    #[test]
    fn text_too_long_for_its_place_is_cut() {
        assert_eq!(shorten("abcdef", 10.0, 36.0), "abcdef");
        assert_eq!(shorten("abcdefg", 10.0, 36.0), "abcde…");
    }
}
