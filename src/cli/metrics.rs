//! `wschat metrics`: what Prometheus would be told.

use std::process::ExitCode;

use super::ask::print;
use super::{ControlArgs, Outcome};
use crate::control::Request;

/// Prints the metrics in the Prometheus text format.
///
/// # Errors
///
/// No answer; standard output that cannot be written.
pub fn run(args: &ControlArgs) -> Outcome {
    let text: String = args.ask(&Request::Metrics {}).map_err(|error| args.failure(error))?;
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
