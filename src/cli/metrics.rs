//! `wschat metrics`.

use super::args::ControlArgs;
use super::failure::CommandResult;
use super::output::print;
use crate::control::ControlRequest;

/// Prints the metrics in the Prometheus text format.
pub fn run(args: &ControlArgs) -> CommandResult {
    let text: String = args.ask(&ControlRequest::Metrics {})?;
    print(&text)
}
