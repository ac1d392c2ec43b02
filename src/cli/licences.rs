//! `wschat licences`.

use super::failure::CommandResult;
use super::output::print;

/// Written by `packaging/crates update`.
const CRATES: &str = include_str!("../../packaging/crates.txt");

/// Prints the licences of all crates in the program.
pub fn run() -> CommandResult {
    print(CRATES)
}
