//! `wschat check`.

use std::process::ExitCode;

use super::args::ConfigArgs;
use super::failure::CommandResult;
use super::output::print;

/// Prints the warnings about the configuration, and which files it consists of if there are
/// drop-ins.
pub fn run(args: &ConfigArgs) -> CommandResult {
    let loaded = args.load()?;
    for warning in loaded.warnings {
        eprintln!("{warning}");
    }
    if !loaded.has_drop_ins {
        return Ok(ExitCode::SUCCESS);
    }
    let lines = loaded.files.iter().map(|file| format!("read {}\n", file.display()));
    print(&lines.collect::<String>())
}
