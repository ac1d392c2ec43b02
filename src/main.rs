//! The `wschat` program: parses the command line, runs it, maps the error to
//! an exit code.

use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    match wschat::cli::run() {
        Ok(code) => code,
        Err(failure) => {
            // If standard error is closed, the exit code still reports the failure.
            let _ = writeln!(io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
}
