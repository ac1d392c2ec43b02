//! `wschat serve`: the daemon.

use std::io::ErrorKind;
use std::process::ExitCode;

use rustix::io::Errno;

use super::{Exit, Failure, Outcome, ServeArgs};
use crate::daemon::{StartError, run as run_daemon};

/// Runs the daemon until it is told to end.
///
/// # Errors
///
/// Why it did not come up.
pub fn run(args: &ServeArgs) -> Outcome {
    run_daemon(args.environment()).map_err(Failure::from)?;
    Ok(ExitCode::SUCCESS)
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let why = error.to_string();
        match error {
            StartError::Configuration(problems) => problems.into(),
            StartError::ListenTwice => Self::new(Exit::Usage, "--listen", why),
            StartError::System(what, _) => Self::new(Exit::OsError, what, why),
            StartError::Bind(address, error) => {
                // Where the service manager took network sockets away from us.
                if Errno::from_io_error(&error) == Some(Errno::AFNOSUPPORT) {
                    let why = format!("{why}; here only wschat.socket can open it");
                    return Self::new(Exit::NoPermission, address.to_string(), why);
                }
                let exit = match error.kind() {
                    ErrorKind::AddrInUse => Exit::Unavailable,
                    ErrorKind::PermissionDenied => Exit::NoPermission,
                    _ => Exit::OsError,
                };
                Self::new(exit, address.to_string(), why)
            }
        }
    }
}
