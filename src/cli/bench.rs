//! `wschat bench`.

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::failure::{CommandResult, Exit, Failure};
use crate::bench::{BenchError, Options, run as run_bench};

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    options: Options,
    /// Print one line of JSON, which is the default if the output is not a terminal
    #[arg(long)]
    json: bool,
}

/// Runs the benchmark and prints its report. A lost message is a failure, too.
pub fn run(args: BenchArgs) -> CommandResult {
    let BenchArgs { options, json } = args;
    let is_table = stdout().is_terminal() && !json;
    let bar = progress_bar(is_table);
    let result = run_bench(&options, &mut |phase, done, total| {
        bar.set_message(phase);
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = result.map_err(|error| failure(&options.url, error))?;
    match serde_json::to_string(&report) {
        Ok(json) if !is_table => println!("{json}"),
        _ => print!("{}", report.describe(options.mode)),
    }
    match report.failure() {
        Some(failure) => Err(Failure::new(Exit::Unavailable, &options.url, failure)),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn failure(url: &str, error: BenchError) -> Failure {
    let (exit, what) = match error {
        BenchError::Options(_) => (Exit::Usage, "bench"),
        BenchError::Machine { .. } | BenchError::System(_) => (Exit::OsError, "bench"),
        BenchError::Process { .. } => (Exit::NoInput, "bench"),
        BenchError::Server(_) => (Exit::Unavailable, url),
    };
    Failure::new(exit, what, error)
}

fn progress_bar(visible: bool) -> ProgressBar {
    if !visible {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:14} {wide_bar} {percent:>3} %");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
