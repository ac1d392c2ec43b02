//! `wschat serve`.

use std::env::var_os;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use rustix::io::Errno;

use super::args::ConfigArgs;
use super::failure::{CommandResult, Exit, Failure};
use crate::address::ListenAddress;
use crate::config::Environment;
use crate::daemon::write_last_line;
use crate::daemon::{ControlPaths, StartError, run as run_daemon};

/// As a doc comment this would contain a broken rustdoc link.
const LISTEN_HELP: &str =
    "Listen on this address instead of listen.addresses: IP:PORT, [IP6]:PORT or unix:/PATH";

#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[arg(long, value_name = "ADDR", help = LISTEN_HELP)]
    listen: Vec<ListenAddress>,
    /// Number of shards, 0 for one per core
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(0..=1024))]
    threads: Option<usize>,
    /// Create the control socket here instead of at /run/wschat/control.sock
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Create a socket here that only reads, as that for wschat-monitor does
    #[arg(long, value_name = "PATH")]
    monitor: Option<PathBuf>,
}

impl ServeArgs {
    /// Everything from outside that the configuration depends on.
    pub fn environment(&self) -> Environment {
        self.environment_from(|name| var_os(name))
    }

    /// Like [`environment`](Self::environment), with the variables of another process.
    pub fn environment_from(&self, var: impl Fn(&str) -> Option<OsString>) -> Environment {
        let (listen, threads) = (self.listen.clone(), self.threads);
        Environment { listen, threads, ..self.config.environment_from(var) }
    }
}

/// Runs the daemon, or reports why it cannot start.
pub fn run(args: ServeArgs) -> CommandResult {
    let environment = args.environment();
    let paths = ControlPaths { control: args.control, monitor: args.monitor };
    match run_daemon(environment, paths) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            // The daemon handles signals already, so writing to a standard error that
            // no process reads must not block here.
            let failure = Failure::from(error);
            write_last_line(&failure.to_string());
            Ok(failure.exit_code())
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let why = error.to_string();
        match error {
            StartError::Configuration(problems) => problems.into(),
            StartError::Cluster(_) => Self::new(Exit::Config, "cluster", why),
            StartError::ListenTwice => Self::new(Exit::Usage, "--listen", why),
            StartError::System(what, _) => Self::new(Exit::OsError, what, why),
            StartError::Bind(address, error) => bind(address.to_string(), &error, ROOM_UNIT),
            StartError::BindMetrics(address, error) => {
                bind(address.to_string(), &error, METRICS_UNIT)
            }
            StartError::Control(path, error) => bind(path.display().to_string(), &error, ""),
        }
    }
}

/// In the sandbox of the service only these units can open network sockets. A socket unit that
/// was changed passes none until it is restarted.
const ROOM_UNIT: &str =
    "wschat.socket can open it, and it passed no socket: systemctl restart wschat.socket";
const METRICS_UNIT: &str = "wschat-metrics.socket can open it: \
    systemctl enable wschat-metrics.socket && systemctl restart wschat";

/// An address that the daemon cannot bind. `unit` says which unit can, and how.
fn bind(address: String, error: &io::Error, unit: &str) -> Failure {
    if Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT) {
        let why = format!("{error}; in this sandbox only {unit}");
        return Failure::new(Exit::NoPermission, address, why);
    }
    let exit = match error.kind() {
        ErrorKind::AddrInUse => Exit::Unavailable,
        ErrorKind::PermissionDenied => Exit::NoPermission,
        _ => Exit::OsError,
    };
    Failure::new(exit, address, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_sandbox_name_the_socket_unit() {
        let address = || "127.0.0.1:9464".parse().unwrap();
        let sandboxed = || io::Error::from(Errno::AFNOSUPPORT);
        for (error, unit) in [
            (StartError::Bind(address(), sandboxed()), ROOM_UNIT),
            (StartError::BindMetrics(address(), sandboxed()), METRICS_UNIT),
        ] {
            let failure = Failure::from(error).to_string();
            let want = format!("; in this sandbox only {unit}");
            assert!(failure.ends_with(&want), "{failure}");
        }
    }
}
