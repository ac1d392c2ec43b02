//! `wschat completions`.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::failure::CommandResult;
use super::output::print;

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Generates the completions from the definition of the command line.
pub fn run(args: &CompletionsArgs, mut definition: Command) -> CommandResult {
    let mut text = Vec::new();
    generate(args.shell, &mut definition, "wschat", &mut text);
    print(&String::from_utf8_lossy(&text))
}
