//! `wschat config`.

use super::args::ConfigArgs;
use super::failure::CommandResult;
use super::output::print;

/// Prints a line for each key: `limits.connections_max = 100000  # default`.
pub fn run(args: &ConfigArgs) -> CommandResult {
    let lines = args.load()?.values.into_iter().map(|value| format!("{value}\n"));
    print(&lines.collect::<String>())
}
