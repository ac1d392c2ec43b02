//! `wschat cluster`: creates the stream of a room, and keys.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use nkeys::KeyPair;

use super::args::{ConfigArgs, ControlArgs, STATE_DIR};
use super::failure::{CommandResult, Exit, Failure};
use super::output::print;
use crate::chat::Moderation;
use crate::cluster::nats::{InitOptions, InitOutcome, InitReport, init, stream_bytes_min};
use crate::cluster::options::Credentials;
use crate::control::{CONTROL_PATH, ControlRequest, ErrorCode, RequestError};
use crate::daemon::ModerationFile;
use crate::file::read_file;

/// Bytes of a file with credentials at most.
const CREDENTIALS_BYTES_MAX: u64 = 1 << 20;

/// The subcommands for a room on several machines.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Create the stream and the key-value bucket of the room; exits 1 if they differ
    #[command(after_help = "\
The mutes, the lock and slow mode of the room that was on this machine alone are
copied into the bucket, from the running daemon, else from its file.

    wschat cluster init
    wschat cluster init --replicas 3 --max-bytes 1073741824 --update")]
    Init(InitArgs),
    /// Write a new key for NATS to a file, and print its public part
    #[command(after_help = "\
If the file exists, it does not change, and its public part is printed: the nkey of a
user in the configuration of the servers.

    wschat cluster key /etc/credstore/wschat.nats")]
    Key(KeyArgs),
}

#[derive(Debug, Args)]
pub struct KeyArgs {
    /// The file of the seed, which only its owner can read
    file: PathBuf,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// How many servers keep the stream and the bucket; 3 for new ones
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..=5))]
    replicas: Option<u64>,
    /// Keep them in the memory of the servers only
    #[arg(long)]
    memory: bool,
    /// How many bytes the stream holds; 268435456 (256 MiB) for a new one
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..=i64::MAX as u64))]
    max_bytes: Option<u64>,
    /// Change what is there and differs
    #[arg(long)]
    update: bool,
    /// Log in with this file instead of cluster.credentials_file
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    control: ControlArgs,
}

/// Runs the command.
pub fn run(command: ClusterCommand) -> CommandResult {
    match command {
        ClusterCommand::Init(args) => run_init(&args),
        ClusterCommand::Key(args) => run_key(&args.file),
    }
}

fn run_key(path: &Path) -> CommandResult {
    let what = || path.display().to_string();
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let key = match file {
        Ok(mut file) => {
            let key = KeyPair::new_user();
            let seed = key.seed().map_err(|error| Failure::new(Exit::OsError, what(), error))?;
            let written = file.write_all(format!("{seed}\n").as_bytes());
            written.map_err(|error| Failure::new(Exit::OsError, what(), error))?;
            key
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match read_credentials(path)? {
            Credentials::Seed(seed) => KeyPair::from_seed(&seed)
                .map_err(|error| Failure::new(Exit::NoInput, what(), error))?,
            Credentials::Creds(_) => {
                return Err(Failure::new(Exit::NoInput, what(), "the file is a .creds file"));
            }
        },
        Err(error) => return Err(Failure::new(Exit::OsError, what(), error)),
    };
    print(&format!("{}\n", key.public_key()))
}

fn run_init(args: &InitArgs) -> CommandResult {
    let config = args.config.load()?.config;
    let mut options = config.engine_options().ok_or_else(|| {
        Failure::new(Exit::Config, "cluster.servers", "it is not set, so there is no cluster")
    })?;
    if let Some(path) = &args.credentials {
        options.credentials = Some(read_credentials(path)?);
    }
    let least = stream_bytes_min(&options);
    if args.max_bytes.is_some_and(|bytes| bytes < least) {
        let why = format!("it must be at least {least}, which is 4 x limits.feed_tail_bytes");
        return Err(Failure::new(Exit::Usage, "--max-bytes", why));
    }
    let moderation = moderation(&args.control)?;
    let request = InitOptions {
        replicas: args.replicas,
        is_memory: args.memory,
        max_bytes: args.max_bytes,
        is_update: args.update,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::OsError, "runtime", error))?;
    // A room without any decision leaves the bucket for one that has some.
    let copied = Some(moderation.clone()).filter(|it| *it != Moderation::default());
    let done = runtime.block_on(init(&options, request, copied));
    // A name look-up may still block a thread of the runtime.
    runtime.shutdown_background();
    let report = done.map_err(|why| Failure::new(Exit::Unavailable, "cluster init", why))?;
    print(&describe(&report, &moderation))?;
    Ok(ExitCode::from(u8::from(report.parts.iter().any(|(_, outcome)| differs(outcome)))))
}

