//! The `wschat` program: parses the command line, runs it, maps the error to
//! an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    match wschat::cli::run() {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}
