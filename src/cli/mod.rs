//! The command line: its definition, and one file per subcommand.

mod args;
mod bench;
mod capacity;
mod check;
mod clients;
mod cluster;
mod completions;
mod config;
mod failure;
mod join;
mod licences;
mod metrics;
mod moderate;
mod mutes;
mod output;
mod own_unit;
mod reload;
mod serve;
mod status;
mod status_text;
mod table;
mod token;
mod top;
mod top_text;
mod unit_state;
mod units;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use args::{ConfigArgs, ControlArgs};
use failure::Exit;

pub use failure::{CommandResult, Failure};

/// One public WebSocket chat room
#[derive(Parser)]
#[command(
    name = "wschat",
    version,
    about,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<CliCommand>,
    /// The options of `serve`, which is the default command.
    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Subcommand)]
enum CliCommand {
    /// Run the room in the foreground (the default)
    Serve(serve::ServeArgs),
    /// Check the configuration; print nothing if it is valid
    Check(check::CheckArgs),
    /// Print the effective value of every key and its source
    Config(ConfigArgs),
    /// Tell the running daemon to reload its configuration and wait for the result
    Reload(ControlArgs),
    /// Show the status of the room; exits 3 if nothing listens
    Status(status::StatusArgs),
    /// List the connected clients
    Clients(clients::ClientsArgs),
    /// Show which addresses and clients send most, are refused most or lag most
    Top(top::TopArgs),
    /// Print the metrics in the Prometheus text format
    Metrics(ControlArgs),
    #[command(flatten)]
    Moderate(moderate::ModerateCommand),
    /// List the mutes, and show whether the room is locked or in slow mode
    Mutes(mutes::MutesArgs),
    /// Set up a room on several machines
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Join a room, on a terminal or in a pipe
    Join(join::JoinArgs),
    /// Print a new token
    Token(token::TokenArgs),
    /// Print the licences of the program and of the crates in it
    #[command(alias = "licenses")]
    Licences,
    /// Print the completions of a shell, for packages
    #[command(hide = true)]
    Completions(completions::CompletionsArgs),
    /// Measure the performance of a server with many connections
    Bench(bench::BenchArgs),
}

/// Parses the command line and runs the command.
///
/// # Errors
///
/// A [`Failure`], which contains the message for standard error and the exit code.
pub fn run() -> CommandResult {
    prevent_core_dumps();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints more than a Failure could; only the exit code is different.
            let _ = error.print();
            let code = if error.use_stderr() { Exit::Usage as u8 } else { 0 };
            return Ok(ExitCode::from(code));
        }
    };
    match cli.command.unwrap_or(CliCommand::Serve(cli.serve)) {
        CliCommand::Serve(args) => serve::run(args),
        CliCommand::Check(args) => check::run(&args),
        CliCommand::Config(args) => config::run(&args),
        CliCommand::Reload(args) => reload::run(&args),
        CliCommand::Status(args) => status::run(&args),
        CliCommand::Clients(args) => clients::run(&args),
        CliCommand::Top(args) => top::run(&args),
        CliCommand::Metrics(args) => metrics::run(&args),
        CliCommand::Moderate(command) => moderate::run(command),
        CliCommand::Mutes(args) => mutes::run(&args),
        CliCommand::Cluster(command) => cluster::run(command),
        CliCommand::Join(args) => join::run(args),
        CliCommand::Token(args) => token::run(args),
        CliCommand::Licences => licences::run(),
        CliCommand::Completions(args) => completions::run(&args, Cli::command()),
        CliCommand::Bench(args) => bench::run(args),
    }
}

/// Core dumps would contain secrets and tokens, and tracers could read them.
fn prevent_core_dumps() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("wschat: core dumps cannot be disabled and may contain secrets: {error}");
    }
}
