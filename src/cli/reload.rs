//! `wschat reload`.

use std::process::ExitCode;

use super::args::ControlArgs;
use super::failure::{CommandResult, Exit};
use crate::control::{ControlRequest, ErrorCode, ReloadReport, RequestError};
use crate::daemon::is_journal_stderr;

/// Tells the daemon to reload its configuration. Prints the warnings, or the problems
/// of a rejected configuration, but not into the journal: the daemon has logged them there.
pub fn run(args: &ControlArgs) -> CommandResult {
    let is_logged = is_journal_stderr();
    let print = |line: String| {
        if !is_logged {
            eprintln!("{line}");
        }
    };
    match args.try_ask::<ReloadReport>(&ControlRequest::Reload { problems: Vec::new() }) {
        Ok(reloaded) => {
            for warning in reloaded.warnings {
                print(warning);
            }
            for key in reloaded.needs_restart {
                print(format!(
                    "wschat: {key}: warning: the new value takes effect after a restart"
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(RequestError::Daemon(error)) if error.err == ErrorCode::ConfigRejected => {
            for problem in error.problems {
                print(problem);
            }
            Ok(ExitCode::from(Exit::Config as u8))
        }
        Err(error) => Err(args.failure(error)),
    }
}
