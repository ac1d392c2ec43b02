//! `wschat reload`: has the daemon read its configuration again, and waits for
//! the verdict.

use std::process::ExitCode;

use super::{ControlArgs, Exit, Outcome};
use crate::control::{CallError, Code, Reloaded, Request};

/// Silent if all is well; otherwise prints what `wschat check` prints.
///
/// # Errors
///
/// No answer. A rejected configuration is exit code 78, and the old one stays
/// in force.
pub fn run(args: &ControlArgs) -> Outcome {
    match args.ask::<Reloaded>(&Request::Reload {}) {
        Ok(reloaded) => {
            for warning in reloaded.warnings {
                eprintln!("{warning}");
            }
            for key in reloaded.needs_restart {
                eprintln!("wschat: {key}: warning: it has changed, which takes a restart");
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(CallError::ControlError(fault)) if fault.err == Code::ConfigRejected => {
            for problem in fault.problems {
                eprintln!("{problem}");
            }
            Ok(ExitCode::from(Exit::Config as u8))
        }
        Err(error) => Err(args.failure(error)),
    }
}
