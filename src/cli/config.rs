//! `wschat config`.

use super::args::ConfigArgs;
use super::failure::CommandResult;
use super::output::print;
use super::own_unit::load_or_run;

/// Prints a line for each key: `limits.connections_max = 100000  # default`.
pub fn run(args: &ConfigArgs) -> CommandResult {
    let loaded = match load_or_run(args)? {
        Ok(loaded) => loaded.with_usable_keys()?,
        Err(code) => return Ok(code),
    };
    let lines = loaded.values.into_iter().map(|value| format!("{value}\n"));
    print(&lines.collect::<String>())
}
