//! The command line: `K=V K=V …`, the same words for every kernel and for the hosted runner.

use core::fmt;
use core::str::FromStr;

use crate::scenario::{From, Mode, Scenario, Toggle};
use crate::tables::MOST_EXTRA;

/// Everything the command line says, with the defaults for what it does not say.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// What to run (`boot`).
    pub scenario: Scenario,
    /// CPUs that exist, boot CPU included, if the caller says how many there are.
    pub smp: Option<u32>,
    /// Seed of everything random (1).
    pub seed: u64,
    /// Listed CPUs that never come (0).
    pub absent: u32,
    /// Listed CPUs that the machine does not serve: they are not present, and nobody tries them (0).
    pub unserved: u32,
    /// Listed CPUs that are not there yet and will be plugged in (0).
    pub hotadd: u32,
    /// Rounds, if given; each scenario has its own default.
    pub rounds: Option<u32>,
    /// Operations of `storm` (2000).
    pub ops: u32,
    /// Whether CPUs call each other during `storm` (1).
    pub calls: Toggle,
    /// Who drives `cycle` (0).
    pub from: From,
    /// CPUs whose kick `dead` holds back (2).
    pub withhold: u32,
    /// No-op steps more per section (0), at most 64.
    pub steps: u32,
    /// Whether one ONLINE step takes one CPU at a time (0).
    pub solo: Toggle,
    /// Whether every event is printed at the end (0).
    pub trace: Toggle,
    /// Delay of an AP between its entry and its arrival, in nanoseconds (0).
    pub alive_delay_ns: u64,
    /// Time spent in STARTING up (0).
    pub starting_sleep_ns: u64,
    /// Time spent in ONLINE up (0).
    pub online_sleep_ns: u64,
    /// Time spent in ONLINE down (0).
    pub down_sleep_ns: u64,
    /// Bound of every wait (10 s).
    pub timeout_ns: u64,
    modes: [Option<Mode>; Mode::ALL.len()],
    text: &'static str,
}

/// Most rounds a scenario can be asked for.
const MOST_ROUNDS: u32 = 10_000;

impl Default for Params {
    fn default() -> Self {
        Self {
            scenario: Scenario::Boot,
            smp: None,
            seed: 1,
            absent: 0,
            unserved: 0,
            hotadd: 0,
            rounds: None,
            ops: 2_000,
            calls: Toggle::On,
            from: From::Boot,
            withhold: 2,
            steps: 0,
            solo: Toggle::Off,
            trace: Toggle::Off,
            alive_delay_ns: 0,
            starting_sleep_ns: 0,
            online_sleep_ns: 0,
            down_sleep_ns: 0,
            timeout_ns: 10_000_000_000,
            modes: [Some(Mode::Parallel), None, None, None],
            text: "",
        }
    }
}

/// A word of the command line that nothing can be done with; displays as one line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParamError {
    word: &'static str,
    right: &'static str,
}

impl fmt::Display for ParamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.word, self.right)
    }
}

impl core::error::Error for ParamError {}

impl Params {
    /// Reads a command line. Keys in `more` are legal too and left to [`Self::get`].
    ///
    /// ```
    /// use cpuhp_example_common::{Params, Scenario};
    /// let params = Params::parse("scenario=dead timeout_ms=300 init_delay_us=0", &["init_delay_us"]);
    /// let params = params.expect("every key is known");
    /// assert_eq!(params.scenario, Scenario::Dead);
    /// assert_eq!(params.timeout_ns, 300_000_000);
    /// assert_eq!(params.get("init_delay_us"), Some("0"));
    /// assert!(Params::parse("scenario=death", &[]).is_err());
    /// ```
    ///
    /// # Errors
    /// The first word that is wrong, and what would be right.
    pub fn parse(text: &'static str, more: &[&str]) -> Result<Self, ParamError> {
        let mut params = Self {
            text,
            ..Self::default()
        };
        for word in text.split_ascii_whitespace() {
            let wrong = |right| ParamError { word, right };
            let pair = word.split_once('=').filter(|(key, _)| !key.is_empty());
            let Some((key, value)) = pair else {
                return Err(wrong("not of the form K=V, such as timeout_ms=300"));
            };
            if !more.contains(&key) {
                params.set(key, value).map_err(wrong)?;
            }
        }
        Ok(params)
    }

