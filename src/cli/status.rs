//! `wschat status`.

use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use chrono::Utc;
use clap::Args;
use serde::Serialize;

use super::args::ControlArgs;
use super::failure::{CommandResult, Exit, Failure};
use super::output::{json_line, print, print_while_open};
use super::status_text::describe;
use super::unit_state::{UnitState, unit_state};
use crate::control::{CONTROL_PATH, ControlClient, ControlRequest, RequestError, Status};

/// The interval of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is 0 if the daemon is running, or if wschat.socket waits for the first
client, which starts it; it is 3 if neither is so. Rates are averages of the last ten
seconds.")]
pub struct StatusArgs {
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Repeat every second until interrupted
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    control: ControlArgs,
}

/// The status in JSON.
#[derive(Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum StatusLine<'a> {
    /// The daemon runs.
    Running(&'a Status),
    /// The socket unit waits for the first client.
    Waiting { listening: &'a [String] },
}

/// Prints the status once or repeatedly.
pub fn run(args: &StatusArgs) -> CommandResult {
    if args.watch {
        return watch(args);
    }
    match args.control.try_ask(&ControlRequest::Status {}) {
        Ok(status) => print(&format_status(&status, args.json)?),
        Err(error @ RequestError::NotRunning) => match explain(&args.control) {
            Some(UnitState::Waiting { listening }) => {
                print(&format_waiting(&listening, args.json)?)
            }
            other => {
                match other {
                    Some(UnitState::Other(why)) => eprintln!("wschat: {why}"),
                    _ => eprintln!("{}", args.control.failure(error)),
                }
                Ok(ExitCode::from(Exit::NotRunning as u8))
            }
        },
        Err(error) => Err(args.control.failure(error)),
    }
}

/// What systemd knows of a daemon that does not answer. It knows nothing of one with another
/// control socket.
fn explain(control: &ControlArgs) -> Option<UnitState> {
    (control.control == Path::new(CONTROL_PATH)).then(unit_state)?
}

/// Prints the status until standard output is closed, even while the daemon is not
/// running.
fn watch(args: &StatusArgs) -> CommandResult {
    let redraws = stdout().is_terminal() && !args.json;
    let mut call = None;
    loop {
        let text = match ask(&mut call, &args.control) {
            Ok(status) => format_status(&status, args.json)?,
            Err(RequestError::NotRunning | RequestError::Connection(_)) => {
                match explain(&args.control) {
                    Some(UnitState::Waiting { listening }) => {
                        format_waiting(&listening, args.json)?
                    }
                    _ if args.json => String::new(),
                    Some(UnitState::Other(why)) => format!("{why}\n"),
                    None => "wschat is not running\n".into(),
                }
            }
            Err(error) => return Err(args.control.failure(error)),
        };
        if !print_while_open(&if redraws { redraw(&text) } else { text })? {
            return Ok(ExitCode::SUCCESS);
        }
        sleep(WATCH_INTERVAL);
    }
}

/// Uses one connection until it breaks.
fn ask(call: &mut Option<ControlClient>, control: &ControlArgs) -> Result<Status, RequestError> {
    let mut open = match call.take() {
        Some(open) => open,
        None => ControlClient::connect(&control.control)?,
    };
    let status = open.ask(&ControlRequest::Status {})?;
    *call = Some(open);
    Ok(status)
}

/// Overwrites the screen line by line, so that it does not flicker.
fn redraw(text: &str) -> String {
    let lines = text.replace('\n', "\x1b[K\n");
    format!("\x1b[H{lines}\x1b[J")
}

fn format_status(status: &Status, json: bool) -> Result<String, Failure> {
    if json { json_line(&StatusLine::Running(status)) } else { Ok(describe(status, Utc::now())) }
}

fn format_waiting(listening: &[String], json: bool) -> Result<String, Failure> {
    if json {
        return json_line(&StatusLine::Waiting { listening });
    }
    Ok(format!("wschat waits for the first client on {}\n", listening.join(", ")))
}
