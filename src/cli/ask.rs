//! What the commands that ask a running daemon have in common.

use std::io::{ErrorKind, Write, stdout};
use std::path::PathBuf;

use clap::Args;
use serde::de::DeserializeOwned;

use super::{Exit, Failure};
use crate::control::{CONTROL_PATH, Call, CallError, Code, Request};

/// Where the daemon is that a command asks.
#[derive(Debug, Clone, Args)]
pub struct ControlArgs {
    /// The control socket of the daemon
    #[arg(long, value_name = "PATH", default_value = CONTROL_PATH)]
    pub control: PathBuf,
}

impl ControlArgs {
    /// Asks the daemon once.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, CallError> {
        Call::open(&self.control)?.ask(request)
    }

    /// The failure that a command ends with.
    pub fn failure(&self, error: CallError) -> Failure {
        let exit = match &error {
            CallError::Forbidden => Exit::NoPermission,
            CallError::ControlError(fault) => match fault.err {
                Code::Forbidden => Exit::NoPermission,
                Code::ConfigRejected => Exit::Config,
                Code::BadRequest => Exit::Usage,
                Code::NotDone => Exit::NotDone,
                _ => Exit::Unavailable,
            },
            CallError::NotRunning | CallError::Broken(_) => Exit::Unavailable,
        };
        Failure::new(exit, self.control.display().to_string(), error)
    }
}

/// Prints `text`; says whether anybody reads on.
///
/// # Errors
///
/// Standard output cannot be written. That its reader has seen enough is none:
/// `wschat clients | head`.
pub fn print(text: &str) -> Result<bool, Failure> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(Exit::OsError, "standard output", error)),
    }
}
