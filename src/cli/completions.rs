//! `wschat completions`: what the packages install for the shells.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, Exit, Failure, Outcome};

/// The options of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that will read them
    shell: Shell,
}

/// Prints the completions, made from the definition of the command line itself.
///
/// # Errors
///
/// A [`Failure`] if stdout takes no more.
pub fn run(args: &CompletionsArgs) -> Outcome {
    let mut text = Vec::new();
    generate(args.shell, &mut Cli::command(), "wschat", &mut text);
    io::stdout().write_all(&text).map_err(|why| Failure::new(Exit::OsError, "stdout", why))?;
    Ok(ExitCode::SUCCESS)
}
