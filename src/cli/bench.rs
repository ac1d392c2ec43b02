//! `wschat bench`.

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::failure::{Exit, Failure, Outcome};
use crate::bench::{Mode, Plan, Progress, Stop, Target, run as run_plan};

/// The options of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The server, ws://HOST:PORT/
    #[arg(value_name = "URL")]
    url: String,
    /// What to measure
    #[arg(long, value_enum, default_value = "throughput")]
    mode: Mode,
    /// Connections that listen, including the senders and the slow listeners
    #[arg(long, value_name = "N", default_value_t = 1000)]
    listeners: usize,
    /// Listeners that also send messages, in turn
    #[arg(long, value_name = "S", default_value_t = 1)]
    senders: usize,
    /// throughput: messages in flight, of all senders; a message is in flight until every listener has it
    #[arg(long, value_name = "W", default_value_t = 16)]
    window: usize,
    /// latency, storm, slow: messages per second, of all senders
    #[arg(long, value_name = "R", default_value_t = 10.0)]
    rate: f64,
    /// Duration of the measurement in seconds
    #[arg(long, value_name = "T", default_value_t = 10.0)]
    secs: f64,
    /// slow: listeners that never read [default: 10 % of the listeners]
    #[arg(long, value_name = "K")]
    slow: Option<usize>,
    /// storm: connections that are opened at the same time
    #[arg(long, value_name = "N", default_value_t = 5000)]
    storm: usize,
    /// Length of the JSON of a message in bytes, without its token
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Send this token with each message
    #[arg(long, value_name = "T")]
    token: Option<String>,
    /// Process id of the server on this machine, to measure its CPU time and memory
    #[arg(long, value_name = "P")]
    pid: Option<u32>,
    /// Print one line of JSON, which is the default if the output is not a terminal
    #[arg(long)]
    json: bool,
}

/// Runs the benchmark and prints its report. A lost message is a failure, too.
pub fn run(args: BenchArgs) -> Outcome {
    let plan = plan(&args)?;
    let is_table = stdout().is_terminal() && !args.json;
    let bar = progress_bar(is_table);
    let result = run_plan(&plan, &mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    let report = result.map_err(|stop| failure(&args.url, stop))?;
    if is_table {
        println!("{}", report.describe(plan.mode));
    } else {
        println!("{report}");
    }
    if report.is_sound() {
        return Ok(ExitCode::SUCCESS);
    }
    let why = format!(
        "{} messages lost, {} repeated, {} reordered, {} connections closed",
        report.lost, report.repeated, report.reordered, report.closed
    );
    Err(Failure::new(Exit::Unavailable, &args.url, why))
}

fn plan(args: &BenchArgs) -> Result<Plan, Failure> {
    let target: Target =
        args.url.parse().map_err(|why: String| Failure::new(Exit::Usage, &args.url, why))?;
    let secs = Duration::try_from_secs_f64(args.secs)
        .map_err(|why| Failure::new(Exit::Usage, "--secs", why))?;
    let slow = match (args.slow, args.mode) {
        (Some(slow), _) => slow,
        (None, Mode::Slow) => (args.listeners / 10).max(1),
        (None, _) => 0,
    };
    Ok(Plan {
        target,
        mode: args.mode,
        listeners: args.listeners,
        senders: args.senders,
        window: args.window,
        rate: args.rate,
        secs,
        slow,
        storm: args.storm,
        size: args.size,
        token: args.token.clone(),
        pid: args.pid,
    })
}

fn failure(url: &str, stop: Stop) -> Failure {
    let (exit, what) = match stop {
        Stop::Plan(_) => (Exit::Usage, "bench"),
        Stop::Machine { .. } | Stop::System(_) => (Exit::OsError, "bench"),
        Stop::Process { .. } => (Exit::NoInput, "bench"),
        Stop::Server(_) => (Exit::Unavailable, url),
    };
    Failure::new(exit, what, stop)
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

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_message(progress.what);
    bar.set_length(progress.of);
    bar.set_position(progress.done);
}
