//! `wschat check`.

use std::process::ExitCode;

use super::args::ConfigArgs;
use super::failure::CommandResult;

/// Prints the warnings about the configuration.
pub fn run(args: &ConfigArgs) -> CommandResult {
    for warning in args.load()?.warnings {
        eprintln!("{warning}");
    }
    Ok(ExitCode::SUCCESS)
}
