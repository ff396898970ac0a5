//! Reading and driving the states as text: what Linux offers as files, into any `core::fmt::Write`.
//!
//! Nodes: `states`, `instances`, `possible`, `present`, `available`, `online`, `dying`, `frozen`, and per
//! CPU `cpuN/state`, `cpuN/target`, `cpuN/error`, `cpuN/fail`. Bad input is a one-line error and changes
//! nothing; a buffer that is too short is an error, never an overflow.

use core::fmt::{self, Write};

use crate::cpu::CpuId;
use crate::error::OpError;
use crate::fault::FaultAt;
use crate::hotplug::Cpuhp;
use crate::platform::Platform;
use crate::step::{Direction, Half, StateId};
use crate::trace::Trace;

/// Why a node could not be read or written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no such node.
    NoSuchNode,
    /// There is no CPU with this number.
    NoSuchCpu,
    /// The node can only be read.
    ReadOnly,
    /// There is no state with this number or name.
    NoSuchState,
    /// The state is no place to rest that can be asked for: `kick`, `ap-idle`, or inside STARTING.
    NotATarget,
    /// The output ran out of room, or failed.
    Output,
    /// The operation was refused, or failed.
    Operation(OpError),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchNode => f.write_str("no such node; try states, online or cpu0/target"),
            Self::NoSuchCpu => f.write_str("no cpu with this number; possible lists them"),
            Self::ReadOnly => f.write_str("this node can only be read"),
            Self::NoSuchState => {
                f.write_str("no state with this number or name; states lists them")
            }
            Self::NotATarget => f.write_str("no cpu is driven to that state; take one around it"),
            Self::Output => f.write_str("the output has no room"),
            Self::Operation(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ControlError {}

impl From<fmt::Error> for ControlError {
    fn from(_: fmt::Error) -> Self {
        Self::Output
    }
}

impl From<OpError> for ControlError {
    fn from(error: OpError) -> Self {
        Self::Operation(error)
    }
}

/// What a write to a node asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ControlRequest {
    /// Drive a CPU to a state.
    Drive(CpuId, StateId),
    /// Arm a fault.
    Arm(CpuId, StateId, FaultAt),
    /// Disarm it.
    Disarm(CpuId),
}

