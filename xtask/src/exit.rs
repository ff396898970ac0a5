//! How a command ends: the exit codes, and the error that means "the arguments were wrong".

use std::fmt;
use std::process::ExitCode;

/// The answer of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done and is right.
    Pass,
    /// Something is wrong; it was printed.
    Fail,
    /// The arguments were wrong.
    Usage,
    /// Nothing could be checked, for a reason that was printed.
    Skipped,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Pass => Self::SUCCESS,
            Exit::Fail => Self::FAILURE,
            Exit::Usage => Self::from(2),
            Exit::Skipped => Self::from(3),
        }
    }
}

impl Exit {
    /// Returns `Pass` if there were no `failures`, else `Fail`.
    pub(crate) fn from_failures(failures: usize) -> Self {
        if failures == 0 {
            Self::Pass
        } else {
            Self::Fail
        }
    }
}

/// A wrong argument: one line that says what would be right.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Makes a [`Usage`] error out of its line.
pub(crate) fn usage(line: impl Into<String>) -> anyhow::Error {
    Usage(line.into()).into()
}
