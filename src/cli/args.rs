//! Options that several subcommands share.

use std::env::var_os;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, getrlimit};
use rustix::system::uname;
use serde::de::DeserializeOwned;

use super::failure::{Exit, Failure};
use super::unit_state::{UnitState, unit_state};
use crate::config::{Environment, Loaded, Problems, load};
use crate::control::{
    CONTROL_PATH, ControlClient, ControlRequest, ControlSession, ErrorCode, RequestError,
};

/// The default path of the configuration.
pub const CONFIG_PATH: &str = "/etc/wschat.toml";

/// The state directory of the packaged service.
pub const STATE_DIR: &str = "/var/lib/wschat";

/// The option of commands that read the configuration.
#[derive(Debug, Default, Args)]
pub struct ConfigArgs {
    /// Read this file instead of /etc/wschat.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Everything from outside that a configuration depends on. No other code reads
    /// environment variables for it.
    pub fn environment(&self) -> Environment {
        self.environment_from(|name| var_os(name))
    }

    /// Like [`environment`](Self::environment), with the variables of another process.
    pub fn environment_from(&self, var: impl Fn(&str) -> Option<OsString>) -> Environment {
        Environment {
            file: self.config.clone().unwrap_or_else(|| CONFIG_PATH.into()),
            file_required: self.config.is_some(),
            credentials: var("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            host_name: uname().nodename().to_string_lossy().into_owned(),
            jwt_secret: var("JWT_SECRET"),
            // A relative path needs a working directory.
            log_dir: var("LOG_DIR").and_then(|dir| std::path::absolute(dir).ok()),
            state_dir: var("STATE_DIRECTORY").as_deref().and_then(first_directory),
            descriptors_max: getrlimit(Resource::Nofile).maximum,
            ..Environment::default()
        }
    }

    pub fn load(&self) -> Result<Loaded, Problems> {
        load(&self.environment())?.with_usable_keys()
    }
}

/// The first of the directories in a variable of systemd.exec(5), if its path is absolute.
fn first_directory(all: &OsStr) -> Option<PathBuf> {
    let first = all.as_bytes().split(|&byte| byte == b':').next().unwrap_or_default();
    Some(PathBuf::from(OsStr::from_bytes(first))).filter(|path| path.is_absolute())
}

/// The option of commands that send a request to the running daemon.
#[derive(Debug, Args)]
pub struct ControlArgs {
    /// The control socket of the daemon
    #[arg(long, value_name = "PATH", default_value = CONTROL_PATH)]
    pub control: PathBuf,
}

impl ControlArgs {
    /// Sends one request and returns the answer.
    pub fn ask<T: DeserializeOwned>(&self, request: &ControlRequest) -> Result<T, Failure> {
        self.try_ask(request).map_err(|error| self.failure(error))
    }

    /// Like [`ControlArgs::ask`], for commands that handle some errors themselves.
    pub fn try_ask<T: DeserializeOwned>(
        &self,
        request: &ControlRequest,
    ) -> Result<T, RequestError> {
        ControlClient::connect(&self.control)?.ask(request)
    }

    /// For a command that sends many requests, and waits so long for each reply.
    pub fn session(&self, timeout: Option<Duration>) -> ControlSession {
        ControlSession::new(&self.control, timeout)
    }

    /// What systemd knows of a daemon that does not answer. It knows nothing of one with another
    /// control socket.
    pub fn unit_state(&self) -> Option<UnitState> {
        (self.control == Path::new(CONTROL_PATH)).then(unit_state)?
    }

    /// Why no daemon answers.
    pub fn not_running(&self) -> String {
        let state = self.unit_state();
        state.map_or_else(|| "wschat is not running".to_owned(), |state| state.to_string())
    }

    /// The failure for an error of [`ControlArgs::try_ask`].
    pub fn failure(&self, error: RequestError) -> Failure {
        let path = self.control.display().to_string();
        let exit = match &error {
            RequestError::Forbidden => Exit::NoPermission,
            RequestError::Daemon(error) => match error.err {
                ErrorCode::Forbidden => Exit::NoPermission,
                ErrorCode::ConfigRejected => Exit::Config,
                ErrorCode::BadRequest => Exit::Usage,
                ErrorCode::NotDone => Exit::NotDone,
                ErrorCode::Unknown => Exit::Unknown,
                _ => Exit::Unavailable,
            },
            RequestError::NotRunning => match self.unit_state() {
                Some(state) => return Failure::new(Exit::Unavailable, path, state),
                None => Exit::Unavailable,
            },
            RequestError::Connection(_) => Exit::Unavailable,
        };
        Failure::new(exit, path, error)
    }
}
