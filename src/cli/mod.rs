//! The command line: one file per subcommand, the definition of all here.

mod failure;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use failure::{Exit, Failure};

/// What a command gives back: the exit code of an ordinary end, or a failure.
pub type Outcome = Result<ExitCode, Failure>;

/// Where the configuration is if nobody says otherwise.
pub const CONFIG_PATH: &str = "/etc/wschat.toml";

/// One public WebSocket chat room
#[derive(Debug, Parser)]
#[command(name = "wschat", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do; without it, serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of `serve`, so that plain `wschat` takes them too.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the room in the foreground (the default)
    Serve(ServeArgs),
}

/// Where the configuration comes from; shared by all commands that read it.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// Read this file instead of /etc/wschat.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The options of the daemon.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// The configuration file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Listen here instead of at listen.addresses: IP:PORT, [IP6]:PORT or unix:/PATH
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<String>,
    /// Shards to run, 0 for one per core
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Parses the command line and runs the command.
///
/// # Errors
///
/// A [`Failure`] with the line for stderr and the exit code.
pub fn run() -> Outcome {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap's own texts are better than one line; only the code is ours.
            let _ = error.print();
            let code = if error.use_stderr() { Exit::Usage as u8 } else { 0 };
            return Ok(ExitCode::from(code));
        }
    };
    match cli.command {
        Some(Command::Serve(args)) => serve(args),
        None => serve(cli.serve),
    }
}

fn serve(_args: ServeArgs) -> Outcome {
    Err(Failure::new(Exit::Unavailable, "serve", "not built yet"))
}