    /// Returns the last value given for `key`.
    pub fn get(&self, key: &str) -> Option<&'static str> {
        self.pairs()
            .filter(|(name, _)| *name == key)
            .map(|(_, value)| value)
            .last()
    }

    /// Reads the value of a key that only this machine knows; `right` says what would be right.
    ///
    /// # Errors
    /// The first word with this key that `read` refuses.
    pub fn own<T>(
        &self,
        key: &str,
        right: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ParamError> {
        let mut last = None;
        for word in self.text.split_ascii_whitespace() {
            if let Some((_, value)) = word.split_once('=').filter(|(name, _)| *name == key) {
                last = Some(read(value).ok_or(ParamError { word, right })?);
            }
        }
        Ok(last)
    }

    /// Returns the words as they were given.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let words = self.text.split_ascii_whitespace();
        words.filter_map(|word| word.split_once('='))
    }

    /// Returns the modes of `boot` in the order given.
    pub fn modes(&self) -> impl Iterator<Item = Mode> + use<> {
        self.modes.into_iter().flatten()
    }

    fn set(&mut self, key: &str, value: &'static str) -> Result<(), &'static str> {
        match key {
            "scenario" => self.scenario = named(&Scenario::ALL, value).ok_or(SCENARIOS)?,
            "mode" => self.modes = modes(value)?,
            "smp" => self.smp = Some(number(value, 1, 1 << 20)?),
            "seed" => self.seed = number(value, 0, u64::MAX)?,
            "absent" => self.absent = number(value, 0, 1 << 20)?,
            "unserved" => self.unserved = number(value, 0, 1 << 20)?,
            "hotadd" => self.hotadd = number(value, 0, 1 << 20)?,
            "rounds" => self.rounds = Some(number(value, 1, MOST_ROUNDS)?),
            "ops" => self.ops = number(value, 1, 10_000_000)?,
            "calls" => self.calls = toggle(value)?,
            "withhold" => self.withhold = number(value, 0, 1 << 20)?,
            "from" => self.from = from(value)?,
            "steps" => self.steps = number(value, 0, MOST_EXTRA)?,
            "solo" => self.solo = toggle(value)?,
            "trace" => self.trace = toggle(value)?,
            "alive_delay_us" => self.alive_delay_ns = nanoseconds(value, 1_000)?,
            "starting_sleep_us" => self.starting_sleep_ns = nanoseconds(value, 1_000)?,
            "online_sleep_us" => self.online_sleep_ns = nanoseconds(value, 1_000)?,
            "down_sleep_us" => self.down_sleep_ns = nanoseconds(value, 1_000)?,
            "timeout_ms" => self.timeout_ns = nanoseconds(value, 1_000_000)?,
            _ => return Err(KEYS),
        }
        Ok(())
    }
}

const SCENARIOS: &str = Scenario::NAMES;
const MODES: &str =
    "a list of raw, serial, split, parallel, such as mode=serial,parallel, each once";
const RANGE: &str = "a whole number in the range of this key";
const KEYS: &str = "one of scenario, mode, smp, seed, absent, unserved, hotadd, rounds, ops, calls, withhold, from, steps, solo, trace, \
    alive_delay_us, starting_sleep_us, online_sleep_us, down_sleep_us, timeout_ms, or a key of this machine";

fn named<T: Copy>(all: &[(&str, T)], value: &str) -> Option<T> {
    all.iter()
        .find(|(name, _)| *name == value)
        .map(|(_, item)| *item)
}

fn modes(value: &str) -> Result<[Option<Mode>; Mode::ALL.len()], &'static str> {
    let mut modes = [None; Mode::ALL.len()];
    for (at, name) in value.split(',').enumerate() {
        let mode = named(&Mode::ALL, name).filter(|mode| !modes.contains(&Some(*mode)));
        *modes.get_mut(at).ok_or(MODES)? = Some(mode.ok_or(MODES)?);
    }
    Ok(modes)
}

fn number<T: FromStr + PartialOrd>(value: &str, least: T, most: T) -> Result<T, &'static str> {
    value
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or(RANGE)
}

fn nanoseconds(value: &str, unit: u64) -> Result<u64, &'static str> {
    // At most an hour: sums of a few of them never overflow.
    Ok(number(value, 0, 3_600_000_000_000 / unit)? * unit)
}

fn from(value: &str) -> Result<From, &'static str> {
    match value {
        "0" => Ok(From::Boot),
        "last" => Ok(From::Last),
        _ => Err("0 or last"),
    }
}

fn toggle(value: &str) -> Result<Toggle, &'static str> {
    Toggle::read(value).ok_or("0 or 1")
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn all_words_of_a_long_line_arrive() {
        let line =
            "scenario=cycle smp=8 seed=7 mode=serial,parallel rounds=3 from=last trace=1 steps=16";
        let params = Params::parse(line, &[]).unwrap();
        assert_eq!(params.scenario, Scenario::Cycle);
        assert_eq!(
            (params.smp, params.seed, params.rounds),
            (Some(8), 7, Some(3))
        );
        assert_eq!(
            params.modes().collect::<Vec<_>>(),
            [Mode::Serial, Mode::Parallel]
        );
        assert_eq!(
            (params.from, params.trace, params.steps),
            (From::Last, Toggle::On, 16)
        );
    }

    #[test]
    fn wrong_words_are_named_with_what_is_right() {
        for (line, right) in [
            (
                "mode=serial,fast",
                "`mode=serial,fast`: a list of raw, serial",
            ),
            ("mode=serial,serial", "each once"),
            ("mode=", "a list of"),
            ("rounds=0", "`rounds=0`: a whole number"),
            ("smp=-1", "a whole number"),
            ("timeout_ms=99999999999", "a whole number"),
            ("steps=65", "a whole number"),
            ("speed=9", "one of scenario, mode"),
            ("boot", "not of the form K=V"),
            ("time=virtual", "one of scenario"),
        ] {
            let error = Params::parse(line, &[]).unwrap_err().to_string();
            assert!(error.contains(right), "{error}");
        }
    }

    #[test]
    fn word_without_a_key_is_wrong_though_a_machine_fills_its_keys_up_with_nothing() {
        let error = Params::parse("=3", &["rest", ""]).unwrap_err().to_string();
        assert!(error.contains("not of the form K=V"), "{error}");
    }
}
