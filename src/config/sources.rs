//! What comes from outside, and where each value comes from.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::problem::{Position, Problem};
use crate::address::ListenAddress;

/// The environment variable with the folder of systemd's credentials.
pub const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// The environment variable with the secret, as in wschat 0.2.1.
pub const SECRET_VARIABLE: &str = "JWT_SECRET";

/// The environment variable with the directory of the record, as in wschat 0.2.1.
pub const LOG_DIR_VARIABLE: &str = "LOG_DIR";

/// The name of the secret among systemd's credentials.
pub(super) const CREDENTIAL: &str = "wschat.jwt_secret";

/// All that a configuration depends on outside of it. It may hold a secret, so it cannot be
/// printed.
#[derive(Clone, Default)]
pub struct Environment {
    /// The configuration file.
    pub file: PathBuf,
    /// Whether a missing file is an error: the command line names it, or the configuration in
    /// force came from it.
    pub file_required: bool,
    /// The folder of systemd's credentials: an absolute path; empty is none.
    pub credentials: Option<PathBuf>,
    /// The variable `JWT_SECRET`.
    pub jwt_secret: Option<OsString>,
    /// The variable `LOG_DIR`, as an absolute path; empty is none.
    pub log_dir: Option<PathBuf>,
    /// `--listen`: instead of `listen.addresses`, unless empty.
    pub listen: Vec<ListenAddress>,
    /// `--threads`: instead of `server.threads`.
    pub threads: Option<usize>,
    /// Descriptors that the process may open at most; none is no limit.
    pub descriptors_max: Option<u64>,
}

/// Where a value comes from.
#[derive(Clone, Debug, Default)]
pub(super) enum Source {
    #[default]
    Default,
    File(PathBuf, Position),
    Credential,
    Variable(&'static str),
    Option(&'static str),
}

impl Source {
    /// A problem with the value of `key`, which comes from here.
    pub fn problem(&self, key: &str, text: impl Into<String>) -> Problem {
        match self {
            Self::File(file, position) => Problem::at(file, *position, key, text),
            other => Problem::outside(&other.to_string(), text),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File(path, position) => write!(out, "{}:{}", path.display(), position.line),
            Self::Credential => write!(out, "credential {CREDENTIAL}"),
            Self::Variable(name) => write!(out, "environment variable {name}"),
            Self::Option(option) => out.write_str(option),
        }
    }
}
