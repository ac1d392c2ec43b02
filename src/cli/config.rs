//! `wschat config`: every effective value, and where it comes from.

use std::io::{ErrorKind, Write, stdout};
use std::process::ExitCode;

use super::{ConfigArgs, Exit, Failure, Outcome};

/// Prints a line for each key: `limits.connections_max = 100000  # default`.
///
/// # Errors
///
/// All problems of the configuration; standard output that cannot be written.
pub fn run(args: &ConfigArgs) -> Outcome {
    let mut out = stdout().lock();
    for value in args.load()?.values {
        match writeln!(out, "{value}") {
            // Whoever reads has seen enough: `wschat config | head -1`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            written => {
                written.map_err(|error| Failure::new(Exit::OsError, "standard output", error))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
