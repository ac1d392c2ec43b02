//! `wschat serve`: the daemon.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use rustix::io::Errno;

use super::{Exit, Failure, Outcome, ServeArgs};
use crate::daemon::journal::last_words;
use crate::daemon::{StartError, run as run_daemon};

/// Runs the daemon until it is told to end, or reports why it did not come up.
///
/// # Errors
///
/// None: by now signals are caught, so a stderr that nobody reads must not hold
/// up the report as it may in other commands.
pub fn run(args: &ServeArgs) -> Outcome {
    match run_daemon(args.environment(), args.control.clone()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            let failure = Failure::from(error);
            last_words(&failure.to_string());
            Ok(failure.exit_code())
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let why = error.to_string();
        match error {
            StartError::Configuration(problems) => problems.into(),
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

const ROOM_UNIT: &str = "wschat.socket";
const METRICS_UNIT: &str = "a socket unit with FileDescriptorName=metrics";

/// A place that cannot be listened at; in the service's sandbox only `unit` can.
fn bind(place: String, error: &io::Error, unit: &str) -> Failure {
    // Where the service manager took network sockets away from us.
    if Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT) {
        let why = format!("{error}; here only {unit} can open it");
        return Failure::new(Exit::NoPermission, place, why);
    }
    let exit = match error.kind() {
        ErrorKind::AddrInUse => Exit::Unavailable,
        ErrorKind::PermissionDenied => Exit::NoPermission,
        _ => Exit::OsError,
    };
    Failure::new(exit, place, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_sandbox_the_socket_unit_is_named() {
        let address = || "127.0.0.1:9464".parse().unwrap();
        let sandboxed = || io::Error::from(Errno::AFNOSUPPORT);
        let check = |error: StartError, unit| {
            let failure = Failure::from(error);
            let want = format!("; here only {unit} can open it");
            assert!(failure.to_string().ends_with(&want), "{failure}");
        };
        check(StartError::Bind(address(), sandboxed()), "wschat.socket");
        check(
            StartError::BindMetrics(address(), sandboxed()),
            "a socket unit with FileDescriptorName=metrics",
        );
    }
}
