//! A model as its data file states it: every latency with the place it comes from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most steps a model may have: one pair of functions each is compiled in.
pub const MOST_STEPS: usize = 16;

/// A machine and the steps its kernel walks.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What the model is called.
    pub name: String,
    /// Which machine it is.
    pub title: String,
    /// How many CPUs the machine has, the boot CPU included.
    pub cpus: u32,
    /// Threads of one core; the first threads of all cores have the lowest numbers.
    #[serde(default = "one")]
    pub threads: u32,
    /// Sockets; CPUs of one have neighbouring numbers.
    #[serde(default = "one")]
    pub packages: u32,
    /// The numbers of CPUs that it is run with as well, all else equal.
    #[serde(default)]
    pub sweep: Vec<u32>,
    /// What a kick costs the control CPU.
    pub kick: Latency,
    /// From the kick to the first look of an AP.
    pub arrival: Latency,
    /// The same, on top, for the first thread of a core.
    pub arrival_of_primaries: Option<Latency>,
    /// At random up to this much more.
    pub arrival_spread: Option<Latency>,
    /// From a notification to the look it causes.
    pub notify: Latency,
    /// From a CPU's last word to the moment the hardware says that it is off.
    pub off: Latency,
    /// What a look of the control CPU at another CPU's record costs it.
    pub look: Latency,
    /// What not everybody can use at once.
    #[serde(default, rename = "resource")]
    pub resources: Vec<Resource>,
    /// The steps, in order within their section.
    #[serde(rename = "step")]
    pub steps: Vec<TimedStep>,
    /// What was measured on such a machine.
    #[serde(default)]
    pub published: Vec<Published>,
}

/// A time, and where it comes from.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Nanoseconds.
    pub ns: u64,
    /// The source, or what was assumed.
    pub from: String,
}

/// A lock, a bus, a device: at most `capacity` CPUs use it at once, in the order of their coming.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// What it is called.
    pub name: String,
    /// How many may use it.
    pub capacity: u32,
}

/// A section of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// On the control CPU.
    Prepare,
    /// On the AP, interrupts off.
    Starting,
    /// On the AP.
    Online,
}

/// Whether several CPUs may be inside a step at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Together {
    /// As many as there are.
    Parallel,
    /// One.
    OneByOne,
}

/// For which CPUs a step takes time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    /// For every one.
    #[default]
    All,
    /// For the first CPU of every package but the boot CPU's.
    FirstOfPackage,
}

/// A step and how long it takes.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimedStep {
    /// Its name in the table.
    pub name: String,
    /// Where it is walked.
    pub section: Section,
    /// Whether several CPUs may be inside at once.
    pub walked: Together,
    /// For which CPUs it takes time.
    #[serde(default)]
    pub on: On,
    /// Nanoseconds on the way up.
    #[serde(default)]
    pub up_ns: u64,
    /// The same on top, for every CPU that is available when it begins.
    #[serde(default)]
    pub up_ns_per_available: u64,
    /// Nanoseconds on the way down.
    #[serde(default)]
    pub down_ns: u64,
    /// The same on top, for every CPU that is available when it begins.
    #[serde(default)]
    pub down_ns_per_available: u64,
    /// What it needs meanwhile.
    pub resource: Option<String>,
    /// Where the times come from.
    pub from: String,
}

/// Which way all CPUs but the boot CPU go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// From `OFFLINE` to `ONLINE`.
    Up,
    /// Back.
    Down,
}

/// How they go there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One CPU after the other, the whole way.
    Serial,
    /// All to `KICK`, then each to `ONLINE` in turn; the first threads of all cores before the second ones.
    Split,
    /// One bulk operation.
    Parallel,
}

/// What a published figure counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counts {
    /// From the first act to the last CPU at its target.
    Time,
    /// Of that, what the control CPU spent waiting.
    Wait,
}

/// A figure that somebody published.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Which way.
    pub way: Way,
    /// In which mode.
    pub mode: Mode,
    /// What it counts.
    pub counts: Counts,
    /// The figure.
    pub ns: u64,
    /// The latency that was chosen so that the model shows this figure. One figure of a model has one.
    pub fitted: Option<String>,
    /// Why the model misses it.
    pub explained: Option<String>,
    /// Where it was published.
    pub from: String,
}

const fn one() -> u32 {
    1
}

/// What is wrong with a data file.
#[derive(Debug)]
pub struct BadModel(String);

impl fmt::Display for BadModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadModel {}

impl Model {
    /// Reads a data file.
    ///
    /// # Errors
    /// It is no TOML, has a key too many or lacks one, or contradicts itself.
    pub fn parse(text: &str) -> Result<Self, BadModel> {
        let model: Self = toml::from_str(text).map_err(|error| BadModel(error.to_string()))?;
        match model.contradiction() {
            None => Ok(model),
            Some(what) => Err(BadModel(format!("{}: {what}", model.name))),
        }
    }

    fn contradiction(&self) -> Option<String> {
        let cores = self.cpus.checked_div(self.threads).unwrap_or(0);
        if cores * self.threads != self.cpus || !cores.is_multiple_of(self.packages.max(1)) {
            return Some("its CPUs do not divide into packages, cores and threads".to_owned());
        }
        if self.cpus < 2 || self.packages == 0 {
            return Some("it has fewer than two CPUs, or no package".to_owned());
        }
        if self.steps.len() > MOST_STEPS {
            return Some(format!("it has more than {MOST_STEPS} steps"));
        }
        if !self.steps.is_sorted_by_key(|step| step.section) {
            return Some("its steps are not in the order of their sections".to_owned());
        }
        if self.resources.iter().any(|resource| resource.capacity == 0) {
            return Some("a resource that nobody can use".to_owned());
        }
        let unknown = self.steps.iter().find(|step| {
            let named = |name: &String| self.resource(name).is_none();
            step.resource.as_ref().is_some_and(named)
        });
        if let Some(step) = unknown {
            return Some(format!("{} needs a resource that is not there", step.name));
        }
        let held_by_control =
            |step: &&TimedStep| step.section == Section::Prepare && step.resource.is_some();
        if let Some(step) = self.steps.iter().find(held_by_control) {
            return Some(format!(
                "{}: PREPARE runs on one CPU and waits for nobody",
                step.name
            ));
        }
        let fits = self
            .published
            .iter()
            .filter(|figure| figure.fitted.is_some());
        if fits.clone().count() > 1 || fits.into_iter().any(|figure| figure.mode != Mode::Serial) {
            return Some("a model is fitted on one serial time only".to_owned());
        }
        None
    }

    /// Returns which resource is called `name`.
    pub(crate) fn resource(&self, name: &str) -> Option<usize> {
        self.resources
            .iter()
            .position(|resource| resource.name == name)
    }

    /// Returns the same machine with another number of CPUs, all else equal.
    #[must_use]
    pub fn with_cpus(&self, cpus: u32) -> Self {
        Self {
            cpus,
            published: Vec::new(),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests;
