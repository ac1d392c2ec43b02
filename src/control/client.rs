//! The client of the control socket.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use serde::de::DeserializeOwned;

use crate::control::error::{ControlError, FORBIDDEN};
use crate::control::paths::{CONTROL_PATH, MONITOR_PATH};
use crate::control::protocol::{ControlRequest, line, parse_reply};

/// How long to wait for a reply: longer than the daemon's own timeout for a request.
const TIMEOUT: Duration = Duration::from_secs(75);

/// A connection to a running daemon.
#[derive(Debug)]
pub struct ControlClient {
    stream: BufReader<UnixStream>,
}

/// Why there is no reply, or only an error.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Nothing listens at the path.
    #[error("wschat is not running, or its control socket is elsewhere (--control)")]
    NotRunning,
    /// The permissions of the socket exclude this user.
    #[error("{FORBIDDEN}")]
    Forbidden,
    /// The daemon replied with an error.
    #[error("{0}")]
    Daemon(#[from] ControlError),
    /// The connection failed.
    #[error("{0}")]
    Connection(#[source] io::Error),
}

impl ControlClient {
    /// Connects to the control socket at `path`; if that is the default path and excludes this
    /// user, to the socket for monitoring.
    ///
    /// # Errors
    ///
    /// Each [`RequestError`] except [`Daemon`](RequestError::Daemon).
    pub fn connect(path: &Path) -> Result<Self, RequestError> {
        let stream = match connect(path) {
            Err(RequestError::Forbidden) if path == Path::new(CONTROL_PATH) => {
                connect_to_monitor()?
            }
            connected => connected?,
        };
        stream.set_read_timeout(Some(TIMEOUT)).map_err(RequestError::Connection)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The process that listens at the socket; `None` if this process cannot see it.
    pub fn daemon_pid(&self) -> Option<u32> {
        let peer = socket_peercred(self.stream.get_ref()).ok()?;
        u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    ///
    /// [`Daemon`](RequestError::Daemon) or
    /// [`Connection`](RequestError::Connection).
    pub fn ask<T: DeserializeOwned>(
        &mut self,
        request: &ControlRequest,
    ) -> Result<T, RequestError> {
        // If the daemon has closed the connection, it may have sent the reason.
        let _ = self.stream.get_mut().write_all(line(request).as_bytes());
        let mut reply = String::new();
        let error = match self.stream.read_line(&mut reply) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                io::Error::new(ErrorKind::TimedOut, "no reply in time")
            }
            _ if !reply.is_empty() => return Ok(parse_reply(&reply)?),
            Err(error) => error,
            Ok(_) => io::Error::new(ErrorKind::UnexpectedEof, "the daemon closed the connection"),
        };
        Err(RequestError::Connection(error))
    }
}

/// A connection for many requests. It is opened again if it has broken, because the daemon may
/// have been restarted since the last one.
#[derive(Debug)]
pub struct ControlSession {
    path: PathBuf,
    timeout: Duration,
    open: Option<ControlClient>,
}

impl ControlSession {
    /// To the daemon whose control socket is at `path`, which may take so long for a reply; by
    /// default longer than a daemon that works does.
    pub fn new(path: &Path, timeout: Option<Duration>) -> Self {
        Self { path: path.to_owned(), timeout: timeout.unwrap_or(TIMEOUT), open: None }
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    ///
    /// Each [`RequestError`].
    pub fn ask<T: DeserializeOwned>(
        &mut self,
        request: &ControlRequest,
    ) -> Result<T, RequestError> {
        if let Some(mut open) = self.open.take() {
            match open.ask(request) {
                Err(RequestError::Connection(error)) if error.kind() != ErrorKind::TimedOut => {}
                reply => {
                    self.open = Some(open);
                    return reply;
                }
            }
        }
        let mut open = ControlClient::connect(&self.path)?;
        let limit = open.stream.get_ref().set_read_timeout(Some(self.timeout));
        limit.map_err(RequestError::Connection)?;
        let reply = open.ask(request)?;
        self.open = Some(open);
        Ok(reply)
    }
}

fn connect(path: &Path) -> Result<UnixStream, RequestError> {
    UnixStream::connect(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => RequestError::NotRunning,
        ErrorKind::PermissionDenied => RequestError::Forbidden,
        _ => RequestError::Connection(error),
    })
}

fn connect_to_monitor() -> Result<UnixStream, RequestError> {
    let path = Path::new(MONITOR_PATH);
    connect(path).map_err(|error| match error {
        // The directory is there if the package made it, and this user can look into it.
        RequestError::NotRunning if !path.parent().is_some_and(Path::is_dir) => {
            RequestError::Forbidden
        }
        error => error,
    })
}
