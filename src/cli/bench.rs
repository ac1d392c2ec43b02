//! `wschat bench`: measures a server, this machine's or another's.

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Exit, Failure, Outcome};
use crate::bench::{Mode, Plan, Progress, Stop, Target, run as run_plan};

/// The options of `wschat bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// The server, ws://HOST:PORT/
    #[arg(value_name = "URL")]
    url: String,
    /// What to measure
    #[arg(long, value_enum, default_value = "throughput")]
    mode: Mode,
    /// Connections that listen, the senders and the slow ones among them
    #[arg(long, value_name = "N", default_value_t = 1000)]
    listeners: usize,
    /// Listeners that also send, in turn
    #[arg(long, value_name = "S", default_value_t = 1)]
    senders: usize,
    /// throughput: messages on the way, of all senders together; one has arrived when every listener has it
    #[arg(long, value_name = "W", default_value_t = 16)]
    window: usize,
    /// latency, storm, slow: messages a second, of all senders together
    #[arg(long, value_name = "R", default_value_t = 10.0)]
    rate: f64,
    /// How long to measure, in seconds
    #[arg(long, value_name = "T", default_value_t = 10.0)]
    secs: f64,
    /// slow: listeners that never read [default: a tenth of the listeners]
    #[arg(long, value_name = "K")]
    slow: Option<usize>,
    /// storm: connections that arrive at once
    #[arg(long, value_name = "N", default_value_t = 5000)]
    storm: usize,
    /// Length of a message without its token, in bytes of JSON
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Send this token with each message
    #[arg(long, value_name = "T")]
    token: Option<String>,
    /// The server's process on this machine, to see its CPU time and memory
    #[arg(long, value_name = "P")]
    pid: Option<u32>,
    /// Print one line of JSON; so it is, too, if the output is not a terminal
    #[arg(long)]
    json: bool,
}

/// Runs the benchmark and prints what it found.
///
/// # Errors
///
/// 64 for options that contradict each other, 71 for a limit of this machine,
/// 69 for all that is the server's fault: also if it lost a message.
pub fn run(args: BenchArgs) -> Outcome {
    let plan = plan(&args)?;
    let for_people = stdout().is_terminal() && !args.json;
    let bar = bar(for_people);
    let result = run_plan(&plan, &mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    let report = result.map_err(|stop| failure(&args.url, stop))?;
    if for_people {
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

fn bar(shown: bool) -> ProgressBar {
    if !shown {
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
