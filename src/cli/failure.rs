//! How a command fails: a message on standard error and an exit code.

use std::fmt;
use std::process::ExitCode;

use crate::config::Problems;

/// What a command returns: an exit code or a failure.
pub type CommandResult = Result<ExitCode, Failure>;

/// Exit codes, from sysexits.h(3head) except for `NotDone` and `NotRunning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command had no effect.
    NotDone = 1,
    /// `wschat status`: the daemon is not running, as in `systemctl status`.
    NotRunning = 3,
    /// The command line is wrong (`EX_USAGE`).
    Usage = 64,
    /// An input file cannot be read (`EX_NOINPUT`).
    NoInput = 66,
    /// A service is not available (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// The operating system reported an error (`EX_OSERR`).
    OsError = 71,
    /// It is not known whether it was done (`EX_TEMPFAIL`).
    Unknown = 75,
    /// The caller has no permission (`EX_NOPERM`).
    NoPermission = 77,
    /// The configuration is wrong (`EX_CONFIG`).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed: `wschat: WHAT: WHY`, or all problems of the configuration,
/// one per line.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    /// A failure of `what` (a file, an address, an option) because of `why`.
    pub(super) fn new(exit: Exit, what: impl Into<String>, why: impl fmt::Display) -> Self {
        // A peer or the system may have put line ends into the reason.
        let line = format!("wschat: {}: {why}", what.into());
        let text = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { exit, text }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        let exit = if problems.unreadable { Exit::NoInput } else { Exit::Config };
        Self { exit, text: problems.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
