//! The one way in which a command fails: a line on stderr and an exit code.

use std::fmt;
use std::process::ExitCode;

use crate::config::Problems;

/// What a command returns: an exit code or a failure.
pub type Outcome = Result<ExitCode, Failure>;

/// Exit codes that scripts can rely on, from sysexits(3head).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for cannot be done, and nothing has changed.
    NotDone = 1,
    /// The command line is wrong (`EX_USAGE`).
    Usage = 64,
    /// An input file does not exist or cannot be read (`EX_NOINPUT`).
    NoInput = 66,
    /// A service is not there: nothing listens, the peer closed (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// The operating system refused something that has to work (`EX_OSERR`).
    OsError = 71,
    /// The caller may not do that (`EX_NOPERM`).
    NoPermission = 77,
    /// The configuration is wrong (`EX_CONFIG`).
    Config = 78,
}

/// Why a command ended without doing its work: `wschat: what: why`, or all
/// that is wrong with the configuration, a line each.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    /// A failure of `what` (a file, an address, an option) because of `why`.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::cli::{Exit, Failure};
    /// let failure = Failure::new(Exit::NoInput, "/etc/wschat.toml", "no such file");
    /// assert_eq!(failure.to_string(), "wschat: /etc/wschat.toml: no such file");
    /// ```
    pub fn new(exit: Exit, what: impl Into<String>, why: impl fmt::Display) -> Self {
        // One line whatever a peer or the system put into the reason.
        let line = format!("wschat: {}: {why}", what.into());
        let text = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { exit, text }
    }

    /// The code that the process ends with.
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
