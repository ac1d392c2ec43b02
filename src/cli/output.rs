//! Prints results of commands on standard output.

use std::io::{ErrorKind, Write, stdout};
use std::process::ExitCode;

use serde::Serialize;

use super::failure::{CommandResult, Exit, Failure};

/// Prints a text. A closed pipe is not an error: `wschat clients | head`.
pub fn print(text: &str) -> CommandResult {
    print_while_open(text)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a text and returns whether standard output is still open.
pub fn print_while_open(text: &str) -> Result<bool, Failure> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(Exit::OsError, "standard output", error)),
    }
}

/// An answer of the daemon as a line of JSON.
pub fn json_line(answer: &impl Serialize) -> Result<String, Failure> {
    let json = serde_json::to_string(answer);
    Ok(json.map_err(|error| Failure::new(Exit::Unavailable, "answer", error))? + "\n")
}
