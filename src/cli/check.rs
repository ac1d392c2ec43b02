//! `wschat check`: is the configuration good?

use std::process::ExitCode;

use super::{ConfigArgs, Outcome};

/// Prints what should be different; silent if there is nothing.
///
/// # Errors
///
/// All problems of the configuration, for exit code 78 (66: no such file).
pub fn run(args: &ConfigArgs) -> Outcome {
    for warning in args.load()?.warnings {
        eprintln!("{warning}");
    }
    Ok(ExitCode::SUCCESS)
}
