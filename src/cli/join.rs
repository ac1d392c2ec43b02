//! `wschat join`: the room from a terminal or a pipe.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rustix::fs::{FileType, fstat};

use super::{Exit, Failure, Outcome};
use crate::client::{Address, End, Lines, LinesError, Paint, Stdin, Terminal, TokenSource};

/// The options of `join`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
In a pipe, each line of stdin is sent, one after the other, and has come back
from the room before the next one goes: the exit code is 0 when all have. If the
room does not send one on, the reason is on stderr, the rest is not sent, and
the exit code is 1; 69 if there is no connection, or it ends. A line that comes
too early for the room is sent again when its time has come.

Without a line to send (stdin is a terminal or /dev/null, or with --json ends
before a line came), join listens until the connection ends or nobody reads its
output.

    echo \"build 412 is green\" | wschat join wss://chat.example --usr ci
    wschat join wss://chat.example --json </dev/null | jq .msg")]
pub struct JoinArgs {
    /// The room: ws://HOST:PORT/ or, with TLS, wss://HOST/
    #[arg(value_name = "URL")]
    pub url: String,
    /// The name to speak under [default: the login name]
    #[arg(long, value_name = "NAME")]
    pub usr: Option<String>,
    /// The token to speak with; others on this machine can see it there, so
    /// better use --token-file or the variable WSCHAT_TOKEN
    #[arg(long, value_name = "T", value_parser = token_text, conflicts_with = "token_file")]
    pub token: Option<TokenSource>,
    /// A file with the token, read again for every connection
    #[arg(long, value_name = "F")]
    pub token_file: Option<PathBuf>,
    /// Print each message as a line of JSON
    #[arg(long)]
    pub json: bool,
    /// No colours; the variable NO_COLOR does the same
    #[arg(long)]
    pub no_color: bool,
}

/// Runs the client until its end.
///
/// # Errors
///
/// If the URL or the token is wrong, or the connection is.
pub fn run(args: JoinArgs) -> Outcome {
    let address: Address =
        args.url.parse().map_err(|error| Failure::new(Exit::Usage, &args.url, error))?;
    let place = address.place().to_owned();
    let usr = args.usr.unwrap_or_else(login_name);
    let token = token_source(args.token, args.token_file);
    // Told before the terminal is taken over, and before anything is sent.
    token.read().map_err(|error| Failure::new(Exit::NoInput, "token", error))?;
    let paint = match stdout().is_terminal() && !args.no_color && colours_wanted() {
        true => Paint::Colour,
        false => Paint::Plain,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::OsError, "runtime", error))?;

    let talking = stdin().is_terminal() && stdout().is_terminal() && !args.json;
    let end = if talking && term().is_some() {
        let terminal = Terminal { address, usr, token, paint };
        runtime.block_on(terminal.run()).map(|()| End::Done).map_err(LinesError::Stdout)
    } else {
        if token != TokenSource::None && address.exposes_tokens() {
            eprintln!("wschat: {place}: the token can be read on the way; wss:// would hide it");
        }
        let stdin = if nobody_writes() && !talking { Stdin::Nobody } else { Stdin::Lines };
        let lines = Lines { address, usr, token, json: args.json, paint, stdin };
        runtime.block_on(lines.run())
    };
    // A name look-up may still block on a thread of the runtime.
    runtime.shutdown_background();
    match end {
        Ok(End::Done) => Ok(ExitCode::SUCCESS),
        Ok(End::NotSent) => Ok(ExitCode::FAILURE),
        Err(error @ (LinesError::Connection(_) | LinesError::NoReceipt)) => {
            Err(Failure::new(Exit::Unavailable, place, error))
        }
        Err(error @ LinesError::Token(_)) => Err(Failure::new(Exit::NoInput, "token", error)),
        Err(error @ LinesError::Stdin(_)) => Err(Failure::new(Exit::NoInput, "stdin", error)),
        Err(error @ LinesError::Stdout(_)) => Err(Failure::new(Exit::OsError, "stdout", error)),
    }
}

/// A token on the command line, in a type that does not print it.
fn token_text(text: &str) -> Result<TokenSource, Infallible> {
    Ok(TokenSource::Text(text.to_owned()))
}

/// The token, from the most explicit of its sources.
fn token_source(text: Option<TokenSource>, file: Option<PathBuf>) -> TokenSource {
    let variable = || env::var("WSCHAT_TOKEN").ok().filter(|token| !token.is_empty());
    file.map(TokenSource::File)
        .or(text)
        .or_else(|| variable().map(TokenSource::Text))
        .unwrap_or_default()
}

/// Who is logged in, as the shell has it.
fn login_name() -> String {
    let name = |variable| env::var(variable).ok().filter(|name| !name.trim().is_empty());
    name("USER").or_else(|| name("LOGNAME")).unwrap_or_else(|| "guest".into())
}

/// no-color.org, and terminals that know no colours.
fn colours_wanted() -> bool {
    term().is_some() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The terminal's name, if it is one that obeys escape sequences.
fn term() -> Option<OsString> {
    env::var_os("TERM").filter(|name| !name.is_empty() && name != "dumb")
}

/// Whether stdin is a device: a terminal, which may be in use by others, or
/// /dev/null, which is also what a closed stdin is.
fn nobody_writes() -> bool {
    let is_device = |mode| FileType::from_raw_mode(mode) == FileType::CharacterDevice;
    fstat(stdin()).is_ok_and(|stat| is_device(stat.st_mode))
}
