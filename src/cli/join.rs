//! `wschat join`.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rustix::fs::{FileType, fstat};

use super::failure::{Exit, Failure, Outcome};
use crate::client::{Colours, PipeClient, PipeError, RoomUrl, TerminalClient, TokenSource};

/// The options of `join`.
#[derive(Debug, Args)]
#[command(after_help = "\
In a pipe, join sends each line of standard input as a message and waits until
the room has sent it back before it sends the next one. The exit code is 0 after
the last one. If the room does not send a message, join prints the reason on
standard error, discards the other lines and exits with code 1; without a
connection it exits with code 69. It repeats a message that was sent too early.

Without input (standard input is a terminal or /dev/null, or is empty and --json
is given) it only listens, until the connection ends or its output is closed.

    echo \"build 412 is green\" | wschat join wss://chat.example --usr ci
    wschat join wss://chat.example --json </dev/null | jq .msg")]
pub struct JoinArgs {
    /// The room: ws://HOST:PORT/ or, with TLS, wss://HOST/
    #[arg(value_name = "URL")]
    url: String,
    /// The name to send messages under [default: the login name]
    #[arg(long, value_name = "NAME")]
    usr: Option<String>,
    /// The token to send messages with; other users of this machine can see it in
    /// the process list, so better use --token-file or the variable WSCHAT_TOKEN
    #[arg(long, value_name = "T", value_parser = token_text, conflicts_with = "token_file")]
    token: Option<TokenSource>,
    /// The file that contains the token; it is read again for every connection
    #[arg(long, value_name = "F")]
    token_file: Option<PathBuf>,
    /// Print each message as a line of JSON
    #[arg(long)]
    json: bool,
    /// Print no colours; the variable NO_COLOR does the same
    #[arg(long)]
    no_color: bool,
}

/// Runs the client.
pub fn run(args: JoinArgs) -> Outcome {
    let url: RoomUrl =
        args.url.parse().map_err(|error| Failure::new(Exit::Usage, &args.url, error))?;
    let host = url.authority().to_owned();
    let usr = args.usr.unwrap_or_else(login_name);
    let token = token_source(args.token, args.token_file);
    // Report an error before the terminal is in raw mode and before anything is sent.
    token.read().map_err(|error| Failure::new(Exit::NoInput, "token", error))?;
    let colours = match stdout().is_terminal() && !args.no_color && terminal_has_colours() {
        true => Colours::On,
        false => Colours::Off,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::OsError, "runtime", error))?;

    let is_interactive = stdin().is_terminal() && stdout().is_terminal() && !args.json;
    let result = if is_interactive && terminal_name().is_some() {
        let client = TerminalClient { url, usr, token, colours };
        runtime.block_on(client.run()).map_err(PipeError::Stdout)
    } else {
        if token != TokenSource::None && url.exposes_tokens() {
            eprintln!("wschat: {host}: the token is sent without encryption; use wss://");
        }
        let reads_stdin = is_interactive || !stdin_is_device();
        let client = PipeClient { url, usr, token, json: args.json, colours, reads_stdin };
        runtime.block_on(client.run())
    };
    // A name look-up may still block a thread of the runtime.
    runtime.shutdown_background();
    let Err(error) = result else { return Ok(ExitCode::SUCCESS) };
    let (exit, what) = match &error {
        PipeError::NotSent(notice) => {
            eprintln!("wschat: {notice}");
            return Ok(ExitCode::FAILURE);
        }
        PipeError::Connection(_) | PipeError::NoEcho => (Exit::Unavailable, &*host),
        PipeError::Token(_) => (Exit::NoInput, "token"),
        PipeError::Stdin(_) => (Exit::NoInput, "stdin"),
        PipeError::Stdout(_) => (Exit::OsError, "stdout"),
    };
    Err(Failure::new(exit, what, error))
}

/// Keeps a token from the command line in a type that does not print it.
fn token_text(text: &str) -> Result<TokenSource, Infallible> {
    Ok(TokenSource::Text(text.to_owned()))
}

fn token_source(text: Option<TokenSource>, file: Option<PathBuf>) -> TokenSource {
    let variable = || env::var("WSCHAT_TOKEN").ok().filter(|token| !token.is_empty());
    file.map(TokenSource::File)
        .or(text)
        .or_else(|| variable().map(TokenSource::Text))
        .unwrap_or_default()
}

fn login_name() -> String {
    let name = |variable| env::var(variable).ok().filter(|name| !name.trim().is_empty());
    name("USER").or_else(|| name("LOGNAME")).unwrap_or_else(|| "guest".into())
}

/// Whether colours are possible and wanted (no-color.org).
fn terminal_has_colours() -> bool {
    terminal_name().is_some() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The type of the terminal, if it supports escape sequences.
fn terminal_name() -> Option<OsString> {
    env::var_os("TERM").filter(|name| !name.is_empty() && name != "dumb")
}

/// Whether stdin is a device: a terminal, which other programs may use, or /dev/null,
/// which also stands for a closed stdin.
fn stdin_is_device() -> bool {
    let is_device = |mode| FileType::from_raw_mode(mode) == FileType::CharacterDevice;
    fstat(stdin()).is_ok_and(|stat| is_device(stat.st_mode))
}
