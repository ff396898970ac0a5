//! Time to the right: the scale of a panel and the round numbers on its axis.

/// Pixels from one number of an axis to the next, at least.
const TICK_WIDTH: f64 = 90.0;

/// Maps times to pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// Where `zero` is drawn.
    x0: f64,
    zero: u64,
    px_per_ns: f64,
}

impl Scale {
    /// A scale from `left` on: `before` nanoseconds, the moment `zero`, and `after` nanoseconds take `width` pixels.
    pub(super) fn new(left: f64, width: f64, zero: u64, before: u64, after: u64) -> Self {
        let px_per_ns = width / before.saturating_add(after).max(1) as f64;
        Self {
            x0: left + before as f64 * px_per_ns,
            zero,
            px_per_ns,
        }
    }

    /// Where the moment `t` is drawn.
    pub(super) fn x(&self, t: u64) -> f64 {
        let distance = t.abs_diff(self.zero) as f64 * self.px_per_ns;
        if t < self.zero {
            self.x0 - distance
        } else {
            self.x0 + distance
        }
    }
}

/// The round times of an axis over `span` nanoseconds and `width` pixels, each with what is written there.
pub(super) fn ticks(span: u64, width: f64) -> Vec<(u64, String)> {
    let least = span.max(1) as f64 * TICK_WIDTH / width.max(1.0);
    let step = round_steps().find(|step| *step as f64 >= least);
    let step = step.unwrap_or(u64::MAX);
    let (unit, name) = match step {
        0..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    (0..=span / step)
        .map(|n| (n * step, format!("{} {name}", n * step / unit)))
        .collect()
}

/// 1, 2, 5, 10, 20, 50, …
fn round_steps() -> impl Iterator<Item = u64> {
    (0..19).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(span: u64, width: f64) -> Vec<String> {
        ticks(span, width)
            .into_iter()
            .map(|(_, text)| text)
            .collect()
    }

    #[test]
    fn axis_shows_round_numbers_in_one_unit_and_never_too_close() {
        assert_eq!(
            texts(4_300, 450.0),
            ["0 us", "1 us", "2 us", "3 us", "4 us"]
        );
        assert_eq!(texts(1_200, 300.0), ["0 ns", "500 ns", "1000 ns"]);
        assert_eq!(
            texts(107_000_000, 500.0),
            ["0 ms", "20 ms", "40 ms", "60 ms", "80 ms", "100 ms"]
        );
        assert_eq!(texts(10_000_000_000, 200.0), ["0 s", "5 s", "10 s"]);
    }

    #[test]
    fn shortest_and_longest_span_have_an_axis() {
        assert_eq!(texts(0, 1000.0), ["0 ns"]);
        assert!(!texts(u64::MAX, 1000.0).is_empty());
    }

    #[test]
    fn zero_has_its_place_behind_what_is_before_it() {
        let scale = Scale::new(10.0, 100.0, 50, 50, 150);
        assert_eq!([scale.x(0), scale.x(50), scale.x(200)], [10.0, 35.0, 110.0]);
    }
}
