use super::{HEIGHT, WIDTH, draw};
use crate::sim::figures::Document;

const ANSWER: &str = include_str!("answer.json");

/// Width of a character of the monospaced type, and height of a line.
const CHAR: f64 = 12.0 * 0.6;
const LINE: f64 = 12.0;

struct Word {
    text: String,
    left: f64,
    right: f64,
    base: f64,
}

fn words(picture: &str) -> Vec<Word> {
    let parsed = roxmltree::Document::parse(picture).expect("an XML document");
    let texts = parsed
        .descendants()
        .filter(|node| node.has_tag_name("text"));
    let number = |node: &roxmltree::Node<'_, '_>, name| {
        let text = node.attribute(name).expect("it has a place");
        text.parse::<f64>().expect("a number")
    };
    let word = |node: roxmltree::Node<'_, '_>| {
        let text = node.text().unwrap_or_default().trim().to_owned();
        let class = node.attribute("class").unwrap_or_default();
        let width = CHAR * text.chars().count() as f64 * if class == "title" { 1.25 } else { 1.0 };
        let x = number(&node, "x");
        let left = match class.split(' ').next_back() {
            Some("end") => x - width,
            Some("middle") => x - width / 2.0,
            _ => x,
        };
        let (right, base) = (left + width, number(&node, "y"));
        Word {
            text,
            left,
            right,
            base,
        }
    };
    texts.map(word).collect()
}

#[test]
fn no_two_texts_overlap_and_all_are_on_the_page() {
    let document: Document = serde_json::from_str(ANSWER).expect("a document");
    let picture = draw(document.sweep.as_ref().expect("a sweep"), &document.reports);
    let words = words(&picture);
    assert!(words.len() > 30, "{}", words.len());
    for (at, one) in words.iter().enumerate() {
        assert!(
            one.left >= 0.0 && one.right <= WIDTH && one.base <= HEIGHT,
            "{}",
            one.text
        );
        for other in &words[at + 1..] {
            let beside = one.right <= other.left || other.right <= one.left;
            let above = (one.base - other.base).abs() >= LINE;
            assert!(beside || above, "`{}` and `{}`", one.text, other.text);
        }
    }
}

#[test]
fn every_run_and_every_published_figure_is_drawn() {
    let document: Document = serde_json::from_str(ANSWER).expect("a document");
    let picture = draw(document.sweep.as_ref().expect("a sweep"), &document.reports);
    let shown: Vec<_> = document
        .reports
        .iter()
        .filter(|report| !report.published.is_empty())
        .collect();
    let published: usize = shown.iter().map(|report| report.published.len()).sum();
    let runs: usize = shown.iter().map(|report| report.rows.len()).sum();
    assert_eq!(picture.matches("class=\"published ").count(), published);
    // Three more explain the colours.
    assert_eq!(picture.matches("-dot\"").count(), runs + 3);
    assert_eq!(picture.matches("<polyline").count(), 4);
}
