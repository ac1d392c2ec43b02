//! `wschat status`.

use std::io::{IsTerminal, stdout};
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
use super::unit_state::UnitState;
use crate::control::{ControlRequest, RequestError, Status};

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
        Err(error @ RequestError::NotRunning) => match args.control.unit_state() {
            Some(state @ UnitState::Waiting { .. }) => print(&format_state(&state, args.json)?),
            _ => {
                eprintln!("{}", args.control.failure(error));
                Ok(ExitCode::from(Exit::NotRunning as u8))
            }
        },
        Err(error) => Err(args.control.failure(error)),
    }
}

/// Prints the status until standard output is closed, even while the daemon is not
/// running.
fn watch(args: &StatusArgs) -> CommandResult {
    let redraws = stdout().is_terminal() && !args.json;
    let mut session = args.control.session(None);
    loop {
        let text = match session.ask(&ControlRequest::Status {}) {
            Ok(status) => format_status(&status, args.json)?,
            Err(RequestError::NotRunning) => match args.control.unit_state() {
                Some(state) => format_state(&state, args.json)?,
                None if args.json => String::new(),
                None => "wschat is not running\n".to_owned(),
            },
            Err(RequestError::Connection(_)) if args.json => String::new(),
            Err(RequestError::Connection(error)) => format!("{error}\n"),
            Err(error) => return Err(args.control.failure(error)),
        };
        if !print_while_open(&if redraws { redraw(&text) } else { text })? {
            return Ok(ExitCode::SUCCESS);
        }
        sleep(WATCH_INTERVAL);
    }
}

/// Erases the screen before a text, whose lines may be longer than the rows.
fn redraw(text: &str) -> String {
    format!("\x1b[H\x1b[J{text}")
}

fn format_status(status: &Status, json: bool) -> Result<String, Failure> {
    if json { json_line(&StatusLine::Running(status)) } else { Ok(describe(status, Utc::now())) }
}

/// The state of the units while no daemon answers; JSON has only the one that is no problem.
fn format_state(state: &UnitState, json: bool) -> Result<String, Failure> {
    match state {
        UnitState::Waiting { listening } if json => json_line(&StatusLine::Waiting { listening }),
        UnitState::Other(_) if json => Ok(String::new()),
        state => Ok(format!("{state}\n")),
    }
}
