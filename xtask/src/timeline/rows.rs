//! The rows of a panel: how high, which CPU in which, and which of them say their number.

/// Most rows of a panel; with more CPUs, neighbours share one.
const MOST: u64 = 256;

/// Height of a row's number.
const TEXT: f64 = 12.0;

/// The rows of one panel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    cpus: u64,
    /// CPUs in one row.
    pub(super) group: u64,
    /// Pixels from one row to the next.
    pub(super) pitch: f64,
    /// Where the first row begins.
    top: f64,
}

impl Rows {
    /// Rows for `cpus` CPUs from `top` on.
    pub(super) fn new(cpus: u64, top: f64) -> Self {
        let group = cpus.div_ceil(MOST).next_power_of_two();
        let pitch = match cpus.div_ceil(group) {
            0..=12 => 28.0,
            13..=24 => 21.0,
            25..=48 => 16.0,
            49..=96 => 11.0,
            97..=160 => 8.0,
            _ => 6.0,
        };
        Self {
            cpus,
            group,
            pitch,
            top,
        }
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> u64 {
        self.cpus.div_ceil(self.group)
    }

    /// Where the last row ends.
    pub(super) fn bottom(&self) -> f64 {
        self.top_of(self.count())
    }

    /// The row of `cpu`.
    pub(super) fn of(&self, cpu: u64) -> u64 {
        cpu / self.group
    }

    /// Where `row` begins.
    pub(super) fn top_of(&self, row: u64) -> f64 {
        self.top + row as f64 * self.pitch
    }

    /// Where the middle of `row` is.
    pub(super) fn middle_of(&self, row: u64) -> f64 {
        self.top_of(row) + self.pitch / 2.0
    }

    /// Height of bars and bands.
    pub(super) fn bar_height(&self) -> f64 {
        (self.pitch * 0.64).round()
    }

    /// Height of text inside a row, if there is room for any.
    pub(super) fn text(&self) -> Option<f64> {
        match self.pitch {
            28.0.. => Some(TEXT),
            21.0.. => Some(10.5),
            16.0.. => Some(9.0),
            _ => None,
        }
    }

    /// One number every so many rows, so that the numbers do not touch.
    pub(super) fn numbered(&self) -> u64 {
        let lines = (1.5 * TEXT / self.pitch).ceil();
        [1, 2, 4]
            .into_iter()
            .find(|every| *every as f64 >= lines)
            .unwrap_or(8)
    }

    /// What the number of `row` says.
    pub(super) fn name(&self, row: u64) -> String {
        let first = row * self.group;
        let last = (first + self.group).min(self.cpus).saturating_sub(1);
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_cpus_share_rows_and_every_cpu_has_one() {
        for (cpus, group) in [(1, 1), (256, 1), (257, 2), (4096, 16), (65_536, 256)] {
            let rows = Rows::new(cpus, 0.0);
            assert_eq!(rows.group, group, "{cpus}");
            assert!(
                rows.count() <= MOST && rows.of(cpus - 1) == rows.count() - 1,
                "{cpus}"
            );
        }
        let rows = Rows::new(257, 0.0);
        assert_eq!(
            (rows.name(0).as_str(), rows.name(128).as_str()),
            ("0-1", "256")
        );
    }

    #[test]
    fn numbers_of_rows_do_not_touch() {
        for cpus in [8, 16, 32, 64, 128, 256] {
            let rows = Rows::new(cpus, 0.0);
            assert!(rows.numbered() as f64 * rows.pitch >= 1.25 * TEXT, "{cpus}");
        }
    }
}
