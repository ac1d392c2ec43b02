//! `wschat top`.

use std::io::{self, IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use crossterm::event::{Event, KeyCode, KeyModifiers, poll, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode, size};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::args::ControlArgs;
use super::failure::{CommandResult, Exit, Failure};
use super::output::{json_line, print};
use super::table::cut;
use super::top_text::{picture, text};
use crate::control::{ControlRequest, ControlSession, RequestError, Status, Top};
use crate::server::TopKey;

/// How many addresses and clients are requested for a terminal: more rows than it has.
const ROWS_MAX: usize = 200;
/// How soon a daemon is looked for that does not answer.
const RETRY: Duration = Duration::from_secs(1);
/// How long keys may have no effect because a daemon does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The screen of its own, without a cursor and without line breaks of the terminal.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

#[derive(Debug, Args)]
#[command(after_help = "\
Rates are averages of the last ten seconds. MSG/S are messages that arrive, sent or
refused. The figures of an address include connections that are gone and messages by
POST; CONN-REFUSED are its connections and requests that were refused.
On a terminal the picture is redrawn; if standard output is none, or with --once or
--json, it is printed once. Keys: m, r, b, l sort by messages, refused messages,
received bytes and lag; the space bar redraws; q ends.

    wschat top --once --sort refused --limit 3")]
pub struct TopArgs {
    /// Who is first
    #[arg(long, value_enum, default_value_t)]
    sort: TopKey,
    /// Print at most this number of addresses and of clients
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    limit: usize,
    /// Redraw after so many seconds
    #[arg(long, value_name = "SECS", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Print one picture and end
    #[arg(long)]
    once: bool,
    /// Print one line of JSON and end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    control: ControlArgs,
}

/// Shows the first addresses and clients, once or until a key ends it.
pub fn run(args: &TopArgs) -> CommandResult {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if args.once || args.json || is_dumb || !stdout().is_terminal() {
        let (status, top) = ask(&mut args.control.session(None), args.sort, args.limit)
            .map_err(|error| args.control.failure(error))?;
        return print(&if args.json { json_line(&top)? } else { text(&status, &top, args.sort) });
    }
    let os_error = |error| Failure::new(Exit::OsError, "terminal", error);
    redraw(args).map_err(os_error)?;
    Ok(ExitCode::SUCCESS)
}

/// Redraws the picture until a key ends it.
fn redraw(args: &TopArgs) -> io::Result<()> {
    let _screen = Screen::enter()?;
    let (mut session, mut sort) = (args.control.session(Some(PATIENCE)), args.sort);
    let interval = Duration::from_secs(args.interval);
    loop {
        let reply = ask(&mut session, sort, ROWS_MAX).map_err(|error| match error {
            RequestError::NotRunning => args.control.not_running(),
            error => error.to_string(),
        });
        let due = Instant::now() + if reply.is_ok() { interval } else { interval.min(RETRY) };
        loop {
            let (columns, rows) = screen_size();
            let lines = match &reply {
                Ok((status, top)) => picture(status, top, sort, columns, rows),
                Err(why) => vec![cut(why, columns)],
            };
            draw(&lines)?;
            match next_key(due)? {
                Key::Quit => return Ok(()),
                Key::Sort(key) => sort = key,
                Key::Resized => continue,
                Key::Redraw => {}
            }
            break;
        }
    }
}

/// What happens next.
enum Key {
    Quit,
    Sort(TopKey),
    Resized,
    /// A key asks for it, or it is due.
    Redraw,
}

/// Waits for a key until the next picture is due.
fn next_key(due: Instant) -> io::Result<Key> {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if !poll(left)? {
            return Ok(Key::Redraw);
        }
        let key = match read()? {
            Event::Resize(..) => return Ok(Key::Resized),
            Event::Key(key) => key,
            _ => continue,
        };
        let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if has_control => return Ok(Key::Quit),
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => return Ok(Key::Quit),
            KeyCode::Char('m') => return Ok(Key::Sort(TopKey::Messages)),
            KeyCode::Char('r') => return Ok(Key::Sort(TopKey::Refused)),
            KeyCode::Char('b') => return Ok(Key::Sort(TopKey::Received)),
            KeyCode::Char('l') => return Ok(Key::Sort(TopKey::Behind)),
            KeyCode::Char(' ') | KeyCode::Enter => return Ok(Key::Redraw),
            _ => {}
        }
    }
}

fn ask(
    session: &mut ControlSession,
    sort: TopKey,
    limit: usize,
) -> Result<(Status, Top), RequestError> {
    let top = session.ask(&ControlRequest::Top { sort, limit })?;
    Ok((session.ask(&ControlRequest::Status {})?, top))
}

/// The columns and rows of the terminal. A serial line does not know how many it has.
fn screen_size() -> (usize, usize) {
    match size() {
        Ok((columns, rows)) if columns > 0 && rows > 0 => (columns.into(), rows.into()),
        _ => (80, 24),
    }
}

/// Overwrites the screen line by line, so that it does not flicker.
fn draw(lines: &[String]) -> io::Result<()> {
    write(&drawing(lines))
}

/// What is behind a line is erased before it: after a line that fills the row, the cursor is
/// still on its last character.
fn drawing(lines: &[String]) -> String {
    let Some((last, others)) = lines.split_last() else { return String::new() };
    let others: String = others.iter().map(|line| format!("\x1b[K{line}\r\n")).collect();
    format!("\x1b[H{others}\x1b[J{last}")
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The terminal while it shows pictures; dropping this restores it, and so does a signal.
struct Screen(());

impl Screen {
    fn enter() -> io::Result<Self> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                // Nothing is written after this: the lock is held until the end.
                let mut stdout = stdout().lock();
                let _ = stdout.write_all(LEAVE.as_bytes()).and_then(|()| stdout.flush());
                let _ = disable_raw_mode();
                let _ = emulate_default_handler(signal);
            }
        })?;
        enable_raw_mode()?;
        let screen = Self(());
        write(ENTER)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to restore.
        let _ = write(LEAVE);
        let _ = disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_fills_its_row_keeps_its_last_character() {
        let lines = ["one", "two", "three"].map(String::from);
        assert_eq!(drawing(&lines), "\x1b[H\x1b[Kone\r\n\x1b[Ktwo\r\n\x1b[Jthree");
        assert_eq!(drawing(&[]), "");
    }
}