/// One of the two kinds of node.
enum Node<'t> {
    Machine(&'t str),
    Cpu(CpuId, &'t str),
}

impl<P: Platform, T: Trace> Cpuhp<'_, P, T> {
    /// Writes what a node says to `out`.
    ///
    /// Context: any CPU; looks without a lock, so a CPU in flight may be seen in between.
    ///
    /// # Errors
    /// [`ControlError::NoSuchNode`], [`ControlError::NoSuchCpu`], [`ControlError::Output`].
    pub fn read_node(&self, node: &str, out: &mut dyn Write) -> Result<(), ControlError> {
        match self.parse_node(node)? {
            Node::Machine("states") => self.write_states(out),
            Node::Machine("instances") => self.write_instances(out),
            Node::Machine("possible") => Ok(write_ranges(out, self.all_cpus())?),
            Node::Machine("present") => Ok(write_ranges(out, self.present().iter())?),
            Node::Machine("available") => Ok(write_ranges(out, self.available().iter())?),
            Node::Machine("online") => Ok(write_ranges(out, self.online().iter())?),
            Node::Machine("dying") => Ok(write_ranges(out, self.dying().iter())?),
            Node::Machine("frozen") => Ok(write_ranges(out, self.frozen().iter())?),
            Node::Cpu(cpu, "state") => {
                let at = self.state(cpu).unwrap_or_default();
                Ok(write!(out, "{at} {}", self.name(at))?)
            }
            Node::Cpu(cpu, "target") => {
                Ok(write!(out, "{}", self.target(cpu).unwrap_or_default())?)
            }
            Node::Cpu(cpu, "error") => match self.last_error(cpu) {
                Some(failure) => Ok(write!(out, "{failure}")?),
                None => Ok(out.write_str("none")?),
            },
            Node::Cpu(cpu, "fail") => self.write_fault(cpu, out),
            Node::Machine(_) | Node::Cpu(..) => Err(ControlError::NoSuchNode),
        }
    }

    /// Understands a write to a node, without doing anything.
    ///
    /// `cpuN/target` takes the number or name of a state; `cpuN/fail` takes one with `:up` or `:down`
    /// behind it, or without for the first half that is reached, or `none`.
    ///
    /// # Errors
    /// [`ControlError`] but for [`ControlError::Operation`] and [`ControlError::Output`].
    pub fn parse_write(&self, node: &str, value: &str) -> Result<ControlRequest, ControlError> {
        let value = value.trim();
        match self.parse_node(node)? {
            Node::Cpu(cpu, "target") => {
                let at = self.parse_state(value)?;
                let (kick, idle) = (self.table().kick(), self.table().ap_idle());
                if at >= kick && at <= idle {
                    return Err(ControlError::NotATarget);
                }
                Ok(ControlRequest::Drive(cpu, at))
            }
            Node::Cpu(cpu, "fail") if value == "none" => Ok(ControlRequest::Disarm(cpu)),
            Node::Cpu(cpu, "fail") => {
                let (state, side) = match (value.strip_suffix(":up"), value.strip_suffix(":down")) {
                    (Some(state), _) => (state, FaultAt::Up),
                    (None, Some(state)) => (state, FaultAt::Down),
                    (None, None) => (value, FaultAt::Either),
                };
                Ok(ControlRequest::Arm(cpu, self.parse_state(state)?, side))
            }
            Node::Machine(
                "states" | "instances" | "possible" | "present" | "available" | "online" | "dying"
                | "frozen",
            )
            | Node::Cpu(_, "state" | "error") => Err(ControlError::ReadOnly),
            Node::Machine(_) | Node::Cpu(..) => Err(ControlError::NoSuchNode),
        }
    }

    /// Does what a write to a node asks for, and returns when it is done.
    ///
    /// Context: as [`Self::cpu_up`].
    ///
    /// # Errors
    /// As [`Self::parse_write`], and [`ControlError::Operation`].
    pub fn write_node(&self, node: &str, value: &str) -> Result<(), ControlError> {
        match self.parse_write(node, value)? {
            ControlRequest::Drive(cpu, at) => self.drive(cpu, at)?,
            ControlRequest::Arm(cpu, at, side) => {
                self.write()
                    .map_err(OpError::from)?
                    .arm_fault(cpu, at, side)?;
            }
            ControlRequest::Disarm(cpu) => {
                self.write().map_err(OpError::from)?.disarm_fault(cpu)?;
            }
        }
        Ok(())
    }

    fn parse_node<'t>(&self, node: &'t str) -> Result<Node<'t>, ControlError> {
        let Some((cpu, leaf)) = node.trim().split_once('/') else {
            return Ok(Node::Machine(node.trim()));
        };
        let number = cpu.strip_prefix("cpu").ok_or(ControlError::NoSuchNode)?;
        let cpu = parse_number(number)
            .map(CpuId::new)
            .ok_or(ControlError::NoSuchCpu)?;
        self.record(cpu).ok_or(ControlError::NoSuchCpu)?;
        Ok(Node::Cpu(cpu, leaf))
    }

    fn parse_state(&self, text: &str) -> Result<StateId, ControlError> {
        let last = self.table().online();
        let numbered = parse_number(text).and_then(|number| u16::try_from(number).ok());
        let numbered = numbered.map(StateId::new).filter(|at| *at <= last);
        let named = |at: &StateId| !text.is_empty() && self.name(*at) == text;
        let found = numbered.or_else(|| (0..=last.get()).map(StateId::new).find(named));
        found.ok_or(ControlError::NoSuchState)
    }

    fn write_fault(&self, cpu: CpuId, out: &mut dyn Write) -> Result<(), ControlError> {
        let Some((at, side)) = self.armed_fault(cpu) else {
            return Ok(out.write_str("none")?);
        };
        let side = match side {
            FaultAt::Up => ":up",
            FaultAt::Down => ":down",
            FaultAt::Either => "",
        };
        Ok(write!(out, "{}{side}", self.name(at))?)
    }

    /// One line per state that does something, and per built-in one: number, section, name, whether all
    /// CPUs may be in it at once, how many instances, and which CPUs hold it.
    fn write_states(&self, out: &mut dyn Write) -> Result<(), ControlError> {
        for at in (0..=self.table().online().get()).map(StateId::new) {
            let name = self.name(at);
            if name.is_empty() {
                continue;
            }
            let together = if self.breaks_run(at) {
                "one-by-one"
            } else {
                "parallel"
            };
            write!(
                out,
                "{at:>3} {:<8} {name:<24} {together:<10} ",
                self.section_name(at)
            )?;
            if let Some(instances) = self.instances_at(at) {
                write!(out, "instances={instances} ")?;
            }
            let holds = |cpu: &CpuId| self.state(*cpu).is_some_and(|state| state >= at);
            write_ranges(out, self.all_cpus().filter(holds))?;
            out.write_char('\n')?;
        }
        for failure in self.all_cpus().filter_map(|cpu| self.last_error(cpu)) {
            writeln!(out, "{failure}")?;
        }
        Ok(())
    }

    fn write_instances(&self, out: &mut dyn Write) -> Result<(), ControlError> {
        for at in (0..=self.table().online().get()).map(StateId::new) {
            if let Some(instances) = self.instances_at(at) {
                writeln!(out, "{at} {} {instances}", self.name(at))?;
            }
        }
        Ok(())
    }

    /// Returns how many instances a multi-instance state has.
    fn instances_at(&self, at: StateId) -> Option<usize> {
        let starting = self.table().starting.get(at).map(Half::roster);
        let list = starting.or_else(|| self.step(at).map(Half::roster))??;
        let first = list.first(Direction::Up);
        Some(core::iter::successors(first, |one| one.following(Direction::Up)).count())
    }

    fn section_name(&self, at: StateId) -> &'static str {
        let (kick, idle) = (self.table().kick(), self.table().ap_idle());
        if at < kick {
            "prepare"
        } else if at == kick {
            "kick"
        } else if at <= idle {
            "starting"
        } else {
            "online"
        }
    }
}

/// Reads a plain decimal number: digits only.
fn parse_number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Writes ascending CPUs as `0-3,5`, or `none`.
fn write_ranges(out: &mut dyn Write, cpus: impl Iterator<Item = CpuId>) -> fmt::Result {
    let mut run: Option<(u32, u32)> = None;
    let mut first = true;
    let mut flush = |out: &mut dyn Write, run: (u32, u32)| -> fmt::Result {
        let comma = if first { "" } else { "," };
        first = false;
        match run {
            (from, to) if from == to => write!(out, "{comma}{from}"),
            (from, to) => write!(out, "{comma}{from}-{to}"),
        }
    };
    for cpu in cpus.map(CpuId::get) {
        run = match run {
            Some((from, to)) if to + 1 == cpu => Some((from, cpu)),
            Some(done) => {
                flush(out, done)?;
                Some((cpu, cpu))
            }
            None => Some((cpu, cpu)),
        };
    }
    match run {
        Some(done) => flush(out, done),
        None => out.write_str("none"),
    }
}
