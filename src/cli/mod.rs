//! The command line: one file per subcommand, the definition of all here.

mod ask;
mod bench;
mod check;
mod clients;
mod completions;
mod config;
mod failure;
mod join;
mod metrics;
mod moderate;
mod mutes;
mod reload;
mod serve;
mod status;
mod token;

use std::env::var_os;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior};

use crate::config::load;
use crate::config::{
    CREDENTIALS_VARIABLE, Environment, ListenAddress, Loaded, Problems, RECORD_VARIABLE, VARIABLE,
};

pub use ask::ControlArgs;
pub use failure::{Exit, Failure, Outcome};

/// Where the configuration is if nobody says otherwise.
pub const CONFIG_PATH: &str = "/etc/wschat.toml";

/// One public WebSocket chat room
#[derive(Debug, Parser)]
#[command(
    name = "wschat",
    version,
    about,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
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
    /// Check the configuration: silent if all is well
    Check(ConfigArgs),
    /// Print every effective value and where it comes from
    Config(ConfigArgs),
    /// Have the running daemon read its configuration again
    Reload(ControlArgs),
    /// Show how the room is; exits 3 if the daemon is not running
    Status(status::StatusArgs),
    /// List who is connected
    Clients(clients::ClientsArgs),
    /// Print the metrics in the Prometheus text format
    Metrics(ControlArgs),
    /// Let nothing that somebody says be sent
    Mute(moderate::MuteArgs),
    /// Let somebody speak again
    Unmute(moderate::UnmuteArgs),
    /// List who is muted, and what else is decided
    Mutes(mutes::MutesArgs),
    /// Close somebody's connections; exits 1 if there is none
    Kick(moderate::KickArgs),
    /// Let only moderators speak
    Lock(ControlArgs),
    /// Let everybody speak again
    Unlock(ControlArgs),
    /// Let everybody wait between two messages
    Slow(moderate::SlowArgs),
    /// Tell everybody not to show a message any more
    Retract(moderate::RetractArgs),
    /// Say something in the name of the server
    Say(moderate::SayArgs),
    /// Talk in a room, from a terminal or a pipe
    Join(join::JoinArgs),
    /// Print a new token for a speaker
    Token(token::TokenArgs),
    /// Print the completions of a shell, for packagers
    #[command(hide = true)]
    Completions(completions::CompletionsArgs),
    /// Measure what a server carries, with many connections
    Bench(bench::BenchArgs),
}

/// Where the configuration comes from; shared by all commands that read it.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// Read this file instead of /etc/wschat.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigArgs {
    /// All of the process's environment that a configuration depends on. The
    /// only place that looks at it.
    pub fn environment(&self) -> Environment {
        Environment {
            file: self.config.clone().unwrap_or_else(|| CONFIG_PATH.into()),
            file_required: self.config.is_some(),
            credentials: var_os(CREDENTIALS_VARIABLE).map(PathBuf::from),
            jwt_secret: var_os(VARIABLE),
            // Without a working directory there is nothing that it could start at.
            log_dir: var_os(RECORD_VARIABLE).and_then(|dir| std::path::absolute(dir).ok()),
            descriptors_max: getrlimit(Resource::Nofile).maximum,
            ..Environment::default()
        }
    }

    /// The configuration, for a command that needs it once.
    ///
    /// # Errors
    ///
    /// All problems of the configuration; a [`Failure`] can be made of them.
    pub fn load(&self) -> Result<Loaded, Problems> {
        load(&self.environment())
    }
}

/// No link to rustdoc's eyes, which a doc comment would be.
const LISTEN_HELP: &str =
    "Listen here instead of at listen.addresses: IP:PORT, [IP6]:PORT or unix:/PATH";

/// The options of the daemon.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// The configuration file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where to listen instead of at `listen.addresses`.
    #[arg(long, value_name = "ADDR", help = LISTEN_HELP)]
    pub listen: Vec<ListenAddress>,
    /// Shards to run, 0 for one per core
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(0..=1024))]
    pub threads: Option<usize>,
    /// Have the control socket here instead of at /run/wschat/control.sock
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
}

impl ServeArgs {
    /// As [`ConfigArgs::environment`], with what the command line decides.
    pub fn environment(&self) -> Environment {
        let outside = self.config.environment();
        Environment { listen: self.listen.clone(), threads: self.threads, ..outside }
    }
}

/// Parses the command line and runs the command.
///
/// # Errors
///
/// A [`Failure`] with the line for stderr and the exit code.
pub fn run() -> Outcome {
    keep_out_of_core_dumps();
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
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Config(args)) => config::run(&args),
        Some(Command::Reload(args)) => reload::run(&args),
        Some(Command::Status(args)) => status::run(&args),
        Some(Command::Clients(args)) => clients::run(&args),
        Some(Command::Metrics(args)) => metrics::run(&args),
        Some(Command::Mute(args)) => moderate::mute(&args),
        Some(Command::Unmute(args)) => moderate::unmute(&args),
        Some(Command::Mutes(args)) => mutes::run(&args),
        Some(Command::Kick(args)) => moderate::kick(&args),
        Some(Command::Lock(args)) => moderate::lock(&args),
        Some(Command::Unlock(args)) => moderate::unlock(&args),
        Some(Command::Slow(args)) => moderate::slow(&args),
        Some(Command::Retract(args)) => moderate::retract(&args),
        Some(Command::Say(args)) => moderate::say(&args),
        Some(Command::Join(args)) => join::run(args),
        Some(Command::Token(args)) => token::run(args),
        Some(Command::Completions(args)) => completions::run(&args),
        Some(Command::Bench(args)) => bench::run(args),
        None => serve::run(&cli.serve),
    }
}

/// A core dump, and whoever may trace the process, would get at its secrets and tokens.
fn keep_out_of_core_dumps() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("wschat: a core dump may hold secrets: {error}");
    }
}
