//! `wschat reload`.

use std::process::ExitCode;

use super::args::ControlArgs;
use super::failure::{CommandResult, Exit};
use crate::control::{ControlRequest, ErrorCode, ReloadReport, RequestError};

/// Tells the daemon to reload its configuration. Prints the warnings, or the problems
/// of a rejected configuration.
pub fn run(args: &ControlArgs) -> CommandResult {
    match args.try_ask::<ReloadReport>(&ControlRequest::Reload { problems: Vec::new() }) {
        Ok(reloaded) => {
            for warning in reloaded.warnings {
                eprintln!("{warning}");
            }
            for key in reloaded.needs_restart {
                eprintln!("wschat: {key}: warning: the new value takes effect after a restart");
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(RequestError::Daemon(error)) if error.err == ErrorCode::ConfigRejected => {
            for problem in error.problems {
                eprintln!("{problem}");
            }
            Ok(ExitCode::from(Exit::Config as u8))
        }
        Err(error) => Err(args.failure(error)),
    }
}