fn read_credentials(path: &Path) -> Result<Credentials, Failure> {
    let what = || path.display().to_string();
    let content = read_file(path, CREDENTIALS_BYTES_MAX);
    let content = content.map_err(|error| Failure::new(Exit::NoInput, what(), error))?;
    let wrong = |error| Failure::new(Exit::NoInput, what(), format!("the file {error}"));
    Credentials::parse(&content.bytes).map_err(wrong)
}

/// What the room on this machine has decided: it is asked, or else its file is read.
fn moderation(control: &ControlArgs) -> Result<Moderation, Failure> {
    match control.try_ask(&ControlRequest::Moderation {}) {
        Ok(moderation) => Ok(moderation),
        // An older daemon does not know the request; its file has the same.
        Err(RequestError::Daemon(error)) if error.err != ErrorCode::BadRequest => {
            Err(control.failure(RequestError::Daemon(error)))
        }
        Err(RequestError::NotRunning | RequestError::Daemon(_)) => {
            let state_dir = (control.control == Path::new(CONTROL_PATH)).then_some(STATE_DIR);
            let file = ModerationFile::new(state_dir.map(Path::new), Some(&control.control));
            file.read().map_err(|(file, error)| {
                Failure::new(Exit::NoInput, file.display().to_string(), error)
            })
        }
        Err(error) => Err(control.failure(error)),
    }
}

fn differs(outcome: &InitOutcome) -> bool {
    matches!(outcome, InitOutcome::Unchanged(texts) if !texts.is_empty())
}

fn describe(report: &InitReport, moderation: &Moderation) -> String {
    let mut text = String::new();
    for ((name, outcome), kind) in report.parts.iter().zip(["stream", "key-value bucket"]) {
        let (what, texts) = match outcome {
            InitOutcome::Created => ("created", &Vec::new()),
            InitOutcome::Updated(texts) => ("changed", texts),
            InitOutcome::Unchanged(texts) if texts.is_empty() => ("is as it has to be", texts),
            InitOutcome::Unchanged(texts) => ("not changed without --update", texts),
        };
        text += &format!("{kind} {name}: {what}\n");
        text.extend(texts.iter().map(|difference| format!("  {difference}\n")));
    }
    text += match (report.is_copied, *moderation == Moderation::default()) {
        (true, false) => "the mutes, the lock and slow mode of this room were copied\n",
        (_, true) => "this room had no mutes, no lock and no slow mode to copy\n",
        (false, false) => {
            "the mutes of this room were not copied: the bucket has moderation already\n"
        }
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Actor, ModAction, Tim};

    #[test]
    fn descriptions() {
        let mut locked = Moderation::default();
        locked.apply(&ModAction::Lock, &Actor::operator(0), Tim::default()).unwrap();
        let report = |stream, bucket, is_copied| InitReport {
            parts: [("room".into(), stream), ("room_moderation".into(), bucket)],
            is_copied,
        };
        let unchanged = || InitOutcome::Unchanged(Vec::new());
        let new = report(InitOutcome::Created, InitOutcome::Created, true);
        assert_eq!(
            describe(&new, &locked),
            "stream room: created\nkey-value bucket room_moderation: created\n\
             the mutes, the lock and slow mode of this room were copied\n"
        );
        let old = report(unchanged(), unchanged(), false);
        assert_eq!(
            describe(&old, &Moderation::default()),
            "stream room: is as it has to be\nkey-value bucket room_moderation: is as it has to \
             be\nthis room had no mutes, no lock and no slow mode to copy\n"
        );
        let text = || vec!["its num_replicas is 1, not 3 as requested".to_owned()];
        let differs = report(InitOutcome::Unchanged(text()), InitOutcome::Updated(text()), false);
        assert_eq!(
            describe(&differs, &locked),
            "stream room: not changed without --update\n  \
             its num_replicas is 1, not 3 as requested\n\
             key-value bucket room_moderation: changed\n  \
             its num_replicas is 1, not 3 as requested\n\
             the mutes of this room were not copied: the bucket has moderation already\n"
        );
    }
}
