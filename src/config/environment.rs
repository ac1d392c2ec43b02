//! What a configuration is made of, and where each value comes from.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::problem::{Position, Problem, printable};
use crate::address::ListenAddress;

/// Everything that a configuration is made of, with secrets: it cannot be printed.
#[derive(Clone, Default)]
pub struct Environment {
    /// The configuration file; its drop-ins are beside it.
    pub file: PathBuf,
    /// Whether it is an error if that file is missing.
    pub file_required: bool,
    /// The variable `CREDENTIALS_DIRECTORY`, an absolute path; empty is none.
    pub credentials: Option<PathBuf>,
    /// The name of this machine.
    pub host_name: String,
    /// The variable `JWT_SECRET`.
    pub jwt_secret: Option<OsString>,
    /// The variable `LOG_DIR`, as an absolute path; empty is none.
    pub log_dir: Option<PathBuf>,
    /// The directory that outlives a stop, an absolute path; the service manager creates it.
    pub state_dir: Option<PathBuf>,
    /// Whether a token is known to have been needed, besides what the state directory says.
    pub was_restricted: bool,
    /// `--listen`: instead of `listen.addresses`, unless empty.
    pub listen: Vec<ListenAddress>,
    /// `--threads`: instead of `server.threads`.
    pub threads: Option<usize>,
    /// The most descriptors that the process may open; none is no limit.
    pub descriptors_max: Option<u64>,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Default,
    File(PathBuf, Position),
    /// Another source, by its name.
    Other(&'static str),
}

impl Source {
    /// A problem with the value of `key`, which comes from here.
    pub fn problem(&self, key: &str, text: impl Into<String>) -> Problem {
        match self {
            Self::File(file, position) => Problem::at(file, *position, key, text),
            Self::Default => Problem::outside(key, text),
            Self::Other(name) => Problem::outside(name, text),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File(path, position) => {
                write!(out, "{}:{}", printable(&path.display().to_string()), position.line)
            }
            Self::Other(name) => out.write_str(name),
        }
    }
}
