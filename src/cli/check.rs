//! `wschat check`.

use std::process::ExitCode;

use super::args::ConfigArgs;
use super::failure::Outcome;

/// Prints the warnings about the configuration.
pub fn run(args: &ConfigArgs) -> Outcome {
    for warning in args.load()?.warnings {
        eprintln!("{warning}");
    }
    Ok(ExitCode::SUCCESS)
}
