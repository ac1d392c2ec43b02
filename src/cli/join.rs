//! `wschat join`.

use std::env;
use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rustix::fs::{FileType, fstat};

use super::failure::{CommandResult, Exit, Failure};
use crate::client::{ClientOptions, Colours, PipeError, TokenSource, run_in_pipe, run_on_terminal};

const SINCE_INVALID: &str = "not a time in UTC like 2020-08-11T22:26:58.118678679Z";

#[derive(Args)]
#[command(after_help = "\
In a pipe, join sends each line of standard input as a message and waits until
the room has sent it back before it sends the next one. With --json each line
is a JSON object with the fields of the message; usr, jwt and id are added. The exit code is 0 after
the last one. If the room does not send a message, join prints the reason on
standard error, discards the other lines and exits with code 1; without a
connection it exits with code 69. It repeats a message that was sent too early.

Without input (standard input is a terminal or /dev/null, or is empty and --json
is given) it only listens, until the connection ends or its output is closed.

On a terminal, and with --json and without input, join reconnects after a break and
continues behind the last message. If messages are missing, it says so. After a
kick it waits on a terminal for Enter, and exits with code 69 otherwise.

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
    #[arg(long, value_name = "T", conflicts_with = "token_file")]
    token: Option<String>,
    /// The file that contains the token; it is read again for every connection
    #[arg(long, value_name = "F")]
    token_file: Option<PathBuf>,
    /// Print each message as a line of JSON, and read messages in this form
    #[arg(long)]
    json: bool,
    /// Begin with the messages after this time, for example the tim of a message; the
    /// room has only those of the last minutes
    #[arg(long, value_name = "TIM")]
    since: Option<String>,
    /// Exit with code 69 when the connection ends
    #[arg(long)]
    no_reconnect: bool,
    /// Ring the bell of the terminal when a message has your name
    #[arg(long)]
    bell: bool,
    /// Disable colours; the variable NO_COLOR does the same
    #[arg(long)]
    no_color: bool,
}

/// Runs the client.
pub fn run(args: JoinArgs) -> CommandResult {
    let url = args.url.parse().map_err(|error| Failure::new(Exit::Usage, &args.url, error))?;
    // As in a URL, an empty value counts as absent.
    let since = args.since.filter(|since| !since.is_empty()).map(|since| since.parse());
    let since =
        since.transpose().map_err(|_| Failure::new(Exit::Usage, "--since", SINCE_INVALID))?;
    let usr = args.usr.unwrap_or_else(login_name);
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    let text = args.token.or_else(|| variable("WSCHAT_TOKEN")?.into_string().ok());
    let text = text.map(TokenSource::Text);
    let token = args.token_file.map(TokenSource::File).or(text).unwrap_or(TokenSource::None);
    // Report an error before the terminal is in raw mode and before anything is sent.
    token.read().map_err(|error| Failure::new(Exit::NoInput, "token", error))?;
    let has_escapes = variable("TERM").is_some_and(|name| name != "dumb");
    let wants_colours = !args.no_color && variable("NO_COLOR").is_none();
    let colours = Colours(stdout().is_terminal() && has_escapes && wants_colours);
    let reconnects = !args.no_reconnect;
    let bell = args.bell;
    let options = ClientOptions { url, usr, token, colours, since, reconnects, bell };
    let host = options.url.authority().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::OsError, "runtime", error))?;

    let is_interactive = stdin().is_terminal() && stdout().is_terminal() && !args.json;
    let result = if is_interactive && has_escapes {
        let end = runtime.block_on(run_on_terminal(options)).map_err(PipeError::Stdout);
        end.and_then(|end| Ok(end?))
    } else {
        if let Some(warning) = options.token_warning() {
            eprintln!("wschat: {host}: {warning}");
        }
        let reads_stdin = is_interactive || !stdin_is_device();
        runtime.block_on(run_in_pipe(options, args.json, reads_stdin))
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
        PipeError::NotJson(_) => (Exit::NotDone, "stdin"),
        PipeError::Stdout(_) => (Exit::OsError, "stdout"),
    };
    Err(Failure::new(exit, what, error))
}

fn login_name() -> String {
    let name = |variable| env::var(variable).ok().filter(|name| !name.trim().is_empty());
    name("USER").or_else(|| name("LOGNAME")).unwrap_or_else(|| "guest".into())
}

/// Whether stdin is a device: a terminal, which other programs may use, or /dev/null,
/// which also stands for a closed stdin.
fn stdin_is_device() -> bool {
    let is_device = |mode| FileType::from_raw_mode(mode) == FileType::CharacterDevice;
    fstat(stdin()).is_ok_and(|stat| is_device(stat.st_mode))
}
